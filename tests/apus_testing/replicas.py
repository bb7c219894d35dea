"""The contents of all disks of a cluster, read by Swift's own code and by SQLite alone, and compared copy by copy.

Nothing here knows what was written: objects, tombstones and databases are found by walking the devices.
"""

import hashlib
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

from swift.common import storage_policy
from swift.common.exceptions import DiskFileError
from swift.obj.diskfile import DiskFileManager, read_hashes, read_metadata

from . import swift_code

OBJECTS = {"objects": ("object", 0), "objects-1": ("object-1", 1)}
ROWS = {
    "account": "SELECT name, put_timestamp, delete_timestamp, object_count, bytes_used, deleted, storage_policy_index FROM container",
    "container": "SELECT name, created_at, size, content_type, etag, deleted, storage_policy_index FROM object",
}
# Not the id, nor what was reported: those are each copy's own.
ABOUT = {
    "account": "SELECT account, put_timestamp, delete_timestamp, container_count, object_count, bytes_used, hash, status, "
    "metadata FROM account_stat",
    "container": "SELECT account, container, put_timestamp, delete_timestamp, hash, status, metadata, storage_policy_index "
    "FROM container_info",
}


def object_directories(cluster):
    """(node, folder of the policy, partition, hash directory) of all objects and tombstones."""
    for node in cluster.nodes:
        for folder in OBJECTS:
            for path in (node.disk / folder).glob("[0-9]*/*/*"):
                if path.is_dir():
                    yield node, folder, int(path.parts[-3]), path


def read_file(path):
    """What a file of an object says: its metadata, or why it has none, and the MD5 of its body."""
    try:
        metadata = read_metadata(str(path))
    except DiskFileError as error:
        metadata = f"{type(error).__name__}"
    return metadata, overflow(path, metadata), hashlib.md5(path.read_bytes()).hexdigest()


def overflow(path, metadata):
    """MD5 of the metadata that did not fit into the attributes, which says what it must be."""
    if not isinstance(metadata, dict) or "X-Apus-Metadata-Overflow" not in metadata:
        return None
    hashed = path.parent.name
    more = path.parents[4] / "apus-metadata" / hashed[-3:] / f"{hashed}-{path.name}"
    found = hashlib.md5(more.read_bytes()).hexdigest() if more.exists() else "missing"
    return found, found == metadata["X-Apus-Metadata-Overflow"]


def objects(cluster):
    """(folder, hash) → node → file name → what it says."""
    found = defaultdict(dict)
    for node, folder, _, path in object_directories(cluster):
        files = {file.name: read_file(file) for file in path.iterdir() if file.suffix in (".data", ".meta", ".ts")}
        if files:
            found[folder, path.name][node] = files
    return found


def compare_objects(cluster, findings, before=None):
    """Every primary has the same files, and no other node has any; returns them by (folder, hash).

    `before` is what an earlier call gave: what was there then is there now.
    """
    same = {}
    for (folder, hashed), by_node in objects(cluster).items():
        ring = cluster.rings[OBJECTS[folder][0]]
        partition = int(hashed[:8], 16) >> ring._part_shift
        owners = {device["ip"] for device in ring.get_part_nodes(partition)}
        copies = {node: files for node, files in by_node.items() if node.address in owners}
        for node in by_node.keys() - copies.keys():
            findings.say(f"{folder}/{hashed}: on {node}, which is a handoff")
        first = next(iter(copies.values()), None)
        is_deleted = all(name.endswith(".ts") for files in by_node.values() for name in files)
        if len(copies) != len(owners) and not is_deleted:
            findings.say(f"{folder}/{partition}/{hashed}: only on {list(copies)}")
        for node, files in copies.items():
            if files != first:
                findings.say(f"{folder}/{partition}/{hashed}: {node} has {files}, another {first}")
            for name, (metadata, more, _) in files.items():
                if isinstance(metadata, str) or (more and not more[1]):
                    findings.say(f"{folder}/{partition}/{hashed}/{name}: {metadata} on {node}")
        same[folder, hashed] = first
    for key in (before or {}).keys() - same.keys():
        findings.say(f"{key}: gone everywhere")
    for key, files in same.items():
        if before and key in before and before[key] != files:
            findings.say(f"{key}: was {before[key]}, is {files}")
    return same


def databases(cluster):
    """(kind, hash) → node → path of the database."""
    found = defaultdict(dict)
    for node in cluster.nodes:
        for kind in ROWS:
            for path in (node.disk / f"{kind}s").glob("[0-9]*/*/*/*.db"):
                found[kind, path.stem][node] = path
    return found


