"""A primary whose disk was emptied (Swift's `test_empty_device_handoff`)."""

import shutil


def test_an_emptied_primary_is_filled_from_the_handoff_which_is_then_emptied(cluster, swift, container):
    names = [swift.account, container, "object"]
    placement = cluster.placement("object", *names)
    first, *others = placement.primaries
    handoff = placement.handoffs[0]

    def get(node):
        return node.direct("object").request("GET", placement.partition, names)

    with cluster.without("object", first):
        shutil.rmtree(first.disk / "objects", ignore_errors=True)
        swift.put(f"{container}/object", b"VERIFY")
        with cluster.without("object", *others):
            assert swift.get(f"{container}/object").body == b"VERIFY"
        assert get(handoff).body == b"VERIFY"
        assert not (first.disk / "objects").exists()
        containers = cluster.placement("container", swift.account, container)
        for node in containers.primaries:
            assert node.direct("container").rows(containers.partition, swift.account, container) == ["object"]
    assert get(first).status == 404
    assert not (first.disk / "objects").exists(), "a read made a directory"
    cluster.once("object-replicator", nodes=[first])
    cluster.once("object-replicator", nodes=[handoff])
    assert get(first).body == b"VERIFY"
    assert get(handoff).status == 404
