"""Containers that were made twice, with two policies, by halves of a cluster that did not see each other (Swift's
`test_container_merge_policy_index`).

Names of the cluster's own, and versions, are written through Swift's proxy, since clients cannot and ours does not.
"""

import hashlib
import json
import subprocess
import time
from io import BytesIO

import pytest

from apus_testing import quiesce, swift_code
from apus_testing.etc import POLICIES
from apus_testing.executables import APUS
from apus_testing.swift_code import ContainerBroker, Timestamp

QUEUE = ".misplaced_objects"
OLD, NEW = 0, 1


class Brain:
    """A container, an object in it, and the two halves of its servers; through our proxy or through Swift's."""

    def __init__(self, cluster, swift, container, name, internal=None):
        self.cluster, self.swift, self.account, self.internal = cluster, swift, swift.account, internal
        self.container, self.name = container, name
        self.placement = cluster.placement("container", self.account, container)
        swift.put("so-that-the-account-exists")

    def half(self, which):
        """The other half is away inside the block, and the proxy has forgotten which policy the container had."""
        away = {"primary": self.placement.handoff_half, "handoff": self.placement.primary_half}[which]
        self.cluster.restart_proxies()
        return self.cluster.without("container", *away)

    def request(self, method, name=None, body=b"", headers=None, query="", expect=(2,)):
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        if self.internal is None:
            path = self.container if name is None else f"{self.container}/{name}"
            answer = self.swift.request(method, path, body if method in ("PUT", "POST") else None, headers, query, expect)
            return answer.headers, answer.body
        path = self.internal.make_path(self.account, self.container, name)
        params = dict(pair.split("=") for pair in query.split("&")) if query else None
        answer = self.internal.make_request(method, path, headers, expect, body_file=BytesIO(body), params=params)
        return {name.lower(): value for name, value in answer.headers.items()}, answer.body

    def put_container(self, policy, headers=None):
        self.request("PUT", headers={"X-Storage-Policy": POLICIES[policy], **(headers or {})})

    def put_object(self, body=b"VERIFY", headers=None):
        self.request("PUT", self.name, body, {"X-Object-Meta-Test": "custom-meta", **(headers or {})})

    def policies(self):
        """What each primary says is the container's policy."""
        found = []
        for node in self.placement.primaries:
            answer = node.direct("container").request("HEAD", self.placement.partition, [self.account, self.container], expect=2)
            found.append(int(answer.headers["x-backend-storage-policy-index"]))
        return found

    def copies(self, policy, name=None):
        """What each node answers to a HEAD of the object in a policy."""
        names = [self.account, self.container, name or self.name]
        placement = self.cluster.placement("object", *names, policy=policy)
        nodes = placement.primaries + placement.handoffs
        return [node.direct("object").request("HEAD", placement.partition, names, policy=policy) for node in nodes]

    def has(self, policy, name=None):
        return [answer.status for answer in self.copies(policy, name)].count(200)

    def queued(self):
        """Entries of the queue for this container, according to the account and the listings."""
        self.cluster.once("container-updater")
        internal = self.cluster.internal()
        found = []
        for queue in internal.iter_containers(QUEUE):
            for row in internal.iter_objects(QUEUE, queue["name"]):
                if f":/{self.account}/{self.container}/" in row["name"]:
                    found.append((row["name"].partition(":")[0], row["content_type"]))
        return found

    def replicate(self):
        """Until all agree on the policy, and once more, so that all have queued what is misplaced.

        A replica that has taken another's policy looks younger than one that has not yet, so it may take the wrong one
        again from that: Swift's rule (`cmp_policy_info`), which comes to its end when all have met the oldest.
        """
        quiesce.to_final_state(self.cluster)
        for _ in range(5):
            agreed = len(set(self.policies())) == 1
            self.cluster.once("container-replicator")
            if agreed:
                return
        raise AssertionError(f"replicas do not agree about the policy: {self.policies()}")

    def reconcile(self):
        """What is in the wrong policy is found, queued and moved."""
        self.replicate()
        reconcile(self.cluster)
        self.cluster.restart_proxies()

    def split(self, headers=None):
        """The container is older in one policy, and has an object in the other."""
        with self.half("handoff"):
            self.put_container(OLD, headers)
        with self.half("primary"):
            self.put_container(NEW, headers)
            self.put_object()
        assert sorted(self.policies()) == [OLD, NEW, NEW]

    def check_moved(self):
        assert self.has(OLD) == 0 and self.has(NEW) > 0
        self.reconcile()
        assert self.policies() == [OLD] * 3
        assert (self.has(OLD), self.has(NEW)) == (3, 0)
        headers, body = self.request("GET", self.name)
        assert (body, headers["x-object-meta-test"]) == (b"VERIFY", "custom-meta")
        assert self.queued() == []


