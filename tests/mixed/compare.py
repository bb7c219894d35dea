"""Runs Swift's test/functional over mixed clusters and prints the cases in which they differ.

    compare.py a        our proxy over Swift's servers, against the must-pass list (our proxy over ours)
    compare.py b        Swift's proxy over our servers, against `swift`
    compare.py c        our proxy over two nodes of ours and two of Swift's, against the must-pass list
    compare.py d        Swift's proxy over the same, against `swift`
    compare.py swift    Swift's proxy over Swift's servers, the measure for `b` and `d`
    compare.py          all of them

The disks are on XFS, as Swift asks for, in an image that is mounted: so it needs root. ext4 has no room for as much
metadata as Swift allows; its servers answer 507 then, and its proxy passes them over for a minute.

Outcomes are kept in target/suites/mixed-NAME.json; a case is a difference when it passes in the measure only. One that
fails in the last run of `swift`, too, is not.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager

from apus_testing import suites
from apus_testing.devices import Image
from apus_testing.executables import ROOT
from apus_testing.testbed import PROXY_PORT, Testbed

# Whose proxy, and whose server a node of that number has.
CLUSTERS = {
    "swift": ("swift", lambda node: "swift"),
    "a": ("apus", lambda node: "swift"),
    "b": ("swift", lambda node: "apus"),
    "c": ("apus", lambda node: "apus" if node % 2 else "swift"),
    "d": ("swift", lambda node: "apus" if node % 2 else "swift"),
}
# pytest does not collect tests.py by its name, and it must not share a call with its folder.
TARGETS = ["test/functional/tests.py", "test/functional"]
# The file is sparse.
DISK_MEGABYTES = 16_384


def outcomes_of(name, only):
    proxy, maker = CLUSTERS[name]
    source, outcomes = suites.swift_source(), {}
    for targets in [only] if only else [[target] for target in TARGETS]:
        folder = ROOT / "target" / "suites" / f"mixed-{name}-{time.time_ns()}"
        with on_xfs(folder) as disk:
            testbed = Testbed(disk / "bed", lambda node, kind: maker(node)).start()
            try:
                conf = folder / "test.conf"
                text = suites.SWIFT_CONF.replace("127.0.0.1", testbed.ip(proxy))
                conf.write_text(text.format(port=PROXY_PORT))
                environment = dict(os.environ, SWIFT_TEST_CONFIG_FILE=str(conf), SWIFT_TEST_IN_PROCESS="0")
                outcomes.update(suites.pytest_outcomes(source, environment, targets))
            finally:
                testbed.stop()
        shutil.rmtree(folder)
    return outcomes


@contextmanager
def on_xfs(folder):
    """A file system for the disks below a folder that is made for it."""
    folder.mkdir(parents=True)
    disk = Image(folder / "disk.xfs", folder / "disk", "xfs", DISK_MEGABYTES)
    disk.mount()
    try:
        yield disk.mount_point
    finally:
        disk.end()


def kept(name):
    return ROOT / "target" / "suites" / f"mixed-{name}.json"


def swift_alone():
    """The last outcomes of Swift's proxy over Swift's servers."""
    return json.loads(kept("swift").read_text()) if kept("swift").exists() else {}


def measure(name):
    if CLUSTERS[name][0] == "apus":
        return {case: "PASSED" for case in suites.must_pass("swift")}
    return swift_alone()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clusters", nargs="*", choices=[*CLUSTERS, []], default=[])
    parser.add_argument("--only", nargs="*", help="files or cases, from Swift's source folder on; results are not kept")
    options = parser.parse_args()
    # So that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    differences = 0
    for name in options.clusters or CLUSTERS:
        outcomes = outcomes_of(name, options.only)
        if not options.only:
            kept(name).write_text(json.dumps(outcomes, indent=1, sort_keys=True))
        counts = {kind: sum(o == kind for o in outcomes.values()) for kind in ("PASSED", "FAILED", "SKIPPED", "ERROR")}
        print(f"{name}: {counts}", flush=True)
        if name == "swift":
            continue
        alone = swift_alone()
        for case, outcome in sorted(measure(name).items()):
            ran = case in outcomes or not options.only
            if outcome == "PASSED" and ran and outcomes.get(case) != "PASSED":
                is_swifts = alone.get(case, "PASSED") not in ("PASSED", "SKIPPED")
                note = ", as over Swift's servers alone" if is_swifts else ""
                print(f"{name}: {outcomes.get(case, 'did not run')}{note}: {case}")
                differences += not is_swifts
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
