"""Makes faults while clients work until it is stopped, and repairs everything afterwards.

Each kind is a context: inside the fault is there, after it is healed.
"""

import random
import threading
import time
from contextlib import contextmanager

from . import etc, quiesce, rings

KINDS = tuple(etc.KINDS)


class Nemesis(threading.Thread):
    """Makes a fault of one kind after another, each for a moment."""

    def __init__(self, cluster, kinds, seed, *, network=None, span=(0.4, 1.5), rest=(0.1, 0.5)):
        super().__init__(daemon=True)
        self.cluster, self.kinds, self.network = cluster, kinds, network
        self.random, self.span, self.rest = random.Random(seed), span, rest
        self.stopped, self.made, self.unexpected = threading.Event(), 0, None
        self.replicas_moved = 0
        # Of each ring's devices: those that are not here have the weight of the beginning.
        self.weights = {}

    def run(self):
        try:
            while not self.stopped.wait(self.random.uniform(*self.rest)):
                with FAULTS[self.random.choice(self.kinds)](self):
                    self.made += 1
                    self.stopped.wait(self.random.uniform(*self.span))
        except Exception as error:  # raised by the main thread
            self.unexpected = error

    def end(self):
        self.stopped.set()
        self.join(180)
        assert not self.is_alive(), "the nemesis hangs"
        if self.unexpected is not None:
            raise self.unexpected

    def node(self):
        return self.random.choice(self.cluster.nodes)


@contextmanager
def kill(nemesis):
    """One server of a node, all of a node, or a proxy."""
    victims = nemesis.random.choice([[nemesis.random.choice(nemesis.cluster.processes)], list(nemesis.node().servers.values())])
    for victim in victims:
        victim.kill()
    yield
    for victim in victims:
        victim.start()


@contextmanager
def kill_objects(nemesis):
    """As `kill`, and leaves container servers alone, so that listings may not lag behind."""
    victim = nemesis.random.choice([*nemesis.cluster.proxies, *(node.servers["object"] for node in nemesis.cluster.nodes)])
    victim.kill()
    yield
    victim.start()


@contextmanager
def pause(nemesis):
    """A node that hangs."""
    node = nemesis.node()
    node.pause()
    yield
    node.resume()


@contextmanager
def pause_objects(nemesis):
    node = nemesis.node()
    node.pause("object")
    yield
    node.resume("object")


@contextmanager
def partition(nemesis):
    """One node alone, one way or both, or a proxy cut from one or two nodes."""
    cluster, network = nemesis.cluster, nemesis.network
    node = nemesis.node()
    others = [other for other in cluster.nodes if other is not node]
    shape = nemesis.random.choice(["alone", "one-way", "proxy", "halves"])
    if shape == "proxy":
        for cut in nemesis.random.sample(cluster.nodes, nemesis.random.choice([1, 2])):
            network.cut(nemesis.random.choice(cluster.proxies), cut, both=nemesis.random.random() < 0.5)
    elif shape == "halves":
        left = nemesis.random.sample(cluster.nodes, 2)
        right = [other for other in cluster.nodes if other not in left]
        network.halves([*left, cluster.proxies[0]], [*right, *cluster.proxies[1:]])
    else:
        for other in [*others, *cluster.proxies]:
            network.cut(node, other, both=shape == "alone")
    yield
    network.heal()


@contextmanager
def clock(nemesis):
    """The clocks of some processes, proxies above all, jump by up to a minute."""
    cluster = nemesis.cluster
    chosen = [*cluster.proxies, *nemesis.random.sample([s for node in cluster.nodes for s in node.servers.values()], 3)]
    for process in nemesis.random.sample(chosen, 3):
        cluster.faults.arm(process.name, f"clock {nemesis.random.uniform(-60, 60):.3f}")
    yield
    # They jump back, too.
    cluster.faults.disarm(*(process.name for process in chosen))


def moved(before, after):
    """For each ring and partition, how many replicas a rebalance moved; at most one, or reads may not see writes."""
    for name, old in before.items():
        for partition in range(old.partition_count):
            owners = [{device["id"] for device in ring.get_part_nodes(partition)} for ring in (old, after[name])]
            yield len(owners[0] - owners[1])


def has_old_data_on_handoffs(cluster, begun):
    """Whether a handoff has data that was written before; former primaries still get writes."""
    for path in quiesce.partitions_on_handoffs(cluster):
        for file in [*path.glob("*/*/*.data"), *path.glob("*/*/*.ts"), *path.glob("*/*/*.db")]:
            try:
                if file.suffix == ".db" or file.stat().st_mtime < begun:
                    return True
            except FileNotFoundError:
                continue
    return False


@contextmanager
def ring(nemesis):
    """New rings, with another weight for one device: nodes and proxies get them one after another, over seconds.

    As operators do, the next ones come when all have these, and when replicators have moved what is to move.
    """
    cluster, before = nemesis.cluster, dict(nemesis.cluster.rings)
    for name in etc.RINGS:
        device = f"d{nemesis.random.randrange(4)}"
        # Another weight than before, or nothing would have to move.
        others = [weight for weight in (50, 100, 150) if weight != nemesis.weights.get((name, device), 100)]
        nemesis.weights[name, device] = nemesis.random.choice(others)
        rings.build(cluster.rings_folder, name, "set_weight", device, nemesis.weights[name, device])
        rings.build(cluster.rings_folder, name, "rebalance", "--seed", nemesis.random.randrange(1000))
    holders = [*cluster.nodes, *cluster.proxies]
    nemesis.random.shuffle(holders)
    for holder in holders:
        cluster.share_rings(only=[holder])
        time.sleep(nemesis.random.uniform(0, 0.6))
    counts = list(moved(before, cluster.rings))
    assert max(counts) <= 1, "two replicas of a partition moved at once"
    nemesis.replicas_moved += sum(counts)
    yield
    time.sleep(2 * etc.RING_CHECK_INTERVAL)
    rounds, begun = 0, time.time()
    while rounds < 2 or (rounds < 10 and has_old_data_on_handoffs(cluster, begun)):
        rounds += 1
        for role in quiesce.REPLICATORS:
            running = [node.daemon(role, "--once").spawn() for node in cluster.nodes]
            # A server that is killed meanwhile is missed; the next round finds it again.
            for daemon in running:
                daemon.running.wait(timeout=120)


FAULTS = {function.__name__.replace("_", "-"): function for function in
          (kill, kill_objects, pause, pause_objects, partition, clock, ring)}  # fmt: skip
