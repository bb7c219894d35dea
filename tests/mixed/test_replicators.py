"""Replicators of both kinds bring everything to where it belongs, to servers of either kind."""

import os
import shutil
import sqlite3
from collections import defaultdict

import pytest

from apus_testing.testbed import KINDS, NODES
from apus_testing.workload import Workload

pytestmark = pytest.mark.skipif(not shutil.which("rsync") and not os.environ.get("CI"), reason="Swift's database replicators need rsync")
# Two of one kind and two of the other.
SWIFTS = (1, 2)


@pytest.fixture(scope="module")
def half(mixed):
    testbed = mixed(lambda node, kind: "swift" if node in SWIFTS else "apus")
    for node in NODES:
        testbed.start_rsyncd(node)
    return testbed


def copies(testbed, folder):
    """Files by hash directory and node: names of objects' files, rows of databases."""
    found = defaultdict(dict)
    for node in NODES:
        for path in testbed.device(node).glob(f"{folder}/*/*/*/"):
            files = sorted(file.name for file in path.iterdir() if not file.name.startswith(".lock"))
            if folder == "objects":
                found[path.name][node] = files
            else:
                found[path.name][node] = [row for file in files if file.endswith(".db") for row in rows(path / file)]
    return found


def rows(path):
    """What replicas of a database have to agree about."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "object" in tables:
            columns = "name, created_at, size, content_type, etag, deleted, storage_policy_index FROM object"
        else:
            columns = "name, put_timestamp, delete_timestamp, object_count, bytes_used, deleted FROM container"
        return sorted(database.execute(f"SELECT {columns}"))


def tombstones_only(files):
    return all(name.endswith(".ts") for name in files)


def settle(testbed):
    """One pass of every replicator: each node sends what it has to all others."""
    for node in NODES:
        for kind in KINDS:
            testbed.once(node, f"{kind}-replicator")


def assert_whole(testbed):
    for folder in ["objects", "containers", "accounts"]:
        for name, by_node in copies(testbed, folder).items():
            by_node = {node: files for node, files in by_node.items() if files}
            # A deleted container has no rows anywhere.
            if not by_node:
                continue
            if folder == "objects" and all(tombstones_only(files) for files in by_node.values()):
                continue
            assert len(by_node) == 3, (folder, name, by_node)
            assert len({str(files) for files in by_node.values()}) == 1, (folder, name, by_node)


def test_a_wiped_node_of_each_kind_is_refilled_by_those_of_the_other(half):
    apus, swift = half.proxies["apus"], half.proxies["swift"]
    load = Workload("one", apus, swift, exact=False).run()
    settle(half)
    load.exact = True
    load.verify()
    assert_whole(half)
    for node in [SWIFTS[0], NODES[-1]]:
        for kind in KINDS:
            half.stop_server(node, kind)
        half.empty_device(node)
        for kind in KINDS:
            half.start_server(node, kind)
        settle(half)
        assert_whole(half)
        load.verify()
