"""Objects on handoff nodes while primaries are away (Swift's `test_object_handoff`, without erasure coding)."""

import pytest

from apus_testing import quiesce


@pytest.fixture
def place(cluster, swift, container):
    return ObjectLocation(cluster, swift, container, "object")


class ObjectLocation:
    """An object, where it lies, and what single nodes say of it."""

    def __init__(self, cluster, swift, container, name):
        self.names = [swift.account, container, name]
        self.path = f"{container}/{name}"
        self.placement = cluster.placement("object", *self.names)
        self.primaries, self.handoff = self.placement.primaries, self.placement.handoffs[0]

    def at(self, node):
        answer = node.direct("object").request("GET", self.placement.partition, self.names)
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None


def test_a_handoff_serves_returns_the_data_and_is_emptied_and_a_deletion_propagates(cluster, swift, container, place):
    first, *others = place.primaries
    with cluster.without("object", first):
        swift.put(place.path, b"VERIFY")
        assert swift.get(place.path).body == b"VERIFY"
        with cluster.without("object", *others):
            assert swift.get(place.path).body == b"VERIFY", "only the handoff has it now"
        assert place.at(place.handoff) == b"VERIFY"
        # As rsync leaves it on a node that was a primary.
        data = next(place.handoff.disk.glob("objects/*/*/*/*.data"))
        for found in place.handoff.disk.glob("objects/*/*/*/*.data"):
            data = found if found.read_bytes() == b"VERIFY" else data
        dropping = data.with_name(f".{data.name}.6MbL6r")
        dropping.touch()
        containers = cluster.placement("container", swift.account, container)
        assert swift.names(container) == ["object"]
        for node in containers.primaries:
            assert node.direct("container").rows(containers.partition, swift.account, container) == ["object"]
    assert place.at(first) is None
    cluster.once("object-replicator", nodes=place.primaries)
    cluster.once("object-replicator", nodes=[place.handoff])
    assert place.at(first) == b"VERIFY"
    assert not list(first.disk.glob("objects/*/*/*/.*6MbL6r")), "a dropping was replicated"
    assert place.at(place.handoff) is None

    with cluster.without("object", first):
        swift.delete(place.path)
        swift.head(place.path, expect=404)
        assert swift.names(container) == []
        for node in containers.primaries:
            assert node.direct("container").rows(containers.partition, swift.account, container) == []
    assert place.at(first) == b"VERIFY", "it missed the deletion"
    cluster.once("object-replicator", nodes=place.primaries)
    cluster.once("object-replicator", nodes=[place.handoff])
    assert place.at(first) is None
    assert place.at(place.handoff) is None
    # Swift removes a handoff's partition with all that lies in it; ours leaves what it does not know.
    dropping.unlink(missing_ok=True)


def test_a_stale_copy_on_a_handoff_is_not_served_after_a_deletion(cluster, swift, place):
    with cluster.without("object", place.primaries[0]):
        swift.put(place.path, b"VERIFY")
    swift.delete(place.path)
    assert [place.at(node) for node in place.primaries] == [None] * 3
    assert place.at(place.handoff) == b"VERIFY", "deletions go to primaries only"
    swift.get(place.path, expect=404)


def test_missing_primaries_give_503_until_a_tombstone_is_found(cluster, swift, container):
    place = ObjectLocation(cluster, swift, container, "never-written")
    first, *others = place.primaries
    with cluster.without("object", *others):
        with cluster.without("object", first):
            swift.get(place.path, expect=503)
        swift.delete(place.path, expect=(204, 404))
        with cluster.without("object", first):
            swift.get(place.path, expect=404)


def test_metadata_can_be_posted_to_objects_whose_primaries_were_away(cluster, swift, container):
    for number, away in [(1, 1), (2, 2)]:
        place = ObjectLocation(cluster, swift, container, f"object{number}")
        with cluster.without("object", *place.primaries[:away]):
            swift.put(place.path, b"x")
            swift.head(place.path)
        swift.head(place.path)
        swift.post(place.path, {"X-Object-Meta-Test": f"test{number}"})
        assert swift.head(place.path).headers["x-object-meta-test"] == f"test{number}"


def test_a_post_over_a_deletion_that_one_primary_missed_is_refused(cluster, swift, place):
    swift.put(place.path, b"x")
    with cluster.without("object", place.primaries[1]):
        swift.delete(place.path)
    swift.post(place.path, {"X-Object-Meta-A": "b"}, expect=(404, 503))
    quiesce.settle(cluster)
    swift.get(place.path, expect=404)
