"""Replication of account and container databases between nodes whose servers and daemons are processes."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from swift.account.backend import AccountBroker
from swift.common.db import chexor as chexor_of_swift
from swift.container.backend import ContainerBroker

from apus_testing.addresses import free_port
from apus_testing.databases import KINDS, DatabaseNodes, partition, path_hash, stamp
from apus_testing.process import is_listening
from apus_testing.waiting import wait_until


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    nodes = DatabaseNodes(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.stop()


@pytest.fixture
def name(nodes):
    """A name in a partition of its own, so that a pass over that partition meets nothing else."""
    for node in nodes.all:
        node.options("")
    for number in range(1000):
        name = f"c{number}"
        places = {("container", partition("a", name)), ("account", partition(name))}
        if not places & nodes.taken:
            nodes.taken |= places
            return name
    raise AssertionError("no free partition")


def chexor(rows, stamps):
    total = 0
    for row in rows:
        total ^= int(hashlib.md5(f"{row[0]}-{stamps(row)}".encode()).hexdigest(), 16)
    return f"{total:032x}"


def assert_same(replicas):
    first = replicas[0]
    for other in replicas:
        assert other["rows"] == first["rows"]
        assert other["info"]["hash"] == first["info"]["hash"]
        assert other["info"]["metadata"] == first["info"]["metadata"]
        for key in ["put_timestamp", "delete_timestamp", "created_at"]:
            assert other["info"][key] == first["info"][key], key
    assert len({replica["info"]["id"] for replica in replicas}) == len(replicas)
    if "container" in first["info"]:
        assert first["info"]["hash"] == chexor(first["rows"], lambda row: row[1])
    else:
        assert first["info"]["hash"] == chexor(first["rows"], lambda row: "-".join(map(str, row[1:5])))


def settle(nodes, kind, among):
    """Runs passes until no node has anything to send."""
    for _ in range(6):
        stats = [node.replicate(kind) for node in among]
        if not any(one.get(key, 0) for one in stats for key in ["diff", "rsync", "remote_merge", "failure", "remove"]):
            return
    raise AssertionError(stats)


def test_rows_deletions_and_metadata_on_different_replicas_converge(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    assert [node.put_container(name, at) for at, node in enumerate([a, b, c])] == [201] * 3
    for number in range(10):
        assert a.row(name, f"a{number}", 10) == 201
        assert b.row(name, f"b{number}", 10) == 201
    assert c.row(name, "a3", 20, deleted=True) == 204
    assert c.row(name, "b3", 5, deleted=True) == 204
    assert a.post_container(name, 30, X_Container_Meta_Colour="red", X_Container_Meta_Taste="sour") == 204
    assert b.post_container(name, 40, X_Container_Meta_Colour="blue") == 204
    assert c.post_container(name, 50, X_Container_Meta_Taste="") == 204
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    deleted = {row[0]: row[5] for row in replicas[0]["rows"]}
    assert len(deleted) == 20 and deleted["a3"] == 1 and deleted["b3"] == 0
    metadata = replicas[0]["info"]["metadata"]
    assert metadata["X-Container-Meta-Colour"][0] == "blue" and metadata["X-Container-Meta-Taste"][0] == ""
    stats = a.replicate("container")
    assert stats["no_change"] >= 2 and stats["failure"] == 0 and stats["behind"] == 0


def test_a_wiped_replica_is_refilled_whole(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    assert a.put_container(name) == 201
    a.rows(name, [f"o{number:04}" for number in range(1200)], 10)
    stats = a.replicate("container")
    assert stats["rsync"] == 2 and stats["failure"] == 0
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    assert len(replicas[1]["names"]) == 1200
    assert not list((b.devices / "sd1/tmp").iterdir()) and not list((a.devices / "sd1/tmp").iterdir())
    # The copy is written on like any other.
    assert b.row(name, "later", 20) == 201
    settle(nodes, "container", [a, b, c])
    assert "later" in a.read("a", name)["names"]


def test_a_replica_that_lacks_most_gets_the_whole_and_keeps_its_own(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    for node in (a, b, c):
        assert node.put_container(name) == 201
    a.rows(name, [f"o{number:04}" for number in range(2500)], 10)
    b.rows(name, [f"only-b{number}" for number in range(700)], 10)
    assert b.row(name, "o0007", 20, deleted=True) == 204
    assert b.post_container(name, 30, X_Container_Meta_From="b") == 204
    stats = a.replicate("container")
    assert stats["remote_merge"] == 2 and stats["failure"] == 0, stats
    after = b.read("a", name)
    assert len(after["names"]) == 3200 and after["info"]["metadata"]["X-Container-Meta-From"][0] == "b"
    # A row that comes right after must not be taken for one that the copy had.
    assert a.row(name, "next", 40) == 201
    a.replicate("container")
    assert "next" in b.read("a", name)["names"]
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    assert len(replicas[2]["names"]) == 3201


def test_rows_go_in_pages_and_no_more_of_them_than_a_pass_may_send(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    for node in (a, b, c):
        assert node.put_container(name) == 201
        node.rows(name, [f"o{number:04}" for number in range(2000)], 10)
    settle(nodes, "container", [a, b, c])
    a.rows(name, [f"p{number:04}" for number in range(1500)], 20)
    a.options("per_diff = 100\nmax_diffs = 10\n")
    stats = a.replicate("container", "--partitions", str(partition("a", name)))
    assert stats["diff"] == 2 and stats["diff_capped"] == 2 and stats["behind"] == 1 and stats["rows_behind"] == 1000, stats
    assert len(b.read("a", name)["names"]) == 3000
    stats = a.replicate("container", "--partitions", str(partition("a", name)))
    assert stats["diff_capped"] == 0 and stats["behind"] == 0, stats
    a.options("")
    settle(nodes, "container", [a, b, c])
    assert_same([node.read("a", name) for node in (a, b, c)])
    # No page that was already there was sent again.
    assert max(c.read("a", name)["names"]) == "p1499"


def test_a_handoff_goes_home_while_it_is_written_to_and_nothing_is_lost(nodes, name):
    primaries, handoff = nodes.of("a", name)
    for node in primaries:
        assert node.put_container(name) == 201
    assert handoff.put_container(name) == 201
    acknowledged, over = [], threading.Event()

    def write():
        number = 0
        while not over.is_set() and number < 3000:
            if handoff.row(name, f"w{number:04}", 10) == 201:
                acknowledged.append(f"w{number:04}")
            elif not handoff.file("a", name).exists():
                return
            number += 1

    writers = [threading.Thread(target=write)]
    for writer in writers:
        writer.start()
    until = time.monotonic() + 60
    while handoff.file("a", name).exists() and time.monotonic() < until:
        if len(acknowledged) > 300:
            over.set()
        stats = handoff.replicate("container")
        assert stats["failure"] == 0, stats
    over.set()
    for writer in writers:
        writer.join()
    for _ in range(3):
        handoff.replicate("container")
    assert not handoff.file("a", name).parent.exists()
    settle(nodes, "container", primaries)
    for node in primaries:
        assert set(acknowledged) <= set(node.read("a", name)["names"])
    assert len(acknowledged) > 100


def test_a_handoff_stays_while_a_primary_is_away(nodes, name):
    primaries, handoff = nodes.of("a", name)
    assert handoff.put_container(name) == 201 and handoff.row(name, "o", 10) == 201
    primaries[1].stop("container")
    scope = ["--partitions", str(partition("a", name))]
    try:
        stats = handoff.replicate("container", *scope)
        assert stats["failure"] == 1 and stats["behind"] >= 1 and stats["remove"] == 0
        assert handoff.file("a", name).exists()
    finally:
        primaries[1].start("container")
    handoff.options("handoff_delete = 2\n")
    assert handoff.replicate("container", *scope)["remove"] == 1
    handoff.options("")
    assert [node.read("a", name)["names"] for node in primaries] == [["o"]] * 3


def test_an_unmounted_primary_is_made_up_for_on_the_handoff(nodes, name):
    (a, b, c), handoff = nodes.of("a", name)
    assert a.put_container(name) == 201 and a.row(name, "o", 10) == 201
    os.rename(b.devices / "sd1", b.devices / "away")
    try:
        stats = a.replicate("container", "--partitions", str(partition("a", name)))
        assert stats["failure"] >= 1 and stats["failure_nodes"]
        assert handoff.read("a", name)["names"] == ["o"] and not (b.devices / "sd1").exists()
    finally:
        os.rename(b.devices / "away", b.devices / "sd1")
    settle(nodes, "container", [handoff, a, b, c])
    assert not handoff.file("a", name).exists() and b.read("a", name)["names"] == ["o"]


def test_a_deleted_container_stays_deleted_and_goes_when_it_is_old(nodes, name):
    (a, b, c), handoff = nodes.of("a", name)
    for node in (a, b, c):
        assert node.put_container(name) == 201 and node.row(name, "o", 5) == 201
    assert a.row(name, "o", 6, deleted=True) == 204
    assert a.delete_container(name, 10) == 204
    assert handoff.put_container(name, 1) == 201
    settle(nodes, "container", [b, c, handoff, a])
    for node in (a, b, c):
        assert node.request("container", "HEAD", node.path("container", "a", name))[0] == 404
    assert_same([node.read("a", name) for node in (a, b, c)])
    for node in (a, b, c):
        # No account server was notified of this container, as its account does not exist.
        with closing(sqlite3.connect(node.file("a", name), timeout=10, isolation_level=None)) as database:
            database.execute(
                "UPDATE container_info SET reported_put_timestamp = put_timestamp, reported_delete_timestamp = delete_timestamp"
            )
        node.options("reclaim_age = 1000\n")
    # One is away: it would bring the container back.
    scope = ["--partitions", str(partition("a", name))]
    c.stop("container")
    stats = a.replicate("container", *scope)
    assert stats["remove"] == 0 and a.file("a", name).exists()
    c.start("container")
    for node in (a, b, c):
        assert node.replicate("container", *scope)["remove"] == 1
        assert not node.file("a", name).exists()
    for node in (a, b, c):
        node.options("")
        assert node.replicate("container", *scope)["attempted"] == 0


def test_old_deletions_are_dropped_once_all_replicas_know_them(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    for node in (a, b, c):
        assert node.put_container(name) == 201 and node.row(name, "gone", 5) == 201 and node.row(name, "kept", 5) == 201
    assert a.row(name, "gone", 6, deleted=True) == 204
    assert a.post_container(name, 6, X_Container_Meta_Gone="") == 204
    scope = ["--partitions", str(partition("a", name))]
    a.options("reclaim_age = 1000\n")
    b.stop("container")
    a.replicate("container", *scope)
    assert a.read("a", name)["names"] == ["gone", "kept"]
    b.start("container")
    a.replicate("container", *scope)
    assert a.read("a", name)["names"] == ["kept"] and a.read("a", name)["info"]["metadata"] == {}
    a.options("")
    settle(nodes, "container", [a, b, c])
    assert {row[0]: row[5] for row in b.read("a", name)["rows"]} == {"gone": 1, "kept": 0}


def test_the_oldest_policy_wins_and_misplaced_rows_stay(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    assert a.put_container(name, 2, policy=1) == 201 and b.put_container(name, 1, policy=0) == 201
    assert (
        a.request(
            "container",
            "PUT",
            a.path("container", "a", name) + "/o",
            {"X-Timestamp": stamp(9), "X-Size": "3", "X-Content-Type": "a/b", "X-Etag": "e", "X-Backend-Storage-Policy-Index": "1"},
        )[0]
        == 201
    )
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    assert [replica["info"]["storage_policy_index"] for replica in replicas] == [0] * 3
    assert [row[6] for row in replicas[0]["rows"]] == [1]


def test_accounts_converge_and_deleted_ones_stay_deleted(nodes, name):
    (a, b, c), handoff = nodes.of(name)
    assert [node.put_account(name, at) for at, node in enumerate([a, b, c])] == [201] * 3
    for number in range(10):
        assert a.account_row(name, f"a{number}", 10) == 201
        assert b.account_row(name, f"b{number}", 10) == 201
    assert c.account_row(name, "a3", 10, delete=20, count=0) == 204
    assert handoff.put_account(name, 5, **{"X-Account-Meta-Colour": "red"}) == 201
    assert handoff.account_row(name, "h", 10) == 201
    settle(nodes, "account", [a, b, c, handoff])
    replicas = [node.read(name) for node in (a, b, c)]
    assert_same(replicas)
    assert len(replicas[0]["names"]) == 21 and not handoff.file(name).exists()
    assert replicas[0]["info"]["metadata"]["X-Account-Meta-Colour"][0] == "red"
    assert replicas[0]["info"]["container_count"] == 20
    url = f"/sd1/{partition(name)}/{name}"
    assert a.request("account", "DELETE", url, {"X-Timestamp": stamp(50)})[0] == 204
    settle(nodes, "account", [a, b, c])
    for node in (a, b, c):
        assert node.put_account(name, 60) == 403, "a deleted account came back"
    assert_same([node.read(name) for node in (a, b, c)])


def test_what_lies_under_a_wrong_hash_is_set_aside(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    wrong = a.file("a", f"{name}-other")
    assert a.put_container(name) == 201
    a.stop("container")
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(a.file("a", name).read_bytes())
    a.start("container")
    stats = a.replicate("container")
    assert stats["quarantined"] == 1 and not wrong.exists()
    assert (a.devices / "sd1/quarantined/containers" / wrong.parent.name / wrong.name).exists()
    assert a.file("a", name).exists()


def test_a_replaced_file_is_noticed_by_the_server_that_has_it_open(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    assert a.put_container(name) == 201 and a.row(name, "old", 5) == 201
    b.put_container(name)
    b.row(name, "new", 5)
    b.stop("container")
    copy = a.file("a", name).with_name("copy")
    copy.write_bytes(b.file("a", name).read_bytes())
    os.rename(copy, a.file("a", name))
    b.start("container")
    assert a.row(name, "newer", 6) == 201
    status, _, listing = a.request("container", "GET", a.path("container", "a", name))
    assert status == 200 and listing.decode().split() == ["new", "newer"]
    assert a.read("a", name)["names"] == ["new", "newer"]


def test_a_database_that_is_being_read_is_removed_later(nodes, name):
    primaries, handoff = nodes.of("a", name)
    assert handoff.put_container(name) == 201 and handoff.row(name, "o", 10) == 201
    with closing(sqlite3.connect(f"file:{handoff.file('a', name)}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM object").fetchone()
        assert handoff.replicate("container")["remove"] == 0
        assert handoff.row(name, "p", 11) == 201
    settle(nodes, "container", [handoff, *primaries])
    assert not handoff.file("a", name).exists() and primaries[2].read("a", name)["names"] == ["o", "p"]


def replicate(node, path, *call, headers=None):
    status, _, body = node.request("container", "REPLICATE", path, headers or {}, json.dumps(call))
    return status, json.loads(body) if status == 200 else body


def test_calls_answer_as_swifts(nodes, name):
    (a, _, _), _ = nodes.of("a", name)
    path = f"/sd1/{partition('a', name)}/{path_hash('a', name)}"
    sync = ["sync", -1, "0" * 32, "some-id", stamp(0), stamp(3), "0", ""]
    assert replicate(a, path, *sync)[0] == 404
    assert a.put_container(name, 1) == 201
    status, info = replicate(a, path, *sync)
    assert status == 200
    for key, value in {
        "account": "a",
        "container": name,
        "point": -1,
        "max_row": -1,
        "shard_max_row": -1,
        "count": 0,
        "hash": "0" * 32,
        "metadata": "",
        "put_timestamp": stamp(1),
        "storage_policy_index": 0,
        "bytes_used": 0,
    }.items():
        assert info[key] == value, key
    assert replicate(a, path, *sync)[1]["put_timestamp"] == stamp(3)
    row = {"ROWID": 7, "name": "o", "created_at": stamp(5), "size": 1, "content_type": "x", "etag": "e", "deleted": 0}
    assert replicate(a, path, "merge_items", [row], "some-id")[0] == 202
    assert replicate(a, path, *sync)[1]["point"] == 7
    assert replicate(a, path, "merge_syncs", [{"remote_id": "third", "sync_point": 5}])[0] == 202
    assert replicate(a, path, "get_shard_ranges") == (200, [])
    for status, call in [
        (400, ["sync", 1]),
        (400, ["nonsense"]),
        (400, [1]),
        (400, ["merge_items", [{"name": 1}]]),
        (400, ["merge_items", [{**row, "created_at": "soon"}], "some-id"]),
        (404, ["complete_rsync", "not-there", f"{path_hash('a', name)}.db"]),
        (400, ["complete_rsync", "../../x"]),
        (501, ["complete_rsync", "x", "other.db"]),
        (409, ["apus_remove", {"id": "other"}]),
        (409, ["apus_quarantine"]),
    ]:
        assert replicate(a, path, *call)[0] == status, call
    assert a.request("container", "REPLICATE", path, {}, "{}")[0] == 400
    assert a.request("container", "REPLICATE", path, {}, "no json")[0] == 400
    assert a.request("container", "REPLICATE", f"/sd1/1/{name}", {}, "[]")[0] == 400
    assert a.request("container", "REPLICATE", path.replace("sd1", "sd9"), {}, "[]")[0] == 507


def test_an_upload_that_is_not_whole_is_refused(nodes, name):
    (a, b, _), _ = nodes.of("a", name)
    assert a.put_container(name) == 201
    a.stop("container")
    database = a.file("a", name).read_bytes()
    a.start("container")
    path = f"/sd1/{partition('a', name)}/{path_hash('a', name)}"
    other = f"/sd1/{partition('a', name)}/{path_hash('a', name + 'x')}"

    def upload(path, body, md5=None, identity="id-sd1"):
        headers = {"X-Backend-Apus-Database": identity, "ETag": md5 or hashlib.md5(body).hexdigest()}
        return b.request("container", "REPLICATE", path, headers, body)[0]

    assert upload(path, database, md5="0" * 32) == 422
    assert upload(path, database[: len(database) // 2]) == 422
    assert upload(path, b"no database at all" * 100) == 422
    assert upload(other, database) == 422
    assert upload(path, database, identity="../id") == 400
    assert not list((b.devices / "sd1/tmp").iterdir())
    assert upload(path, database) == 201
    assert replicate(b, path, "complete_rsync", "id-sd1", f"{path_hash('a', name)}.db")[0] == 204
    assert b.read("a", name)["info"]["id"] != a.read("a", name)["info"]["id"]


@pytest.mark.parametrize("kind", KINDS)
def test_swifts_brokers_read_what_was_replicated(nodes, name, kind):
    names = (name,) if kind == "account" else ("a", name)
    (a, b, c), handoff = nodes.of(*names)
    for node in (a, handoff):
        if kind == "account":
            assert node.put_account(name) == 201 and node.account_row(name, f"row-{node.number}", 10) == 201
        else:
            assert node.put_container(name) == 201 and node.row(name, f"row-{node.number}", 10) == 201
    settle(nodes, kind, [handoff, a, b, c])
    expected = a.read(*names)
    for node in (a, b, c):
        node.stop(kind)
        broker = (AccountBroker if kind == "account" else ContainerBroker)(str(node.file(*names)))
        with broker:
            info = broker.get_replication_info()
            assert info["hash"] == expected["info"]["hash"] and info["count"] == 2 and not broker.is_deleted()
            rows = broker.get_items_since(-1, 10)
            assert sorted(row["name"] for row in rows) == expected["names"]

            def stamps(row):
                return (
                    row["created_at"]
                    if kind == "container"
                    else "-".join(str(row[key]) for key in ["put_timestamp", "delete_timestamp", "object_count", "bytes_used"])
                )

            total = "0" * 32
            for row in rows:
                total = chexor_of_swift(total, row["name"], stamps(row))
            assert total == info["hash"]
        # Swift has turned the log off; the server turns it on again.
        node.start(kind)
        if kind == "container":
            assert node.row(name, "after", 20) == 201


SWIFT_SERVER = """
import sys
from swift.common.utils import set_swift_dir
set_swift_dir(sys.argv[1])
import eventlet.wsgi
from swift.container.server import ContainerController
conf = {"devices": sys.argv[2], "mount_check": "false", "swift_dir": sys.argv[1]}
socket = eventlet.listen(("127.0.0.1", int(sys.argv[3])))
eventlet.wsgi.server(socket, ContainerController(conf), log_output=False)
"""
SWIFT_REPLICATOR = """
import sys
from swift.common.utils import set_swift_dir
set_swift_dir(sys.argv[1])
from swift.container.replicator import ContainerReplicator
conf = {"devices": sys.argv[2], "mount_check": "false", "swift_dir": sys.argv[1], "bind_ip": "127.0.0.1",
        "bind_port": sys.argv[3], "recon_cache_path": sys.argv[4], "rsync_module": sys.argv[6]}
