"""Steps of a workload that together pass every fault point: writes of each kind, and each daemon with work to do.

A step goes on when servers die in the middle of it; it returns how many daemons were killed.
"""

import json
import signal
import time
from contextlib import suppress

from . import ledger, swift_code
from .clients import Refused
from .etc import KINDS
from .ledger import patiently
from .losses import lose
from .version_ledger import VersionWriter
from .waiting import wait_for_container_reports, wait_past
from .webhooks import Receiver

DAEMONS = (
    "object-updater", "object-replicator", "object-auditor", "object-expirer", "container-updater",
    "container-replicator", "container-lifecycle", "container-notifier", "container-reclaimer", "container-reconciler", "container-auditor",
    "account-replicator", "account-auditor", "account-reaper",
)  # fmt: skip
OPTIONS = {
    # Without limits: at Swift's rates a pass takes minutes when some thousand files have been written.
    "object-auditor": {"files_per_second": 0, "bytes_per_second": 0},
    "container-auditor": {"containers_per_second": 0},
    "account-auditor": {"accounts_per_second": 0},
    "object-updater": {"objects_per_second": 0},
    "container-updater": {"containers_per_second": 0},
    "account-reaper": {"delay_reaping": 0},
    "container-replicator": {"per_diff": 5},
    # What is written is due in the same second.
    "container-lifecycle": {"seconds_per_day": 1, "deletions_per_second": 0},
    # No request is in transit when it runs. In each interval another primary has its turn: in one day, a pass of all
    # nodes meets every container.
    "container-reclaimer": {"delay": 0, "interval": 86400},
    # Empty containers of the queue go at once.
    "container-reconciler": {"reclaim_age": 0},
    "account-replicator": {"per_diff": 5},
}


# The role of the commands `apus user` and `apus key`.
IDENTITIES = "identities"


class Killed(Exception):
    """A process died at a fault point, and the rest of the step would only wait for it."""


class StepCluster:
    """A cluster, its ledger, and a writer whose steps are taken one by one."""

    def __init__(self, cluster, seed=1):
        self.cluster, self.ledger, self.bucket = cluster, ledger.Ledger(), "matrix"
        self.writer = ledger.Writer(cluster, self.ledger, self.bucket, 0, seed)
        self.random, self.made = self.writer.random, 0
        # Containers with an object and a deletion in the wrong policy, all of which was acknowledged.
        self.misplaced, self.hours = [], 0
        cluster.s3().put(self.bucket)
        # A bucket that keeps versions, with a ledger of its own.
        self.versions = VersionWriter(cluster, "matrix-versions", seed)
        self.versions.create()

    @staticmethod
    def roles():
        return ("proxy", *(f"{kind}-server" for kind in KINDS), *DAEMONS, "object-relinker", IDENTITIES)

    def processes(self, role):
        """Names of the processes that have a role."""
        return ["proxy1"] if role == "proxy" else [f"{node.name}-{role}" for node in self.cluster.nodes]

    def fresh(self, what):
        self.made += 1
        return f"{what}{self.made}"

    def write(self, kind, key=None, size=None):
        sizes, self.writer.sizes = self.writer.sizes, (size,) if size is not None else self.writer.sizes
        try:
            self.writer.step(kind, key)
        finally:
            self.writer.sizes = sizes
        self.stop_at_kill()

    def attempt(self, work, *arguments, **options):
        """Runs a request and ignores its outcome, since a server may be killed by it."""
        try:
            work(*arguments, **options)
        except (OSError, Refused):
            self.stop_at_kill()

    def stop_at_kill(self):
        if self.killed_servers():
            raise Killed

    def killed_servers(self):
        return sum(process.was_killed for process in self.cluster.processes)

    def once(self, *roles, start=True, nodes=None):
        """Runs daemons; returns how many were killed. Servers that died meanwhile are started, unless `start` is false."""
        killed = 0
        for role in roles:
            running = [node.daemon(role, "--once").spawn() for node in nodes or self.cluster.nodes]
            codes = [daemon.running.wait(timeout=120) for daemon in running]
            killed += codes.count(-signal.SIGKILL) + self.killed_servers()
            if start:
                self.cluster.start()
        return killed

    def away(self, kind, *names, at=0):
        """A primary whose server is stopped."""
        node = self.cluster.placement(kind, *names).primaries[at]
        node.kill(kind)
        # It was this test that killed it, not a fault point.
        node.servers[kind].running = None
        return node


