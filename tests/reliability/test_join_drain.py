"""A node joins by `apus join` and another leaves by `apus drain`, under load: no request fails, nothing is lost.

The ring manager, the servers, their daemons and the proxies run as in production, and rings are distributed by the servers. The
load is every operation in both dialects, and each answer is judged. A request that fails once has failed.
"""

import json
import random
import shutil
import subprocess
import threading
import time

from apus_testing import etc, figures, quiesce, replicas, swift_code
from apus_testing.cluster import Cluster
from apus_testing.executables import APUS
from apus_testing.process import Process
from apus_testing.waiting import wait_until

KEY = "5e" * 32
MANAGER_PORT = 6203
# Seconds in which a new ring is everywhere, with room for a machine that does other things, too.
OVERLAP = 5
APUS_OPTIONS = {
    "cluster_key": KEY,
    "ring_manager": f"127.77.{{range}}.90:{MANAGER_PORT}",
    "ring_fetch_interval": 0.5,
    "ring_overlap": OVERLAP,
}
SELDOM = {"interval": 3600}
DAEMONS = {
    **{f"{kind}-replicator": {"interval": 1} for kind in etc.KINDS},
    "object-updater": {"interval": 1},
    "container-updater": {"interval": 2},
    **{f"{kind}-auditor": SELDOM for kind in etc.KINDS},
    "object-expirer": SELDOM,
    "account-reaper": SELDOM,
    "container-reconciler": SELDOM,
}
CLIENTS = figures.amount(3, 8)
KEYS_BEFORE = figures.amount(90, 2000)
TURNS = figures.amount(1, 4)
PATIENCE = figures.amount(150, 1200)


class Client(threading.Thread):
    """Works on names of its own until it is stopped, and knows what each answer must be."""

    def __init__(self, cluster, number, seed, proxy):
        super().__init__(name=f"client{number}", daemon=True)
        self.swift, self.s3 = cluster.swift(proxy=proxy), cluster.s3(proxy=proxy)
        self.container, self.random = f"join-{number}", random.Random(f"{seed}/{number}")
        self.objects, self.stopped = {}, threading.Event()
        self.requests, self.failed = 0, []
        self.put_container()

    def put_container(self):
        # By both names: a bucket of the account is its container.
        self.swift.put(self.container)

    def run(self):
        while not self.stopped.wait(0.02):
            self.step()

    def step(self):
        kind = self.random.choice(["put", "put", "get", "get", "get", "head", "delete", "list"])
        dialect = self.random.choice(["swift", "s3"])
        name = f"o{self.random.randrange(40):02}" if kind != "put" else f"o{self.random.randrange(60):02}"
        self.requests += 1
        try:
            getattr(self, kind)(dialect, name)
        except Exception as error:  # judged by the main thread
            self.failed.append(f"{time.time():.3f} {self.container}/{name} {dialect} {kind}: {error}")

    def put(self, dialect, name):
        body = self.random.randbytes(self.random.choice([0, 100, 5000, 90_000]))
        if dialect == "swift":
            self.swift.put(f"{self.container}/{name}", body)
        else:
            self.s3.put(self.container, name, body)
        self.objects[name] = body

    def read(self, dialect, verb, name):
        expect = 200 if name in self.objects else 404
        if dialect == "swift":
            return self.swift.request(verb, f"{self.container}/{name}", expect=expect)
        return self.s3.request(verb, self.container, name, expect=expect)

    def get(self, dialect, name):
        answer = self.read(dialect, "GET", name)
        assert answer.status == 404 or answer.body == self.objects[name], "another body"

    def head(self, dialect, name):
        answer = self.read(dialect, "HEAD", name)
        assert answer.status == 404 or answer.headers["content-length"] == str(len(self.objects[name])), "another length"

    def delete(self, dialect, name):
        if dialect == "swift":
            self.swift.delete(f"{self.container}/{name}", expect=204 if name in self.objects else 404)
        else:
            self.s3.delete(self.container, name)
        self.objects.pop(name, None)

    def list(self, dialect, _):
        if dialect == "swift":
            # Swift's dialect is eventual: which names are there is judged in S3's, and at the end.
            self.swift.listing(self.container)
            return
        listed = {name: size for name, (size, _) in self.s3.listing(self.container).items()}
        assert listed == {name: len(body) for name, body in self.objects.items()}, "another listing"


