"""A node that was away longer than tombstones live comes back with old data (Swift's `test_dark_data`)."""

import shutil
import time

import pytest

from apus_testing import quiesce, swift_code


@pytest.fixture(autouse=True)
def unwatched(cluster):
    yield
    cluster.configure()


def watch(cluster, action, grace_age=0):
    cluster.configure(
        object_auditor={"watchers": "swift#dark_data"},
        **{"object_auditor:watcher:swift#dark_data": {"action": action, "grace_age": str(grace_age)}},
    )


@pytest.mark.parametrize("action", ["delete", "quarantine"])
def test_data_that_no_listing_knows_is_dealt_with_as_configured(cluster, swift, container, action):
    watch(cluster, action)
    names = (swift.account, container, "object")
    placement = cluster.placement("object", *names)
    swift.put(f"{container}/object", b"dark")

    def files(ending):
        return [path for node in placement.primaries for path in node.disk.glob(f"objects/{placement.partition}/*/*/*{ending}")]

    with cluster.without("object", placement.primaries[2], *placement.handoffs):
        swift.delete(f"{container}/object")
        cluster.once("object-updater", "container-replicator")
        containers = cluster.placement("container", swift.account, container)
        for node in containers.primaries:
            assert node.direct("container").rows(containers.partition, swift.account, container) == []
        assert (len(files(".ts")), len(files(".data"))) == (2, 1)
        # Their reclaim age passes.
        for tombstone in files(".ts"):
            tombstone.unlink()
    cluster.once("object-replicator")
    for pickled in [path for node in cluster.nodes for path in node.disk.glob("objects/*/hashes.pkl")]:
        pickled.unlink()
    cluster.once("object-replicator")
    brought_back = files(".data")
    assert len(brought_back) == 3, "replication brings it back, as it must without the watcher"
    cluster.once("object-auditor")
    assert files(".data") == []
    kept = [path for node in placement.primaries for path in node.disk.glob("quarantined/objects/*/*.data")]
    assert len(kept) == (3 if action == "quarantine" else 0)
    quiesce.pending(cluster)


@pytest.fixture
def dark(cluster, swift, container):
    """An object on all primaries whose row is gone from all containers; and one that is listed."""
    for name in ("dark", "listed"):
        swift.put(f"{container}/{name}", b"data")
    containers = cluster.placement("container", swift.account, container)
    late = {"X-Timestamp": f"{time.time() + 1:.5f}"}
    for node in containers.primaries:
        node.direct("container").request("DELETE", containers.partition, (swift.account, container, "dark"), late, expect=204)
    placement = cluster.placement("object", swift.account, container, "dark")
    own = swift_code.hash_path(swift.account, container, "dark")
    yield lambda: [path for node in placement.primaries for path in node.disk.glob(f"objects/*/*/{own}/*.data")]
    for node in placement.primaries:
        shutil.rmtree(node.disk / "objects" / str(placement.partition) / own[-3:] / own, ignore_errors=True)


def test_listed_and_young_data_stay_and_log_only_logs(cluster, swift, container, dark):
    for action, grace_age in (("log", 0), ("delete", 3600)):
        watch(cluster, action, grace_age)
        cluster.once("object-auditor")
        assert len(dark()) == 3, (action, grace_age)
    output = [node.daemon("object-auditor").tail() for node in cluster.nodes]
    assert any(f"/{swift.account}/{container}/dark" in log for log in output)
    assert not any(f"/{swift.account}/{container}/listed" in log for log in output)
    watch(cluster, "delete")
    cluster.once("object-auditor")
    assert dark() == []
    assert swift.get(f"{container}/listed").body == b"data"


def test_nothing_is_dark_unless_all_container_servers_answered(cluster, swift, container, dark):
    watch(cluster, "delete")
    containers = cluster.placement("container", swift.account, container)
    with cluster.without("container", containers.primaries[1]):
        cluster.once("object-auditor")
        assert len(dark()) == 3
    # One that does not know the container knows nothing of its objects either.
    node = containers.primaries[2]
    path = swift_code.database_path(node.devices, node.device, "container", containers.partition, swift.account, container)
    node.kill("container")
    path.parent.rename(path.parent.with_suffix(".away"))
    node.start("container")
    cluster.once("object-auditor")
    assert len(dark()) == 3
    node.kill("container")
    path.parent.with_suffix(".away").rename(path.parent)
    node.start("container")
    cluster.once("object-auditor")
    assert dark() == []


def test_an_object_whose_row_is_on_its_way_is_not_dark(cluster, swift, container):
    watch(cluster, "delete")
    containers = cluster.placement("container", swift.account, container)
    placement = cluster.placement("object", swift.account, container, "waits")
    swift.put(f"{container}/waits", b"data")
    own = swift_code.hash_path(swift.account, container, "waits")
    late = {"X-Timestamp": f"{time.time() + 1:.5f}"}
    for node in containers.primaries:
        node.direct("container").request("DELETE", containers.partition, (swift.account, container, "waits"), late, expect=204)
    waiting = placement.primaries[0].disk / "async_pending" / own[-3:] / f"{own}-{time.time():.5f}"
    waiting.parent.mkdir(parents=True, exist_ok=True)
    waiting.write_bytes(b"damaged, and nevertheless a row")
    cluster.once("object-auditor")

    def files(node):
        return list(node.disk.glob(f"objects/*/*/{own}/*.data"))

    assert [len(files(node)) for node in placement.primaries] == [1, 0, 0]


def test_a_watcher_that_cannot_be_and_a_bad_option_are_refused_by_name(cluster):
    for options, output in (
        ({"watchers": "swift#dark_data, other#thing"}, ["watchers", "other#thing", "swift#dark_data"]),
        ({"action": "remove"}, ["object-auditor:watcher:swift#dark_data", "action", "remove", "delete or quarantine"]),
        ({"grace_age": "a week"}, ["grace_age", "a week", "seconds"]),
    ):
        watchers = {"watchers": options.pop("watchers", "swift#dark_data")}
        section = {"action": "log", "grace_age": "0", **options}
        cluster.configure(object_auditor=watchers, **{"object_auditor:watcher:swift#dark_data": section})
        node = cluster.nodes[0]
        assert node.once("object-auditor") != 0
        log = node.daemon("object-auditor").tail(1000)
        assert all(word in log for word in output), log