def writes(world):
    for size in (0, 10, 70_000, 700_000):
        key = world.fresh("write")
        for kind in ("put", "s3-put", "post", "delete", "put", "s3-delete"):
            world.write(kind, key, size)
    world.write("s3-create", world.fresh("create"), 10)


MANY_AT_ONCE_SECONDS = 0.5


def many_at_once(world):
    """Enough for the committer to make groups, since the syncs of single files are slow."""
    for process in world.processes("object-server"):
        world.cluster.faults.add(process, "file.sync.done pause:30")
    writers = [ledger.Writer(world.cluster, world.ledger, world.bucket, 100 + n, world.made, sizes=(100,)) for n in range(16)]
    world.made += 1
    for writer in writers:
        writer.start()
    # Also when a server was killed, since then no write may succeed.
    wait_past(time.time() + MANY_AT_ONCE_SECONDS)
    for writer in writers:
        writer.end()


def containers(world):
    swift, name = world.writer.swift, world.fresh("container")
    world.attempt(swift.put, name, b"", {"X-Container-Meta-A": "b"})
    world.attempt(swift.put, f"{name}/o", b"x")
    world.attempt(swift.post, name, {"X-Container-Meta-A": "c"})
    wait_for_container_reports()
    world.attempt(swift.delete, f"{name}/o")
    world.attempt(swift.delete, name)
    world.attempt(swift.post, "", {"X-Account-Meta-A": "c"})


def buckets(world):
    """A bucket is created, deleted, and created by another account."""
    s3, name = world.cluster.s3(), world.fresh("named")
    world.attempt(s3.put, name)
    world.attempt(s3.request, "DELETE", name)
    world.attempt(world.cluster.s3("test2:tester2", "testing2").put, name)


def late_rows(world):
    """Pending updates: one is damaged, and of two servers that were away one comes back before the other."""
    first, second = (world.away("container", "AUTH_test", world.bucket, at=at) for at in (0, 1))
    world.write("put", world.fresh("late"), 10)
    world.write("delete", f"late{world.made}")
    world.write("put", world.fresh("late"), 10)
    for node in world.cluster.nodes:
        for path in list(node.disk.glob("async_pending/*/*"))[:1]:
            path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    killed = world.killed_servers() + world.once("object-auditor", start=False)
    first.start("container")
    killed += world.once("object-updater", start=False)
    second.start("container")
    return killed + world.once("object-updater", "container-updater")


def handoffs(world):
    key = world.fresh("handoff")
    away = world.away("object", "AUTH_test", world.bucket, key)
    world.write("put", key, 5000)
    world.write("post", key)
    other = world.fresh("handoff")
    world.write("put", other, 5000)
    world.write("delete", other)
    away.start("object")
    return world.killed_servers() + world.once("object-replicator", "object-replicator")


def damaged_files(world):
    """One is found by a read, another by the auditor."""
    for is_read in (True, False):
        key = world.fresh("damaged")
        world.write("put", key, 5000)
        names = ["AUTH_test", world.bucket, key]
        placement = world.cluster.placement("object", *names)
        node = placement.primaries[0]
        where = f"objects/{placement.partition}/*/{swift_code.hash_path(*names)}/*.data"
        for file in node.disk.glob(where):
            file.write_bytes(b"damaged" * 700)
        if is_read:
            world.attempt(node.direct("object").request, "GET", placement.partition, names)
    return world.killed_servers() + world.once("object-auditor", "object-replicator")


