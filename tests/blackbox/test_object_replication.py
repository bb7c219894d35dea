"""Object replication between servers that are processes, tested with single requests."""

import hashlib
import itertools
import json
import os
import time

import pytest

from apus_testing.losses import lose
from apus_testing.object_nodes import ObjectNodes, timestamp
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

NOW = time.time()


@pytest.fixture
def nodes(tmp_path):
    nodes = ObjectNodes(tmp_path)
    nodes.start()
    yield nodes
    nodes.stop()


def fill(nodes):
    """Objects of every kind on all their primaries."""
    for number, size in enumerate([0, 1, 1000, 256 * 1024, 256 * 1024 + 1, 3_000_000]):
        for kind in ["plain", "posted", "typed", "deleted"]:
            name = f"/AUTH_ü/c d/{kind}/{number}?#"
            part, primaries, _ = nodes.place(name)
            body = os.urandom(size)
            for node in primaries:
                node.put(
                    part,
                    name,
                    timestamp(NOW - 500 + number, number % 3),
                    body,
                    X_Object_Meta_Colour="grün".encode().decode("latin-1"),
                    X_Object_Sysmeta_Thing="kept",
                    X_Delete_At=str(int(NOW) + 100_000),
                    Content_Disposition="inline",
                    ETag=hashlib.md5(body).hexdigest(),
                )
                if kind in ("posted", "typed"):
                    node.post(part, name, timestamp(NOW - 400), X_Object_Meta_Posted="yes")
                if kind == "typed":
                    node.post(part, name, timestamp(NOW - 300), Content_Type="a/b", X_Object_Meta_Posted="again")
                if kind == "deleted":
                    node.delete(part, name, timestamp(NOW - 200))


def test_a_wiped_device_is_refilled_byte_for_byte(nodes):
    fill(nodes)
    victim, *others = nodes
    before = victim.files()
    assert len(before) > 10
    victim.wipe()
    for node in others:
        output = node.replicate()
        assert "failure: 0" in output and "objects_behind: 0" in output, output
    assert victim.files() == before
    for node in others:
        assert "objects_sent: 0" in node.replicate()
    # What was sent is hashed alike, with nothing left to do.
    for part in range(8):
        hashes = [node.hashes(part) for node in nodes.primaries(part)]
        assert all(other == hashes[0] for other in hashes)
    output = json.loads((others[0].cache / "object.recon").read_text())
    assert output["replication_stats"]["failure"] == 0 and output["object_replication_last"] > NOW


def test_a_handoff_is_returned_and_emptied(nodes):
    name = nodes.name_with()
    part, primaries, [handoff] = nodes.place(name)
    others = [f"{name}/{number}" for number in range(400) if nodes.place(f"{name}/{number}")[0] == part][:20]
    for node in [*primaries[:2], handoff]:
        for each in [name, *others]:
            node.put(part, each, timestamp(NOW - 50), each.encode())
        node.post(part, name, timestamp(NOW - 40), X_Object_Meta_A="b")
        node.delete(part, others[0], timestamp(NOW - 30))
    expected = handoff.files()
    output = handoff.replicate()
    assert f"objects_removed: {len(others) + 1}" in output and "removed: 1" in output, output
    assert primaries[2].files() == expected == primaries[0].files()
    assert not (handoff.device / "objects" / str(part)).exists()
    assert "attempted: 0" in handoff.replicate()


def test_a_handoff_stays_until_every_primary_has_it(nodes):
    name = nodes.name_with()
    part, primaries, [handoff] = nodes.place(name)
    handoff.put(part, name, timestamp(NOW - 50), b"only here")
    expected = handoff.files()
    primaries[1].stop_server()
    output = handoff.replicate()
    assert "objects_removed: 0" in output and "handoffs_left: 1" in output and "objects_behind: 1" in output, output
    assert handoff.files() == expected == primaries[0].files() == primaries[2].files()
    handoff.configure("handoff_delete = 2")
    assert "objects_removed: 1" in handoff.replicate()
    assert handoff.files() == {}
    primaries[1].start_server()
    primaries[0].replicate()
    assert primaries[1].files() == expected


def test_a_delete_that_a_node_missed_reaches_it(nodes):
    name = nodes.name_with()
    part, primaries, [handoff] = nodes.place(name)
    for node in primaries:
        node.put(part, name, timestamp(NOW - 50), b"x", X_Object_Meta_A="b")
    primaries[1].post(part, name, timestamp(NOW - 20), X_Object_Meta_A="later than the delete")
    for node in [primaries[0], handoff]:
        node.delete(part, name, timestamp(NOW - 30))
    nodes.sweep()
    nodes.sweep()
    assert handoff.files() == {}
    for node in primaries:
        status, headers, _ = node.object("GET", part, name)
        assert (status, headers["x-backend-timestamp"]) == (404, timestamp(NOW - 30))
        assert [path for path in node.files() if path.endswith(".data")] == []


