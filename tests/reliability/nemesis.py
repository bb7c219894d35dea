"""What goes wrong while clients work, again and again until told to stop; everything is right again afterwards.

Each kind is a context: inside the fault is there, after it is healed.
"""

import random
import threading
import time
from contextlib import contextmanager

from harness import etc

KINDS = tuple(etc.KINDS)


class Nemesis(threading.Thread):
    """Makes a fault of one kind after another, each for a moment."""

    def __init__(self, cluster, kinds, seed, *, network=None, span=(0.4, 1.5), rest=(0.1, 0.5)):
        super().__init__(daemon=True)
        self.cluster, self.kinds, self.network = cluster, kinds, network
        self.random, self.span, self.rest = random.Random(seed), span, rest
        self.stopped, self.made, self.unexpected = threading.Event(), 0, None

    def run(self):
        try:
            while not self.stopped.wait(self.random.uniform(*self.rest)):
                with FAULTS[self.random.choice(self.kinds)](self):
                    self.made += 1
                    self.stopped.wait(self.random.uniform(*self.span))
        except Exception as error:  # told to the main thread
            self.unexpected = error

    def end(self):
        self.stopped.set()
        self.join(60)
        assert not self.is_alive(), "the nemesis hangs"
        if self.unexpected is not None:
            raise self.unexpected

    def node(self):
        return self.random.choice(self.cluster.nodes)


@contextmanager
def kill(nemesis):
    """One server of a node, all of a node, or a proxy."""
    victims = nemesis.random.choice(
        [[nemesis.random.choice(nemesis.cluster.processes)], list(nemesis.node().servers.values())]
    )
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


@contextmanager
def ring(nemesis):
    """New rings, with another weight for one device: given to nodes and proxies one after another."""
    cluster = nemesis.cluster
    for name in etc.RINGS:
        etc.build(cluster.rings_folder, name, "set_weight", f"d{nemesis.random.randrange(4)}", nemesis.random.choice([60, 100, 140]))
        etc.build(cluster.rings_folder, name, "rebalance", "--seed", nemesis.random.randrange(1000))
    holders = [*cluster.nodes, *cluster.proxies]
    nemesis.random.shuffle(holders)
    for holder in holders:
        cluster.share_rings(only=[holder])
        time.sleep(0.05)
    yield


FAULTS = {function.__name__.replace("_", "-"): function for function in
          (kill, kill_objects, pause, pause_objects, partition, clock, ring)}  # fmt: skip