def databases(world):
    swift = world.cluster.swift("test2:tester2", "testing2")
    few, many = world.fresh("few"), world.fresh("many")
    for name, rows in ((few, 2), (many, 30)):
        world.attempt(swift.put, name)
        away = world.away("container", swift.account, name)
        # One that a handoff gets in the primary's place.
        world.attempt(swift.put, world.fresh("elsewhere"))
        for number in range(rows):
            world.attempt(swift.put, f"{name}/o{number}", b"x")
        away.start("container")
    placement = world.cluster.placement("container", swift.account, few)
    # A handoff that got the database, and a primary that lost it.
    lost = placement.primaries[1]
    killed = world.killed_servers() + world.once("container-replicator")
    lost.kill("container")
    lost.servers["container"].running = None
    for path in lost.disk.glob(f"containers/{placement.partition}"):
        lose(path)
    lost.start("container")
    away = world.away("account", swift.account)
    world.attempt(swift.put, world.fresh("unseen"))
    world.attempt(swift.delete, f"unseen{world.made}")
    away.start("account")
    return killed + world.once("container-replicator", "container-replicator", "account-replicator", "container-updater")


def audits(world):
    """A damaged file of hashes and a damaged database on each node, and databases that no audit has seen."""
    swift, name = world.writer.swift, world.fresh("audited")
    world.attempt(swift.put, name)
    for number in range(40):
        world.attempt(swift.put, f"{name}/object-{number}", b"x")
    killed = world.once("object-replicator", "container-auditor")
    for node in world.cluster.nodes:
        for path in list(node.disk.glob("objects/*/hashes.pkl"))[:1]:
            path.write_bytes(b"damaged")
    placement = world.cluster.placement("container", swift.account, name)
    for number, node in enumerate(placement.primaries):
        path = swift_code.database_path(node.devices, node.device, "container", placement.partition, swift.account, name)
        # An ordinary stop, after which all is in the file itself.
        node.stop("container")
        if path.exists() and number < 2:
            # A name stands in its row and in an index: one is damaged here, the other there.
            whole = bytearray(path.read_bytes())
            at = whole.find(b"object-7") if number else whole.rfind(b"object-7")
            whole[at : at + 8] = b"objXct-7"
            path.write_bytes(whole)
        elif path.exists():
            # A row that Swift wrote has no digest yet.
            broker = swift_code.ContainerBroker(str(path))
            broker.put_object("of-swift", swift_code.Timestamp.now().internal, 1, "a/b", "etag")
            broker.get_info()
        node.start("container")
    return killed + world.once("container-auditor", "account-auditor", "object-auditor")


def expiry(world):
    swift, name = world.writer.swift, world.fresh("expiring")
    world.attempt(swift.put, name)
    for number in range(3):
        world.attempt(swift.put, f"{name}/o{number}", b"x", {"X-Delete-After": "1"})
    killed = world.killed_servers() + world.once("object-updater", "container-updater")
    wait_past(time.time() + 1)
    # The second pass finds containers of the queue empty.
    return killed + world.once("object-expirer", "object-expirer")


def reaping(world):
    swift = world.cluster.swift(f"own{world.made % 100}:tester")
    world.made += 1
    for name in ("one", "other"):
        world.attempt(swift.put, name)
        world.attempt(swift.put, f"{name}/o", b"x")
    killed = world.killed_servers() + world.once("container-updater")
    placement = world.cluster.placement("account", swift.account)
    for node in placement.primaries:
        world.attempt(node.direct("account").request, "DELETE", placement.partition, [swift.account])
    return killed + world.once("account-reaper", "account-reaper")


EXPIRING_RULES = b"""<LifecycleConfiguration><Rule><Prefix>expire/</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>
<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>"""

VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
NONCURRENT_RULES = b"""<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>
<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"""


