"""Account and container servers on nodes of their own, each with one device; their daemons are processes that run once."""

import hashlib
import json
import sqlite3
import time
import urllib.parse
from contextlib import closing

from swift.common import utils
from swift.common.ring import Ring

from .addresses import free_port
from .machine import Machine
from .rings import make_ring
from .servers import SWIFT_CONF

KINDS = ["account", "container"]
PART_POWER = 8
PREFIX, SUFFIX = b"a", b"b"
# Without them Swift's code reads /etc/swift/swift.conf.
utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = PREFIX, SUFFIX
# A day ago: old enough for a short `reclaim_age`, and too young for the usual one.
BEGIN = int(time.time()) - 86_400


def stamp(seconds):
    return f"{BEGIN + seconds:010d}.00000"


def path_hash(*names):
    return hashlib.md5(PREFIX + b"/" + "/".join(names).encode() + SUFFIX).hexdigest()


def partition(*names):
    return int(path_hash(*names)[:8], 16) >> (32 - PART_POWER)


class DatabaseNode(Machine):
    """One machine with one device, `sd1`."""

    def __init__(self, folder, number, ports):
        self.number = number
        super().__init__(
            folder / f"etc{number}",
            folder / f"node{number}",
            folder / f"cache{number}",
            addresses={kind: ("127.0.0.1", port) for kind, port in ports.items()},
            swift_conf=SWIFT_CONF + "[storage-policy:1]\nname = silver\n",
            device_names=["sd1"],
        )
        self.options("")

    def options(self, more):
        for kind in KINDS:
            self.conf(kind, f"recon_cache_path = {self.cache}\n", f"[{kind}-replicator]\ndatabases_per_second = 0\n{more}")

    def replicate(self, kind, *options):
        """One pass of the daemon; returns its statistics in recon."""
        done = self.run_once(f"{kind}-replicator", *options)
        assert done.returncode == 0, done.stderr
        return json.loads((self.cache / f"{kind}.recon").read_text())["replication_stats"]

    def request(self, kind, method, target, headers=None, body=None):
        return super().request(kind, method, urllib.parse.quote(target), headers, body)

    def path(self, kind, *names):
        return "/".join(["", "sd1", str(partition(*names)), *names])

    def file(self, *names):
        hashed = path_hash(*names)
        kind = KINDS[len(names) - 1] + "s"
        return self.devices / "sd1" / kind / str(partition(*names)) / hashed[-3:] / hashed / f"{hashed}.db"

    def put_container(self, container, at=0, policy=0, **headers):
        sent = {"X-Timestamp": stamp(at), "X-Backend-Storage-Policy-Index": str(policy), **headers}
        return self.request("container", "PUT", self.path("container", "a", container), sent)[0]

    def post_container(self, container, at, **headers):
        sent = {"X-Timestamp": stamp(at), **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.request("container", "POST", self.path("container", "a", container), sent)[0]

    def delete_container(self, container, at):
        return self.request("container", "DELETE", self.path("container", "a", container), {"X-Timestamp": stamp(at)})[0]

    def row(self, container, name, at, deleted=False):
        headers = {"X-Timestamp": stamp(at), "X-Size": "3", "X-Content-Type": "a/b", "X-Etag": "e" * 32}
        path = self.path("container", "a", container) + "/" + name
        return self.request("container", "DELETE" if deleted else "PUT", path, headers)[0]

    def rows(self, container, names, at):
        """Many rows at once, by the verb UPDATE."""
        rows = [{"name": name, "created_at": stamp(at), "size": 1, "content_type": "a/b", "etag": "e", "deleted": 0} for name in names]
        headers = {"X-Timestamp": stamp(at)}
        status = self.request("container", "UPDATE", self.path("container", "a", container), headers, json.dumps(rows))[0]
        assert status == 202

    def put_account(self, account, at=0, **headers):
        return self.request("account", "PUT", f"/sd1/{partition(account)}/{account}", {"X-Timestamp": stamp(at), **headers})[0]

    def account_row(self, account, container, put, delete=0, count=1):
        headers = {
            "X-Put-Timestamp": stamp(put),
            "X-Delete-Timestamp": stamp(delete) if delete else "0",
            "X-Object-Count": str(count),
            "X-Bytes-Used": "10",
            "X-Timestamp": stamp(put),
            "X-Account-Override-Deleted": "yes",
        }
        return self.request("account", "PUT", f"/sd1/{partition(account)}/{account}/{container}", headers)[0]

    def read(self, *names):
        """Rows and facts of a database, which servers may have open; None when it does not exist."""
        file = self.file(*names)
        if not file.exists():
            return None
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            return read_database(database, len(names) == 2)


def read_database(database, is_container):
    table, stat = ("object", "container_info") if is_container else ("container", "account_stat")
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "ROWID"]
    rows = sorted(database.execute(f"SELECT {', '.join(columns)} FROM {table}"))
    database.row_factory = sqlite3.Row
    info = dict(database.execute(f"SELECT * FROM {stat}").fetchone())
    info["metadata"] = json.loads(info["metadata"] or "{}")
    return {"rows": rows, "info": info, "names": [row[0] for row in rows]}


class DatabaseNodes:
    """Four nodes; each database has three primaries and one handoff."""

    def __init__(self, folder):
        ports = [{kind: free_port() for kind in KINDS} for _ in range(4)]
        self.all = [DatabaseNode(folder, number, ports[number]) for number in range(4)]
        self.rings, self.taken = {}, set()
        for kind in KINDS:
            devices = [f"r1z{number + 1}-127.0.0.1:{ports[number][kind]}/sd1" for number in range(4)]
            make_ring(folder, kind, devices, part_power=PART_POWER, min_part_hours=1)
            for node in self.all:
                (node.etc / f"{kind}.ring.gz").write_bytes((folder / f"{kind}.ring.gz").read_bytes())
            self.rings[kind] = Ring(str(folder), ring_name=kind)
        for node in self.all:
            for unused in ["object", "object-1"]:
                (node.etc / f"{unused}.ring.gz").write_bytes((folder / "account.ring.gz").read_bytes())
            for kind in KINDS:
                node.start(kind)

    def of(self, *names):
        """The primaries and the handoff of a database."""
        ring = self.rings[KINDS[len(names) - 1]]
        part = partition(*names)
        primaries = [self.all[device["id"]] for device in ring._get_part_nodes(part)]
        handoff = [self.all[device["id"]] for device in ring.get_more_nodes(part)]
        return primaries, handoff[0]

    def stop(self):
        for node in self.all:
            node.stop_all()
