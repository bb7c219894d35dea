"""Expired objects (Swift's `test_object_expirer`)."""

import time
from io import BytesIO

import pytest

from apus_testing import etc, quiesce
from apus_testing.swift_code import Timestamp
from apus_testing.waiting import wait_past, wait_until

QUEUE = ".expiring_objects"


@pytest.fixture
def place(cluster, swift, container):
    return cluster.placement("object", swift.account, container, "object")


def expire(cluster):
    """One pass of the expirer, once the queue's containers are in the listing of its account."""
    cluster.once("container-updater")
    cluster.once("object-expirer", nodes=cluster.nodes[:1])


def asked(node, place, swift, container):
    return node.direct("object").request("HEAD", place.partition, [swift.account, container, "object"])


def test_an_object_in_the_wrong_policy_expires_once_its_container_has_the_right_one(cluster, swift):
    name = f"split-{time.time_ns()}"
    placement = cluster.placement("container", swift.account, name)
    swift.put("so-that-the-account-exists")
    with cluster.without("container", *placement.primary_half):
        swift.put(name, b"", {"X-Storage-Policy": "gold"}, expect=(2, 503))
        answer = swift.put(f"{name}/object", b"", {"X-Delete-After": "2"})
        deadline = time.time() + 2
    created = Timestamp(
        cluster.internal().get_object_metadata(swift.account, name, "object", headers={"X-Backend-Storage-Policy-Index": "0"})[
            "x-backend-timestamp"
        ]
    )
    assert answer.status == 201
    cluster.once("object-updater")
    with cluster.without("container", *placement.handoff_half):
        cluster.restart_proxies()
        swift.put(name, b"", {"X-Storage-Policy": "silver"}, expect=(2, 503))
        wait_past(deadline)
        expire(cluster)
    quiesce.to_final_state(cluster)
    cluster.restart_proxies()
    expire(cluster)
    expire(cluster)
    assert swift.names(name) == []
    objects = cluster.placement("object", swift.account, name, "object")
    times = [asked(node, objects, swift, name).headers.get("x-backend-timestamp") for node in objects.primaries]
    assert all(Timestamp(time) > created for time in times if time) and any(times), "there is a tombstone"


def test_the_expirer_makes_no_needless_updates(cluster, swift):
    for policy in ("gold", "silver"):
        swift.put(f"expiring-{policy}", b"", {"X-Storage-Policy": policy})
        swift.put(f"expiring-{policy}/some-object", b"dontcare", {"X-Delete-After": "2"})
    deadline = time.time() + 2
    cluster.once("object-updater")
    before = quiesce.pending(cluster)
    wait_past(deadline)
    expire(cluster)
    assert quiesce.pending(cluster) == before == []
    for policy in ("gold", "silver"):
        assert swift.names(f"expiring-{policy}") == []


def test_an_object_that_was_written_again_after_its_expiry_stays(cluster, swift, container, place):
    internal = cluster.internal()
    path = internal.make_path(swift.account, container, "object")
    now = time.time()
    delete_at = int(now + 2)
    recreated = delete_at + 1.0
    internal.make_request("PUT", path, {"Content-Length": "0", "X-Delete-At": str(delete_at), "X-Timestamp": Timestamp(now).normal}, (2,))
    with cluster.without("object", *place.primary_half):
        headers = {"Content-Length": "0", "X-Object-Meta-Expired": "False", "X-Timestamp": Timestamp(recreated).normal}
        internal.make_request("PUT", path, headers, (2,))
        assert "x-object-meta-expired" in internal.get_object_metadata(swift.account, container, "object")
    wait_past(recreated)
    expire(cluster)
    with cluster.without("object", *place.handoff_half):
        internal.get_object_metadata(swift.account, container, "object", acceptable_statuses=(4,))
    cluster.once("object-replicator")
    assert "x-object-meta-expired" in internal.get_object_metadata(swift.account, container, "object")


def test_expired_objects_are_closed_to_clients_and_open_to_daemons_until_they_are_reaped(cluster, swift, container):
    internal = cluster.internal()
    path = f"{container}/object"
    swift.put(path, b"foo", {"X-Delete-After": "2", "X-Object-Meta-Test": "foo"})
    deadline = time.time() + 2
    assert swift.head(path).headers["x-object-meta-test"] == "foo"
    wait_past(deadline)
    wait_until(lambda: swift.head(path, expect=(200, 404)).status == 404, "it does not expire")
    for method in ("HEAD", "GET", "POST"):
        swift.request(method, path, headers={"X-Open-Expired": "true"}, expect=404)
    opened = internal.get_object_metadata(swift.account, container, "object", headers={"X-Backend-Open-Expired": "true"})
    assert opened["x-object-meta-test"] == "foo"
    expire(cluster)
    internal.get_object_metadata(swift.account, container, "object", acceptable_statuses=(4,), headers={"X-Backend-Open-Expired": "true"})