def lifecycle(world):
    """Buckets with rules, under which an object, an upload and an old version are due in a second and others are not."""
    s3, bucket = world.cluster.s3(), world.fresh("lifecycle")
    world.attempt(s3.put, bucket)
    for key in ("expire/one", "expire/other", "keep/one"):
        world.attempt(s3.put, bucket, key, b"x" * 10)
    world.attempt(s3.request, "POST", bucket, "expire/upload", query={"uploads": ""})
    world.attempt(s3.request, "PUT", bucket, body=EXPIRING_RULES, query={"lifecycle": ""})
    versioned = f"{bucket}-versioned"
    world.attempt(s3.put, versioned)
    world.attempt(s3.request, "PUT", versioned, body=VERSIONING, query={"versioning": ""})
    for body in (b"old", b"new"):
        world.attempt(s3.put, versioned, "key", body)
    world.attempt(s3.request, "PUT", versioned, body=NONCURRENT_RULES, query={"lifecycle": ""})
    # A day of the rules is a second, and what is due then is so at the end of a day.
    wait_past(time.time() + 2)
    killed = world.killed_servers() + world.once("container-lifecycle", "container-lifecycle")
    try:
        kept = s3.get(bucket, "keep/one", expect=(200, 404)).status
        current = s3.get(versioned, "key", expect=(200, 404))
    except (OSError, Refused):
        return killed
    # It may be missing if its own write was cut off, but not once it was listed.
    if kept == 200 and not killed:
        assert s3.get(bucket, "expire/one", expect=(200, 404)).status == 404
    # The current version is not due, whichever write was the last one that succeeded.
    assert current.status == 404 or current.body in (b"old", b"new"), current
    return killed


def read_later(world, bucket, key, query=None):
    """Reads an object, and starts servers again that died just before: the answer, and how many these were."""
    until, killed = time.monotonic() + 20, 0
    while True:
        try:
            return patiently(lambda: world.cluster.s3().get(bucket, key, query=query, expect=(200, 404))), killed
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)
        killed += world.killed_servers()
        world.cluster.start()


def versions(world):
    """Versions of a key are written, hidden by a delete marker, and removed; one has a lock."""
    for key, kind in enumerate(("put", "put", "locked", "mark", "put", "remove", "remove-locked", "mark", "remove")):
        world.versions.step(kind, f"key{key % 2}")
        world.stop_at_kill()
    # The first version of a key that was there before its bucket kept versions.
    s3, bucket = world.cluster.s3(), world.fresh("kept")
    world.attempt(s3.put, bucket)
    try:
        s3.put(bucket, "key", b"first")
        s3.request("PUT", bucket, body=VERSIONING, query={"versioning": ""})
    except (OSError, Refused):
        return world.killed_servers()
    # Servers that were just started may have forgotten leases, and refuse old times of other writes.
    for node in world.cluster.nodes:
        node.kill("object")
        node.servers["object"].running = None
    for node in world.cluster.nodes:
        node.start("object")
    world.attempt(s3.put, bucket, "key", b"second")
    first, killed = read_later(world, bucket, "key", {"versionId": "null"})
    assert first.status == 200 and first.body == b"first", first
    return killed + world.killed_servers()


def uploads(world):
    """Uploads that are completed, replaced, aborted and deleted, whose parts are reclaimed when nothing needs them."""
    s3, bucket = world.cluster.s3(), world.fresh("uploads")
    world.attempt(s3.put, bucket)
    acknowledged = set()
    for key in ("kept", "replaced", "aborted", "deleted"):
        try:
            begun = s3.request("POST", bucket, key, query={"uploads": ""}).body.decode()
            upload = begun.partition("<UploadId>")[2].partition("</UploadId>")[0]
            etag = s3.put(bucket, key, key.encode() * 50, query={"uploadId": upload, "partNumber": 1}).headers["etag"]
            s3.put(bucket, key, b"not chosen", query={"uploadId": upload, "partNumber": 2})
            if key == "aborted":
                s3.delete(bucket, key, query={"uploadId": upload})
                continue
            chosen = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            s3.request("POST", bucket, key, chosen.encode(), query={"uploadId": upload})
            acknowledged.add(key)
        except (OSError, Refused):
            world.stop_at_kill()
    world.attempt(s3.put, bucket, "replaced", b"x")
    world.attempt(s3.delete, bucket, "deleted")
    with suppress(OSError, Refused):
        # The times of writes may be ahead of the clock after a restart, and what is ahead of it is not old enough.
        s3.put(bucket, "last", b"x")
        wait_past(float(world.writer.swift.get(f"{bucket}/last").headers["x-timestamp"]))
    killed = world.killed_servers() + world.once("object-updater", "container-reclaimer", "container-reclaimer")
    if "kept" in acknowledged:
        kept, more = read_later(world, bucket, "kept")
        killed += more
        assert kept.status == 200 and kept.body == b"kept" * 50, kept
    return killed


