"""`docs/operating/joining.md`, executed: its files are written and its commands are run word for word, except for the table below."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import swiftclient

from apus_testing.executables import APUS, ROOT
from apus_testing.waiting import wait_until

GUIDE = ROOT / "docs/operating/joining.md"
BLOCK = re.compile(r"^```(sh|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def take_network():
    """A number N such that no other test uses the addresses 127.77.N.x, and the socket that reserves it."""
    for number in range(249, 0, -1):
        holder = socket.socket()
        try:
            holder.bind((f"127.77.{number}.250", 7777))
            return number, holder
        except OSError:
            holder.close()
    raise AssertionError("no free network")


def section(title):
    """The code blocks of a section: language and text."""
    found = GUIDE.read_text().split(f"\n## {title}\n")
    assert len(found) == 2, title
    blocks = BLOCK.findall(found[1].split("\n## ")[0])
    assert blocks, title
    return blocks


class GuideMachine:
    """Addresses and folders of this machine in place of a machine of the guide."""

    def __init__(self, folder, number, network):
        self.folder = folder / f"machine{number}"
        self.etc, self.devices = self.folder / "etc/swift", self.folder / "srv/node"
        for disk in ["sdb1", "sdc1", "sdd1"]:
            (self.devices / disk).mkdir(parents=True)
        self.etc.mkdir(parents=True)
        self.processes = []
        # The whole difference between the guide and what runs here.
        self.table = [
            ("/etc/swift", str(self.etc)),
            ("/srv/node", str(self.devices)),
            ("/root/key", str(folder / "key")),
            ("10.0.0.1", f"127.77.{network}.1"),
            ("10.0.0.4", f"127.77.{network}.4"),
            # Plain folders in place of mounted disks.
            ("devices = ", f"mount_check = false\nrecon_cache_path = {self.folder}/cache\ndevices = "),
            # Options for speed. With the defaults the first step comes after min_part_hours, and two minutes after the new node
            # is up: 15 s + 1.25 * 60 s for rings to be taken up everywhere, then a pass of every replicator (every 30 s).
            ("create 10 3 1", "create 5 3 0"),
            ("ring_manager = ", "ring_check_interval = 0.5\nring_fetch_interval = 0.5\nring_manager = "),
            ("builder_dir = ", "interval = 0.3\nbuilder_dir = "),
            ("apus all ", f"sed -i 's/^bind_port = .*/&\\ninterval = 1/' {self.etc}/*-server.conf\napus all "),
            # The defaults are /etc/swift, and the address that the kernel chooses towards the first node.
            ("apus join ", f"apus join --swift-dir {self.etc} --ip 127.77.{network}.{number} "),
            ("apus ring approve", f"apus ring approve --swift-dir {self.etc}"),
        ]

    def replaced(self, text):
        for guide, here in self.table:
            text = text.replace(guide, here)
        return text

    def write(self, text):
        text = self.replaced(text)
        path = Path(text.splitlines()[0].removeprefix("# "))
        assert path.parent == self.etc, path
        path.write_text(text)

    def run(self, text):
        """Runs a block of commands; what it leaves running is ended by `stop`."""
        jobs = self.folder / "jobs"
        environment = {**os.environ, "PATH": f"{self.folder.parent}:{os.environ['PATH']}"}
        command = ["bash", "-e", "-c", f"trap 'jobs -p > {jobs}' EXIT\n{self.replaced(text)}"]
        with open(self.folder / "log", "a") as log:
            shell = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            code = shell.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
        self.processes += map(int, jobs.read_text().split())
        assert code == 0, self.log()

    def log(self):
        return (self.folder / "log").read_text()

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        wait_until(lambda: not any(map(runs, self.processes)), "the end of all processes")


def runs(process):
    """Whether a process exists and is not a zombie, since its parent has ended."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def machines(tmp_path):
    network, holder = take_network()
    (tmp_path / "apus").symlink_to(Path(APUS).resolve())
    with holder, contextlib.ExitStack() as ends:
        machines = [GuideMachine(tmp_path, number, network) for number in (1, 4)]
        for machine in machines:
            ends.callback(machine.stop)
        yield machines


def test_a_node_joins_holds_data_and_answers_as_the_guide_says(machines, tmp_path):
    first, new = machines
    for title in ["The first node", "The ring manager"]:
        for language, text in section(title):
            first.write(text) if language == "ini" else first.run(text)
    wait_until(lambda: first.log().count(" ready") >= 2, f"the first node: {first.log()}")
    key = re.search(r"cluster_key = (\w+)", (first.etc / "swift.conf").read_text())[1]
    (tmp_path / "key").write_text(key + "\n")
    wait_until(lambda: len(list(first.etc.glob("*.ring.gz.signature"))) == 3, "rings that are signed")

    for _, text in section("A node joins"):
        new.run(text)
    assert (new.etc / "swift.conf").read_bytes() == (first.etc / "swift.conf").read_bytes()
    ready = wait_until(lambda: re.search(r" ready.*", new.log()), f"the new node: {new.log()}")[0]
    # The machine has no proxy-server.conf.
    assert "object-server 127.77." in ready and "proxy-server" not in ready

    conf = (first.etc / "proxy-server.conf").read_text()
    address = re.search(r"bind_ip = (\S+)", conf)[1]
    account, user, password = re.search(r"user_(\w+?)_(\w+) = (\w+)", conf).groups()
    swift = swiftclient.Connection(f"http://{address}:8080/auth/v1.0", f"{account}:{user}", password, retries=3)
    swift.put_container("c")
    names = []

    def holds_data():
        names.append(f"o{len(names)}")
        swift.put_object("c", names[-1], b"content")
        return list(new.devices.glob("sd[bc]1/objects/*/*/*/*.data"))

    wait_until(holds_data, f"data on the new node: {new.log()}", 60)
    for name in (names[0], names[-1]):
        assert swift.get_object("c", name)[1] == b"content"

    def is_alike():
        """Whether all nodes answer, with the same swift.conf and the same rings."""
        return subprocess.run([APUS, "recon", "--md5", "--swiftdir", first.etc], capture_output=True, timeout=30).returncode == 0

    wait_until(is_alike, "recon --md5", 30)