def reconcile(cluster):
    """One pass, somewhere."""
    cluster.once("container-reconciler", nodes=cluster.nodes[:1])


@pytest.fixture(params=["clients", "reserved"])
def brain(cluster, swift, request):
    """A container and an object with names as clients give them, or of the cluster's own."""
    unique = time.time_ns()
    if request.param == "clients":
        return Brain(cluster, swift, f"container-{unique}", f"object-{unique}")
    return Brain(cluster, swift, f"\0container\0{unique}", f"\0object\0{unique}", cluster.internal())


@pytest.fixture
def clients_brain(cluster, swift):
    unique = time.time_ns()
    return Brain(cluster, swift, f"container-{unique}", f"object-{unique}")


def test_an_object_moves_to_the_older_policy(brain):
    brain.split()
    brain.check_moved()


def test_a_deletion_moves_to_the_older_policy(brain):
    with brain.half("handoff"):
        brain.put_container(OLD)
        brain.put_object()
    with brain.half("primary"):
        brain.put_container(NEW)
        brain.request("DELETE", brain.name, expect=(2, 404))
    assert sorted(brain.policies()) == [OLD, NEW, NEW]
    assert brain.has(OLD) == 3
    assert any("x-backend-timestamp" in answer.headers for answer in brain.copies(NEW)), "a tombstone is missing"
    brain.reconcile()
    assert brain.policies() == [OLD] * 3
    assert (brain.has(OLD), brain.has(NEW)) == (0, 0)
    brain.request("GET", brain.name, expect=(404,))
    assert brain.queued() == []


def test_a_large_object_whose_manifest_and_segments_are_in_two_policies_becomes_whole(clients_brain):
    brain, cluster = clients_brain, clients_brain.cluster
    manifest, whole = [], b""

    def write_segment(number):
        nonlocal whole
        body = b"VERIFY%02d" % number + bytes(100_000)
        name = f"manifest_part_{number:02d}"
        brain.request("PUT", name, body)
        manifest.append({"path": f"/{brain.container}/{name}", "etag": hashlib.md5(body).hexdigest(), "size_bytes": len(body)})
        whole += body

    with brain.half("handoff"):
        brain.put_container(OLD)
        for number in range(5):
            write_segment(number)
    with brain.half("primary"):
        brain.put_container(NEW)
        for number in range(5, 10):
            write_segment(number)
        # The proxy looks at each segment, and half of them are elsewhere.
        put = {"body": json.dumps(manifest).encode(), "query": "multipart-manifest=put"}
        brain.request("PUT", brain.name, **put, expect=(400,))
        # A manifest that gets in behind it, on one node, as Swift would have stored it.
        sneaked = f"{brain.name}-direct"
        entries = [{"name": item["path"], "hash": item["etag"], "bytes": item["size_bytes"]} for item in manifest]
        body = json.dumps(entries).encode()
        names = [brain.account, brain.container, sneaked]
        placement = cluster.placement("object", *names, policy=NEW)
        primaries = [node for node in brain.placement.primaries]
        headers = {
            "X-Container-Host": ",".join(f"{node.address}:6201" for node in primaries),
            "X-Container-Device": ",".join(node.device for node in primaries),
            "X-Container-Partition": str(brain.placement.partition),
            "X-Static-Large-Object": "True",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(body)),
        }
        placement.primaries[0].direct("object").request("PUT", placement.partition, names, headers, body, expect=201, policy=NEW)
    brain.reconcile()
    headers, body = brain.request("GET", sneaked, query="multipart-manifest=get")
    assert headers["x-static-large-object"].lower() == "true"
    kept = [{key: entry[key] for key in ("hash", "bytes", "name")} for entry in json.loads(body)]
    assert kept == entries
    headers, body = brain.request("GET", sneaked)
    assert (headers["x-static-large-object"].lower(), body) == ("true", whole)
    brain.request("PUT", brain.name, **put)
    headers, _ = brain.request("HEAD", brain.name)
    assert int(headers["content-length"]) == len(whole)
    assert brain.queued() == []