NOTIFICATIONS = b"""<NotificationConfiguration><QueueConfiguration><Queue>arn:apus:sqs::steps:webhook</Queue>
<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event></QueueConfiguration></NotificationConfiguration>"""


def notifications(world):
    """A bucket whose changes are events: those of requests that succeeded reach the webhook."""
    s3, bucket, acknowledged = world.cluster.s3(), world.fresh("notifications"), []
    world.attempt(s3.put, bucket)
    try:
        s3.request("PUT", bucket, body=NOTIFICATIONS, query={"notification": ""})
    except (OSError, Refused):
        return world.killed_servers()
    receiver = Receiver(world.cluster.webhook)
    try:
        for number in range(6):
            with suppress(OSError, Refused):
                s3.put(bucket, f"key{number}", b"x")
                acknowledged.append(("ObjectCreated:Put", f"key{number}"))
            world.stop_at_kill()
        with suppress(OSError, Refused):
            s3.delete(bucket, "key0")
            acknowledged.append(("ObjectRemoved:Delete", "key0"))
        killed = world.killed_servers() + world.once("container-notifier", "container-notifier")
        # A killed daemon repeats what it did not remove; the last pass may have lost a server to a kill.
        if not killed:
            missing = set(acknowledged) - set(receiver.names(bucket))
            assert not missing, missing
    finally:
        receiver.stop()
    return killed


def misplaced(world):
    """A container with two policies, the older of which wins: what was written and deleted in the other one moves."""
    account, name = world.writer.swift.account, world.fresh("misplaced")
    container = world.cluster.placement("container", account, name)
    first, *others = container.primaries
    for policy, nodes in ((0, [first]), (1, others)):
        for node in nodes:
            world.attempt(node.direct("container").request, "PUT", container.partition, [account, name], policy=policy)
    rows = {
        "X-Container-Host": ",".join(f"{node.address}:{KINDS['container']}" for node in container.primaries),
        "X-Container-Device": ",".join(node.device for node in container.primaries),
        "X-Container-Partition": str(container.partition),
        "Content-Type": "text/plain",
    }
    statuses = []
    # An hour of its own, so that there is a container of the queue that becomes empty.
    world.hours = world.hours % 100 + 1
    began = time.time() - 3600 * world.hours
    writes = (("PUT", "moved", b"x", 1), ("PUT", "gone", b"x", 0), ("DELETE", "gone", None, 1))
    for number, (method, key, body, policy) in enumerate(writes):
        placement = world.cluster.placement("object", account, name, key, policy=policy)
        stamped = {**rows, "X-Timestamp": swift_code.Timestamp(began + number).internal, "Content-Length": str(len(body or b""))}
        names = [account, name, key]
        for node in placement.primaries:
            with suppress(OSError):
                answer = node.direct("object").request(method, placement.partition, names, stamped, body, policy=policy)
                statuses.append(answer.status)
            world.stop_at_kill()
    if statuses == [201] * 6 + [404] * 3:
        world.misplaced.append(name)
    # Rows to all replicas, agreement about the policy, entries; then the queue is empty and goes.
    replicated = world.killed_servers() + world.once("container-replicator", "container-replicator", "container-replicator")
    killed = replicated + world.once("container-updater")
    # One after the other: those that race each other leave it to the next pass to see what they did.
    for node in world.cluster.nodes:
        killed += world.once("container-reconciler", nodes=[node])
    return killed + world.once("container-reconciler")


