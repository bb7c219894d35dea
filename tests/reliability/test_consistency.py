"""Registers and sets over S3 while servers are killed, hang, are cut off, clocks jump and rings change: read-after-write
and list-after-write hold, as docs/reference/semantics.md promises them.

Histories are kept as JSON lines in the folder named by `APUS_HISTORIES`, when there is one. Listings may lag behind
while container servers do not answer, so sets run during faults of object servers, proxies, links of proxies and
clocks only.
"""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from apus_testing import figures, quiesce
from apus_testing.anomalies import check_registers, check_sets
from apus_testing.cluster import Cluster
from apus_testing.history import History, Keys, RegisterClient, SetClient
from apus_testing.link_cuts import LinkCuts
from apus_testing.nemesis import Nemesis

CLIENTS = 12
# As many operations as this, over at least as many seconds, so that faults happen meanwhile.
OPERATIONS = figures.amount(700, 10_000)
SECONDS = figures.amount(7, 60)
REGISTER_MIXES = [("none",), ("kill",), ("pause",), ("partition",), ("clock",), ("kill", "clock"), ("pause", "partition"),
                  ("ring",), ("ring", "kill"), ("kill", "partition", "clock")]  # fmt: skip
SET_MIXES = [("none",), ("kill-objects",), ("pause-objects", "clock"), ("ring",)]


def run(cluster, mix, seed, clients, network, bucket):
    """Drives clients and nemesis until there are enough records; returns the history."""
    history, began = History(), time.monotonic()

    def enough():
        return len(history.records) >= OPERATIONS and time.monotonic() > began + SECONDS

    def until():
        return enough() or time.monotonic() > began + SECONDS * 10

    cluster.s3().put(bucket)
    made = clients(history, until)
    # A change of rings takes its time: other faults happen at the same time.
    others = tuple(kind for kind in mix if kind not in ("none", "ring"))
    nemeses = [Nemesis(cluster, others, seed, network=network)] if others else []
    if "ring" in mix:
        nemeses.append(Nemesis(cluster, ("ring",), seed))
        for nemesis in nemeses[:-1]:
            # Proxies leave nodes alone for a minute after ten errors: with too many kills nothing else would be seen.
            nemesis.rest = (2, 4)
    for thread in [*made, *nemeses]:
        thread.start()
    for client in made:
        client.join()
    for nemesis in nemeses:
        nemesis.end()
    for client in made:
        if client.unexpected is not None:
            raise client.unexpected
    cluster.faults.disarm()
    cluster.start()
    if folder := os.environ.get("APUS_HISTORIES"):
        history.write(Path(folder) / f"{bucket}.jsonl")
    return history, {"faults": sum(n.made for n in nemeses), "moved": sum(n.replicas_moved for n in nemeses)}


def judge(part, mix, seed, history, made, anomalies):
    counts = history.counts()
    figures.report(part=part, mix="+".join(mix), operations=len(history.records), **made, **counts,
                 anomalies=len(anomalies), seed=seed)  # fmt: skip
    assert anomalies == [], f"seed={seed}: " + "\n".join(anomalies[:10])
    assert made["moved"] > 0 or "ring" not in mix, "no replica of a partition moved"
    assert counts["ok"] > OPERATIONS * 0.3, "nearly nothing succeeded"


@pytest.mark.parametrize("mix", REGISTER_MIXES, ids="+".join)
def test_registers_are_read_after_write(mix):
    seed = figures.seed()
    with Cluster(proxies=2) as cluster, LinkCuts(cluster) if "partition" in mix else nullcontext() as network:
        keys = Keys(RegisterClient.keys, RegisterClient.turns)
        bucket = f"register-{'-'.join(mix)}"

        def clients(history, until):
            return [RegisterClient(cluster, history, n, seed, until, bucket=bucket, proxy=n % 2, shared=keys) for n in range(CLIENTS)]

        history, made = run(cluster, mix, seed, clients, network, bucket)
        judge("registers", mix, seed, history, made, check_registers(history.records))
        if mix == REGISTER_MIXES[-1]:
            quiesce.settle(cluster)


@pytest.mark.parametrize("mix", SET_MIXES, ids="+".join)
def test_sets_are_list_after_write(mix):
    seed = figures.seed()
    with Cluster(proxies=2) as cluster:
        bucket = f"set-{'-'.join(mix)}"

        def clients(history, until):
            return [SetClient(cluster, history, n, seed, until, bucket=bucket, proxy=n % 2) for n in range(CLIENTS)]

        history, made = run(cluster, mix, seed, clients, None, bucket)
        judge("sets", mix, seed, history, made, check_sets(history.records))
