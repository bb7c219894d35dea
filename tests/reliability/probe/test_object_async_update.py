"""Listing rows that arrive later (Swift's `test_object_async_update`, without erasure coding).

Swift's three `TestUpdateOverridesEC` cases are here with replicated objects: what they test is the order of updates.
"""

import json
import random

from apus_testing import quiesce


def listed(node, placement, swift, container):
    answer = node.direct("container").request("GET", placement.partition, [swift.account, container], query="format=json", expect=2)
    return answer.json() if answer.body else []


def test_a_row_that_one_container_server_missed_is_delivered_by_the_updater(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    away = placement.primaries[0]
    with cluster.without("container", away, *placement.handoffs):
        swift.put(f"{container}/object", b"")
    assert listed(away, placement, swift, container) == []
    cluster.once("object-updater")
    assert [row["name"] for row in listed(away, placement, swift, container)] == ["object"]


def test_a_container_that_was_made_on_handoffs_gets_its_rows_and_its_replicas(cluster, swift):
    swift.put("so-that-the-account-exists")
    name = "made-on-handoffs"
    placement = cluster.placement("container", swift.account, name)
    with cluster.without("container", *placement.primaries):
        swift.put(name, expect=(201, 202, 503))
        handoff = placement.handoffs[0]
        handoff.direct("container").request("GET", placement.partition, [swift.account, name], expect=2)
    # Until it is moved, no primary knows it; Swift takes objects all the same, a majority of ours says 404.
    answer = swift.put(f"{name}/object", b"", expect=(201, 404, 503))
    cluster.once("object-updater", "container-replicator")
    if answer.status != 201:
        cluster.restart_proxies()
        with cluster.without("container", *placement.primaries[1:]):
            swift.put(f"{name}/object", b"")
    cluster.once("object-updater", "container-replicator")
    for node in placement.primaries:
        assert [row["name"] for row in listed(node, placement, swift, name)] == ["object"], node
    quiesce.settle(cluster)


def test_override_headers_of_a_put_reach_the_listing(cluster, swift, container):
    override = "X-Object-Sysmeta-Container-Update-Override"
    headers = {
        "Content-Type": "text/plain",
        f"{override}-Etag": "override-etag",
        f"{override}-Content-Type": "override-type",
        f"{override}-Size": "1999",
    }
    from io import BytesIO

    internal = cluster.internal()
    internal.upload_object(BytesIO(b"stuff"), swift.account, container, "o1", headers)
    cluster.once("object-updater")
    metadata = internal.get_object_metadata(swift.account, container, "o1")
    assert (metadata["content-type"], metadata["content-length"]) == ("text/plain", "5")
    assert metadata["etag"].strip('"') == "c13d88cb4cb02003daedb8a84e5d272a"
    (row,) = swift.listing(container)
    assert (row["hash"], row["content_type"], row["bytes"]) == ("override-etag", "override-type", 1999)


def check_rows(cluster, swift, container, name, body, content_type):
    """Every replica has one row, and it is what the object is."""
    placement = cluster.placement("container", swift.account, container)
    etag = swift.head(f"{container}/{name}").headers["etag"].strip('"')
    for node in placement.primaries:
        (row,) = listed(node, placement, swift, container)
        assert (row["name"], row["bytes"], row["content_type"], row["hash"]) == (name, len(body), content_type, etag), node


def test_a_missed_put_is_the_same_row_afterwards(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    with cluster.without("container", placement.primaries[0]):
        swift.put(f"{container}/o1", b"stuff", {"Content-Type": "test/ctype"})
    assert listed(placement.primaries[0], placement, swift, container) == []
    cluster.once("object-updater")
    check_rows(cluster, swift, container, "o1", b"stuff", "test/ctype")


def test_a_missed_put_that_arrives_after_its_post_changes_nothing(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    with cluster.without("container", placement.primaries[0]):
        swift.put(f"{container}/o1", b"stuff", {"Content-Type": "test/ctype"})
    swift.post(f"{container}/o1", {"X-Object-Meta-Fruit": "Tomato"})
    assert swift.head(f"{container}/o1").headers["x-object-meta-fruit"] == "Tomato"
    check_rows(cluster, swift, container, "o1", b"stuff", "test/ctype")
    cluster.once("object-updater")
    check_rows(cluster, swift, container, "o1", b"stuff", "test/ctype")


def test_a_missed_put_and_a_missed_post_arrive_together(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    with cluster.without("container", placement.primaries[0]):
        swift.put(f"{container}/o1", b"stuff", {"Content-Type": "test/ctype"})
        swift.post(f"{container}/o1", {"X-Object-Meta-Fruit": "Tomato", "Content-Type": "new/ctype"})
    assert listed(placement.primaries[0], placement, swift, container) == []
    cluster.once("object-updater")
    check_rows(cluster, swift, container, "o1", b"stuff", "new/ctype")


def test_the_updater_reports_to_recon_what_is_left_and_for_which_containers(cluster, swift):
    names = [f"container-{number}" for number in range(8)]
    for name in names:
        swift.put(name)
    away = random.sample(cluster.nodes, 2)
    with cluster.without("container", *away):
        for name in names:
            for number in range(5):
                swift.put(f"{name}/object-{number}", b"")
        waiting = len(quiesce.pending(cluster))
        assert 8 * 5 <= waiting <= 8 * 5 * 2
        cluster.once("object-updater")
        assert len(quiesce.pending(cluster)) > 0, "a container server that is away took a row"
        for node in cluster.nodes:
            recon = json.loads((node.cache / "object.recon").read_text())
            assert recon["object_updater_sweep"] >= 0
    cluster.once("object-updater")
    assert quiesce.pending(cluster) == []
    for name in names:
        placement = cluster.placement("container", swift.account, name)
        for node in placement.primaries:
            assert len(listed(node, placement, swift, name)) == 5, (name, node)