def check_misplaced(world):
    """In a quiet cluster every such object is in its container's policy, and every such deletion was done there."""
    world.once("object-updater", "container-replicator", "container-replicator", "container-replicator", "container-reconciler")
    world.cluster.restart_proxies()
    swift = world.writer.swift
    for name in world.misplaced:
        assert swift.names(name) == ["moved"], name
        assert swift.get(f"{name}/moved").body == b"x", name
        swift.get(f"{name}/gone", expect=404)
    assert world.misplaced, "nothing was misplaced"


def doubling(world):
    """An increase of the part power that is prepared, relinked, and cancelled."""
    cluster, killed = world.cluster, 0
    # One for the relinkers to link; the others the servers link themselves.
    world.write("put", world.fresh("before"), 10)

    def relinkers(step):
        running = [node.relinker(step).spawn() for node in cluster.nodes]
        codes = [relinker.running.wait(timeout=120) for relinker in running]
        assert set(codes) <= {0, -signal.SIGKILL}, (step, codes, running[0].tail())
        return codes.count(-signal.SIGKILL)

    cluster.change_part_power("prepare_increase")
    try:
        for kind in ("put", "post", "s3-put", "delete", "put"):
            world.write(kind, world.fresh("doubled") if kind == "put" else f"doubled{world.made}", 5000)
        killed = relinkers("relink")
    finally:
        cluster.change_part_power("cancel_increase")
        now = relinkers("cleanup")
        if now:
            cluster.faults.disarm()
            assert relinkers("cleanup") == 0
        cluster.change_part_power("finish_increase")
    return killed + now


def identities(world):
    """Users and keys that are created and deleted; each command is repeated as an operator would after a crash."""
    killed = 0

    def command(node, *arguments):
        process = node.command(IDENTITIES, *arguments, "--json", "--swiftdir", node.etc)
        before = process.log.stat().st_size if process.log.exists() else 0
        code = process.spawn().running.wait(timeout=60)
        text = process.log.read_bytes()[before:].decode()
        return code, text, [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def until_done(node, *arguments, also=""):
        """Runs a command until no fault ends it; returns what the last one printed."""
        nonlocal killed
        code, text, printed = command(node, *arguments)
        if code == -signal.SIGKILL:
            killed += 1
            world.cluster.faults.disarm(f"{node.name}-{IDENTITIES}")
            code, text, printed = command(node, *arguments)
            assert code == 0 or (also and also in text), (arguments, code, text)
        else:
            assert code == 0, (arguments, code, text)
        return printed

    for node in world.cluster.nodes:
        user = f"test:{world.fresh('user')}"
        until_done(node, "user", "create", user, also="exists already")
        [key] = until_done(node, "key", "create", "--user", user)
        [shown] = until_done(node, "user", "show", user)
        keys = [known["access_key"] for known in shown["keys"]]
        assert key["access_key"] in keys, (key["access_key"], keys)
        for known in keys:
            until_done(node, "key", "delete", known, also="does not exist")
        until_done(node, "key", "create", "--user", user)
        until_done(node, "user", "delete", user, also="does not exist")
    return killed


STEPS = {
    "writes": writes,
    "containers": containers,
    "buckets": buckets,
    "late-rows": late_rows,
    "handoffs": handoffs,
    "damaged-files": damaged_files,
    "databases": databases,
    "audits": audits,
    "expiry": expiry,
    "reaping": reaping,
    "lifecycle": lifecycle,
    "versions": versions,
    "uploads": uploads,
    "notifications": notifications,
    "misplaced": misplaced,
    "many-at-once": many_at_once,
    "doubling": doubling,
    "identities": identities,
}
