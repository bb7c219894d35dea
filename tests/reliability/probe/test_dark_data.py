"""A node that was away longer than tombstones live comes back with old data (Swift's `test_dark_data`)."""

import pytest

from harness import quiesce


@pytest.mark.xfail(strict=True, reason="the auditor has no watchers (swift#dark_data) yet")
@pytest.mark.parametrize("action", ["delete", "quarantine"])
def test_data_that_no_listing_knows_is_dealt_with_as_configured(cluster, swift, container, action):
    cluster.configure(
        object_auditor={"watchers": "swift#dark_data"},
        **{"object_auditor:watcher:swift#dark_data": {"action": action, "grace_age": "0"}},
    )
    names = (swift.account, container, "object")
    placement = cluster.placement("object", *names)
    swift.put(f"{container}/object", b"dark")
    files = lambda ending: [
        path for node in placement.primaries for path in node.disk.glob(f"objects/{placement.partition}/*/*/*{ending}")
    ]
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
