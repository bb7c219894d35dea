"""A machine as Swift's probe tests want it: Swift's SAIO, with our programs under the names of Swift's.

    probe_environment.py CHECKOUT FOLDER COMMAND...

Runs COMMAND where /etc/swift, /srv, /run and /var/cache are FOLDER's, loopback is empty and no other process is seen:
in namespaces of its own, so it needs root and touches nothing outside. The configuration is that of the checkout's
`doc/saio`, but for the user, the log (collected in FOLDER/syslog), memcached, S3, and what we do not have: the
erasure-coded policy and encryption.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from apus_testing.executables import APUS

PORTS = {"object": 0, "object-1": 0, "container": 1, "account": 2}
REPLICAS = {"object-1": 2}
NODES = (1, 2, 3, 4)
RESET = """#!{python}
import os, shutil, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        program = open(f"/proc/{{pid}}/cmdline").read().split("\\0")[0]
    except OSError:
        continue
    if os.path.basename(program).startswith("swift-"):
        os.kill(int(pid), signal.SIGKILL)
for node in {nodes}:
    shutil.rmtree(f"/srv/{{node}}", ignore_errors=True)
    for device in (node, node + 4):
        os.makedirs(f"/srv/{{node}}/node/sdb{{device}}")
for folder in ["/var/cache/swift", *(f"/var/cache/swift{{node}}" for node in {nodes})]:
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
"""
# `swift-orphans -a 0 -k 9`; resetswift has left none.
ORPHANS = "#!/bin/sh\nexit 0\n"


def isolated(checkout, folder, command):
    """The command line that runs `command` in such an environment."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return [*unshare, sys.executable, str(Path(__file__).resolve()), str(checkout), str(folder), *command]


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def mount(folder):
    """Puts folders of ours over those that the tests name."""
    for name in ["etc", "etc-work", "srv"]:
        (folder / name).mkdir()
    layers = f"lowerdir=/etc,upperdir={folder}/etc,workdir={folder}/etc-work"
    run("mount", "-t", "overlay", "-o", layers, "overlay", "/etc")
    run("mount", "--bind", folder / "srv", "/srv")
    for path in ["/run", "/var/cache"]:
        run("mount", "-t", "tmpfs", "tmpfs", path)
    os.makedirs("/run/swift")
    run("ip", "link", "set", "lo", "up")


def conf(text):
    """A file of `doc/saio`, for here."""
    text = re.sub(r"(?ms)^\[(filter:cache|storage-policy:2)\]\n.*?(?=^\[|\Z)", "", text)
    text = re.sub(r"(?m)^pipeline = .*$", lambda line: re.sub(r" (cache|keymaster|encryption)\b", "", line[0]), text)
    text = text.replace(" tempauth ", " s3api tempauth ").replace("<your-user-name>", "root")
    text = text.replace("use = egg:swift#tempauth\n", "use = egg:swift#tempauth\nallow_sample_keys = true\n")
    return re.sub(r"(?m)^log_facility = .*$", "log_udp_host = 127.0.0.1\nlog_udp_port = 514", text)


def configure(checkout):
    etc = Path("/etc/swift")
    saio = Path(checkout) / "doc" / "saio" / "swift"
    for path in sorted(saio.rglob("*.conf")):
        to = etc / path.relative_to(saio)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(conf(path.read_text()))
    shutil.copy(Path(checkout) / "test" / "sample.conf", etc / "test.conf")
    for ring, digit in PORTS.items():
        builder = etc / f"{ring}.builder"
        run(APUS, "ring-builder", builder, "create", 10, REPLICAS.get(ring, 3), 1)
        for node in NODES:
            run(APUS, "ring-builder", builder, "add", f"r1z{node}-127.0.0.{node}:62{node}{digit}/sdb{node}", 1)
        run(APUS, "ring-builder", builder, "rebalance")


def ours():
    """The servers and daemons that we have; without the others Swift's manager does as if they were not installed."""
    usage = subprocess.run([APUS, "--help"], check=True, capture_output=True, text=True).stdout
    roles = re.findall(r"(?m)^  ([a-z]+-[a-z]+) ", usage)
    return [role for role in roles if role.split("-")[0] in ["proxy", "account", "container", "object"]]


def programs(folder):
    """A folder for PATH."""
    folder.mkdir()
    for name in ours():
        (folder / f"swift-{name}").symlink_to(Path(APUS).resolve())
    reset = RESET.format(python=sys.executable, nodes=NODES)
    for name, text in [("resetswift", reset), ("swift-orphans", ORPHANS)]:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def collect_log(path):
    """Writes what comes to the port of syslog into a file."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 514))

    def collect():
        with open(path, "wb", 0) as file:
            while True:
                file.write(receiver.recv(65536).rstrip(b"\0\n") + b"\n")

    threading.Thread(target=collect, daemon=True).start()


def main():
    checkout, folder, command = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    mount(folder)
    configure(checkout)
    collect_log(folder / "syslog")
    path = f"{programs(folder / 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin"
    running = subprocess.Popen(command, env=dict(os.environ, PATH=path))
    # This is the first process here, so that it gets the orphans of all others.
    while True:
        pid, status = os.wait()
        if pid == running.pid:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
