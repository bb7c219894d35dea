"""Two proxies with different rings, which one replica of a partition was moved between: they see each other's writes.

The old primaries are a, b and c, the new ones b, c and d. Without the overlap of rings (docs/reference/semantics.md) a majority
of the one, a and b, has nothing in common with a majority of the other, c and d: each check must fail then. So the node of the
reader's ring that has the write is away during the reads. Otherwise a read may ask it first, return what was written, and
repair the others (`lib/store/src/quorum/repair.rs`), after which all reads succeed: by chance in two of three runs.
"""

import pytest

from apus_testing import etc, figures, rings
from apus_testing.clients import Refused
from apus_testing.cluster import Cluster
from apus_testing.waiting import wait_until

BUCKET = "moves"
READS = 6


class Moved:
    """A cluster whose first proxy has a new ring, and keys of a partition with one replica elsewhere in it."""

    def __init__(self, cluster, restarted, kind="object"):
        self.cluster, self.kind, self.old = cluster, kind, cluster.rings[kind]
        self.by_new, self.by_old = cluster.s3(proxy=0), cluster.s3(proxy=1)
        self.by_old.put(BUCKET)
        rings.build(cluster.rings_folder, kind, "set_weight", "d0", 40)
        rings.build(cluster.rings_folder, kind, "rebalance", "--seed", 3)
        if restarted:
            # It meets the new ring when it starts, and at its second start nothing is new.
            cluster.proxies[0].kill()
        cluster.share_rings(only=[cluster.proxies[0]])
        for _ in range(2 if restarted else 0):
            cluster.proxies[0].kill()
            cluster.proxies[0].start()
        self.new = cluster.rings[kind]
        log = cluster.logs / "proxy1.log"
        # Of a bucket in a ring of containers, or of an object in the bucket.
        self.keys = iter([key for key in map("key{}".format, range(2000)) if self.is_good(key)])
        if not restarted:
            self.wait(log)

    @staticmethod
    def wait(log):
        wait_until(lambda: b"new ring" in log.read_bytes(), "the proxy does not take up the ring", 20, 0.1)

    def nodes(self, ring, key):
        names = [BUCKET, key] if self.kind == "object" else [key]
        partition, primaries = ring.get_nodes("AUTH_test", *names)
        more = [device["ip"] for device in ring.get_more_nodes(partition)]
        return [device["ip"] for device in primaries], more

    def is_good(self, key):
        """Whether one replica moved, and who stands in for a dead primary is neither where it was nor where it is."""
        (old, stand_in), (new, other) = self.nodes(self.old, key), self.nodes(self.new, key)
        return len(set(old) - set(new)) == 1 and stand_in[0] not in new and other[0] not in old

    def place(self):
        """A key, and its nodes a, b, c and d."""
        key = next(self.keys)
        old, new = (set(self.nodes(ring, key)[0]) for ring in (self.old, self.new))
        by_address = {node.address: node for node in self.cluster.nodes}
        (a,), (d,), (b, c) = old - new, new - old, old & new
        return key, *(by_address[address] for address in (a, b, c, d))

    def has(self, s3, key, body, away):
        with self.cluster.without("object", away):
            for _ in range(READS):
                assert s3.get(BUCKET, key).body == body


def the_old_ring_sees_what_the_new_one_wrote(moved):
    key, _, b, c, _ = moved.place()
    moved.by_old.put(BUCKET, key, b"first")
    with moved.cluster.without("object", b):
        moved.by_new.put(BUCKET, key, b"second")
    moved.has(moved.by_old, key, b"second", away=c)


def the_new_ring_sees_what_the_old_one_wrote(moved):
    key, _, b, c, _ = moved.place()
    moved.by_old.put(BUCKET, key, b"first")
    # Its storage nodes get the ring, too, and move the data.
    moved.cluster.share_rings(only=moved.cluster.nodes)
    moved.cluster.once("object-replicator")
    with moved.cluster.without("object", c):
        moved.by_old.put(BUCKET, key, b"second")
    moved.has(moved.by_new, key, b"second", away=b)


def a_deletion_by_the_new_ring_is_seen_by_the_old_one(moved):
    key, _, b, c, _ = moved.place()
    moved.by_old.put(BUCKET, key, b"first")
    with moved.cluster.without("object", b):
        moved.by_new.delete(BUCKET, key)
    with moved.cluster.without("object", c):
        for _ in range(READS):
            moved.by_old.get(BUCKET, key, expect=404)