@contextmanager
def copied(path):
    """A copy of a database with its WAL, opened by SQLite alone."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        for ending in ("", "-wal"):
            if path.with_name(path.name + ending).exists():
                shutil.copy(path.with_name(path.name + ending), copy.with_name(copy.name + ending))
        connection = sqlite3.connect(copy)
        # What a flip left need not be text.
        connection.text_factory = bytes
        try:
            yield connection
        finally:
            connection.close()


def read_database(kind, path):
    """Rows, statistics, and what SQLite thinks of it; an error is what it says, too."""
    try:
        with copied(path) as connection:

            def ask(sql):
                return sorted(connection.execute(sql).fetchall(), key=repr)

            return {
                "rows": ask(ROWS[kind]),
                # By way of the index, as listings do.
                "listed": ask(ROWS[kind] + " WHERE deleted = 0 AND name > ''"),
                "about": ask(ABOUT[kind]),
                "policies": ask("SELECT * FROM policy_stat"),
                "check": ask("PRAGMA integrity_check"),
            }
    except (sqlite3.Error, OverflowError) as error:
        return {"error": str(error)}


# The digests, and how far replicas have sent rows to each other, which clients cannot see.
EXTRA_TABLES = (b"apus_row_digest", b"incoming_sync", b"outgoing_sync")


def everything(path):
    """All tables of a database but what SQLite and replication keep for themselves; for deciding whether a flip is visible."""
    try:
        with copied(path) as connection:
            made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
            tables = [name.decode() for kind, name, *_ in made if kind == b"table" and name not in EXTRA_TABLES]
            found = {name: connection.execute(f"SELECT rowid, * FROM {name} NOT INDEXED").fetchall() for name in tables}
            return made, found, connection.execute("PRAGMA integrity_check").fetchall()
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        return str(error)


def check_digests(cluster, findings):
    """The row about each database and its schema have digests: what replicators change is covered at once, not only
    when the auditor comes."""
    for (kind, hashed), by_node in databases(cluster).items():
        for node, path in by_node.items():
            with copied(path) as connection:
                (version,) = connection.execute("PRAGMA schema_version").fetchone()
                for what, row in ("row", 0), ("schema", -1 - version):
                    if not connection.execute("SELECT 1 FROM apus_row_digest WHERE row_id = ?", (row,)).fetchone():
                        findings.say(f"{kind} {hashed} on {node}: its {what} has no digest")


def compare_databases(cluster, findings, before=None, but=()):
    """Every primary has the same rows and statistics, and no other node has the database; returns them by (kind, hash),
    of all but some.

    `before` is what an earlier call gave: databases that were there then are there now, and rows have not become fewer.
    """
    same = {}
    for (kind, hashed), by_node in databases(cluster).items():
        if (kind, hashed) in but:
            continue
        ring = cluster.rings[kind]
        partition = int(hashed[:8], 16) >> ring._part_shift
        owners = {device["ip"] for device in ring.get_part_nodes(partition)}
        for node in by_node:
            if node.address not in owners:
                findings.say(f"{kind} {hashed}: on {node}, which is a handoff")
        copies = {node: read_database(kind, path) for node, path in by_node.items() if node.address in owners}
        first = next(iter(copies.values()))
        if len(copies) != len(owners):
            findings.say(f"{kind} {hashed}: only on {list(copies)}")
        for node, found in copies.items():
            if found.get("check") != [(b"ok",)]:
                findings.say(f"{kind} {hashed}: {found.get('check') or found.get('error')} on {node}")
            elif found["rows"] != first.get("rows"):
                differing = set(found["rows"]) ^ set(first.get("rows") or [])
                findings.say(f"{kind} {hashed}: {node} has other rows than another: {sorted(differing)[:4]}")
            elif found != first:
                findings.say(f"{kind} {hashed}: {node} says {found['about']} {found['policies']}, another {first}")
        same[kind, hashed] = first
    for key, old in (before or {}).items():
        if key in but:
            continue
        if key not in same:
            findings.say(f"{key}: gone everywhere")
        elif {row[0] for row in old["rows"]} - {row[0] for row in same[key].get("rows", [])}:
            findings.say(f"{key}: rows are gone everywhere")
    return same


def partitions(cluster):
    """(node, folder, directory of a partition of objects)."""
    for node in cluster.nodes:
        for folder in OBJECTS:
            for path in (node.disk / folder).iterdir() if (node.disk / folder).is_dir() else ():
                if path.name.isdigit():
                    yield node, folder, path


def believed(partition):
    """Suffix → hash, as a replicator believes it without looking; None when everything is hashed again."""
    hashes = read_hashes(str(partition))
    if not hashes.pop("valid", False):
        return None
    hashes.pop("updated", None)
    invalid = partition / "hashes.invalid"
    for line in invalid.read_bytes().splitlines() if invalid.exists() else ():
        hashes[line.decode(errors="replace").strip()] = None
    return {suffix: hashed for suffix, hashed in hashes.items() if len(suffix) == 3}


def check_hashes(cluster, findings):
    """Whatever a hash file says of a suffix is what Swift computes from the suffix's files."""
    for node, folder, path in partitions(cluster):
        says = believed(path)
        if says is None:
            continue
        manager = DiskFileManager({"devices": str(node.devices), "mount_check": "false"}, swift_code.LOGGER)
        suffixes = {inner.name for inner in path.iterdir() if inner.is_dir() and len(inner.name) == 3}
        for suffix in suffixes - says.keys():
            if any((path / suffix).iterdir()):
                findings.say(f"{node} {folder}/{path.name}: {suffix} is not in hashes.pkl")
        for suffix, hashed in says.items():
            if hashed is None:
                continue
            true = true_hash(manager, path / suffix)
            if true != hashed:
                findings.say(f"{node} {folder}/{path.name}: says {hashed} of {suffix}, it is {true}")


class TextHash:
    """As Swift wraps one."""

    def __init__(self):
        self.md5 = hashlib.md5()

    def update(self, text):
        self.md5.update(text.encode())


def true_hash(manager, suffix):
    """The hash of a suffix by Swift's rules, without what Swift tidies when it hashes."""
    if not suffix.is_dir() or not any(suffix.iterdir()):
        return None
    hashes = defaultdict(TextHash)
    for path in sorted(suffix.iterdir()):
        files = sorted((file.name for file in path.iterdir()), reverse=True)
        found = manager.get_ondisk_files(files, str(path), verify=False, policy=storage_policy.POLICIES[0])
        for key in ("meta_info", "ts_info"):
            if found.get(key):
                hashes[None].update(found[key]["timestamp"].internal + found[key]["ext"])
        manager._update_suffix_hashes(hashes, found)
        if found.get("ctype_info"):
            hashes[None].update(found["ctype_info"]["ctype_timestamp"].internal + "_ctype")
    return hashes[None].md5.hexdigest()