class ManagedCluster:
    """The cluster with all its daemons and its ring manager."""

    def __init__(self, cluster):
        self.cluster, self.rests = cluster, {}
        address = (f"127.77.{cluster.range}.90", MANAGER_PORT)
        folder = cluster.folder / "manager"
        folder.mkdir()
        (folder / "swift.conf").write_text(cluster.swift_conf)
        (folder / "ring-manager.conf").write_text(
            f"[ring-manager]\nbind_ip = {address[0]}\nbuilder_dir = {cluster.rings_folder}\nrebalance = automatic\ninterval = 0.5\n"
        )
        self.etc = folder
        self.key_file = folder / "key"
        self.key_file.write_text(KEY)
        faults = cluster.faults.file("ring-manager")
        self.manager = Process("ring-manager", ["ring-manager", str(folder)], cluster.logs / "ring-manager.log", faults, address)
        cluster.endings.append(self.end)

    def end(self):
        for process in [self.manager, *self.rests.values()]:
            process.kill()

    def start_daemons(self, node):
        self.rests[node.number] = node.daemon("rest")
        self.rests[node.number].spawn()

    def stop(self, node):
        assert self.rests.pop(node.number).stop() == 0
        node.stop()

    def apus(self, *words, codes=(0,), seconds=PATIENCE):
        """Runs a command; returns its words, or the object that it prints as JSON."""
        done = subprocess.run([APUS, *map(str, words)], capture_output=True, text=True, timeout=seconds)
        assert done.returncode in codes, f"{words}: {done.returncode}: {done.stdout}{done.stderr}{self.manager.tail(2000)}"
        return json.loads(done.stdout) if "--json" in words else done.stdout

    def status(self):
        return self.apus("ring", "pending", "--swift-dir", self.etc, "--json")

    def join(self, *more):
        """A new machine becomes a node; waits until it holds its share."""
        node = self.cluster.new_node()
        host = self.cluster.nodes[0].address
        words = ["join", host, "--device", f"{node.disk}:100", "--ip", node.address, "--swift-dir", node.etc]
        words += ["--key-file", self.key_file, "--json", *more]
        output = self.apus(*words)
        assert {device["ring"] for device in output["registered"]["devices"]} == set(etc.RINGS), output
        assert output["registered"]["zone"] == node.number, output
        assert (node.etc / "swift.conf").stat().st_mode & 0o777 == 0o600
        node.start()
        self.start_daemons(node)
        if figures.IS_FULL:
            # What was registered is known to the next manager.
            self.manager.kill()
            self.manager.start()
        # Once more: nothing is registered twice.
        output = self.apus(*words, "--wait")
        assert not any(device["added"] for device in output["registered"]["devices"]), output
        assert output["partitions"][f"{node.address}/{node.device}"] > 0
        return node

    def drain(self, node):
        """Empties a node and takes it away; returns what was on it at the end."""
        output = self.apus("drain", node.address, "--swift-dir", self.etc, "--json", codes=(1,))
        assert not output["safe_to_pull"] and output["drains"][0]["not_yet"], output
        refused = self.apus("drain", node.address, "--remove", "--swift-dir", self.etc, codes=(2,))
        assert refused == "", refused
        output = self.apus("drain", node.address, "--wait", "--swift-dir", self.etc, "--json")
        assert output["safe_to_pull"], output
        left = [path for path in node.disk.rglob("*") if path.suffix in (".data", ".meta", ".ts", ".db")]
        left += list(node.disk.glob("async_pending*/*/*"))
        self.stop(node)
        shutil.rmtree(node.disk)
        self.apus("drain", node.address, "--remove", "--swift-dir", self.etc)
        self.cluster.nodes.remove(node)
        wait_until(lambda: not self.is_known(node), f"{node} stays in the rings", PATIENCE, 0.5)
        return left

    def is_known(self, node):
        rings = [swift_code.Ring(str(self.cluster.nodes[0].etc), ring_name=ring) for ring in etc.RINGS]
        return any(device and device["ip"] == node.address for ring in rings for device in ring.devs)


