"""`apus object-relinker` against Swift's own, on copies of the same disk: the same files in the same places.

Files are named and placed as Swift names and places them; the relinker looks at nothing else of them.
"""

import json
import random
import shutil
import subprocess
import sys
import time

import pytest

from apus_testing.executables import APUS

OURS, SWIFTS = "ours", "swift's"
# Swift's, with the policies of another directory than /etc/swift, and its log to be seen.
SWIFTS_PROGRAM = """
import logging, sys
from swift.common import storage_policy, utils
utils.set_swift_dir(sys.argv[1])
storage_policy.reload_storage_policies()
from swift.cli import relinker
relinker.get_swift_logger = lambda conf: relinker.SwiftLogAdapter(logging.getLogger(), server="relinker")
logging.basicConfig(level=logging.INFO)
sys.exit(relinker.main(sys.argv[2:]))
"""
POWER, OBJECTS = 4, 100
SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = relink
[storage-policy:0]
name = gold
default = yes
[storage-policy:1]
name = silver
"""
# Names that one object may have, from t(1) on; the last column of each is what a server would keep.
KINDS = [["1.data"], ["1.data", "2.meta"], ["2.ts"], ["1.data", "3.ts"], ["1.data", "2.data"], ["1.data", "3-186a0.meta", "2+0.meta"]]
# Swift's reclaims what is older than a week.
EPOCH = int(time.time()) - 3600


def name(text):
    """`2.meta` → `1790000002.00000.meta`."""
    return f"{EPOCH + int(text[0])}.00000{text[1:]}"


class RelinkedMachine:
    """A node with two devices, its rings, and relinkers."""

    def __init__(self, folder):
        self.folder, self.etc, self.devices = folder, folder / "etc", folder / "devices"
        self.etc.mkdir(parents=True)
        (self.etc / "swift.conf").write_text(SWIFT_CONF)
        self.configure()
        for ring in ["object", "object-1"]:
            self.ring(ring, "create", POWER, 2, 1)
            for device in ["sda", "sdb"]:
                self.ring(ring, "add", f"r1z1-127.0.0.1:6200/{device}", 100)
            self.ring(ring, "rebalance")

    def configure(self):
        (self.etc / "object-server.conf").write_text(
            f"[DEFAULT]\nswift_dir = {self.etc}\ndevices = {self.devices}\nmount_check = false\n"
            f"[object-relinker]\nrecon_cache_path = {self.folder}/cache\nlog_udp_host = 127.0.0.1\nlog_udp_port = 9\n"
        )
        (self.folder / "cache").mkdir(exist_ok=True)

    def copy(self, folder):
        """The same machine elsewhere, with the same links."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        other = object.__new__(RelinkedMachine)
        other.folder, other.etc, other.devices = folder, folder / "etc", folder / "devices"
        other.configure()
        return other

    def ring(self, ring, *words):
        done = subprocess.run([APUS, "ring-builder", self.etc / f"{ring}.builder", *map(str, words)], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def step(self, step, ring="object"):
        self.ring(ring, f"{step}_partition_power")
        self.ring(ring, "write_ring")

    def run(self, tool, step, *options, environment=None):
        """Exit code."""
        conf = str(self.etc / "object-server.conf")
        command = [APUS, "object-relinker"] if tool == OURS else [sys.executable, "-c", SWIFTS_PROGRAM, str(self.etc)]
        done = subprocess.run([*command, step, conf, *options], capture_output=True, text=True, timeout=60, env=environment)
        self.said = done.stdout + done.stderr
        return done.returncode

    def state(self, device, kind="objects"):
        return json.loads((self.devices / device / f"relink.{kind}.json").read_text())

    def recon(self):
        return json.loads((self.folder / "cache/relinker.recon").read_text())

    def files(self):
        """What each object's file is: all of its names."""
        names = {}
        for path in self.devices.rglob("objects*/[0-9]*/*/*/*"):
            names.setdefault(path.stat().st_ino, set()).add(str(path.relative_to(self.devices)))
        return sorted(map(sorted, names.values()))

    def misplaced(self, power):
        found = [path for path in self.devices.glob("*/objects/*/*/*") if int(path.name[:8], 16) >> (32 - power) != int(path.parts[-3])]
        return [path for path in found if any(path.iterdir())]

    def put(self, device, hashed, texts, power, kind="objects"):
        directory = self.devices / device / kind / str(int(hashed[:8], 16) >> (32 - power)) / hashed[-3:] / hashed
        directory.mkdir(parents=True, exist_ok=True)
        for text in texts:
            (directory / name(text)).write_text(f"{hashed} {text}")
        return directory

    def fill(self, seed=7, kind="objects"):
        chosen = random.Random(seed)
        for number in range(OBJECTS):
            hashed = f"{chosen.getrandbits(128):032x}"
            self.put(["sda", "sdb"][number % 2], hashed, chosen.choice(KINDS), POWER, kind)

    def live_traffic(self, power, seed=11):
        """As servers leave it: newer files in one place only, or in both."""
        chosen = random.Random(seed)
        directories = sorted(
            path for path in self.devices.glob("*/objects/*/*/*") if int(path.name[:8], 16) >> (32 - power) == int(path.parts[-3])
        )
        for directory in directories:
            device, hashed = directory.relative_to(self.devices).parts[0], directory.name
            if chosen.random() < 0.4:
                self.put(device, hashed, chosen.choice([["5.data"], ["5.ts"], ["5.meta"], ["5.data", "6.meta"]]), power)
            elif chosen.random() < 0.2:
                shutil.rmtree(directory)


@pytest.fixture
def machine(tmp_path):
    machine = RelinkedMachine(tmp_path / "machine")
    machine.fill()
    return machine


def test_relinking_and_cleaning_up_leave_what_swifts_leave(tmp_path, machine):
    machine.step("prepare_increase")
    swifts = machine.copy(tmp_path / "swifts")
    both = [(machine, OURS), (swifts, SWIFTS)]
    for node, tool in both:
        assert node.run(tool, "cleanup") == 2, node.said
        assert node.run(tool, "relink") == 0, node.said
    assert machine.files() == swifts.files()
    assert any(len(names) == 2 for names in machine.files())
    assert [machine.state(device) for device in ["sda", "sdb"]] == [swifts.state(device) for device in ["sda", "sdb"]]
    for node, tool in both:
        node.step("increase")
        node.live_traffic(POWER + 1)
        assert node.run(tool, "relink") == 2, "its turn is over"
        assert node.run(tool, "cleanup") == 0, node.said
    assert machine.files() == swifts.files()
    assert machine.misplaced(POWER + 1) == []
    assert [machine.state(device) for device in ["sda", "sdb"]] == [swifts.state(device) for device in ["sda", "sdb"]]

    def partitions(node):
        return sorted(path.relative_to(node.devices) for path in node.devices.glob("*/objects/*"))

    assert partitions(machine) == partitions(swifts), "empty partitions are gone"
    assert machine.run(OURS, "cleanup", "--again") == 0
    assert "0 linked, 0 removed, 0 errors" in machine.said


def test_a_cancelled_increase_leaves_what_swifts_leaves(tmp_path, machine):
    machine.step("prepare_increase")
    assert machine.run(OURS, "relink") == 0
    machine.step("cancel_increase")
    machine.live_traffic(POWER)
    swifts = machine.copy(tmp_path / "swifts")
    assert machine.run(OURS, "cleanup") == 0, machine.said
    assert swifts.run(SWIFTS, "cleanup") == 0, swifts.said
    assert machine.files() == swifts.files()
    assert machine.misplaced(POWER) == []
    machine.step("finish_increase")
    assert machine.run(OURS, "cleanup") == 2


def test_each_goes_on_where_the_other_stopped(machine):
    machine.step("prepare_increase")
    some = [option for number in range(0, 16, 3) for option in ("--partition", str(number))]
    assert machine.run(SWIFTS, "relink", *some) == 0, machine.said
    done = {number for number, is_done in machine.state("sda")["state"].items() if is_done}
    assert done == {"0", "3", "6", "9", "12", "15"}
    # What is noted as done is not looked at again, so this is not seen.
    for path in machine.devices.glob("sda/objects/1[89]/*/*"):
        shutil.rmtree(path)
    assert machine.run(OURS, "relink") == 0, machine.said
    assert all(machine.state("sda")["state"].values())
    assert not list(machine.devices.glob("sda/objects/1[89]/*/*/*"))
    machine.step("increase")
    assert machine.run(OURS, "cleanup", "--partition", "3") == 0, machine.said
    assert machine.run(SWIFTS, "cleanup") == 0, machine.said
    assert machine.misplaced(POWER + 1) == []
    assert list(machine.devices.glob("sda/objects/1[89]/*/*/*")), "linked before the old names went"


def test_a_relinker_that_is_killed_anywhere_loses_nothing_and_is_gone_on_with(tmp_path, machine):
    machine.step("prepare_increase")

    def lost(node, before):
        return before - {path.read_text() for path in node.devices.rglob("*.data")}

    expected = machine.copy(tmp_path / "expected")
    assert expected.run(OURS, "relink") == 0
    linked = expected.files()
    expected.step("increase")
    assert expected.run(OURS, "cleanup") == 0
    cleaned = expected.files()
    before = {path.read_text() for path in expected.devices.rglob("*.data")}
    armed = tmp_path / "faults"
    points = {
        "relink": ["relink.link.done", "relink.state.stored"],
        "cleanup": ["relink.link.done", "relink.remove.done"],
    }
    for step, result in [("relink", linked), ("cleanup", cleaned)]:
        for number, point in enumerate(points[step]):
            node = machine.copy(tmp_path / f"{step}{number}")
            if step == "cleanup":
                # Not all is linked yet: that makes the links and removes.
                assert node.run(OURS, "relink", "--partition", "3", "--partition", "5") == 0
                node.step("increase")
            armed.write_text(f"{point} kill@{1 if point.endswith('stored') else 4}\n")
            assert node.run(OURS, step, "--workers", "1", environment={"APUS_FAULTS": str(armed)}) == -9, (point, node.said)
            assert lost(node, before) == set(), point
            assert node.run(OURS, step) == 0, node.said
            assert node.files() == result, point


def test_another_file_in_the_way_is_an_error_and_nothing_of_it_is_removed(machine):
    machine.step("prepare_increase")
    hashed = "00" * 16
    old = machine.put("sda", hashed, ["1.data"], POWER)
    assert machine.run(OURS, "relink") == 0
    hashed = "18" + "00" * 15
    old = machine.put("sda", hashed, ["1.data"], POWER)
    new = machine.put("sda", hashed, ["1.data"], POWER + 1)
    (new / name("1.data")).write_text("another")
    assert machine.run(OURS, "relink", "--again") == 1
    assert "clobber_hardlink_collisions" in machine.said
    assert machine.state("sda")["state"]["1"] is False, "it is to be looked at again"
    machine.step("increase")
    assert machine.run(OURS, "cleanup") == 1
    assert (old / name("1.data")).exists() and (new / name("1.data")).read_text() == "another"
    assert machine.run(OURS, "cleanup", "--clobber-hardlink-collisions") == 0, machine.said
    assert not old.exists() and (new / name("1.data")).read_text() == "another"


def test_policies_and_devices_can_be_chosen_and_a_missing_device_is_an_error(machine):
    machine.fill(seed=8, kind="objects-1")
    machine.step("prepare_increase")
    machine.step("prepare_increase", "object-1")
    assert machine.run(OURS, "relink", "--policy", "silver", "--device", "sdb") == 0, machine.said
    assert [path.name for path in machine.devices.glob("*/relink.*")] == ["relink.objects-1.json"]
    assert machine.run(OURS, "relink", "--policy", "bronze") == 1 and "bronze" in machine.said
    assert machine.run(OURS, "relink", "--device", "sdz") == 1
    output = machine.recon()
    assert output["devices"]["sdz"]["stats"]["unmounted"] == 2, "for each policy"
    assert [worker["return_code"] for worker in output["workers"].values()] == [1]
    assert machine.run(OURS, "relink", "--workers", "1", "--files-per-second", "10000") == 0
    output = machine.recon()["devices"]
    assert sorted(output) == ["sda", "sdb"], "the last run's are gone"
    stats = output["sda"]["policies"]["0"]
    assert (stats["step"], stats["part_power"], stats["next_part_power"]) == ("relink", POWER, POWER + 1)
    assert stats["parts_done"] == stats["total_parts"] > 0
    assert stats["stats"]["linked"] == stats["stats"]["files"] > 0
