"""The suite finds bugs: each planted bug makes a named check fail, which passes without it.

The bugs are one-line switches in the sources (`apus_fault::planted`). A switch without a check here fails, too.
Of a directory that is not synced, what ext4 itself shows is tested: a later sync of anything on the same device hides
it, so the last thing written before the cut is looked at. What ext4 never shows is for the model in
`tests/crash_states`, which looks for bugs of its own.
"""

import shutil
from contextlib import contextmanager

import pytest

from apus_testing import checkers, devices, faults, figures, ledger, swift_code
from apus_testing.clients import Refused
from apus_testing.cluster import Cluster
from apus_testing.steps import DAEMONS
from apus_testing.waiting import wait_until

BUCKET = "planted"
CAUGHT = []


class ClusterWithBug:
    """A cluster in which a bug may be on in every process."""

    def __init__(self, cluster, bug):
        self.cluster, self.bug = cluster, bug
        self.ledger = ledger.Ledger()
        self.writer = ledger.Writer(cluster, self.ledger, BUCKET, 0, figures.seed())
        self.s3, self.swift = cluster.s3(), cluster.swift()
        self.arm()
        self.s3.put(BUCKET)

    def arm(self, role="", *lines):
        """Arms lines in the processes of a role, and the bug in all."""
        daemons = [f"{node.name}-{daemon}" for node in self.cluster.nodes for daemon in DAEMONS]
        for name in [*(process.name for process in self.cluster.processes), *daemons]:
            own = lines if role and name.endswith(role) else ()
            self.cluster.faults.arm(name, *([f"{self.bug} on"] if self.bug else []), *own)

    def write(self, kind, key, size=1000):
        self.writer.sizes = (size,)
        self.writer.step(kind, key)

    def check(self):
        # No second look after replication: that would heal what a bug left behind.
        self.cluster.once("object-updater")
        verdict = ledger.look(self.cluster, self.ledger, BUCKET)
        assert verdict.is_good, verdict.details

    def at(self, node, key):
        """What one node says of an object."""
        names = ["AUTH_test", BUCKET, key]
        answer = node.direct("object").request("GET", self.cluster.placement("object", *names).partition, names)
        assert answer.status in (200, 404), answer
        return answer

    def primaries(self, kind, *key):
        return self.cluster.placement(kind, "AUTH_test", BUCKET, *key).primaries

    def check_rows(self):
        """All replicas of the listing show what is there."""
        findings, live = checkers.Findings(), {}
        for key in self.ledger.allowed:
            metadata = checkers.check_object(self.cluster, findings, "AUTH_test", BUCKET, key)
            if metadata is not None:
                live[key] = (int(metadata["Content-Length"]), metadata["ETag"])
        checkers.check_container(self.cluster, findings, "AUTH_test", BUCKET, live)
        findings.check()


def a_kill_before_the_name_loses_no_acknowledged_object(world):
    world.write("put", "warm")
    world.arm("object-server", "file.link.begun pause:1500")
    world.write("s3-put", "key")
    for node in world.cluster.nodes:
        node.kill("object")
    world.arm()
    world.cluster.start()
    world.cluster.restart_proxies()
    world.check()


def a_kill_before_the_commit_loses_no_acknowledged_row(world):
    world.write("put", "warm")
    world.arm("container-server", "database.bug.acknowledged pause:1500")
    world.write("s3-put", "key")
    for node in world.cluster.nodes:
        node.kill("container")
    world.arm()
    world.cluster.start()
    world.cluster.restart_proxies()
    world.check()


def a_deletion_stays(world):
    world.write("s3-put", "key")
    world.write("s3-delete", "key")
    world.check()


def a_read_after_a_write_that_one_copy_missed_gives_that_write(world):
    world.write("s3-put", "key")
    with world.cluster.without("object", world.primaries("object", "key")[0]):
        world.write("s3-put", "key")
    world.cluster.restart_proxies()
    for _ in range(12):
        world.check()


def a_write_is_on_a_majority_before_it_is_acknowledged(world):
    world.write("s3-put", "warm")
    one, *others = world.primaries("object", "key")
    handoffs = world.cluster.placement("object", "AUTH_test", BUCKET, "key").handoffs
    with world.cluster.without("object", *others, *handoffs):
        world.write("s3-put", "key")
    world.cluster.restart_proxies()
    with world.cluster.without("object", one):
        found = ledger.read(world.s3, BUCKET, "key")
        state = None if found is None else ledger.decode(*found)
        assert world.ledger.judge("key", state) is None, "acknowledged and lost"