def test_the_newest_of_each_part_wins_in_any_order(nodes):
    """As Swift's probe test_object_metadata_replication."""

    def put(node, part, name, at):
        headers = {"Content_Type": f"put/{at[-7:-6]}", "X_Object_Sysmeta_S": at, "X_Object_Meta_M": f"put {at}"}
        return node.put(part, name, at, at.encode(), **headers)

    def post_type(node, part, name, at):
        headers = {"X-Timestamp": at, "Content-Type": f"type/{at[-7:-6]}", "X-Object-Meta-M": f"type {at}"}
        return node.object("POST", part, name, headers)

    operations = {
        "put": put,
        "post": lambda node, part, name, at: node.object("POST", part, name, {"X-Timestamp": at, "X-Object-Meta-M": f"post {at}"}),
        "type": post_type,
        "delete": lambda node, part, name, at: node.delete(part, name, at),
    }
    names = []
    for index, kinds in enumerate(itertools.product(["post", "type", "put", "delete"], repeat=3)):
        name = f"/a/c/{'-'.join(kinds)}"
        part, primaries, _ = nodes.place(name)
        for node in primaries:
            operations["put"](node, part, name, timestamp(1_700_000_010))
        # Each later operation is seen by one or two of the three only.
        for step, kind in enumerate(kinds):
            at = timestamp(1_700_000_020 + 10 * step)
            for node in [primaries[(index + step) % 3], primaries[(index * step) % 3]]:
                status, _, _ = node.object("HEAD", part, name)
                if status == 200 or kind not in ("post", "type"):
                    try:
                        operations[kind](node, part, name, at)
                    except AssertionError as refused:
                        # The same operation twice on one node.
                        assert "409" in str(refused), (name, kind, refused)
        names.append(name)
    for node in nodes:
        node.configure(f"reclaim_age = {10**9}", f"reclaim_age = {10**9}")
        node.stop_server()
        node.start_server()
    for _ in range(3):
        nodes.sweep()
    for name in names:
        part, primaries, _ = nodes.place(name)
        seen = [node.object("GET", part, name) for node in primaries]
        wanted = ["x-timestamp", "x-object-meta-m", "x-object-sysmeta-s", "content-type", "etag"]
        seen = [(status, {key: headers.get(key) for key in wanted}, body) for status, headers, body in seen]
        assert seen[0] == seen[1] == seen[2], name
        hashes = [node.hashes(part) for node in primaries]
        assert hashes[0] == hashes[1] == hashes[2]
    for node in nodes:
        assert "objects_sent: 0" in node.replicate()


def test_an_unmounted_device_is_stood_in_for_and_never_made(nodes):
    name = nodes.name_with()
    part, primaries, [handoff] = nodes.place(name)
    lost, *others = primaries
    for node in primaries:
        node.put(part, name, timestamp(NOW - 50), b"x")
    expected = lost.files()
    lose(lost.device)
    output = others[0].replicate()
    assert "partitions_behind: 1" in output and "failure: 1" in output, output
    assert "devices_missing: 1" in lost.replicate()
    assert not lost.device.exists()
    assert handoff.files() == expected
    lost.device.mkdir()
    assert "objects_removed: 1" in handoff.replicate()
    assert lost.files() == expected and handoff.files() == {}


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_damaged_copy_is_quarantined_and_never_sent(nodes, size):
    name = nodes.name_with()
    part, primaries, _ = nodes.place(name)
    damaged, wiped, good = primaries
    body = os.urandom(size)
    for node in primaries:
        node.put(part, name, timestamp(NOW - 50), body)
    expected = good.files()
    [path] = damaged.device.glob("objects/*/*/*/*.data")
    with open(path, "r+b") as file:
        file.seek(size - 1)
        file.write(bytes([body[-1] ^ 1]))
    wiped.wipe()
    damaged.replicate()
    assert wiped.files() == {} and damaged.files() == {}
    assert len(list(damaged.device.glob("quarantined/objects/*/*.data"))) == 1
    assert "objects_sent: 2" in good.replicate()
    assert wiped.files() == damaged.files() == expected