def test_a_symlink_moves_as_it_is(brain):
    target = "\0target" if brain.internal else "target"
    link = f"{brain.container}/{target}".replace("\0", "%00")
    stored = {
        "X-Object-Sysmeta-Symlink-Target": link,
        "X-Object-Sysmeta-Container-Update-Override-Etag": f"{hashlib.md5().hexdigest()}; symlink_target={link}",
        "Content-Type": "application/symlink",
    }
    with brain.half("handoff"):
        brain.put_container(OLD)
        brain.request("PUT", target, b"this is the target data")
    with brain.half("primary"):
        brain.put_container(NEW)
        if brain.internal:
            brain.request("PUT", brain.name, headers=stored)
        else:
            brain.request("PUT", brain.name, headers={"X-Symlink-Target": link, "Content-Type": "application/symlink"})
            # A proxy that follows it looks for its target in the policy of the link.
            brain.request("GET", brain.name, expect=(404,))
            headers, body = brain.request("GET", brain.name, query="symlink=get")
            assert (headers["x-symlink-target"], body) == (link, b"")
        brain.request("GET", target, expect=(404,))
    assert brain.has(NEW) == 3
    brain.reconcile()
    assert (brain.has(OLD), brain.has(NEW)) == (3, 0)
    found = [answer.headers for answer in brain.copies(OLD) if answer.status == 200]
    assert [headers["x-object-sysmeta-symlink-target"] for headers in found] == [link] * 3
    assert {headers["content-type"] for headers in found} == {"application/symlink"}
    if brain.internal is None:
        _, body = brain.request("GET", brain.name)
        assert body == b"this is the target data"
    assert brain.queued() == []


def test_an_object_is_moved_back_when_the_other_policy_turns_out_to_be_right(brain):
    old, new = NEW, OLD
    with brain.half("primary"):
        brain.put_container(old)
    with brain.half("handoff"):
        # Made again, so that this policy wins in the end.
        brain.put_container(old)
        brain.request("DELETE")
        brain.put_container(new)
        brain.put_object(b"OLDER")
        # With all servers there, by a proxy that remembers the policy.
        for node in brain.placement.primary_half:
            node.start("container")
        brain.put_object(headers={"X-Backend-Storage-Policy-Index": str(new)} if brain.internal else None)
    assert sorted(brain.policies()) == sorted([old, old, new])
    assert brain.has(new) == 3 and brain.has(old) == 0
    # No server that knows the new policy is up.
    with brain.half("primary"):
        for node in brain.placement.primary_half:
            assert node.once("container-replicator") == node.once("container-updater") == 0
        assert brain.queued() == [(str(new), "application/x-put")]
        reconcile(brain.cluster)
        assert (brain.has(old), brain.has(new)) == (3, 0)
    brain.replicate()
    assert (str(old), "application/x-put") in brain.queued()
    reconcile(brain.cluster)
    assert (brain.has(old), brain.has(new)) == (0, 3)
    brain.replicate()
    reconcile(brain.cluster)
    assert brain.queued() == []
    brain.cluster.restart_proxies()
    headers, body = brain.request("GET", brain.name)
    assert (body, headers["x-object-meta-test"]) == (b"VERIFY", "custom-meta")


@pytest.fixture
def versions_brain(cluster, swift):
    """Requests go through Swift's proxy with its object versioning."""
    unique = time.time_ns()
    internal = swift_code.internal_client(cluster.folder, cluster.proxies[0].etc, "listing_formats copy versioned_writes symlink")
    return Brain(cluster, swift, f"container-{unique}", f"object-{unique}", internal)


def check_versions(brain):
    """The object that was moved, and the one that is written over it now, are two versions."""
    brain.put_object(b"MODIFIED")
    _, listing = brain.request("GET", query="format=json&versions=true")
    versions = [(row["name"], row["version_id"]) for row in json.loads(listing)]
    bodies = [brain.request("GET", name, query=f"version-id={version}")[1] for name, version in versions]
    assert bodies == [b"MODIFIED", b"VERIFY"]
    assert brain.request("GET", brain.name)[1] == b"MODIFIED"


def test_an_object_that_was_moved_gets_versions_later(versions_brain):
    versions_brain.split()
    versions_brain.check_moved()
    versions_brain.request("POST", headers={"X-Versions-Enabled": "true"})
    check_versions(versions_brain)


def test_an_object_with_versions_is_moved(versions_brain):
    brain = versions_brain
    brain.split({"X-Versions-Enabled": "true"})
    brain.reconcile()
    assert brain.policies() == [OLD] * 3
    # The object is a link to its newest version, which lies in a container of the cluster's own.
    assert (brain.has(OLD), brain.has(NEW)) == (3, 0)
    headers, body = brain.request("GET", brain.name)
    assert (body, headers["x-object-meta-test"]) == (b"VERIFY", "custom-meta")
    check_versions(brain)
    assert brain.queued() == []


def test_a_newer_write_in_the_right_policy_stays(clients_brain):
    brain = clients_brain
    brain.split()
    with brain.half("handoff"):
        brain.put_object(b"NEWER")
    brain.reconcile()
    assert (brain.has(OLD), brain.has(NEW)) == (3, 0)
    assert brain.request("GET", brain.name)[1] == b"NEWER"
    assert brain.queued() == []


