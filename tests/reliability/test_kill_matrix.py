"""Every fault point in the sources is passed by some step, and kills at it lose nothing that was acknowledged.

The points are found by reading the sources. A first round without kills traces which step passes which point in which
role. Then each point is armed in that role on all nodes, the step is taken, whatever died is started again, and all
keys are checked. A point that no step passes fails the test, so that the matrix cannot rot.
"""

import random
import time
from contextlib import suppress

import pytest

from apus_testing import faults, figures, ledger, quiesce
from apus_testing.cluster import Cluster
from apus_testing.steps import OPTIONS, STEPS, Killed, StepCluster, check_misplaced

# Points of a planted bug: nothing passes them while the bug is off.
OF_BUGS = ".bug."
ROUNDS = figures.amount(1, 6)


def points():
    return [point for point in faults.points() if OF_BUGS not in point]


def chosen(seed):
    """All points, or in a slice half of them, by the seed: each is drawn sooner or later."""
    every = points()
    return every if figures.IS_FULL else sorted(random.Random(seed).sample(every, len(every) // 2))


@pytest.fixture(scope="module")
def traced():
    """Point → [(step, role)], the first step that passes it first."""
    assert faults.is_built_with_faults(), "the executable has no fault points: build it with --features faults"
    passed = {}
    with Cluster(options=OPTIONS, webhook=True) as cluster:
        world = StepCluster(cluster)
        for name, step in STEPS.items():
            for role in world.roles():
                for process in world.processes(role):
                    cluster.faults.arm(process, f"trace {cluster.folder / role}.trace")
            # A process notes a point once: new ones note it again.
            cluster.kill()
            cluster.start()
            step(world)
            cluster.faults.disarm()
            for role in world.roles():
                path = cluster.folder / f"{role}.trace"
                if path.exists():
                    for point in sorted(set(path.read_text().split())):
                        passed.setdefault(point, []).append((name, role))
                    path.unlink()
    return passed


def test_every_point_is_passed_by_a_step(traced):
    missing = [point for point in points() if point not in traced]
    assert not missing, f"no step of the workload passes {missing}"


def drive_into(world, point, places, everywhere):
    """Takes steps with the point armed until something died at it; returns how many processes did."""
    for step, role in places[:4]:
        armed = world.processes(role)
        if not everywhere:
            armed = [world.random.choice(armed)]
        for process in armed:
            world.cluster.faults.arm(process, f"{point} kill")
        killed = 0
        with suppress(Killed):
            killed = STEPS[step](world) or 0
        killed += world.killed_servers()
        world.cluster.faults.disarm()
        world.cluster.start()
        if killed:
            return killed
    return 0


ATTEMPTS = 3


def drive_all_into(world, point, places):
    """As `drive_into` with all processes armed, and with new processes when nothing died.

    Some points depend on the load. The committer, for example, stops making groups for a while when a sync was slow.
    """
    for _ in range(ATTEMPTS):
        if died := drive_into(world, point, places, everywhere=True):
            return died
        world.cluster.kill()
        world.cluster.start()
    return 0


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_kill_at_each_point_loses_nothing(traced, number):
    """In the first round all processes of a role have the point armed, in the others one that is drawn."""
    seed, kills, unreached = figures.seed(), 0, []
    with Cluster(options=OPTIONS, webhook=True) as cluster:
        world = StepCluster(cluster, seed + number)
        for point in filter(traced.__contains__, chosen(seed)):
            began = time.monotonic()
            died = drive_into(world, point, traced[point], False) if number else drive_all_into(world, point, traced[point])
            kills += died
            print(f"{point}: {died} died, {time.monotonic() - began:.1f} s", flush=True)
            if not died and number == 0:
                unreached.append(point)
            touched, world.ledger.touched = world.ledger.touched, set()
            verdict = ledger.check(cluster, world.ledger, world.bucket, keys=sorted(touched))
            if not verdict.is_good:
                # A note of a row that a step damaged is made again by the auditor, which may have been killed.
                cluster.once("object-auditor")
                verdict = ledger.check(cluster, world.ledger, world.bucket, keys=sorted(touched))
            assert verdict.is_good, f"after a kill at {point}, seed={seed}: {verdict.details[:5]}"
            if point.startswith("versions."):
                versions = world.versions.check(cluster)
                assert versions.is_good, f"after a kill at {point}, seed={seed}: {versions.details[:5]}"
        versions = world.versions.check(cluster)
        assert versions.is_good, f"seed={seed}: {versions.details[:5]}"
        verdict = ledger.check(cluster, world.ledger, world.bucket)
        figures.report(
            part="kill-matrix", round=number, points=len(points()), killed_at=len(chosen(seed)), kills=kills,
            acknowledged=world.ledger.acknowledged,
            lost=verdict.lost, resurrected=verdict.resurrected, torn=verdict.torn, seed=seed,
        )  # fmt: skip
        assert verdict.is_good, verdict.details[:5]
        assert not unreached, f"traced, and nothing died at {unreached}"
        # A damaged note of a row that an auditor was killed over is the next one's.
        cluster.once("object-auditor")
        quiesce.settle(cluster)
        if world.misplaced:
            check_misplaced(world)