def only_one_conditional_write_wins(moved):
    key, _, b, c, _ = moved.place()
    with moved.cluster.without("object", b):
        moved.by_new.put(BUCKET, key, b"new", {"If-None-Match": "*"})
    with moved.cluster.without("object", c):
        moved.by_old.put(BUCKET, key, b"old", {"If-None-Match": "*"}, expect=412)
    moved.has(moved.by_old, key, b"new", away=c)


def a_long_body_by_the_new_ring_is_seen_by_the_old_one(moved):
    key, _, b, c, _ = moved.place()
    moved.by_old.put(BUCKET, key, b"first")
    body = b"0123456789" * 30_000
    with moved.cluster.without("object", b):
        # A connection to a node that was away in an earlier check is found broken only by using it.
        for _ in range(3):
            answer = moved.by_new.put(BUCKET, key, body, expect=(200, 503))
    assert answer.status == 200
    moved.has(moved.by_old, key, body, away=c)


CHECKS = [
    the_old_ring_sees_what_the_new_one_wrote,
    the_new_ring_sees_what_the_old_one_wrote,
    a_deletion_by_the_new_ring_is_seen_by_the_old_one,
    only_one_conditional_write_wins,
    a_long_body_by_the_new_ring_is_seen_by_the_old_one,
]


def a_bucket_that_the_new_ring_made_is_seen_by_the_old_one(moved):
    key, _, b, c, _ = moved.place()
    with moved.cluster.without("container", b):
        moved.by_new.put(key)
    with moved.cluster.without("container", c):
        for _ in range(READS):
            moved.by_old.head(key)


def a_bucket_that_the_old_ring_made_is_seen_by_the_new_one(moved):
    key, _, b, c, _ = moved.place()
    with moved.cluster.without("container", c):
        moved.by_old.put(key)
    with moved.cluster.without("container", b):
        for _ in range(READS):
            moved.by_new.head(key)
            assert moved.by_new.listing(key) == {}


def a_bucket_that_the_new_ring_deleted_is_gone_by_the_old_one(moved):
    key, _, b, c, _ = moved.place()
    moved.by_new.put(key)
    with moved.cluster.without("container", b):
        moved.by_new.delete(key)
    with moved.cluster.without("container", c):
        for _ in range(READS):
            moved.by_old.head(key, expect=404)
            moved.by_old.get(key, expect=404)


# The deletion comes first: it must not be repeated, and a connection to a node that was away in an earlier check is found
# broken only by using it.
BUCKET_CHECKS = [
    a_bucket_that_the_new_ring_deleted_is_gone_by_the_old_one,
    a_bucket_that_the_new_ring_made_is_seen_by_the_old_one,
    a_bucket_that_the_old_ring_made_is_seen_by_the_new_one,
]


@pytest.mark.parametrize("overlap, restarted", [(3600, False), (3600, True), (0.01, False)])
def test_proxies_with_different_rings_see_each_others_writes(overlap, restarted):
    find_failures("object", CHECKS, overlap, restarted)


@pytest.mark.parametrize("overlap", [3600, 0.01])
def test_proxies_with_different_rings_of_containers_see_each_others_buckets(overlap):
    find_failures("container", BUCKET_CHECKS, overlap)


def find_failures(kind, checks, overlap, restarted=False):
    """All checks must pass with an overlap of rings, and all fail without."""
    cluster = Cluster(nodes=6, proxies=2)
    for proxy in cluster.proxies:
        (proxy.etc / "swift.conf").write_text(f"{etc.SWIFT_CONF}ring_overlap = {overlap}\n")
    failed = []
    with cluster:
        moved = Moved(cluster, restarted, kind)
        for check in checks:
            try:
                check(moved)
            except (AssertionError, Refused) as error:
                failed.append((check.__name__, str(error)[:200]))
    figures.report(part="ring-changes", ring=kind, overlap=overlap, restarted=restarted, checks=len(checks), failed=len(failed))
    if overlap > 1:
        assert failed == []
    else:
        # Or these checks would find nothing.
        assert [name for name, _ in failed] == [check.__name__ for check in checks]