def a_listing_after_a_write_that_one_database_missed_has_its_row(world):
    world.write("s3-put", "early")
    with world.cluster.without("container", world.primaries("container")[0]):
        world.write("s3-put", "key")
    world.cluster.restart_proxies()
    for _ in range(15):
        assert "key" in world.s3.listing(BUCKET)


def a_write_by_a_proxy_whose_clock_is_behind_wins_over_an_earlier_one(world):
    world.write("s3-put", "key")
    world.arm("proxy1", "clock -60")
    world.cluster.restart_proxies()
    world.write("s3-put", "key")
    world.arm()
    world.check()


def a_row_that_a_container_server_missed_arrives(world):
    world.write("put", "early")
    with world.cluster.without("container", world.primaries("container")[0]):
        world.write("put", "key")
    world.cluster.once("object-updater")
    world.check_rows()


def an_account_learns_of_objects_within_seconds(world):
    # A container server whose report of the new bucket failed repeats it once, whatever happens to rows. With three
    # servers that explains three rows of the account, but not a fourth one.
    servers = len(world.primaries("container"))
    for size in range(1000, 1000 * (servers + 2), 1000):
        world.write("put", "key", size)
        late = f"the account misses the object of {size} bytes"
        wait_until(lambda: any(row["bytes"] >= size for row in world.swift.listing()), late, 10, 0.2)


def an_update_that_arrives_late_does_not_undo_a_newer_row(world):
    away = world.primaries("container")[0]
    with world.cluster.without("container", away):
        world.write("put", "key", 10)
    world.write("put", "key", 5000)
    world.cluster.once("object-updater")
    world.check_rows()


def a_suffix_that_changed_has_another_hash(world):
    placement = world.cluster.placement("object", "AUTH_test", BUCKET, "key")
    suffix = swift_code.hash_path("AUTH_test", BUCKET, "key")[-3:]
    hashes = []
    for _ in range(2):
        world.write("put", "key")
        node = placement.primaries[0]
        hashes.append(node.direct("object").suffix_hashes(placement.partition).get(suffix))
    assert None not in hashes and hashes[0] != hashes[1], hashes


def a_handoff_keeps_what_not_all_primaries_have(world):
    names = ["AUTH_test", BUCKET, "key"]
    primaries, handoff = world.primaries("object", "key"), world.cluster.placement("object", *names).handoffs[0]
    with world.cluster.without("object", primaries[0]):
        world.write("put", "key")
        with world.cluster.without("object", primaries[1]):
            world.cluster.once("object-replicator", nodes=[handoff])
        assert world.at(handoff, "key").status == 200, "a primary never confirmed it"
        world.cluster.once("object-replicator", nodes=[handoff])
    assert world.at(handoff, "key").status == 200, "a primary never confirmed it"
    world.cluster.once("object-replicator", nodes=[handoff])
    assert [world.at(node, "key").status for node in (*primaries, handoff)] == [200, 200, 200, 404]


def a_deletion_that_one_copy_missed_is_brought_to_it(world):
    world.write("put", "key")
    away = world.primaries("object", "key")[0]
    with world.cluster.without("object", away):
        world.write("delete", "key")
    world.cluster.once("object-replicator")
    assert world.at(away, "key").status == 404, "it still has what was deleted"


def metadata_that_one_copy_missed_is_brought_to_it(world):
    world.write("put", "key")
    away, *others = world.primaries("object", "key")
    with world.cluster.without("object", away):
        world.write("post", "key")
    world.cluster.once("object-replicator")
    times = {world.at(node, "key").headers.get("x-timestamp") for node in (away, *others)}
    assert len(times) == 1, times


def a_deletion_that_one_database_missed_is_brought_to_it(world):
    world.write("put", "key")
    placement = world.cluster.placement("container", "AUTH_test", BUCKET)
    away = placement.primaries[0]
    with world.cluster.without("container", away):
        world.write("delete", "key")
    assert away.direct("container").rows(placement.partition, "AUTH_test", BUCKET) == ["key"]
    # Not the updater, which has a note of it as well.
    world.cluster.once("container-replicator")
    assert away.direct("container").rows(placement.partition, "AUTH_test", BUCKET) == []


