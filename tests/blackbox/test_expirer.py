"""Expired objects: the queue as Swift's own code writes it, and what the expirer does with it."""

import os
import time

import pytest
from swift.obj.expirer import ASYNC_DELETE_TYPE, ExpirerConfig, build_task_obj

from apus_testing.servers_with_daemons import QUEUE, ServersWithDaemons
from apus_testing.waiting import wait_past, wait_until

ACCOUNT = "AUTH_test"
CONFIG = ExpirerConfig({})


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ServersWithDaemons(tmp_path_factory.mktemp("expirer")) as nodes:
        yield nodes


@pytest.fixture
def container(nodes):
    """A new container, an expirer with no options, and no updates from before."""
    nodes.option("object", "object-expirer", "tasks_per_second = 0")
    nodes.once("object-updater")
    name = f"c-{time.time_ns()}"
    nodes.swift().put_container(name)
    return name


def queue_of(delete_at, container, name="o"):
    """Container and name of the task, by Swift's code."""
    return CONFIG.get_expirer_container(delete_at, ACCOUNT, container, name), build_task_obj(delete_at, ACCOUNT, container, name)


def task_rows(nodes, delete_at, container, name="o"):
    queue, task = queue_of(delete_at, container, name)
    return [row for rows in nodes.rows(QUEUE, queue) for row in rows if row["name"] == task]


def listed(nodes, container):
    """What both dialects list."""
    swift = [row["name"] for row in nodes.swift().get_container(container)[1]]
    s3 = [row["Key"] for row in nodes.s3().list_objects_v2(Bucket=container).get("Contents", [])]
    assert swift == s3
    return swift


def expire(nodes):
    """One pass, once the account of the queue lists its containers."""
    nodes.once("container-updater")
    nodes.once("object-expirer")
    return nodes.recon("object")


def test_the_task_is_where_swift_looks_for_it_and_has_the_size(nodes, container):
    delete_at = int(time.time()) + 1000
    nodes.swift().put_object(container, "o", b"12345", headers={"X-Delete-At": str(delete_at)})
    rows = task_rows(nodes, delete_at, container)
    assert len(rows) == 3
    for row in rows:
        assert row["content_type"] == "text/plain;swift_expirer_bytes=5"
        assert (row["bytes"], row["hash"]) == (0, "d41d8cd98f00b204e9800998ecf8427e")
    queue, _ = queue_of(delete_at, container)
    for status, headers, _ in nodes.ask_all("container", "HEAD", [QUEUE, queue]):
        assert status // 100 == 2 and headers["x-backend-storage-policy-index"] == "0"
    assert nodes.pending() == []


@pytest.mark.parametrize("change", ["put", "post", "delete", "keep"])
def test_the_old_task_is_removed_when_the_expiry_changes(nodes, container, change):
    swift = nodes.swift()
    old, new = int(time.time()) + 1000, int(time.time()) + 90_000
    swift.put_object(container, "o", b"x", headers={"X-Delete-At": str(old)})
    if change == "put":
        swift.put_object(container, "o", b"xyz", headers={"X-Delete-At": str(new)})
    elif change == "post":
        swift.post_object(container, "o", {"X-Delete-At": str(new)})
    elif change == "delete":
        swift.delete_object(container, "o")
    else:
        swift.put_object(container, "o", b"xy", headers={"X-Delete-At": str(old)})
    queue, task = queue_of(old, container)
    if change == "keep":
        assert nodes.pending() == []
        assert {row["content_type"] for row in task_rows(nodes, old, container)} == {"text/plain;swift_expirer_bytes=2"}
        return
    # As Swift: two object servers leave it to their updaters.
    pending = wait_until(lambda: nodes.pending() if len(nodes.pending()) == 2 else None, nodes.pending())
    for update in pending:
        assert (update["op"], update["account"], update["container"], update["obj"]) == ("DELETE", QUEUE, queue, task)
        assert update["headers"]["x-backend-storage-policy-index"] == "0"
    nodes.once("object-updater")
    assert nodes.pending() == [] and task_rows(nodes, old, container) == []
    if change != "delete":
        size = 3 if change == "put" else 1
        assert {row["content_type"] for row in task_rows(nodes, new, container)} == {f"text/plain;swift_expirer_bytes={size}"}


