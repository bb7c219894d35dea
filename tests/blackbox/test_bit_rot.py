"""Flipped bits on the disks: never served, always found, and Swift's own code is not disturbed."""

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys

import pytest

from apus_testing.executables import APUS
from apus_testing.saio import Saio

BUCKET = "rot"
SIZES = [1, 1000, 65_536, 70_000, 300_000, 2_000_000, 9_000_000]
SEED = int(os.environ.get("APUS_SEED", "20261121"))


def daemon_once(cluster, name):
    """One sweep in a process of its own; returns what it left in the recon cache."""
    run = subprocess.run([APUS, name, str(cluster.data / "etc"), "--once"], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads((cluster.data / "cache" / f"{name.split('-')[0]}.recon").read_text()), run.stderr


def configure(cluster, server, text):
    with open(cluster.data / f"etc/{server}-server.conf", "a") as conf:
        conf.write(text)


def flip(path, bit):
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << (bit % 8))]))


def flip_attribute(path, key, bit):
    value = bytearray(os.getxattr(path, key))
    value[bit // 8 % len(value)] ^= 1 << (bit % 8)
    os.setxattr(path, key, bytes(value))


def start_without_own_objects(folder):
    """A cluster that keeps nothing but what clients write: a registry of bucket names has objects of its own."""
    cluster = Saio(folder / "data", "--dev-users", "--no-daemons").start()
    return cluster.change("proxy", "bucket_namespace = cluster", "bucket_namespace = account")


@pytest.fixture
def rotten(tmp_path):
    """A cluster of whose objects two replicas of three are damaged each."""
    rng = random.Random(SEED)
    cluster = start_without_own_objects(tmp_path)
    s3 = cluster.s3()
    s3.create_bucket(Bucket=BUCKET)
    bodies = {f"{size}-{n}": rng.randbytes(size) for size in SIZES for n in range(4)}
    for key, body in bodies.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    by_digest = {hashlib.md5(body).hexdigest(): key for key, body in bodies.items()}
    replicas = {}
    for path in cluster.data.glob("devices/*/objects/**/*.data"):
        replicas.setdefault(by_digest[hashlib.md5(path.read_bytes()).hexdigest()], []).append(path)
    damaged = []
    for paths in replicas.values():
        assert len(paths) == 3
        for path in rng.sample(paths, 2):
            how = rng.choice(["body", "body", "first", "last", "metadata", "checksum", "cut", "grown"])
            size = path.stat().st_size
            if how == "metadata":
                flip_attribute(path, "user.swift.metadata", rng.randrange(1 << 20))
            elif how == "checksum":
                keys = [k for k in os.listxattr(path) if k in ("user.apus.blocks", "user.swift.metadata_checksum")]
                flip_attribute(path, rng.choice(keys), rng.randrange(1 << 20))
            elif how in ("cut", "grown"):
                os.truncate(path, size - 1 if how == "cut" else size + 1)
            else:
                place = {"first": 0, "last": size - 1}.get(how, rng.randrange(size))
                flip(path, place * 8 + rng.randrange(8))
            damaged.append(path)
    yield cluster, bodies, damaged, rng
    assert cluster.stop() == 0


def test_no_flipped_bit_is_served_and_what_is_read_is_moved_aside(rotten):
    cluster, bodies, damaged, rng = rotten
    s3, swift = cluster.s3(), cluster.swift()
    reads = 0
    for _ in range(8):
        for key, body in bodies.items():
            start = rng.randrange(len(body))
            end = rng.randrange(start, len(body))
            part = {"Range": f"bytes={start}-{end}"}
            assert s3.get_object(Bucket=BUCKET, Key=key, **part)["Body"].read() == body[start : end + 1], key
            assert swift.get_object(BUCKET, key, headers=part)[1] == body[start : end + 1], key
            assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, key
            assert swift.get_object(BUCKET, key)[1] == body, key
            reads += 4
    aside = list(cluster.data.glob("devices/*/quarantined/objects/*"))
    print(f"bit rot: damaged={len(damaged)} reads={reads} wrong=0 found by reading={len(aside)}")
    assert len(damaged) // 2 < len(aside) <= len(damaged)
    # Strong reads have some of them brought back already.
    good = {hashlib.md5(body).hexdigest() for body in bodies.values()}
    left = [path for path in cluster.data.glob("devices/*/objects/**/*.data") if hashlib.md5(path.read_bytes()).hexdigest() not in good]
    assert set(left) <= set(damaged) and len(left) + len(aside) <= len(damaged)


def test_one_sweep_moves_everything_damaged_aside_and_nothing_else(rotten):
    cluster, bodies, damaged, _ = rotten
    configure(cluster, "object", "[object-auditor]\nfiles_per_second = 0\nbytes_per_second = 0\n")
    swift = sorted(set(cluster.data.glob("devices/*/objects/**/*.data")) - set(damaged))[0]
    for key in [key for key in os.listxattr(swift) if key.startswith("user.apus")]:
        os.removexattr(swift, key)
    hashes = swift.parents[2] / "hashes.pkl"
    hashes.write_bytes(b"\x80\x02torn")
    recon, _ = daemon_once(cluster, "object-auditor")
    stats = recon["object_auditor_stats_ALL"]
    # The fast sweep comes after it and finds nothing more.
    assert stats["quarantined"] == len(damaged) and recon["object_auditor_stats_ZBF"]["quarantined"] == 0
    assert stats["passes"] == 3 * len(bodies) and stats["errors"] == 0
    assert {"bytes_processed", "start_time", "audit_time"} <= set(stats)
    assert not any(path.exists() for path in damaged) and not hashes.exists()
    assert len(list(cluster.data.glob("devices/*/quarantined/objects/*"))) == len(damaged)
    for path in damaged:
        assert path.parent.parent.name in (path.parents[2] / "hashes.invalid").read_text()
    assert "user.apus.crc64nvme" in os.listxattr(swift), "Swift's own is covered from now on"
    assert swift.stat().st_size <= 65_536 or "user.apus.blocks" in os.listxattr(swift)
    for key, body in bodies.items():
        assert cluster.s3().get_object(Bucket=BUCKET, Key=key)["Body"].read() == body


def test_a_damaged_container_database_is_set_aside_by_the_server_that_has_it_open(tmp_path):
    cluster = start_without_own_objects(tmp_path)
    cluster.kill()
    for server in ["account", "container"]:
        conf = cluster.data / f"etc/{server}-server.conf"
        conf.write_text(conf.read_text().replace(f"[app:{server}-server]", f"[app:{server}-server]\nlisten = true"))
    cluster.start()
    s3 = cluster.s3()
    s3.create_bucket(Bucket=BUCKET)
    bodies = {f"key-{n:03}": b"%d" % n for n in range(200)}
    for key, body in bodies.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    assert cluster.stop() == 0
    etag = hashlib.md5(bodies["key-077"]).hexdigest().encode()
    databases = sorted(path for path in cluster.data.glob("devices/*/containers/**/*.db") if etag in path.read_bytes())
    assert len(databases) == 3
    place = databases[0].read_bytes().index(etag)
    flip(databases[0], place * 8 + 1)
    cluster.start()
    # Opens it and reads no row; a listing would find the damaged row and quarantine the database itself.
    for _ in range(6):
        cluster.s3().head_bucket(Bucket=BUCKET)
    recon, log = daemon_once(cluster, "container-auditor")
    assert recon["container_audits_failed"] == 1 and recon["container_audits_passed"] == 2, log
    assert recon["container_auditor_pass_completed"] > 0 and recon["container_audits_since"] > 1e9
    aside = list(cluster.data.glob("devices/*/quarantined/containers/*"))
    assert [path.name for path in aside] == [databases[0].stem]
    assert (aside[0] / databases[0].name).exists()
    replaced = databases[0].exists()
    assert replaced or (aside[0] / "salvaged.db").exists()
    # The row itself was damaged, or only an index.
    saved = databases[0] if replaced else aside[0] / "salvaged.db"
    with sqlite3.connect(f"file:{saved}?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM object WHERE deleted = 0").fetchone()[0] == (200 if replaced else 199)
    for _ in range(6):
        assert len(cluster.s3().list_objects_v2(Bucket=BUCKET)["Contents"]) == 200
    again, _ = daemon_once(cluster, "container-auditor")
    assert again["container_audits_failed"] == 0
    # Accounts, and a file that is not a database at all, met while serving.
    account = sorted(cluster.data.glob("devices/*/accounts/**/*.db"))[0]
    assert cluster.stop() == 0
    flip(account, 3)
    cluster.start()
    for _ in range(20):
        cluster.swift().get_account()
    recon, log = daemon_once(cluster, "account-auditor")
    assert not account.exists() and len(list(cluster.data.glob("devices/*/quarantined/accounts/*"))) == 1, log
    assert cluster.stop() == 0


SWIFT = """
import configparser, sys
from swift.common import utils
conf = configparser.ConfigParser(); conf.read(sys.argv[1])
utils.HASH_PATH_PREFIX = conf['swift-hash']['swift_hash_path_prefix'].encode()
utils.HASH_PATH_SUFFIX = conf['swift-hash']['swift_hash_path_suffix'].encode()
from swift.container.backend import ContainerBroker
from swift.common.utils import Timestamp
broker = ContainerBroker(sys.argv[2])
info = broker.get_info()
assert info['object_count'] == 30, info
for n in range(10):
    broker.put_object(f'swift-{n}', Timestamp.now().internal, 7, 'a/b', 'e' * 32)
broker.delete_object('key-03', Timestamp.now().internal)
broker.put_object('key-04', Timestamp.now().internal, 9, 'a/b', 'f' * 32)
broker.update_metadata({'X-Container-Meta-A': ('b', Timestamp.now().internal)})
broker.reported(info['put_timestamp'], '0', 39, 1)
rows = broker.list_objects_iter(1000, '', '', '', '')
assert len(rows) == 39, len(rows)
assert broker.get_info()['object_count'] == 39
broker.reclaim(Timestamp.now().internal, Timestamp.now().internal)
broker.vacuum() if hasattr(broker, 'vacuum') else None
with broker.get() as conn:
    assert conn.execute('PRAGMA integrity_check').fetchone()[0] == 'ok'
print('swift is fine')
"""


def test_swifts_own_code_writes_to_a_database_with_digests(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users", "--no-daemons").start()
    swift = cluster.swift()
    swift.put_container("c", headers={"X-Container-Meta-B": "c"})
    for n in range(30):
        swift.put_object("c", f"key-{n:02}", b"12345")
    assert cluster.stop() == 0
    databases = sorted(cluster.data.glob("devices/*/containers/**/*.db"))
    for database in databases:
        run = subprocess.run(
            [sys.executable, "-c", SWIFT, str(cluster.data / "etc/swift.conf"), str(database)], capture_output=True, text=True
        )
        assert "swift is fine" in run.stdout, run.stderr
    recon, log = daemon_once(cluster, "container-auditor")
    assert (recon["container_audits_passed"], recon["container_audits_failed"]) == (3, 0), log
    for database in databases:
        with sqlite3.connect(database) as db:
            rows = db.execute("SELECT ROWID FROM object ORDER BY ROWID").fetchall()
            digests = db.execute("SELECT row_id FROM apus_row_digest WHERE row_id > 0 ORDER BY row_id").fetchall()
            assert rows == digests and len(rows) >= 39
            assert db.execute("SELECT count(*) FROM apus_row_digest WHERE row_id = 0").fetchone()[0] == 1
            # One digit of one size, as a bit flip leaves it: no trigger knows.
            db.execute("DROP TRIGGER object_update")
            db.execute("UPDATE object SET size = 6 WHERE name = 'key-05'")
    cluster.start()
    recon, log = daemon_once(cluster, "container-auditor")
    assert recon["container_audits_failed"] == 3, log
    assert cluster.stop() == 0