def test_an_update_that_breaks_off_or_lies_is_not_published(nodes):
    name = nodes.name_with()
    part, [node, *_], _ = nodes.place(name)

    def exchange(updates):
        body = b":MISSING_CHECK: START\r\n:MISSING_CHECK: END\r\n:UPDATES: START\r\n" + updates
        _, _, answer = node.request("object", "SSYNC", f"/{node.name}/{part}", {"Content-Length": str(len(body))}, body)
        return answer.decode()

    def update(length, body, **headers):
        lines = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
        head = f"PUT {name}\r\nContent-Length: {length}\r\nX-Timestamp: {timestamp(NOW)}\r\nContent-Type: a/b\r\n{lines}\r\n"
        return head.encode() + body

    end = b":UPDATES: END\r\n"
    for lie in [update(10, b"0123456789", ETag="0" * 32) + end, update(10, b"01234")]:
        assert ":UPDATES: END" not in exchange(lie).split(":MISSING_CHECK: END")[1]
        assert node.files() == {}
    assert "failures to" in exchange(update(1, b"x", ETag="0" * 32) + end)
    for nonsense in [
        b"COPY /a/c/o\r\n\r\n",
        b"PUT\r\n",
        b"DELETE /a/c/o\r\nContent-Length: 1\r\n\r\nx",
        b"\xff\xfe\r\n",
        b"PUT /a/c/o\r\n\r\n",
    ]:
        assert ":ERROR:" in exchange(nonsense)
    good = exchange(update(1, b"x", X_Object_Meta_A="b", X_Odd_But_Stored="yes") + end)
    assert good.endswith(":UPDATES: START\r\n:UPDATES: END\r\n")
    assert node.object("GET", part, name)[1]["x-odd-but-stored"] == "yes"
    # Again and older: harmless.
    assert exchange(update(1, b"x") + end).endswith(":UPDATES: END\r\n")