def test_a_task_that_cannot_be_delivered_waits_next_to_the_object(nodes, container):
    delete_at = int(time.time()) + 1000
    nodes.swift().put_object(container, "before", b"x")
    nodes.stop("container", kill=True)
    try:
        nodes.swift().put_object(container, "o", b"x", headers={"X-Delete-At": str(delete_at)})
        wanted = ("PUT", QUEUE, *queue_of(delete_at, container))

        def found():
            return [u for u in nodes.pending() if (u["op"], u["account"], u["container"], u["obj"]) == wanted]

        wait_until(lambda: len(found()) == 3, "each object server keeps the task that it could not send")
    finally:
        nodes.start("container")
    nodes.once("object-updater")
    assert len(task_rows(nodes, delete_at, container)) == 3 and nodes.pending() == []


def test_what_expired_is_deleted_and_nothing_else(nodes, container):
    swift = nodes.swift()
    delete_at = int(time.time()) + 4
    for name in ["o", "p/ü"]:
        swift.put_object(container, name, b"x", headers={"X-Delete-At": str(delete_at)})
    swift.put_object(container, "later", b"x", headers={"X-Delete-After": "1000"})
    swift.put_object(container, "never", b"x")
    wait_past(delete_at)
    assert listed(nodes, container) == ["later", "never", "o", "p/ü"], "expired objects are still listed"
    recon = expire(nodes)
    assert recon["expired_last_pass"] == 2 and recon["object_expiration_pass"] > 0
    assert listed(nodes, container) == ["later", "never"]
    assert task_rows(nodes, delete_at, container) == task_rows(nodes, delete_at, container, "p/ü") == []
    assert nodes.pending() == [], "the expirer removes tasks itself"
    for status, headers, _ in nodes.ask_all("object", "HEAD", [ACCOUNT, container, "o"]):
        assert (status, headers["x-backend-timestamp"]) == (404, f"{delete_at}.00000")
    # The containers of the queue go when they are found empty. Tasks of other tests may be in them.
    queues = {queue_of(delete_at, container, name)[0] for name in ["o", "p/ü"]}
    assert all(nodes.rows(QUEUE, queue) for queue in queues)
    expire(nodes)
    assert all(rows for queue in queues for rows in nodes.rows(QUEUE, queue)), "an empty one stays"
    assert expire(nodes)["expired_last_pass"] == 0


def test_a_stale_task_deletes_nothing_and_is_given_up_in_the_end(nodes, container):
    swift = nodes.swift()
    delete_at = int(time.time()) + 4
    for name in ["changed", "unset", "newer"]:
        swift.put_object(container, name, b"x", headers={"X-Delete-At": str(delete_at)})
    swift.post_object(container, "changed", {"X-Delete-After": "1000"})
    swift.post_object(container, "unset", {"X-Object-Meta-A": "b"})
    wait_past(delete_at)
    swift.put_object(container, "newer", b"y")
    names = ["changed", "newer", "unset"]
    assert expire(nodes)["expired_last_pass"] == 1, "what was written later settles the task"
    assert listed(nodes, container) == names
    left = [name for name in names if task_rows(nodes, delete_at, container, name)]
    assert left == ["changed", "unset"], "another replica may know better: tried again"
    nodes.option("object", "object-expirer", "reclaim_age = 0")
    assert expire(nodes)["expired_last_pass"] == 2
    assert not any(task_rows(nodes, delete_at, container, name) for name in names)
    assert listed(nodes, container) == names


def test_reaping_can_be_delayed_by_account_and_container(nodes, container):
    delete_at = int(time.time()) + 2
    nodes.swift().put_object(container, "o", b"x", headers={"X-Delete-At": str(delete_at)})
    wait_past(delete_at)
    nodes.option("object", "object-expirer", f"delay_reaping_{ACCOUNT} = 1000")
    assert expire(nodes)["expired_last_pass"] == 0 and listed(nodes, container) == ["o"]
    nodes.option("object", "object-expirer", f"delay_reaping_{ACCOUNT} = 1000\ndelay_reaping_{ACCOUNT}/{container} = 0")
    assert expire(nodes)["expired_last_pass"] == 1 and listed(nodes, container) == []