def lost(clients):
    """Names that are read or listed otherwise than they were written, in either dialect."""
    wrong = []
    for client in clients:
        sizes = {name: len(body) for name, body in client.objects.items()}
        by_s3 = {name: size for name, (size, _) in client.s3.listing(client.container).items()}
        by_swift = {row["name"]: row["bytes"] for row in client.swift.listing(client.container)}
        for what, listed in (("S3", by_s3), ("Swift", by_swift)):
            if listed != sizes:
                wrong.append(f"{client.container}: {what} lists {set(listed.items()) ^ set(sizes.items())}")
        for name, body in client.objects.items():
            for dialect in ("swift", "s3"):
                answer = client.read(dialect, "GET", name)
                if answer.body != body:
                    wrong.append(f"{client.container}/{name}: {dialect} reads {len(answer.body)} bytes for {len(body)}")
    return wrong


def owners(cluster):
    """Where each replica lies, partition after partition of all rings. (Swift's Ring reads its file again by itself.)"""

    def parts(ring):
        return range(ring.partition_count)

    def address(device):
        return (device["ip"], device["device"])

    return [{address(device) for device in ring.get_part_nodes(part)} for ring in cluster.rings.values() for part in parts(ring)]


class Findings(list):
    say = list.append


def begin(cluster, seed):
    """The cluster at work, and clients with something in it that do nothing yet."""
    bed = ManagedCluster(cluster)
    bed.manager.start()
    for node in cluster.nodes:
        bed.start_daemons(node)
    clients = [Client(cluster, number, seed, number % 2) for number in range(CLIENTS)]
    for client in clients:
        for _ in range(KEYS_BEFORE // CLIENTS):
            client.put("swift", f"o{client.random.randrange(60):02}")
    return bed, clients


def test_a_node_joins_and_another_is_drained_while_no_request_fails():
    seed, began = figures.seed(), time.monotonic()
    with Cluster(nodes=4, proxies=2, part_power=figures.amount(5, 7), options=DAEMONS, apus=APUS_OPTIONS) as cluster:
        bed, clients = begin(cluster, seed)
        before = owners(cluster)
        wait_until(lambda: not bed.status()["cluster"]["replication_not_caught_up"], "replication", PATIENCE, 0.5)
        for client in clients:
            client.start()
        left = []
        for turn in range(TURNS):
            bed.join()
            left += bed.drain(cluster.nodes[0 if turn else 1])
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join(60)
            assert not client.is_alive(), f"{client.name} hangs"
        failed = [failure for client in clients for failure in client.failed]
        requests = sum(client.requests for client in clients)
        for rest in bed.rests.values():
            assert rest.stop() == 0
        bed.rests.clear()
        cluster.load_rings()
        quiesce.settle(cluster)
        wrong, findings = lost(clients), Findings()
        replicas.compare_objects(cluster, findings)
        replicas.compare_databases(cluster, findings)
        steps = bed.status()["steps"]
        moved = sum(len(old - new) for old, new in zip(before, owners(cluster), strict=True))
        figures.report(part="join+drain", requests=requests, failed=len(failed), lost=len(wrong), left=len(left), steps=steps,
                     moved=moved, seconds=int(time.monotonic() - began), seed=seed)  # fmt: skip
        assert failed == [], f"{len(failed)} of {requests}: " + "\n".join(failed[:10])
        assert wrong == [] and left == [] and findings == [], (wrong[:5], left[:5], findings[:5])
        assert moved > 0 and requests > 50 * CLIENTS


def dead_node():
    """A node that does not answer is drained: its data is copied elsewhere from other replicas, and it is never safe to pull."""
    with Cluster(nodes=4, proxies=2, options=DAEMONS, apus=APUS_OPTIONS) as cluster:
        bed, clients = begin(cluster, figures.seed())
        node = cluster.nodes[3]
        bed.rests.pop(node.number).kill()
        node.kill()
        bed.apus("drain", node.address, "--swift-dir", bed.etc, codes=(1,))

        def moved():
            status = bed.status()
            settled = status["gone"] and not status["pending"] and not status["cluster"]["replication_not_caught_up"]
            return settled and status["drains"][0]["partitions_in_ring"] == 0

        wait_until(moved, "its partitions are elsewhere", PATIENCE, 0.5)
        output = bed.apus("drain", node.address, "--swift-dir", bed.etc, "--json", codes=(1,))
        assert any("its contents are unknown" in text for text in output["drains"][0]["not_yet"]), output
        bed.apus("drain", node.address, "--remove", "--swift-dir", bed.etc, codes=(2,))
        assert lost(clients) == []


if figures.IS_FULL:

    def test_a_dead_node_is_drained_but_never_safe_to_pull():
        dead_node()
