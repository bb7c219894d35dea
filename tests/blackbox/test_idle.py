"""A cluster without clients does not open unchanged databases, and still repairs lost ones."""

import json
import urllib.request

import pytest

from apus_testing.addresses import free_port
from apus_testing.losses import lose
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until


class Idle(Saio):
    """Replicators go round and round; the other daemons have their usual intervals."""

    def prepare(self):
        self.start()
        self.stop()
        self.metrics = free_port()
        proxy = self.data / "etc/proxy-server.conf"
        bind = f"[app:proxy-server]\nmetrics_bind = 127.0.0.1:{self.metrics}\n"
        proxy.write_text(proxy.read_text().replace("[app:proxy-server]\n", bind))
        for kind in ["container", "account"]:
            path = self.data / f"etc/{kind}-server.conf"
            options = f"\n[{kind}-replicator]\ninterval = 0.2\ndatabases_per_second = 0\n"
            path.write_text(path.read_text() + options)
        path = self.data / "etc/object-server.conf"
        path.write_text(path.read_text() + "\n[object-replicator]\ninterval = 1\n")
        return self.start()

    def opens(self):
        """Databases opened so far, by the servers and daemons of all kinds."""
        address = f"http://127.0.0.1:{self.metrics}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("apus_database_opens_total "))

    def replicated(self, kind="container"):
        """When the last pass of a replicator ended, and what it did."""
        path = self.data / "cache/apus-passes.recon"
        last = json.loads(path.read_text()).get(f"{kind}-replicator", {}) if path.exists() else {}
        return last.get("ended", 0), last.get("report", {})

    def passes(self, count, kind="container"):
        """Waits for whole passes: the first one that ends had begun before."""
        for _ in range(count + 1):
            ended, _ = self.replicated(kind)
            wait_until(lambda: self.replicated(kind)[0] > ended, f"a pass of the {kind} replicator", 60)


@pytest.fixture
def idle(tmp_path):
    cluster = Idle(tmp_path / "data", "--dev-users").prepare()
    yield cluster
    assert cluster.stop() == 0


def test_passes_open_nothing_when_nothing_happened_and_a_lost_replica_comes_back(idle):
    swift = idle.swift()
    for number in range(5):
        swift.put_container(f"c{number}")
    swift.close()

    def opened_by_some_passes():
        before = idle.opens()
        idle.passes(2)
        return idle.opens() - before

    wait_until(lambda: opened_by_some_passes() == 0, "passes that open no database", 60)
    assert opened_by_some_passes() == 0
    report = idle.replicated()[1]
    assert report["attempted"] >= 15 and report["failure"] == 0
    assert report["no_change"] == 2 * report["attempted"]

    found = sorted((idle.data / "devices").glob("sd*/containers/*/*/*/*.db"))
    lost = found[0].parent
    lose(lost)
    wait_until(lambda: (lost / found[0].name).exists(), "the lost database is back", 60)
    wait_until(lambda: opened_by_some_passes() == 0, "passes that open no database", 60)


def test_a_lost_partition_of_objects_comes_back_though_nothing_else_happened(idle):
    swift = idle.swift()
    swift.put_container("c")
    for number in range(5):
        swift.put_object("c", f"o{number}", "some content")
    swift.close()

    def is_in_sync():
        idle.passes(1, "object")
        report = idle.replicated("object")[1]
        return report["attempted"] >= 15 and report["hashmatch"] == 2 * report["attempted"]

    wait_until(is_in_sync, "replicas are in sync", 60)
    # Longer than a partition that was written to counts as changed.
    idle.passes(5, "object")
    assert is_in_sync()
    for device in ["sd1", "sd2", "sd3", "sd4"]:
        found = sorted((idle.data / "devices" / device / "objects").glob("*/*/*/*.data"))
        if found:
            lose(found[0].parents[2])
            wait_until(found[0].exists, "the database is back", 60)