def test_processes_share_the_queue(nodes, container):
    delete_at = int(time.time()) + 5
    names = [f"o{number}" for number in range(12)]
    for name in names:
        nodes.swift().put_object(container, name, b"x", headers={"X-Delete-At": str(delete_at)})
    wait_past(delete_at)
    done = []
    for process in range(3):
        nodes.option("object", "object-expirer", f"processes = 3\nprocess = {process}\nconcurrency = 4")
        done.append(expire(nodes)["expired_last_pass"])
        left = listed(nodes, container)
        # `hash_mod` of Swift's expirer.
        from hashlib import md5

        def share(name):
            return int(md5("/".join(queue_of(delete_at, container, name)).encode()).hexdigest(), 16) % 3

        assert left == sorted(name for name in names if share(name) > process)
    assert sum(done) == 12


def test_deferred_deletions_are_done_whatever_the_object_is(nodes, container):
    nodes.swift().put_object(container, "segment", b"x")
    now = time.time()
    queue = CONFIG.get_expirer_container(int(now), ACCOUNT, container, "segment")
    for name in ["segment", "gone-already"]:
        task = build_task_obj(now, ACCOUNT, container, name, high_precision=True)
        headers = {"X-Size": "0", "X-Content-Type": ASYNC_DELETE_TYPE, "X-Etag": "d41d8cd98f00b204e9800998ecf8427e"}
        for status, _, _ in nodes.ask_all("container", "PUT", [QUEUE, queue, task], headers):
            assert status == 201
    nodes.option("object", "object-expirer", f"delay_reaping_{ACCOUNT} = 1000")
    assert expire(nodes)["expired_last_pass"] == 2
    assert listed(nodes, container) == []
    assert not [row["name"] for rows in nodes.rows(QUEUE, queue) for row in rows if f"/{container}/" in row["name"]]


def test_a_conditional_deletion_on_an_object_server(nodes, container):
    swift = nodes.swift()
    delete_at = int(time.time()) + 4
    swift.put_object(container, "o", b"x", headers={"X-Delete-At": str(delete_at)})
    swift.put_object(container, "plain", b"x")
    swift.put_object(container, "deleted", b"x")
    swift.delete_object(container, "deleted")

    def delete(name, if_delete_at, timestamp=None):
        partition, devices = nodes.nodes_of("object", ACCOUNT, container, name)
        headers = {"X-If-Delete-At": str(if_delete_at), "X-Timestamp": f"{timestamp or delete_at}.00000"}
        headers["X-Backend-Clean-Expiring-Object-Queue"] = "no"
        return nodes.ask("object", devices[0]["device"], partition, "DELETE", [ACCOUNT, container, name], headers)[0]

    assert delete("o", "never") == 400
    assert delete("nothing", delete_at) == 404
    assert delete("o", delete_at, timestamp=1_000_000_000) == 409
    assert delete("o", delete_at + 1) == 412
    assert delete("plain", delete_at) == 412
    assert delete("deleted", delete_at) == 412
    assert delete("deleted", delete_at, timestamp=1_000_000_000) == 409
    wait_past(delete_at)
    closed, opened = (
        nodes.ask_all("object", "HEAD", [ACCOUNT, container, "o"], headers) for headers in ({}, {"X-Backend-Open-Expired": "true"})
    )
    assert [status for status, _, _ in closed] == [404, 404, 404]
    assert all("x-backend-timestamp" in headers for _, headers, _ in closed)
    assert [status for status, _, _ in opened] == [200, 200, 200]
    assert delete("o", f"{delete_at}.00000") == 204, "expired, and so to be deleted"
    assert delete("o", delete_at) == 409, "done already"


def test_a_killed_expirer_finishes_its_task_in_the_next_pass(nodes, container, tmp_path):
    expire(nodes)
    delete_at = int(time.time()) + 2
    nodes.swift().put_object(container, "o", b"x", headers={"X-Delete-At": str(delete_at)})
    wait_past(delete_at)
    nodes.once("container-updater")
    faults = tmp_path / "faults"
    faults.write_text("expire.object.deleted kill\n")
    ended = nodes.once("object-expirer", {**os.environ, "APUS_FAULTS": str(faults)}, expect=None)
    if ended.returncode == 0:
        pytest.skip("an executable without fault points")
    assert listed(nodes, container) == [] and task_rows(nodes, delete_at, container)
    assert expire(nodes)["expired_last_pass"] == 1
    assert task_rows(nodes, delete_at, container) == []