def test_a_busy_partition_is_refused_in_words(nodes):
    import fcntl

    name = nodes.name_with()
    part, [node, other, *_], _ = nodes.place(name)
    other.put(part, name, timestamp(NOW - 50), b"x")
    (node.device / "objects" / str(part)).mkdir(parents=True)
    with open(node.device / "objects" / str(part) / ".lock-replication", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "failure: 1" in other.replicate()
        assert node.files() == {}
    other.replicate()
    assert node.files() == other.files()
    status, _, _ = node.request("object", "REPLICATE", f"/none/{part}")
    assert status == 507
    status, _, _ = node.request("object", "SSYNC", f"/none/{part}")
    assert status == 507


def test_a_device_that_was_away_too_long_does_not_resurrect(nodes):
    part, [old, *others], [handoff] = nodes.place(nodes.name_with())
    names = [name for name in (f"/a/c/n{number}" for number in range(200)) if nodes.place(name)[0] == part][:3]
    gone, kept, new = names
    old.put(part, gone, timestamp(NOW - 5000), b"deleted elsewhere long ago")
    for node in [old, others[0]]:
        node.put(part, kept, timestamp(NOW - 5000), b"known elsewhere")
    old.put(part, new, timestamp(NOW - 10), b"written after it came back")
    for node in nodes:
        node.configure("reclaim_age = 1000", "reclaim_age = 1000")
    (old.device / "apus-replicated").write_text(f"{timestamp(NOW - 3000)}\n")
    for _ in range(2):
        output = old.replicate()
        assert "suspect: 2" in output, output
        assert others[0].object("GET", part, gone)[0] == 404
        assert others[1].object("GET", part, kept)[2] == b"known elsewhere"
        assert others[1].object("GET", part, new)[2] == b"written after it came back"
    (old.device / "apus-returned").unlink()
    assert "suspect: 0" in old.replicate()
    assert others[0].object("GET", part, gone)[0] == 200


def test_two_devices_that_were_away_together_do_not_vouch_for_each_other(nodes):
    part, [one, two, here], _ = nodes.place(nodes.name_with())
    names = [name for name in (f"/a/c/n{number}" for number in range(200)) if nodes.place(name)[0] == part][:2]
    gone, kept = names
    for node in nodes:
        node.configure("reclaim_age = 1000", "reclaim_age = 1000")
    for node in [one, two]:
        node.put(part, gone, timestamp(NOW - 5000), b"deleted long ago, while both were away")
        node.put(part, kept, timestamp(NOW - 5000), b"never deleted")
        (node.device / "apus-replicated").write_text(f"{timestamp(NOW - 3000)}\n")
    here.put(part, kept, timestamp(NOW - 5000), b"never deleted")
    (here.device / "apus-present").write_text(f"{timestamp(NOW - 4000)}\n")
    here.replicate()
    (two.device / "objects" / str(part)).rename(two.device / "away")
    assert "suspect: 2" in one.replicate(), "both others lack it now"
    assert two.object("GET", part, kept)[2] == b"never deleted"
    lose(two.device / "objects" / str(part))
    (two.device / "away").rename(two.device / "objects" / str(part))
    for node in [one, two, one]:
        assert "suspect: 1" in node.replicate()
        assert here.object("GET", part, gone)[0] == 404
    # A disk that was put in since then knows nothing of what was deleted.
    lose(here.device)
    here.device.mkdir()
    assert "suspect: 0" in one.replicate()
    assert here.object("GET", part, gone)[0] == 200
    assert here.object("GET", part, kept)[2] == b"never deleted"


def test_tombstones_go_after_reclaim_age_and_not_before(nodes):
    name = nodes.name_with()
    part, primaries, _ = nodes.place(name)
    young = next(f"/a/c/n{n}" for n in range(200) if nodes.place(f"/a/c/n{n}")[0] == part)
    # The age counts from now, which other tests have moved on from when this file was read.
    now = time.time()
    for node in primaries:
        node.delete(part, name, timestamp(now - 1100))
        node.delete(part, young, timestamp(now - 900))
        node.configure("reclaim_age = 1000", "reclaim_age = 1000")
    nodes.sweep()
    for node in primaries:
        [left] = node.files()
        assert left.endswith(f"{timestamp(now - 900)}.ts")


def test_one_object_is_brought_to_the_nodes_that_are_named(nodes):
    name = nodes.name_with()
    part, [node, *others], _ = nodes.place(name)
    node.put(part, name, timestamp(NOW - 50), b"x" * 300_000)
    node.post(part, name, timestamp(NOW - 40), X_Object_Meta_A="b")
    to = {"X-Backend-Apus-Repair-To": ",".join(f"127.0.0.1:{other.port}/{other.name}" for other in others)}
    assert node.object("REPAIR", part, name, to)[0] == 200
    assert node.files() == others[0].files() == others[1].files()
    node.delete(part, name, timestamp(NOW - 30))
    assert node.object("REPAIR", part, name, to)[0] == 200
    assert node.files() == others[0].files() == others[1].files()
    assert node.object("REPAIR", part, "/a/c/none", to)[0] == 404
    assert node.object("REPAIR", part, name)[0] == 400
    others[1].stop_server()
    assert node.object("REPAIR", part, name, to)[0] == 502


def test_with_a_cluster_key_everything_that_is_sent_is_signed(nodes):
    part, primaries, [handoff] = nodes.place(nodes.name_with())
    names = [name for name in (f"/a/c/n{number}" for number in range(400)) if nodes.place(name)[0] == part][:20]
    for node in [primaries[0], handoff]:
        for size, name in enumerate(names):
            node.put(part, name, timestamp(NOW - 50), os.urandom(1) * 10 ** (size % 7))
    expected = handoff.files()
    lose(primaries[0].device / "objects")
    for node in nodes:
        node.stop_server()
        path = node.etc / "swift.conf"
        path.write_text(path.read_text() + f"[apus]\ncluster_key = {'ab' * 32}\n")
        path.chmod(0o600)
        node.start_server()
    assert primaries[0].request("object", "REPLICATE", f"/{primaries[0].name}/{part}")[0] == 401
    assert "removed: 1" in handoff.replicate()
    assert all(node.files() == expected for node in primaries)


def test_servers_and_daemon_of_one_process_replicate_without_sockets(tmp_path):
    data = tmp_path / "data"
    cluster = Saio(data, "--no-daemons").start()
    try:
        s3 = cluster.s3(cluster.access["access_key"], cluster.access["secret_key"])
        s3.create_bucket(Bucket="bucket")
        bodies = {f"{number}": os.urandom(10 ** (number % 7)) for number in range(20)}
        for key, body in bodies.items():
            s3.put_object(Bucket="bucket", Key=key, Body=body, Metadata={"a": key})
        s3.delete_object(Bucket="bucket", Key="3")
    finally:
        assert cluster.stop() == 0

    def files():
        return {str(path.relative_to(data)): path.read_bytes() for path in data.glob("devices/sd2/objects/*/*/*/*")}

    before = files()
    assert len(before) > 5
    lose(data / "devices/sd2/objects")
    conf = data / "etc/object-server.conf"
    conf.write_text(conf.read_text() + "[object-replicator]\ninterval = 1\n")
    cluster = Saio(data).start()
    try:
        wait_until(lambda: files() == before, lambda: before.keys() ^ files().keys(), 60, 0.2)
    finally:
        assert cluster.stop() == 0
