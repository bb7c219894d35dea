"""Links between nodes that are cut: packets dropped between addresses of the loopback device.

Needs root and iptables, which is installed when it is missing. Whatever was cut is healed when the guard ends, also
when the test fails; rules of a test that was killed go when the next guard begins.
"""

import os
import shutil
import subprocess

import pytest

CHAIN = "APUS-BED"


def iptables(*words, check=True):
    return subprocess.run(["iptables", "-w", "10", *words], check=check, capture_output=True, text=True)


def ensure():
    """Fails in CI, and skips elsewhere, when links cannot be cut."""
    if not shutil.which("iptables") and os.geteuid() == 0:
        subprocess.run("apt-get update -qq && apt-get install -y -qq iptables", shell=True, capture_output=True)
    works = os.geteuid() == 0 and shutil.which("iptables") and iptables("-S", "OUTPUT", check=False).returncode == 0
    if not works:
        message = "cutting links needs root and iptables"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


class LinkCuts:
    """`with LinkCuts(cluster) as network:` — sides are nodes or proxies (whatever has an address)."""

    def __init__(self, cluster):
        self.chain = f"{CHAIN}-{cluster.range}"

    def __enter__(self):
        ensure()
        self._remove()
        iptables("-N", self.chain)
        iptables("-I", "OUTPUT", "-j", self.chain)
        return self

    def __exit__(self, *_):
        self._remove()

    def _remove(self):
        iptables("-D", "OUTPUT", "-j", self.chain, check=False)
        iptables("-F", self.chain, check=False)
        iptables("-X", self.chain, check=False)

    @staticmethod
    def _address(side):
        return side.address if isinstance(side.address, str) else side.address[0]

    def cut(self, one, other, both=True):
        """Drops what goes from `one` to `other`; with `both`, also the way back."""
        for source, target in [(one, other), (other, one)] if both else [(one, other)]:
            iptables("-A", self.chain, "-s", self._address(source), "-d", self._address(target), "-j", "DROP")

    def halves(self, left, right):
        for one in left:
            for other in right:
                self.cut(one, other)

    def heal(self):
        iptables("-F", self.chain)
