"""A node that lost its files (Swift's `test_replication_servers_working`)."""

import re
from io import BytesIO

import pytest

from apus_testing import devices
from apus_testing.losses import lose

NOT_DATA = re.compile(r"(hashes\.(pkl|invalid)|\.?lock(-.+)?|.*\.pending|.*\.db-(wal|shm)|apus-.*)$")


def contents(disk):
    """Relative paths of what was stored, without databases' times in it, nor locks and what was on its way (swept after a day)."""
    names = {str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file() and not NOT_DATA.match(path.name)}
    return {name for name in names if not name.startswith(("tmp/", ".apus-locks/"))}


def object_files(disk):
    return {name for name in contents(disk) if name.startswith("objects")}


@pytest.mark.parametrize("reserved", [False, True], ids=["ordinary-names", "reserved-names"])
def test_a_wiped_node_is_filled_and_missing_files_are_found_by_their_hashes(cluster, swift, reserved):
    if reserved:
        internal = cluster.internal()
        internal.create_container(swift.account, "\0container")
        internal.upload_object(BytesIO(b"VERIFY"), swift.account, "\0container", "\0object")
    else:
        swift.put("container")
        swift.put("container/object", b"VERIFY")
    cluster.once("container-updater", "account-replicator", "container-replicator", "object-replicator")
    node = max(cluster.nodes, key=lambda node: len(contents(node.disk)))
    before = contents(node.disk)
    assert object_files(node.disk)

    # A new disk; databases that were open stay open in a server, so it is started again, as with a new disk.
    node.kill("account", "container")
    devices.wipe(node)
    node.start()
    replicators = ("account-replicator", "container-replicator", "object-replicator")
    cluster.once(*replicators)
    cluster.once(*replicators)
    assert before <= contents(node.disk)
    for invalid in node.disk.glob("objects/*/hashes.invalid"):
        assert invalid.read_bytes() == b"", "a suffix is not hashed yet"

    # Files that vanish behind the back of hashes.pkl need not be missed (Swift misses none) …
    suffixes = [path for path in node.disk.glob("objects/*/*") if path.is_dir()]
    files = object_files(node.disk)
    for suffix in suffixes:
        lose(suffix)
    cluster.once("object-replicator")
    assert object_files(node.disk) <= files
    # … until the hashes are computed again.
    for pickled in node.disk.glob("objects/*/hashes.pkl"):
        pickled.unlink()
    cluster.once("object-replicator")
    assert object_files(node.disk) == files