def metadata_that_one_database_missed_is_brought_to_it(world):
    placement = world.cluster.placement("container", "AUTH_test", BUCKET)
    away = placement.primaries[0]
    with world.cluster.without("container", away):
        world.swift.post(BUCKET, {"X-Container-Meta-Colour": "blue"})
    world.cluster.once("container-replicator")
    answer = away.direct("container").request("HEAD", placement.partition, ["AUTH_test", BUCKET], expect=2)
    assert answer.headers.get("x-container-meta-colour") == "blue"


def what_a_node_missed_the_deletion_of_does_not_come_back(world):
    world.write("put", "key")
    with world.cluster.without("object", *world.primaries("object", "key")[:1]):
        world.write("delete", "key")
        world.cluster.once("object-replicator")
    world.cluster.once("object-replicator")
    world.cluster.once("object-replicator")
    world.check()
    assert [world.at(node, "key").status for node in world.primaries("object", "key")] == [404] * 3


def a_damaged_body_is_found_by_the_auditor_and_moved_aside(world):
    world.write("put", "key", 5000)
    placement = world.cluster.placement("object", "AUTH_test", BUCKET, "key")
    name = swift_code.hash_path("AUTH_test", BUCKET, "key")
    node = placement.primaries[0]
    (file,) = node.disk.glob(f"objects/{placement.partition}/*/{name}/*.data")
    body = bytearray(file.read_bytes())
    body[2500] ^= 1
    file.write_bytes(body)
    world.cluster.once("object-auditor", nodes=[node])
    assert not file.exists() and (node.disk / "quarantined/objects" / name / file.name).exists()


def a_copy_that_a_read_found_behind_is_repaired_without_daemons(world):
    world.write("s3-put", "key")
    away, *others = world.primaries("object", "key")
    with world.cluster.without("object", away):
        world.write("s3-put", "key")
    world.cluster.restart_proxies()
    wanted = world.at(others[0], "key").headers.get("x-timestamp")

    def is_repaired():
        ledger.read(world.s3, BUCKET, "key")
        return world.at(away, "key").headers.get("x-timestamp") == wanted

    wait_until(is_repaired, "the copy stays behind", 20, 0.3)


def a_body_whose_bytes_changed_is_never_served_as_a_whole(world):
    world.write("put", "key", 5000)
    placement = world.cluster.placement("object", "AUTH_test", BUCKET, "key")
    found = ledger.read(world.s3, BUCKET, "key")
    for node in placement.primaries[:2]:
        where = f"objects/{placement.partition}/*/{swift_code.hash_path('AUTH_test', BUCKET, 'key')}/*.data"
        (file,) = node.disk.glob(where)
        body = bytearray(file.read_bytes())
        body[2500] ^= 1
        file.write_bytes(body)
    for _ in range(12):
        assert world.swift.get(f"{BUCKET}/key").body == found[0]


def cut_power(world, images, *, without_containers=False):
    """Writes, cuts all power, comes back, checks."""
    world.write("s3-put", "warm")
    if without_containers:
        for node in world.cluster.nodes:
            node.kill("container")
    for number in range(3):
        world.write("put", f"key{number}", 20_000)
    for image in images.values():
        image.cut_power()
    world.cluster.kill()
    for image in images.values():
        image.unmount()
        image.mount()
    world.cluster.start()
    world.check()


def what_is_written_while_the_part_power_is_increased_is_found_after_it(world):
    world.cluster.change_part_power("prepare_increase")
    for kind, key in [("put", "put"), ("s3-put", "post"), ("post", "post")]:
        world.write(kind, key)
    # No relinker was there: the servers themselves have linked it.
    world.cluster.change_part_power("increase")
    world.check()


def acknowledged_objects_survive_a_power_cut(world, images):
    cut_power(world, images)


def acknowledged_rows_survive_a_power_cut(world, images):
    cut_power(world, images)


def rows_that_wait_next_to_their_objects_survive_a_power_cut(world, images):
    cut_power(world, images, without_containers=True)


def a_device_that_is_not_mounted_is_not_filled(world, images):
    node = world.cluster.nodes[0]
    node.stop()
    images[node].unmount()
    node.start()
    for number in range(12):
        world.write("put", f"key{number}")
    assert list(node.disk.iterdir()) == [], "the bare mount point was filled"


