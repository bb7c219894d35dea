"""Object replication to and from Swift's own code: its hashes, its sender and its server."""

import os
import pwd
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apus_testing import swift_disk
from apus_testing.object_nodes import ObjectNodes, timestamp

NOW = time.time()
# Longer than any age that a tombstone of the committed disk can have.
NEVER_RECLAIMED = 10**10
BIN = Path(sys.executable).parent


@pytest.fixture
def nodes(tmp_path):
    nodes = ObjectNodes(tmp_path)
    for node in nodes:
        path = node.etc / "swift.conf"
        path.write_text(path.read_text() + "policy_type = replication\n")
    nodes.start()
    yield nodes
    nodes.stop()


SWIFT_HASHES = """
import json, sys
import swift.common.utils as utils, swift.common.utils.timestamp
utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = b"pre", b"suf"
from swift.common.storage_policy import POLICIES
from swift.obj.diskfile import DiskFileManager
from swift.common.utils import get_logger
devices, device, age = sys.argv[1:4]
manager = DiskFileManager({"devices": devices, "mount_check": "false", "reclaim_age": age}, get_logger({}))
print(json.dumps({part: manager.get_hashes(device, part, None, POLICIES[0]) for part in sys.argv[4:]}))
"""


def swift_hashes(node, parts, reclaim_age=604800):
    import json

    words = [sys.executable, "-c", SWIFT_HASHES, str(node.devices), node.name, str(reclaim_age), *map(str, parts)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def parts_of(node):
    return [path.name for path in (node.device / "objects").iterdir() if path.name.isdigit()]


def test_suffix_hashes_are_swifts_for_any_files(nodes):
    """Directories with any mixture of files, hashed by both; then each reads the other's hashes.pkl."""
    node = next(iter(nodes))
    rng = random.Random(7)
    times = [NOW - 100 + step for step in range(6)]
    for _ in range(300):
        digest = f"{rng.getrandbits(116):029x}{rng.randrange(20):03x}"
        directory = node.device / "objects" / "5" / digest[-3:] / digest
        directory.mkdir(parents=True)
        for _ in range(rng.randrange(1, 6)):
            at = rng.choice(times)
            name = timestamp(at, rng.choice([0, 0, 1]))
            kind = rng.choice(["data", "ts", "meta", "ctype", "old", "junk"])
            delta = rng.choice([0, 0, -100_000, -200_000])
            name = {
                "data": f"{name}.data",
                "ts": f"{name}.ts",
                "meta": f"{name}.meta",
                "ctype": f"{timestamp(at)}{delta:+x}.meta",
                "old": f"{timestamp(NOW - 10**7)}.ts",
                "junk": rng.choice([".1700000000.00000.data.Ab0_9z", "readme.txt"]),
            }[kind]
            (directory / name).touch()
    copy = node.devices / "copy"
    subprocess.run(["cp", "-a", node.device, copy], check=True)
    ours = node.hashes(5)
    assert len(ours) == 20
    node.name = "copy"
    assert swift_hashes(node, [5])["5"] == ours
    # What one left the other believes: only an invalidated suffix is read again.
    for path in (copy / "objects" / "5").glob("*/*/*.data"):
        path.unlink()
    assert node.hashes(5) == ours
    node.name = "sd1"
    for path in (node.device / "objects" / "5").glob("*/*/*.data"):
        path.unlink()
    assert swift_hashes(node, [5])["5"] == ours
    suffix = sorted(ours)[0]
    status, _, _ = node.request("object", "REPLICATE", f"/sd1/5/{suffix}")
    changed = node.hashes(5)
    assert status == 200 and {key for key in ours if ours[key] != changed.get(key)} <= {suffix}
    assert swift_hashes(node, [5])["5"] == changed


def test_suffix_hashes_are_swifts_for_what_both_wrote(nodes, tmp_path):
    node = next(iter(nodes))
    node.stop_server()
    node.configure(server=f"reclaim_age = {NEVER_RECLAIMED}")
    node.start_server()
    swift_disk.unpack(tmp_path)
    compared = 0
    for name in ["sd1", "sd2", "sd3"]:
        for kind in ["ours", "swifts"]:
            subprocess.run(["cp", "-a", tmp_path / "srv" / name, node.devices / f"{kind}-{name}"], check=True)
        node.name = f"ours-{name}"
        parts = parts_of(node)
        ours = {part: node.hashes(part) for part in parts}
        node.name = f"swifts-{name}"
        assert swift_hashes(node, parts, NEVER_RECLAIMED) == ours
        compared += sum(len(hashes) for hashes in ours.values())
    assert compared > 50


def fill(nodes, node=None):
    """Objects on one node or all primaries; returns their partition."""
    name = nodes.name_with()
    part, primaries, _ = nodes.place(name)
    names = [f"/a/c/ü {number}" for number in range(400)]
    names = [name for name in names if nodes.place(name)[0] == part][:12]
    for own in [node] if node else primaries:
        for number, name in enumerate(names):
            body, meta = name.encode() * 10 ** (number % 6), {"X-Object-Meta-S3_Name": "s3", "X-Object-Meta-S3-Name": "other"}
            meta |= {"X-Object-Meta-A": "grün".encode().decode("latin-1"), "X-Object-Sysmeta-B": "b", "X-Delete-At": str(int(NOW) + 1000)}
            own.put(part, name, timestamp(NOW - 500, number % 3), body, meta)
            if number % 3 == 1:
                own.post(part, name, timestamp(NOW - 400), X_Object_Meta_A="posted")
            if number % 4 == 1:
                own.post(part, name, timestamp(NOW - 300), Content_Type="a/b", X_Object_Meta_A="typed")
            if number % 5 == 1:
                own.delete(part, name, timestamp(NOW - 200))
    return part


def contents(node):
    """Files with their metadata read by Swift, since both pickle it in their own way."""
    from swift.obj.diskfile import read_metadata

    found = {}
    for path in node.device.glob("objects/*/*/*/*"):
        found[str(path.relative_to(node.device))] = (path.read_bytes(), read_metadata(str(path)))
    return found


def swift_conf(node):
    environment = dict(os.environ)
    code = (
        "import sys, swift.common.utils as utils; utils.SWIFT_CONF_FILE = sys.argv.pop(1); "
        "import swift.common.storage_policy as policies; policies.reload_storage_policies(); "
    )
    return code, environment


def run_swift_replicator(node):
    """Swift's own object-replicator, once, with ssync."""
    code, environment = swift_conf(node)
    code += (
        "from swift.obj.replicator import ObjectReplicator; from swift.common.utils import readconf; "
        "conf = readconf(sys.argv[1], 'object-replicator'); conf['swift_dir'] = sys.argv[2]; "
        "replicator = ObjectReplicator(conf); replicator.run_once(); "
        "stats = replicator.total_stats; print(stats.failure, stats.success, stats.rsync)"
    )
    words = [sys.executable, "-c", code, str(node.etc / "swift.conf"), str(node.etc / "object-server.conf"), str(node.etc)]
    node.cache.mkdir(exist_ok=True)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    failures, successes, synced = map(int, done.stdout.split()[-3:])
    return failures, successes, synced, done.stderr


def start_swift_server(node):
    """Swift's own object server on the node's device and port."""
    code, _ = swift_conf(node)
    code += (
        "from swift.common.wsgi import run_wsgi; "
        "from swift.obj import server; "
        "sys.exit(run_wsgi(sys.argv[1], 'object-server', global_conf_callback=server.global_conf_callback, default_port=6200))"
    )
    node.stop_server()
    node.cache.mkdir(exist_ok=True)
    conf = node.etc / "object-server.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    conf.write_text(conf.read_text().replace("[DEFAULT]\n", f"[DEFAULT]\nuser = {user}\nworkers = 0\nswift_dir = {node.etc}\n"))
    node.start_server(program=[sys.executable, "-c", code, str(node.etc / "swift.conf"), str(node.etc / "object-server.conf")])


def test_swifts_sender_fills_our_server(nodes):
    part = fill(nodes)
    source, target, third = nodes.primaries(part)
    expected = contents(source)
    target.wipe()
    failures, _, synced, output = run_swift_replicator(source)
    assert (failures, synced) == (0, 1), output
    assert contents(target) == expected and len(expected) > 10
    assert run_swift_replicator(source)[2] == 0
    assert swift_hashes(target, [part]) == swift_hashes(third, [part])


def test_swifts_sender_empties_a_handoff_to_our_servers(nodes):
    part, primaries, [handoff] = nodes.place(nodes.name_with())
    fill(nodes, handoff)
    expected = contents(handoff)
    failures, successes, _, output = run_swift_replicator(handoff)
    assert (failures, successes) == (0, 3), output
    assert all(contents(node) == expected for node in primaries) and contents(handoff) == {}


def test_our_sender_fills_swifts_server(nodes):
    part = fill(nodes)
    source, target, third = nodes.primaries(part)
    expected = contents(source)
    target.wipe()
    start_swift_server(target)
    output = source.replicate()
    assert "failure: 0" in output and "objects_behind: 0" in output, output
    assert contents(target) == expected and len(expected) > 10
    assert "objects_sent: 0" in source.replicate()
    # And back: Swift's disk and daemon refill one of ours.
    third.wipe()
    failures, _, synced, output = run_swift_replicator(target)
    assert (failures, synced) == (0, 1), output
    assert contents(third) == expected


def test_our_handoff_goes_to_swifts_servers(nodes):
    part, primaries, [handoff] = nodes.place(nodes.name_with())
    fill(nodes, handoff)
    expected = contents(handoff)
    for node in primaries[:2]:
        start_swift_server(node)
    output = handoff.replicate()
    assert "failure: 0" in output and "removed: 1" in output, output
    assert all(contents(node) == expected for node in primaries) and contents(handoff) == {}
