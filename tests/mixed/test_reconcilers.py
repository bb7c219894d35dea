"""What replicators of one kind queue, reconcilers of the other move: a container with two policies becomes one."""

import hashlib
import os
import shutil
import time
from urllib.parse import quote

import pytest
import requests
from swift.common import utils
from swift.common.ring import Ring

from apus_testing.testbed import KINDS, NODES

pytestmark = pytest.mark.skipif(not shutil.which("rsync") and not os.environ.get("CI"), reason="Swift's database replicators need rsync")
QUEUE = ".misplaced_objects"
ACCOUNT = "AUTH_test"
# Nodes of each kind; three of four are primaries, so there is one of each among them.
NODES_OF = {"swift": (1, 2), "apus": (3, 4)}
RIGHT, WRONG = 0, 1
BODY = b"misplaced " * 1000


class StorageServers:
    """Requests to the servers themselves, which say what each of them has."""

    def __init__(self, testbed):
        self.testbed = testbed
        # Swift's rings hash names with what stands there.
        utils.set_swift_dir(str(testbed.etc))
        rings = {"container": "container", "object": RIGHT, "object-1": WRONG}
        self.rings = {of: Ring(str(testbed.etc), ring_name=name) for name, of in rings.items()}
        self.node_of = {testbed.ip(node): node for node in NODES}

    def primaries(self, ring, *names):
        partition, devices = self.rings[ring].get_nodes(*names)
        return partition, [self.node_of[device["ip"]] for device in devices]

    def request(self, method, node, kind, partition, names, policy=None, headers=None, body=b"", query=""):
        sent = {"X-Timestamp": f"{time.time():016.5f}", **(headers or {})}
        if policy is not None:
            sent["X-Backend-Storage-Policy-Index"] = str(policy)
        path = quote("/".join(["sd1", str(partition), *names]))
        url = f"http://{self.testbed.ip(node)}:{KINDS[kind]}/{path}{query}"
        return requests.request(method, url, headers=sent, data=body if method == "PUT" else None, timeout=30)

    def write(self, method, container, name, policy, headers=None, body=b""):
        """An object's write, with rows to all replicas of the container."""
        names = [ACCOUNT, container, name]
        partition, nodes = self.primaries("container", ACCOUNT, container)
        rows = {
            "X-Container-Host": ",".join(f"{self.testbed.ip(node)}:{KINDS['container']}" for node in nodes),
            "X-Container-Device": ",".join("sd1" for _ in nodes),
            "X-Container-Partition": str(partition),
            "X-Timestamp": f"{time.time():016.5f}",
            "Content-Type": "text/plain",
            **(headers or {}),
        }
        partition, nodes = self.primaries(policy, *names)
        return [self.request(method, node, "object", partition, names, policy, rows, body).status_code for node in nodes]

    def copies(self, container, name, policy):
        names = [ACCOUNT, container, name]
        partition, nodes = self.primaries(policy, *names)
        return [self.request("GET", node, "object", partition, names, policy) for node in nodes]

    def policies(self, container):
        partition, nodes = self.primaries("container", ACCOUNT, container)
        answers = [self.request("HEAD", node, "container", partition, [ACCOUNT, container]) for node in nodes]
        return [int(answer.headers["X-Backend-Storage-Policy-Index"]) for answer in answers]

    def queued(self, container):
        """What each replica of this hour's queue has of a container; an hour may end meanwhile."""
        found = {}
        for hour in {int(at) // 3600 * 3600 for at in (time.time(), time.time() - 60)}:
            partition, nodes = self.primaries("container", QUEUE, str(hour))
            for node in nodes:
                answer = self.request("GET", node, "container", partition, [QUEUE, str(hour)], query="?format=json")
                rows = answer.json() if answer.status_code == 200 else []
                # While replicas disagree about the policy, what is in its place may be queued, too, and stays there.
                wrong = f"{WRONG}:/{ACCOUNT}/{container}/"
                here = [(row["name"], row["content_type"], row["hash"]) for row in rows if row["name"].startswith(wrong)]
                found.setdefault(node, []).extend(here)
        return list(found.values())


@pytest.fixture(scope="module")
def cluster(mixed):
    testbed = mixed(lambda node, kind: "swift" if node in NODES_OF["swift"] else "apus")
    for node in NODES:
        testbed.start_rsyncd(node)
    assert testbed.proxies["apus"].swift("PUT", "so-that-the-account-exists").status_code in (201, 202)
    return StorageServers(testbed)


def replicate(cluster, makers):
    """Once to agree, and once to queue what is misplaced."""
    for _ in range(2):
        for maker in makers:
            for node in NODES_OF[maker]:
                cluster.testbed.once(node, "container-replicator", maker)


@pytest.mark.parametrize("feeder, mover", [("swift", "apus"), ("apus", "swift")])
def test_what_one_queues_the_other_moves(cluster, feeder, mover):
    container = f"split-{feeder}-{mover}"
    partition, nodes = cluster.primaries("container", ACCOUNT, container)
    # The oldest is one whose replicator runs, so that it sends the right policy to all others.
    oldest = next(node for node in nodes if node in NODES_OF[feeder])
    for policy, holders in ((RIGHT, [oldest]), (WRONG, [node for node in nodes if node != oldest])):
        for node in holders:
            assert cluster.request("PUT", node, "container", partition, [ACCOUNT, container], policy).status_code == 201
    assert cluster.write("PUT", container, "deleted", RIGHT, body=b"x") == [201] * 3
    meta = {"X-Object-Meta-Color": "blue", "X-Object-Sysmeta-Kept": "yes", "X-Delete-At": str(int(time.time()) + 9999)}
    assert cluster.write("PUT", container, "moved", WRONG, meta, BODY) == [201] * 3
    assert cluster.write("PUT", container, "empty", WRONG) == [201] * 3
    assert cluster.write("PUT", container, "newer", WRONG, body=b"old") == [201] * 3
    assert cluster.write("DELETE", container, "deleted", WRONG) == [404] * 3
    assert cluster.write("PUT", container, "newer", RIGHT, body=b"new") == [201] * 3
    replicate(cluster, [feeder])
    assert cluster.policies(container) == [RIGHT] * 3
    names = {"deleted": "x-delete", "moved": "x-put", "empty": "x-put", "newer": "x-put"}
    expected = sorted((f"{WRONG}:/{ACCOUNT}/{container}/{name}", f"application/{kind}") for name, kind in names.items())
    queued = cluster.queued(container)
    assert [[row[:2] for row in rows] for rows in queued if rows] == [expected] * 3
    assert len({str(rows) for rows in queued if rows}) == 1, "with the same times"

    cluster.testbed.once(NODES_OF[mover][0], "container-reconciler", mover)
    for _ in range(2):
        assert [len(rows) for rows in cluster.queued(container)] == [0] * len(queued)
        for name, body in [("moved", BODY), ("empty", b""), ("newer", b"new")]:
            assert [answer.status_code for answer in cluster.copies(container, name, WRONG)] == [404] * 3
            right = cluster.copies(container, name, RIGHT)
            assert [answer.content for answer in right] == [body] * 3
            assert {answer.headers["Etag"].strip('"') for answer in right} == {hashlib.md5(body).hexdigest()}
        for answer in cluster.copies(container, "moved", RIGHT):
            assert {key: answer.headers[key] for key in meta} == meta
            assert answer.headers["X-Backend-Timestamp"].endswith("_0000000000000003")
        for policy in (RIGHT, WRONG):
            assert [answer.status_code for answer in cluster.copies(container, "deleted", policy)] == [404] * 3
        for proxy in cluster.testbed.proxies.values():
            assert proxy.swift("GET", container).text.split() == ["empty", "moved", "newer"]
            assert proxy.swift("GET", f"{container}/moved").content == BODY
        # What the moves themselves left in the databases moves nothing again.
        replicate(cluster, ["swift", "apus"])
        for maker in NODES_OF:
            cluster.testbed.once(NODES_OF[maker][0], "container-reconciler", maker)