CHECKS = {
    "bug.acknowledge-before-commit": a_kill_before_the_name_loses_no_acknowledged_object,
    "bug.acknowledge-before-row-commit": a_kill_before_the_commit_loses_no_acknowledged_row,
    "bug.delete-without-tombstone": a_deletion_stays,
    "bug.read-one-copy": a_read_after_a_write_that_one_copy_missed_gives_that_write,
    "bug.write-one-copy": a_write_is_on_a_majority_before_it_is_acknowledged,
    "bug.list-one-copy": a_listing_after_a_write_that_one_database_missed_has_its_row,
    "bug.accept-older-put": a_write_by_a_proxy_whose_clock_is_behind_wins_over_an_earlier_one,
    "bug.forget-undelivered-row": a_row_that_a_container_server_missed_arrives,
    "bug.forget-account-row": an_account_learns_of_objects_within_seconds,
    "bug.last-row-wins": an_update_that_arrives_late_does_not_undo_a_newer_row,
    "bug.skip-invalidate": a_suffix_that_changed_has_another_hash,
    "bug.read-unverified": a_body_whose_bytes_changed_is_never_served_as_a_whole,
    "bug.hand-over-to-one": a_handoff_keeps_what_not_all_primaries_have,
    "bug.send-no-tombstones": a_deletion_that_one_copy_missed_is_brought_to_it,
    "bug.want-no-metadata": metadata_that_one_copy_missed_is_brought_to_it,
    "bug.merge-no-deletions": a_deletion_that_one_database_missed_is_brought_to_it,
    "bug.merge-no-metadata": metadata_that_one_database_missed_is_brought_to_it,
    "bug.reclaim-at-once": what_a_node_missed_the_deletion_of_does_not_come_back,
    "bug.audit-no-bodies": a_damaged_body_is_found_by_the_auditor_and_moved_aside,
    "bug.skip-other-path": what_is_written_while_the_part_power_is_increased_is_found_after_it,
    "bug.repair-nothing": a_copy_that_a_read_found_behind_is_repaired_without_daemons,
}
# These need devices that are file systems of their own.
CHECKS_ON_IMAGES = {
    "bug.skip-file-sync": acknowledged_objects_survive_a_power_cut,
    "bug.database-without-sync": acknowledged_rows_survive_a_power_cut,
    "bug.skip-directory-sync": rows_that_wait_next_to_their_objects_survive_a_power_cut,
    "bug.skip-mount-check": a_device_that_is_not_mounted_is_not_filled,
}

# The model of crash states looks for these (`tests/crash_states/main.rs`).
CHECKED_BY_THE_MODEL = {"bug.skip-new-parent-sync", "bug.forget-left-behind", "bug.quarantine-without-sync"}


@contextmanager
def bed(bug, **options):
    """A cluster that is not started yet. With a bug it has to fail, and what it leaves is not looked at."""
    cluster = Cluster(**options)
    try:
        yield cluster
    finally:
        if bug:
            # A cluster in which the check passed has removed its folder itself; that test fails because nothing was raised.
            shutil.rmtree(cluster.folder, ignore_errors=True)


def run(bug, check):
    with bed(bug) as cluster, cluster:
        check(ClusterWithBug(cluster, bug))


def run_on_images(bug, check):
    with bed(bug, mount_check=True) as cluster, devices.images(cluster, "ext4") as images, cluster:
        check(ClusterWithBug(cluster, bug), images)


def runs():
    yield from (pytest.param(run, bug, check, id=bug) for bug, check in CHECKS.items())
    yield from (pytest.param(run_on_images, bug, check, id=bug) for bug, check in CHECKS_ON_IMAGES.items())


def test_every_planted_bug_has_a_check_and_there_are_enough():
    assert set(faults.planted_bugs()) == {*CHECKS, *CHECKS_ON_IMAGES, *CHECKED_BY_THE_MODEL}
    assert len({*CHECKS, *CHECKS_ON_IMAGES}) >= 24
    model = (faults.ROOT / "tests/crash_states/main.rs").read_text()
    assert all(f'"{bug}"' in model for bug in CHECKED_BY_THE_MODEL)


@pytest.mark.parametrize("runner, bug, check", list(runs()))
def test_a_planted_bug_is_caught(runner, bug, check):
    runner(None, check)
    # An answer that the check did not expect is a failure of the check as well.
    with pytest.raises((AssertionError, Refused)):
        runner(bug, check)
    CAUGHT.append(bug)


def test_figures_of_the_planted_bugs():
    figures.report(part="planted-bugs", planted=len(CHECKS) + len(CHECKS_ON_IMAGES), caught=len(CAUGHT))
