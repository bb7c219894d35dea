"""The object updater against container servers that send rows on to shards (Swift's `process_object_update`)."""

import json
import subprocess
import sys

import pytest

from apus_testing.executables import ROOT
from apus_testing.process import is_listening
from apus_testing.servers_with_daemons import ServersWithDaemons
from apus_testing.waiting import wait_until

ACCOUNT = "AUTH_test"
SHARD, OTHER = ".shards_AUTH_test/c-1 ü", ".shards_AUTH_test/c-2"


class Containers:
    """All container servers, played by another process."""

    def __init__(self, port, folder):
        self.folder = folder
        folder.mkdir()
        self.plan()
        script = ROOT / "tests/apus_testing/container_stand_in.py"
        self.process = subprocess.Popen([sys.executable, script, str(port), str(folder)])

        def is_up():
            assert self.process.poll() is None, "the stand-in ended"
            return is_listening(("127.0.0.1", port))

        wait_until(is_up, "the stand-in listens")

    def plan(self, locations=None, refused=()):
        """What is answered from now on; what was asked before is forgotten."""
        (self.folder / "plan.json").write_text(json.dumps({"locations": locations or {}, "refused": list(refused)}))
        (self.folder / "asked").write_text("")

    @property
    def asked(self):
        return [json.loads(line) for line in (self.folder / "asked").read_text().splitlines()]

    @property
    def taken(self):
        return [one for one in self.asked if one["status"] == 201]


@pytest.fixture
def nodes(tmp_path):
    with ServersWithDaemons(tmp_path) as nodes:
        yield nodes


@pytest.fixture
def containers(nodes, tmp_path):
    """Three undelivered updates of one object, whose rows a stand-in takes from now on."""
    swift = nodes.swift()
    swift.put_container("c")
    swift.put_object("c", "warm", b"x")
    nodes.stop("container", kill=True)
    swift.put_object("c", "o", b"x")
    wait_until(lambda: len(nodes.pending()) == 3, nodes.pending())
    containers = Containers(nodes.ports["container"], tmp_path / "containers")
    yield containers
    containers.process.kill()
    containers.process.wait()


def test_rows_follow_a_redirect_at_once_and_say_that_they_can(nodes, containers):
    containers.plan({f"{ACCOUNT}/c": (SHARD, "1700000000.00000")})
    nodes.once("object-updater")
    assert nodes.pending() == []
    assert {one["path"] for one in containers.taken} == {SHARD}
    headers = {name.lower(): value for name, value in containers.asked[0]["headers"].items()}
    assert headers["x-backend-accept-redirect"] == "true" and headers["x-backend-accept-quoted-location"] == "true"
    assert headers["user-agent"].startswith("object-updater")


def test_a_shard_that_does_not_answer_is_remembered_with_who_has_the_row(nodes, containers):
    _, devices = nodes.nodes_of("container", *SHARD.split("/"))
    locations = {f"{ACCOUNT}/c": (SHARD, "1700000000.00000")}
    # Refused are rows of the shard only: the root's servers must answer.
    away = devices[0]["device"]
    containers.plan(locations, [away])
    nodes.once("object-updater")
    for update in nodes.pending():
        assert (update["account"], update["container"], update["obj"]) == (ACCOUNT, "c", "o")
        assert update["container_path"] == SHARD and update["redirect_history"] == [SHARD]
        assert sorted(update["successes"]) == sorted(device["id"] for device in devices[1:])
    assert len(nodes.pending()) == 3
    containers.plan(locations)
    nodes.once("object-updater")
    assert nodes.pending() == []
    assert {one["path"] for one in containers.asked} == {SHARD}, "the root is not asked again"
    assert {one["device"] for one in containers.asked} == {away}, "who has it is not asked again"


def test_redirects_that_go_round_end_at_the_root(nodes, containers):
    containers.plan(
        {
            f"{ACCOUNT}/c": (SHARD, "1700000000.00000"),
            SHARD: (OTHER, "1700000001.00000"),
            OTHER: (SHARD, "1700000002.00000"),
        }
    )
    nodes.once("object-updater")
    for update in nodes.pending():
        assert (update["container_path"], update["redirect_history"]) == (OTHER, [SHARD, OTHER])
    nodes.once("object-updater")
    for update in nodes.pending():
        # Sent on to a shard that it had been at: the root is next, and the search begins again there.
        assert (update["container_path"], update["redirect_history"]) == (SHARD, [SHARD])
    assert len(nodes.pending()) == 3
    containers.plan()
    nodes.once("object-updater")
    assert nodes.pending() == []


def test_recon_reports_what_is_left_and_unreadable_files_stay(nodes, containers):
    containers.plan(refused=[f"sd{number}" for number in range(1, 5)])
    damaged = next(nodes.devices.glob("*/async_pending/*/*-*"))
    damaged.write_bytes(b"torn")
    nodes.once("object-updater")
    recon = nodes.recon("object")
    assert recon["async_pending"] == 3 and recon["async_pending_last"] == recon["object_updater_last"]
    stats = recon["object_updater_stats"]
    assert stats["failures_account_container_count"] == 1
    oldest = stats["failures_oldest_timestamp_account_containers"]
    assert oldest["oldest_count"] == 1
    assert (oldest["oldest_entries"][0]["account"], oldest["oldest_entries"][0]["container"]) == (ACCOUNT, "c")
    assert stats["failures_oldest_timestamp_age"] > 0
    assert set(recon["object_updater_per_device"]) >= {"sd1", "sd2", "sd3", "sd4"}
    assert damaged.read_bytes() == b"torn"


def test_a_busy_container_gets_no_more_than_its_share(nodes, containers):
    nodes.option("object", "object-updater", "max_objects_per_container_per_second = 0.001\nconcurrency = 1")
    done = nodes.once("object-updater")
    assert "successes: 1" in done.stderr and "skips: 2" in done.stderr, done.stderr
    nodes.option("object", "object-updater", "objects_per_second = 0")
    nodes.once("object-updater")
    assert nodes.pending() == []
