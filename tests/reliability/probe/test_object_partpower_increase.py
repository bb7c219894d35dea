"""The number of partitions doubled under live traffic (Swift's `test_object_partpower_increase`, without erasure coding).

Each new ring reaches one proxy first, and what either writes meanwhile the other must find. `ring_overlap` is the
usual hour, so that goes on until the relinkers clean up. Writers go on through everything.
"""

import json

import pytest

from apus_testing import ledger, quiesce, replicas
from apus_testing.checkers import Findings
from apus_testing.cluster import Cluster

BUCKET, POWER = "doubled", 4
SIZES = (0, 5000, 200_000)


class Increase:
    """A cluster with two proxies, a writer at each, and objects of each phase."""

    def __init__(self, cluster):
        self.cluster, self.ledger, self.phases = cluster, ledger.Ledger(), 0
        self.by_proxy = [cluster.s3(proxy=number) for number in (0, 1)]
        self.by_proxy[0].put(BUCKET)

        def make(number):
            return ledger.Writer(cluster, self.ledger, BUCKET, number, 3, keys=8, pause=0.02, proxy=number % 2, sizes=SIZES)

        self.writers = [make(number) for number in range(2)]
        # Written in a phase only: what is never touched again must come through it, too.
        self.phase_writers = [make(number) for number in (10, 11)]

    def write(self):
        """Puts, posts and deletes objects of this phase by each proxy; the other one finds each at once."""
        for writer, reader in zip(self.phase_writers, reversed(self.by_proxy), strict=True):

            def key(name):
                return f"{writer.number}/{self.phases}/{name}"

            kept = [f"{writer.number}/{phase}/kept" for phase in range(self.phases)]
            steps = [
                ("put", key("kept")),
                ("s3-put", key("posted")),
                ("post", key("posted")),
                ("put", key("gone")),
                ("s3-delete", key("gone")),
            ]
            # Of the phases before one is written again, one posted to, one deleted.
            steps += list(zip(["s3-put", "post", "delete"], reversed(kept), strict=False))
            for kind, name in steps:
                writer.step(kind, name)
            for name in {name for _, name in steps}:
                self.judge(reader, name)
        self.phases += 1

    def judge(self, reader, key):
        found = ledger.read(reader, BUCKET, key)
        allowed = [state and (state.body(), state.meta) for state in self.ledger.states(key)]
        assert found in allowed, (
            f"{key} in phase {self.phases}: found {found and (found[0][:40], found[1])}, allowed {self.ledger.states(key)}"
        )

    def is_intact(self):
        """Whether every proxy finds what it should of all keys that are not being written."""
        for reader in self.by_proxy:
            for key in sorted(self.ledger.allowed):
                if int(key.split("/")[0]) in [writer.number for writer in self.phase_writers]:
                    self.judge(reader, key)

    def step(self, name):
        """The next ring: to one proxy, then, with writes between, to everybody."""
        first, *others = self.cluster.proxies
        self.cluster.change_part_power(name, [first])
        self.write()
        self.cluster.take_up_rings(others)
        self.write()

    def relinker(self, step, *options, code=0):
        """All nodes at once, as operators run it; returns what they say."""
        running = [node.relinker(step, *options) for node in self.cluster.nodes]
        for relinker in running:
            relinker.log.unlink(missing_ok=True)
            relinker.spawn()
        codes = [relinker.running.wait(timeout=60) for relinker in running]
        said = "".join(relinker.log.read_text() for relinker in running)
        assert codes == [code] * 4, said
        return said

    def misplaced(self, power):
        """Files that are not in the partition of this power."""
        places = [path for _, folder, _, path in replicas.object_directories(self.cluster) if folder == "objects"]
        wrong = [path for path in places if int(path.name[:8], 16) >> (32 - power) != int(path.parts[-3])]
        return [file for path in wrong for file in path.iterdir()]

    def finish(self, power):
        """The end: no name is left in another partition, nothing is lost, and replicators find nothing to do."""
        self.step("finish_increase")
        self.relinker("cleanup", code=2)
        for writer in self.writers:
            writer.end()
        assert self.misplaced(power) == []
        self.is_intact()
        quiesce.settle(self.cluster, auditors=True)
        verdict = ledger.check(self.cluster, self.ledger, BUCKET)
        assert verdict.is_good and verdict.checked > 40, verdict.details
        findings = Findings()
        replicas.compare_objects(self.cluster, findings)
        findings.check()
        self.cluster.once("object-replicator")
        for node in self.cluster.nodes:
            output = json.loads((node.cache / "object.recon").read_text())["replication_stats"]
            assert (output["objects_sent"], output["objects_removed"]) == (0, 0), output
        assert self.misplaced(power) == []
        assert not list(self.cluster.folder.glob("node*/devices/*/quarantined/*"))


@pytest.fixture
def increase():
    with Cluster(proxies=2, part_power=POWER) as cluster:
        increase = Increase(cluster)
        increase.write()
        for writer in increase.writers:
            writer.start()
        yield increase
        for writer in increase.writers:
            writer.stopped.set()


def test_main(increase):
    increase.relinker("relink", code=2)
    increase.step("prepare_increase")
    increase.relinker("relink")
    increase.relinker("cleanup", code=2)
    increase.write()
    linked = increase.misplaced(POWER)
    assert linked, "objects have both names"
    increase.step("increase")
    increase.is_intact()
    increase.relinker("cleanup")
    increase.write()
    assert "0 linked, 0 removed, 0 errors" in increase.relinker("cleanup", "--again")
    increase.finish(POWER + 1)


def test_canceled(increase):
    increase.step("prepare_increase")
    increase.relinker("relink")
    increase.write()
    increase.step("cancel_increase")
    increase.relinker("cleanup")
    increase.write()
    increase.is_intact()
    increase.finish(POWER)


def test_a_link_that_cannot_be_made_fails_strong_writes_alone_and_is_made_by_the_relinkers():
    with Cluster(part_power=POWER) as cluster:
        swift, s3 = cluster.swift(), cluster.s3()
        swift.put(BUCKET)
        cluster.change_part_power("prepare_increase")
        for node in cluster.nodes:
            cluster.faults.arm(f"{node.name}-object-server", "object.other-path.begun error")
        swift.put(f"{BUCKET}/plain", b"plain")
        s3.put(BUCKET, "strong", b"strong", expect=503)
        cluster.faults.disarm()
        cluster.restart_proxies()
        cluster.change_part_power("increase")
        swift.get(f"{BUCKET}/plain", expect=404)
        codes = [node.relinker("cleanup").spawn().running.wait(timeout=60) for node in cluster.nodes]
        assert codes == [0] * 4
        assert swift.get(f"{BUCKET}/plain").body == b"plain"
        s3.put(BUCKET, "strong", b"again")
        cluster.change_part_power("finish_increase")
        quiesce.settle(cluster)
        assert s3.get(BUCKET, "strong").body == b"again"
