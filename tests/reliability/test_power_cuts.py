"""Power cuts of all nodes at once and of single ones, on real file systems: nothing acknowledged is lost.

Each device is an image of its own. A cut is the file system's shutdown ioctl, which drops all that was not synced, and
kill -9 of the servers; then unmount, mount, start. Needs root and loop devices.
"""

import random
import time

import pytest

from apus_testing import devices, figures, ledger, quiesce
from apus_testing.cluster import Cluster

WRITERS = 6
BUCKET = "power-cuts"
SIZES = (0, 10, 5000, 70_000, 200_000)
WHOLE, SINGLE = figures.amount(8, 15), figures.amount(8, 100)


def load(cluster, written, seed):
    writers = [ledger.Writer(cluster, written, BUCKET, n, seed, sizes=SIZES) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    return writers


def cut(images, nodes):
    """The power of some nodes goes: their file systems first, all within milliseconds, then their processes."""
    for node in nodes:
        images[node].cut_power()
    for node in nodes:
        node.kill()


def restore(images, nodes):
    for node in nodes:
        images[node].unmount()
        images[node].mount()
    for node in nodes:
        node.start()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts_lose_nothing(kind):
    seed = figures.seed()
    pace, written = random.Random(seed), ledger.Ledger()
    cluster = Cluster(mount_check=True)
    with devices.images(cluster, kind) as images, cluster:
        cluster.s3().put(BUCKET)
        cuts = ["whole"] * WHOLE + ["single"] * SINGLE
        pace.shuffle(cuts)
        for number, what in enumerate(cuts):
            writers = load(cluster, written, f"{seed}/{number}")
            time.sleep(pace.uniform(0.1, 0.6))
            nodes = list(cluster.nodes) if what == "whole" else [pace.choice(cluster.nodes)]
            cut(images, nodes)
            if what == "whole":
                # No storage server is up any longer; the proxy would only wait.
                cluster.proxy.kill()
            else:
                time.sleep(pace.uniform(0, 0.2))
            for writer in writers:
                writer.end()
            restore(images, nodes)
            cluster.start()
            verdict = ledger.check(cluster, written, BUCKET)
            assert verdict.is_good, f"after cut {number + 1} ({what}), seed={seed}: {verdict.details[:5]}"
        quiesce.settle(cluster)
        verdict = ledger.check(cluster, written, BUCKET)
        figures.report(
            part="power-cuts", fs=kind, whole=WHOLE, single=SINGLE, acknowledged=written.acknowledged,
            lost=verdict.lost, resurrected=verdict.resurrected, torn=verdict.torn, seed=seed,
        )  # fmt: skip
        assert verdict.is_good, verdict.details[:5]
        assert written.acknowledged > len(cuts) * 3


def test_a_device_that_is_not_mounted_is_not_filled():
    cluster = Cluster(mount_check=True)
    with devices.images(cluster, "ext4") as images, cluster:
        s3 = cluster.s3()
        s3.put(BUCKET)
        for number in range(10):
            s3.put(BUCKET, f"before{number}", b"x" * 100)
        node = cluster.nodes[1]
        node.stop()
        images[node].unmount()
        node.start()
        for number in range(10):
            s3.put(BUCKET, f"after{number}", b"x" * 100)
        cluster.once("object-updater", "object-replicator", "container-replicator", "account-replicator")
        assert list(node.disk.iterdir()) == [], "the bare mount point was filled"
        node.stop()
        images[node].mount()
        node.start()
        assert len(s3.listing(BUCKET)) == 20