@pytest.fixture
def opening(cluster):
    """The cluster with a proxy that lets clients open what has expired."""
    address, _ = cluster.proxy.address
    etc.write_proxy(cluster.proxy.etc, address, {"app:proxy-server": {"allow_open_expired": "true"}})
    cluster.restart_proxies()
    yield cluster
    etc.write_proxy(cluster.proxy.etc, address, cluster.options)
    cluster.restart_proxies()


OPEN = {"X-Open-Expired": "true"}


def wait_expired(swift, path):
    wait_until(lambda: swift.head(path, expect=(200, 404)).status == 404, f"{path} does not expire")


def test_a_proxy_that_allows_it_opens_expired_objects_until_they_are_reaped(opening, swift, container):
    assert swift.connection.request("GET", "/info", {}).json()["swift"]["allow_open_expired"] is True
    path = f"{container}/object"
    swift.put(path, b"foo", {"X-Delete-After": "2", "X-Object-Meta-Test": "foo"})
    opening.once("container-updater")
    wait_expired(swift, path)
    assert swift.head(path, headers=OPEN).headers["x-object-meta-test"] == "foo"
    assert swift.get(path, headers=OPEN).body == b"foo"
    swift.get(path, headers={"X-Open-Expired": "false"}, expect=404)
    new_delete_at = int(time.time() + 5)
    swift.post(path, {**OPEN, "X-Delete-At": str(new_delete_at), "X-Object-Meta-Test": "bar"})
    assert swift.get(path).body == b"foo"
    expire(opening)
    assert swift.head(path, headers=OPEN).headers["x-object-meta-test"] == "bar", "the older task deleted it"
    wait_past(new_delete_at)
    wait_expired(swift, path)
    assert swift.head(path, headers=OPEN).headers["x-object-meta-test"] == "bar"
    expire(opening)
    swift.head(path, headers=OPEN, expect=404)


def test_parts_of_expired_large_objects_are_opened_like_the_whole(opening, swift, container):
    segments, path = f"{container}-segments", f"{container}/slo"
    swift.put(segments)
    bodies = [b"12", b"5678", b"9"]
    for number, body in enumerate(bodies, 1):
        swift.put(f"{segments}/segment_{number}", body)
    manifest = ",".join(f'{{"path":"/{segments}/segment_{number}"}}' for number in (1, 2, 3))
    swift.put(path, f"[{manifest}]".encode(), query="multipart-manifest=put")
    swift.post(path, {"X-Delete-After": "1", "X-Object-Meta-Test": "foo"})
    opening.once("container-updater")
    wait_expired(swift, path)
    output = swift.head(path, headers=OPEN, query="part-number=1", expect=206).headers
    assert output["x-object-meta-test"] == "foo"
    assert (output["content-range"], output["content-length"], output["x-parts-count"]) == ("bytes 0-1/7", "2", "3")
    assert output["x-static-large-object"] == "True" and output["accept-ranges"] == "bytes"
    for number in (1, 2):
        swift.post(f"{segments}/segment_{number}", {"X-Delete-After": "1"})
    opening.once("container-updater")
    for number in (1, 2):
        wait_expired(swift, f"{segments}/segment_{number}")
    assert swift.head(f"{segments}/segment_2", headers=OPEN, query="part-number=1").headers["content-length"] == "4"
    assert swift.get(path, headers=OPEN).body == b"".join(bodies), "its segments are opened as well"
    expire(opening)
    for number in (1, 2):
        swift.head(f"{segments}/segment_{number}", headers=OPEN, query="part-number=1", expect=404)