def test_metadata_that_was_changed_in_the_wrong_policy_moves_along(clients_brain):
    brain = clients_brain
    brain.split()
    with brain.half("primary"):
        brain.request("POST", brain.name, headers={"X-Object-Meta-Test": "changed", "Content-Type": "a/changed"})
    brain.reconcile()
    assert (brain.has(OLD), brain.has(NEW)) == (3, 0)
    headers, body = brain.request("GET", brain.name)
    assert (body, headers["x-object-meta-test"], headers["content-type"]) == (b"VERIFY", "changed", "a/changed")
    assert [row["content_type"] for row in brain.swift.listing(brain.container)] == ["a/changed"]
    brain.replicate()
    reconcile(brain.cluster)
    assert brain.queued() == []


def test_a_container_is_not_deleted_while_an_object_of_it_is_misplaced(clients_brain):
    brain = clients_brain
    brain.split()
    brain.replicate()
    brain.cluster.restart_proxies()
    assert brain.swift.names(brain.container) == [], "the object is not where the container's are"
    brain.request("DELETE", expect=(409,))
    reconcile(brain.cluster)
    assert brain.swift.names(brain.container) == [brain.name]


def test_rows_are_queued_by_swifts_rules_on_swifts_databases(clients_brain):
    brain = clients_brain
    brain.split()
    brain.replicate()
    for node in brain.placement.primaries:
        names = [brain.account, brain.container]
        path = swift_code.database_path(node.devices, node.device, "container", brain.placement.partition, *names)
        with swift_code.open_database(path, ContainerBroker) as broker:
            assert broker.storage_policy_index == OLD
            misplaced = broker.get_misplaced_since(-1, 100)
            assert [(row["name"], row["storage_policy_index"], row["deleted"]) for row in misplaced] == [(brain.name, NEW, 0)]
            assert broker.get_reconciler_sync() >= misplaced[0]["ROWID"], "it was queued"
            written = misplaced[0]["created_at"]
    queue = swift_code.reconciler_container(written)
    placement = brain.cluster.placement("container", QUEUE, queue)
    entry = f"{NEW}:/{brain.account}/{brain.container}/{brain.name}"
    for node in placement.primaries:
        path = swift_code.database_path(node.devices, node.device, "container", placement.partition, QUEUE, queue)
        with swift_code.open_database(path, ContainerBroker) as broker:
            rows = {name: rest for name, *rest in broker.list_objects_iter(1000, "", "", "", "")}
            assert rows[entry][1:] == [0, "application/x-put", written]
    reconcile(brain.cluster)
    assert brain.queued() == []
    moved = [Timestamp(answer.headers["x-backend-timestamp"]) for answer in brain.copies(OLD) if answer.status == 200]
    assert moved == [Timestamp(written, offset=3)] * 3


def test_an_operator_may_queue_what_the_queue_has_forgotten(clients_brain):
    brain = clients_brain
    brain.split()
    brain.reconcile()
    # A copy that only its disk knows of, newer than what is in the right policy.
    names = [brain.account, brain.container, brain.name]
    placement = brain.cluster.placement("object", *names, policy=NEW)
    written = Timestamp.now().internal
    headers = {"X-Timestamp": written, "Content-Type": "a/b", "Content-Length": "4", "X-Object-Meta-Test": "custom-meta"}
    for node in placement.primaries:
        node.direct("object").request("PUT", placement.partition, names, headers, b"LOST", expect=201, policy=NEW)
    assert brain.queued() == []
    path = "/" + "/".join(names)
    words = [APUS, "reconciler-enqueue", str(NEW), path, written, "--swiftdir", str(brain.cluster.nodes[0].etc)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{swift_code.reconciler_container(written)}\n"), done
    assert brain.queued() == [(str(NEW), "application/x-put")]
    reconcile(brain.cluster)
    assert brain.request("GET", brain.name)[1] == b"LOST"
    assert brain.queued() == []
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 0 and brain.queued() == [], "it was done with"
    assert subprocess.run([*words, "--force"], capture_output=True).returncode == 0
    assert brain.queued() == [(str(NEW), "application/x-put")]
    reconcile(brain.cluster)
    assert brain.queued() == []
    assert brain.request("GET", brain.name)[1] == b"LOST"
    assert subprocess.run([*words[:2], "9", *words[3:]], capture_output=True).returncode == 2


def test_what_was_promised_to_conditional_writes_since_holds_no_move_up(clients_brain):
    brain, s3 = clients_brain, clients_brain.cluster.s3()
    brain.split()
    s3.put("promised")
    for number in range(8):
        s3.put("promised", f"{brain.name}-{number}", b"x", {"If-None-Match": "*"})
    # What was promised before a start counts for all names of a device.
    for node in brain.cluster.nodes:
        node.restart("object")
    brain.check_moved()
