"""SIGKILL of random processes at random moments under load: nothing acknowledged is lost, comes back or is torn."""

import random
import time

from apus_testing import checkers, figures, ledger, quiesce
from apus_testing.cluster import Cluster
from apus_testing.version_ledger import VersionWriter

KILLS = figures.amount(60, 300)
WRITERS = 6
BUCKET = "random-kills"


def test_random_kills_lose_nothing(tmp_path):
    seed = figures.seed()
    pace = random.Random(seed)
    with Cluster(proxies=2) as cluster:
        cluster.s3().put(BUCKET)
        written, verdict = ledger.Ledger(), ledger.Verdict()
        writers = [ledger.Writer(cluster, written, BUCKET, n, seed, proxy=n % 2) for n in range(WRITERS)]
        versions = VersionWriter(cluster, "random-kills-versions", seed)
        versions.create()
        for writer in (*writers, versions):
            writer.start()
        for number in range(KILLS):
            time.sleep(pace.uniform(0.02, 0.25))
            victim = pace.choice(cluster.processes)
            victim.kill()
            if pace.random() < 0.3:
                # A second one, before the first is back: at times two replicas of something.
                pace.choice(cluster.processes).kill()
            time.sleep(pace.uniform(0, 0.15))
            cluster.start()
            if number % 20 == 19:
                pause(writers)
                verdict = ledger.check(cluster, written, BUCKET)
                assert verdict.is_good, f"after {number + 1} kills, seed={seed}: {verdict.details[:5]}"
                writers = [ledger.Writer(cluster, written, BUCKET, n, f"{seed}/{number}", proxy=n % 2) for n in range(WRITERS)]
                for writer in writers:
                    writer.start()
        pause([*writers, versions])
        quiesce.settle(cluster)
        kept = versions.check(cluster)
        assert kept.is_good, f"seed={seed}: {kept.details[:5]}"
        verdict = ledger.check(cluster, written, BUCKET)
        figures.report(
            part="random-kills", kills=KILLS, acknowledged=written.acknowledged, keys=verdict.checked, versions=kept.checked,
            lost=verdict.lost, resurrected=verdict.resurrected, torn=verdict.torn, seed=seed,
        )  # fmt: skip
        assert verdict.is_good, verdict.details[:5]
        assert written.acknowledged > KILLS * 3
        checkers.check_all(cluster, "AUTH_test", BUCKET, sorted(written.allowed))


def pause(writers):
    for writer in writers:
        writer.end()
