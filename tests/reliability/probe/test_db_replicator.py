"""Container databases that each missed something (Swift's `test_db_replicator`): rows here, metadata there."""

import pytest

PER_DIFF = 30


@pytest.mark.parametrize("objects", [1, PER_DIFF * 4 + 1], ids=["row-diff", "whole-file"])
def test_metadata_and_rows_of_different_replicas_are_merged(cluster, swift, objects):
    cluster.configure(container_replicator={"per_diff": PER_DIFF})
    name = f"merged-{objects}"
    swift.put(name, b"", {"X-Container-Meta-A": "1", "X-Container-Meta-B": "1", "X-Container-Meta-C": "1"})
    placement = cluster.placement("container", swift.account, name)
    *others, lone = placement.primaries
    with cluster.without("container", *others):
        post = {"X-Container-Meta-A": "2", "X-Container-Meta-B": "2", "X-Container-Meta-D": "2"}
        swift.post(name, post, expect=(2, 503))
        lone.direct("container").request("POST", placement.partition, [swift.account, name], post, expect=2)
        for number in range(objects):
            swift.put(f"{name}/object-{number:04}", b"VERIFY")
    with cluster.without("container", lone):
        swift.post(name, {"X-Container-Meta-B": "3", "X-Container-Meta-E": "3"})

    def head(node):
        return node.direct("container").request("HEAD", placement.partition, [swift.account, name], expect=2).headers

    assert [head(node)["x-container-object-count"] for node in others] == ["0", "0"]

    expected = {"a": "2", "b": "3", "c": "1", "d": "2", "e": "3"}

    def check(node):
        found = head(node)
        assert {key: found.get(f"x-container-meta-{key}") for key in expected} == expected, node
        assert found["x-container-object-count"] == str(objects), node

    # The one with the rows first: what replaces a whole file must not lose the metadata in it.
    cluster.once("container-replicator", nodes=[lone])
    for node in placement.primaries:
        check(node)
    for node in others:
        cluster.once("container-replicator", nodes=[node])
    for node in placement.primaries:
        check(node)