def test_replicas_of_the_queue_agree_on_the_size_of_what_expires(cluster, swift, container, place):
    path = f"{container}/object"
    swift.put(path, b"x" * 24)
    with cluster.without("object", *place.primary_half):
        swift.put(path, b"x" * 32)
    lengths = [int(asked(node, place, swift, container).headers["content-length"]) for node in place.primaries]
    assert sorted(lengths) == [24, 24, 32]
    swift.post(path, {"X-Delete-After": "100000"})
    cluster.once("object-updater", "container-updater")
    internal = cluster.internal()
    hit = [
        (queue["name"], row["name"])
        for queue in internal.iter_containers(QUEUE)
        for row in internal.iter_objects(QUEUE, queue["name"])
        if row["name"].endswith(f"{swift.account}/{container}/object")
    ]
    assert len(hit) == 1
    queue = cluster.placement("container", QUEUE, hit[0][0])

    def sizes():
        found = []
        for node in queue.primaries:
            rows = node.direct("container").request("GET", queue.partition, [QUEUE, hit[0][0]], query="format=json", expect=2)
            found += [row["content_type"] for row in rows.json() if row["name"] == hit[0][1]]
        return found

    cluster.once("container-replicator")
    output = sizes()
    assert len(output) == 3 and len(set(output)) == 1, output
    assert "swift_expirer_bytes=32" in output[0]


@pytest.mark.parametrize("existed", [False, True], ids=["404", "412"])
def test_a_deletion_that_met_only_outdated_copies_is_tried_again(cluster, swift, container, place, existed):
    path = f"{container}/object"
    if existed:
        swift.put(path, b"old")
    with cluster.without("object", *place.primary_half):
        swift.put(path, b"new", {"X-Delete-After": "2"})
        deadline = time.time() + 2
        cluster.once("object-updater", "container-updater", "container-replicator")
    with cluster.without("object", *place.handoff_half):
        wait_past(deadline)
        expire(cluster)
    cluster.once("object-replicator")
    assert swift.names(container) == ["object"], "it is not deleted yet"
    expire(cluster)
    assert swift.names(container) == []


def test_segments_of_a_large_object_are_deleted_by_the_expirer_when_asked_so(cluster, swift, container):
    assert swift.connection.request("GET", "/info", {}).json()["slo"]["allow_async_delete"] is True
    segments = f"{container}-segments"
    swift.put(segments)
    manifest = []
    for number, body in enumerate([b"12", b"5678"], 1):
        etag = swift.put(f"{segments}/segment_{number}", body).headers["etag"].strip('"')
        manifest.append(f'{{"path":"/{segments}/segment_{number}","etag":"{etag}","size_bytes":{len(body)}}}')
    swift.put(f"{container}/slo", f"[{','.join(manifest)}]".encode(), query="multipart-manifest=put")
    swift.delete(f"{container}/slo", query="multipart-manifest=delete&async=true")
    assert swift.names(container) == []
    assert swift.names(segments) == ["segment_1", "segment_2"]
    assert swift.get(f"{segments}/segment_1").body == b"12"
    expire(cluster)
    assert swift.names(segments) == []
    swift.get(f"{segments}/segment_2", expect=404)


def test_only_segments_of_one_container_are_left_to_the_expirer(cluster, swift, container):
    asynchronously = "multipart-manifest=delete&async=true"
    other = f"{container}-other"
    swift.put(other)
    for path in (f"{container}/one", f"{other}/two"):
        swift.put(path, b"12")
    swift.put(f"{container}/apart", f'[{{"path":"{container}/one"}},{{"path":"{other}/two"}}]'.encode(), query="multipart-manifest=put")
    swift.put(f"{container}/nested", f'[{{"path":"{container}/apart"}}]'.encode(), query="multipart-manifest=put")
    for name in ("apart", "nested", "one"):
        swift.delete(f"{container}/{name}", query=asynchronously, expect=400)
    swift.delete(f"{container}/missing", query=asynchronously, expect=404)
    assert swift.names(container) == ["apart", "nested", "one"]
    assert swift.names(other) == ["two"]
    expire(cluster)
    assert swift.get(f"{container}/nested").body == b"1212"


def test_daemons_write_reserved_objects_of_the_queue(cluster, swift):
    # Swift's expirer reads the same queue: a row of ours is one that its proxy can delete.
    swift.put("c")
    swift.put("c/object", b"", {"X-Delete-After": "100000"})
    cluster.once("object-updater", "container-updater")
    internal = cluster.internal()
    rows = [
        (queue["name"], row["name"])
        for queue in internal.iter_containers(QUEUE)
        for row in internal.iter_objects(QUEUE, queue["name"])
        if f"/{swift.account[5:]}" in row["name"] or swift.account in row["name"]
    ]
    assert len(rows) == 1
    assert rows[0][1].split("-", 1)[0].isdigit()
    internal.delete_object(QUEUE, *rows[0])
    assert BytesIO(b"").read() == b""
