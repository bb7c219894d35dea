"""`If-None-Match: *` while few nodes have the object (Swift's `test_object_conditional_requests`)."""

import pytest


@pytest.mark.parametrize("body", [b"OVERWRITE", b"", [b"OVERWRITE"], []], ids=["length", "zero-length", "chunked", "empty-chunked"])
def test_an_object_on_one_of_three_nodes_is_not_overwritten(cluster, swift, container, body):
    path = f"{container}/object"
    placement = cluster.placement("object", swift.account, container, "object")
    with cluster.without("object", *placement.primary_half):
        swift.put(path, b"VERIFY")
    headers = {"If-None-Match": "*"}
    if isinstance(body, list):
        headers["Transfer-Encoding"] = "chunked"
    swift.put(path, iter(body) if isinstance(body, list) else body, headers, expect=412)
    with cluster.without("object", *placement.handoff_half):
        swift.get(path, expect=404)
        # The daemons reach the disks of nodes whose servers are away only through those servers.
    cluster.once("object-replicator")
    with cluster.without("object", *placement.handoff_half):
        assert swift.get(path).body == b"VERIFY"