replicator = ContainerReplicator(conf)
replicator.run_once(partitions=sys.argv[5])
import json
print(json.dumps(replicator.stats))
"""


def swift_replicate(node, name, rsync="nowhere::container"):
    arguments = [str(node.etc), str(node.devices), str(node.ports["container"]), str(node.cache), str(partition("a", name)), rsync]
    done = subprocess.run([sys.executable, "-c", SWIFT_REPLICATOR, *arguments], capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


def test_swifts_replicator_pushes_rows_to_us(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    for node in (b, c):
        assert node.put_container(name, 1) == 201
    assert b.row(name, "mine", 10) == 201
    a.stop("container")
    try:
        file = a.file("a", name)
        file.parent.mkdir(parents=True)
        with ContainerBroker(str(file), account="a", container=name) as broker:
            broker.initialize(stamp(0), 0)
            for number in range(250):
                broker.put_object(f"o{number:03}", stamp(10), 1, "a/b", "e")
            broker.delete_object("o007", stamp(20))
            broker.put_object("o008", stamp(10), 1, "c/d", "e", ctype_timestamp=stamp(15), meta_timestamp=stamp(16))
            broker.update_metadata({"X-Container-Meta-Colour": ("blue", stamp(30))})
        stats = swift_replicate(a, name)
        assert stats["failure"] == 0 and stats["diff"] == 2, stats
        with ContainerBroker(str(file)) as broker:
            hash_of_swift, points = broker.get_info()["hash"], broker.get_syncs(incoming=False)
        assert len(points) == 2
    finally:
        a.start("container")
    assert c.read("a", name)["info"]["hash"] == hash_of_swift
    assert set(b.read("a", name)["names"]) == set(c.read("a", name)["names"]) | {"mine"}
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    assert replicas[1]["info"]["metadata"]["X-Container-Meta-Colour"][0] == "blue"
    rows = {row[0]: row for row in replicas[2]["rows"]}
    assert rows["o007"][5] == 1 and rows["o008"][3] == "c/d" and len(rows) == 251


@pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")
def test_databases_that_rsync_brought_are_put_in_place_or_merged(nodes, name, tmp_path):
    (a, b, c), _ = nodes.of("a", name)
    assert c.put_container(name, 1) == 201 and c.row(name, "mine", 10) == 201
    port = free_port()
    modules = "".join(
        f"[container{node.ports['container']}]\npath = {node.devices}\nread only = no\nuse chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
        for node in (b, c)
    )
    (tmp_path / "rsyncd.conf").write_text(modules)
    command = ["rsync", "--daemon", "--no-detach", f"--config={tmp_path}/rsyncd.conf", f"--port={port}", "--address=127.0.0.1"]
    rsync = subprocess.Popen(command)
    a.stop("container")
    try:
        wait_for(port, rsync)
        file = a.file("a", name)
        file.parent.mkdir(parents=True)
        with ContainerBroker(str(file), account="a", container=name) as broker:
            broker.initialize(stamp(0), 0)
            for number in range(1100):
                broker.put_object(f"o{number:04}", stamp(10), 1, "a/b", "e")
            broker.get_info()
        stats = swift_replicate(a, name, f"rsync://127.0.0.1:{port}/container{{replication_port}}")
        assert stats["failure"] == 0 and stats["rsync"] == 1 and stats["remote_merge"] == 1, stats
    finally:
        rsync.terminate()
        rsync.wait()
        a.start("container")
    assert len(b.read("a", name)["names"]) == 1100 and len(c.read("a", name)["names"]) == 1101
    assert c.row(name, "later", 20) == 201 and b.row(name, "later still", 20) == 201
    settle(nodes, "container", [a, b, c])
    replicas = [node.read("a", name) for node in (a, b, c)]
    assert_same(replicas)
    assert len(replicas[0]["names"]) == 1103


def wait_for(port, process):
    def is_up():
        assert process.poll() is None
        return is_listening(("127.0.0.1", port))

    wait_until(is_up, "Swift's server listens", 20)


def test_we_push_rows_to_swifts_server_and_make_what_it_lacks(nodes, name):
    (a, b, c), _ = nodes.of("a", name)
    assert a.put_container(name, 1, policy=1, **{"X-Container-Meta-Colour": "blue"}) == 201
    a.rows(name, [f"o{number:03}" for number in range(250)], 10)
    assert a.row(name, "o007", 20, deleted=True) == 204
    b.stop("container")
    arguments = [str(b.etc), str(b.devices), str(b.ports["container"])]
    server = subprocess.Popen([sys.executable, "-c", SWIFT_SERVER, *arguments], stderr=subprocess.DEVNULL)
    try:
        wait_for(b.ports["container"], server)
        a.options("per_diff = 100\n")
        scope = ["--partitions", str(partition("a", name))]
        stats = a.replicate("container", *scope)
        assert stats["failure"] == 0 and stats["rsync"] == 1 and stats["diff"] == 1, stats
        assert a.row(name, "later", 30) == 201
        stats = a.replicate("container", *scope)
        assert stats["failure"] == 0 and stats["diff"] == 2, stats
        assert a.replicate("container", *scope)["no_change"] == 2
        with ContainerBroker(str(b.file("a", name))) as broker:
            info = broker.get_replication_info()
            expected = a.read("a", name)
            assert info["hash"] == expected["info"]["hash"] and info["storage_policy_index"] == 1
            assert info["created_at"] == expected["info"]["created_at"] and info["put_timestamp"] == expected["info"]["put_timestamp"]
            assert broker.metadata["X-Container-Meta-Colour"][0] == "blue"
            assert len(broker.get_items_since(-1, 1000)) == 251
    finally:
        server.terminate()
        server.wait()
        b.start("container")
    settle(nodes, "container", [a, b, c])
    assert_same([node.read("a", name) for node in (a, b, c)])
