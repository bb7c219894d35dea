"""Distribution of rings: pushed to servers that sign, fetched by servers that were down, and by proxies."""

import gzip
import hashlib
import hmac
import json
import random
import shutil
import subprocess
import time

import pytest
import requests
import swiftclient

from apus_testing import rings
from apus_testing.addresses import Network, free_port
from apus_testing.backend_signature import SignedRequest, exchange
from apus_testing.executables import APUS
from apus_testing.machine import Machine
from apus_testing.process import Process
from apus_testing.servers import KINDS
from apus_testing.waiting import wait_until

KEY, OTHER_KEY = "5a" * 32, "c3" * 32
FETCH_INTERVAL = 0.3
RINGS = [f"{kind}.ring.gz" for kind in KINDS]


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def statement(key, name, content, version, series=0, length=None):
    """What is said of a ring, written a second time from its description (lib/wire/src/rings/statement.rs)."""
    key = bytes.fromhex(key)
    said = {
        "name": name,
        "series": series,
        "version": version,
        "length": len(content) if length is None else length,
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
    }
    lines = "".join(f"{line}\n" for line in ["apus v1 ring file", *said.values()])
    said["key"] = mac(key, b"apus v1 key id")[:4].hex()
    said["mac"] = mac(mac(key, b"apus v1 ring files"), lines.encode()).hex()
    return json.dumps(said, separators=(",", ":"))


class RingNode(Machine):
    """Three servers at one address."""

    def __init__(self, folder, number, ip, swift_conf):
        self.number, self.ip = number, ip
        super().__init__(
            folder / f"etc{number}",
            folder / f"devices{number}",
            folder / f"cache{number}",
            addresses={kind: (ip, free_port()) for kind in KINDS},
            swift_conf=swift_conf,
            device_names=["sd1", "sd2"],
        )
        for kind in KINDS:
            self.conf(kind, f"recon_cache_path = {self.cache}\n")

    def endpoint(self, kind):
        return f"{self.ip}:{self.ports[kind]}"

    def start_all(self):
        for process in [self.spawn(kind) for kind in KINDS]:
            process.wait_ready()

    def ring(self, name="object.ring.gz"):
        return (self.etc / name).read_bytes()

    def objects(self):
        return list(self.devices.glob("*/objects/*/*/*/*.data"))

    def ask(self, method, path, body=None, said=None, key=KEY, kind="object", more=None):
        headers = {**({"X-Apus-Ring": said} if said else {}), **(more or {})}
        address = (self.ip, self.ports[kind])
        status, answer = SignedRequest(key, method, path, address, headers, body).send(address)
        return status, answer.decode(errors="replace")


class RingCluster:
    def __init__(self, folder):
        self.folder, self.builders = folder, folder / "builders"
        self.builders.mkdir()
        self.weight = 1.0
        conf = (
            "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n"
            f"[apus]\ncluster_key = {KEY}\nring_check_interval = 1000\nring_overlap = 0.01\nring_fetch_interval = {FETCH_INTERVAL}\n"
        )
        self.network = Network()
        self.nodes = [RingNode(folder, number, self.network.address(number), conf) for number in (1, 2, 3)]
        self.etc = folder / "etc-proxy"
        self.etc.mkdir()
        (self.etc / "swift.conf").write_text(conf)
        self.port, self.metrics = free_port(), free_port()
        (self.etc / "proxy-server.conf").write_text(
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {self.port}\n[app:proxy-server]\nuse = egg:swift#proxy\n"
            f"metrics_bind = 127.0.0.1:{self.metrics}\n[filter:tempauth]\nuser_test_tester = testing .admin\n"
        )
        self.proxy = Process("proxy", ["proxy-server", self.etc], self.etc / "proxy.log", address=("127.0.0.1", self.port))
        for kind in KINDS:
            self.build(kind, "create", "6", "3", "0")
            for node in self.nodes:
                for device in (1, 2):
                    self.build(kind, "add", f"r1z{node.number}-{node.endpoint(kind)}/sd{device}", "1")
            self.build(kind, "rebalance")
            for place in [self.etc, *[node.etc for node in self.nodes]]:
                shutil.copy(self.builders / f"{kind}.ring.gz", place)

    def build(self, kind, *words):
        rings.build(self.builders, kind, *words)

    def next(self, kind="object"):
        """A newer ring, in the folder of builders: its path. No partition moves."""
        self.weight += 0.001
        self.build(kind, "set_weight", "d5", str(self.weight))
        self.build(kind, "write_ring")
        return self.builders / f"{kind}.ring.gz"

    def run(self, *words, expect=0):
        if "--swift-dir" not in words:
            words = (*words, "--swift-dir", str(self.etc))
        done = subprocess.run([APUS, "ring", *map(str, words)], capture_output=True, text=True, timeout=60)
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done.stderr if expect == 2 else done.stdout

    def push(self, *words, expect=0):
        return json.loads(self.run("push", *words, "--json", expect=expect))

    def report(self, expect=0):
        return json.loads(self.run("report", "--json", expect=expect))

    def settled(self, path, name=None):
        """Waits until all nodes and the proxy have a ring."""
        name, content = name or path.name, path.read_bytes()
        places = [self.etc, *[node.etc for node in self.nodes]]
        wait_until(lambda: all((place / name).read_bytes() == content for place in places), f"{name} everywhere")

    def swift(self):
        url = f"http://127.0.0.1:{self.port}/auth/v1.0"
        return swiftclient.Connection(authurl=url, user="test:tester", key="testing", retries=0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = RingCluster(tmp_path_factory.mktemp("rings"))
    try:
        for node in cluster.nodes:
            node.start_all()
        cluster.proxy.start()
        yield cluster
    finally:
        for node in cluster.nodes:
            node.stop_all()
        assert cluster.proxy.stop() == 0
        cluster.network.close()


def version_of(path):
    from swift.common.ring.ring import RingData

    return RingData.load(str(path)).version


def outcomes(report):
    return [answer["outcome"] for answer in report["outcomes"]]


def test_rings_that_were_brought_by_hand_are_signed_by_a_push_and_the_report_shows_it(cluster):
    troubles = cluster.report(expect=1)["troubles"]
    assert len(troubles) == 27 and all("it was not pushed" in trouble for trouble in troubles), troubles
    paths = [cluster.builders / name for name in RINGS]
    report = cluster.push(*paths, "--dry-run")
    assert set(outcomes(report)) == {"has_it"}
    assert not list(cluster.folder.glob("etc*/*.signature"))
    assert set(outcomes(cluster.push(*paths))) == {"has_it"}
    assert cluster.report()["troubles"] == []
    wait_until(lambda: len(list(cluster.etc.glob("*.signature"))) == 3, "the proxy keeps what is said of its rings")


def test_a_push_reaches_every_node_once_and_is_in_force_in_every_process_at_once(cluster):
    path = cluster.next()
    version = version_of(path)
    report = cluster.push(path, "--dry-run")
    assert set(outcomes(report)) == {"would"} and cluster.nodes[0].ring() != path.read_bytes()
    report = cluster.push(path)
    # The servers of a node have one directory: the first one that is asked takes the ring, or the node fetched it.
    assert len(report["outcomes"]) == 9 and outcomes(report).count("installed") <= 3
    assert {answer["address"] for answer in report["outcomes"]} == {node.endpoint(kind) for node in cluster.nodes for kind in KINDS}
    answer = cluster.report()
    assert answer["troubles"] == []
    loaded = [ring["loaded_version"] for server in answer["servers"] for ring in server["rings"] if ring["name"] == "object.ring.gz"]
    assert loaded == [version] * 9
    for node in cluster.nodes:
        digests = requests.get(f"http://{node.endpoint('object')}/recon/ringmd5", timeout=10).json()
        assert digests[str(node.etc / "object.ring.gz")] == hashlib.md5(path.read_bytes()).hexdigest()
    cluster.settled(path)
    done = subprocess.run([APUS, "recon", "object", "--md5", "--swiftdir", str(cluster.etc)], capture_output=True, text=True)
    assert "3/3 hosts matched" in done.stdout, done.stdout


def test_a_node_that_was_down_and_the_proxy_come_by_a_ring_themselves_and_go_by_it(cluster):
    swift, (first, *_, last) = cluster.swift(), cluster.nodes
    swift.put_container("c")
    for number in range(8):
        swift.put_object("c", f"before-{number}", b"x")
    assert first.objects()
    before = set(first.objects())
    last.stop_all()
    for device in (1, 2):
        cluster.build("object", "set_weight", f"{first.endpoint('object')}/sd{device}", "0")
    for _ in range(6):
        cluster.build("object", "pretend_min_part_hours_passed")
        cluster.build("object", "rebalance")
    path = cluster.next()
    report = cluster.push(path, expect=1)
    missing = [answer for answer in report["outcomes"] if answer["outcome"] == "unreachable"]
    assert sorted(answer["address"] for answer in missing) == sorted(last.endpoint(kind) for kind in KINDS)
    assert outcomes(report).count("unreachable") + outcomes(report).count("installed") + outcomes(report).count("has_it") == 9
    troubles = cluster.report(expect=1)["troubles"]
    assert len(troubles) == 3 and all(last.ip in trouble for trouble in troubles), troubles
    last.start_all()
    cluster.settled(path)
    line = f'apus_ring_version{{ring="object.ring.gz"}} {version_of(path)}\n'
    metrics = f"http://127.0.0.1:{cluster.metrics}/metrics"
    wait_until(lambda: line in requests.get(metrics, timeout=10).text, "the proxy uses it")
    assert cluster.report()["troubles"] == []
    for number in range(8):
        swift.put_object("c", f"after-{number}", b"y")
    assert set(first.objects()) == before


def test_what_is_not_newer_is_refused_and_what_is_forced_wins_at_nodes_that_were_away(cluster):
    old, new = cluster.folder / "old", cluster.folder / "new"
    for place in (old, new):
        place.mkdir()
        shutil.copy(cluster.next("container"), place)
        cluster.push(place / "container.ring.gz")
    older, newer = version_of(old / "container.ring.gz"), version_of(new / "container.ring.gz")
    report = cluster.push(old / "container.ring.gz", expect=1)
    assert {answer["status"] for answer in report["outcomes"]} == {409}
    assert all(f"version {older}" in answer["reason"] and f"version {newer}" in answer["reason"] for answer in report["outcomes"])
    last = cluster.nodes[2]
    last.stop_all()
    report = cluster.push(old / "container.ring.gz", "--force", expect=1)
    assert report["rings"][0]["series"] == 1
    last.start_all()
    cluster.settled(old / "container.ring.gz")
    # What was signed before is refused from now on, from whomever it comes.
    content = (new / "container.ring.gz").read_bytes()
    said = statement(KEY, "container.ring.gz", content, newer)
    status, answer = last.ask("PUT", "/apus/rings/container.ring.gz", content, said)
    assert status == 409 and f"version {older} of series 1" in answer, answer
    cluster.settled(old / "container.ring.gz")
    report = cluster.push(cluster.next("container"))
    assert report["rings"][0]["series"] == 1
    cluster.settled(cluster.builders / "container.ring.gz")


def test_of_two_versions_that_are_pushed_at_once_the_higher_is_everywhere_in_the_end(cluster):
    places = []
    for name in ("a", "b", "c"):
        (cluster.folder / name).mkdir()
        places.append(cluster.folder / name / "account.ring.gz")
        shutil.copy(cluster.next("account"), places[-1])
    pushes = [
        subprocess.Popen([APUS, "ring", "push", str(place), "--swift-dir", str(cluster.etc)], stdout=subprocess.PIPE, text=True)
        for place in reversed(places)
    ]
    answer = [(push.communicate(timeout=30)[0], push.returncode) for push in pushes]
    assert answer[0][1] == 0, answer[0][0]
    assert all(code in (0, 1) for _, code in answer)
    cluster.settled(places[-1])
    # Rings that no test has pushed yet are reported as such.
    assert [trouble for trouble in cluster.report(expect=None)["troubles"] if "account.ring.gz" in trouble] == []


def test_nothing_but_a_good_ring_of_this_cluster_is_taken(cluster, tmp_path):
    node, content = cluster.nodes[0], cluster.next("account").read_bytes()
    version = version_of(cluster.builders / "account.ring.gz")
    name, path = "account.ring.gz", "/apus/rings/account.ring.gz"
    good = statement(KEY, name, content, version)
    flipped = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    damaged = gzip.compress(gzip.decompress(content)[:-1])
    larger = tmp_path / "account.builder"
    for words in (
        ["create", "7", "3", "0"],
        ["add", f"r1z1-{node.endpoint('account')}/sd1", "1", "--yes"],
        ["set_replicas", "1"],
        ["rebalance"],
    ):
        subprocess.run([APUS, "ring-builder", larger, *words], stdout=subprocess.DEVNULL)
    larger = tmp_path / "account.ring.gz"
    power, its_version = larger.read_bytes(), version_of(larger)
    before = {place: place.read_bytes() for place in node.etc.iterdir() if not place.name.endswith((".log", ".lock"))}
    refusals = [
        (
            401,
            "not signed",
            lambda: exchange((node.ip, node.ports["object"]), f"GET {path} HTTP/1.1\r\nHost: {node.endpoint('object')}\r\n\r\n".encode()),
        ),
        (401, "another cluster key", lambda: node.ask("PUT", path, content, good, key=OTHER_KEY)),
        (403, "another cluster key", lambda: node.ask("PUT", path, content, statement(OTHER_KEY, name, content, version))),
        (403, "does not fit", lambda: node.ask("PUT", path, content, good.replace(f'"version":{version}', f'"version":{version + 1}'))),
        (400, "than were signed", lambda: node.ask("PUT", path, flipped, good)),
        (400, "than were signed", lambda: node.ask("PUT", path, content[:-1], good)),
        (400, "version", lambda: node.ask("PUT", path, content, statement(KEY, name, content, version + 1))),
        (400, "not a gzip file", lambda: node.ask("PUT", path, b"no ring", statement(KEY, name, b"no ring", version))),
        (400, "fit", lambda: node.ask("PUT", path, damaged, statement(KEY, name, damaged, version))),
        (409, "part power 7 after 6", lambda: node.ask("PUT", path, power, statement(KEY, name, power, its_version, series=9))),
        (413, "expected at most", lambda: node.ask("PUT", path, content, statement(KEY, name, content, version, length=1 << 40))),
        (400, "x-apus-ring", lambda: node.ask("PUT", path, content)),
        (400, "object.ring.gz", lambda: node.ask("PUT", "/apus/rings/object.ring.gz", content, good)),
        (404, "expected account.ring.gz", lambda: node.ask("PUT", "/apus/rings/swift.conf", content, good)),
        (404, "expected account.ring.gz", lambda: node.ask("GET", "/apus/rings/..%2Fswift.conf")),
        (405, "expected GET", lambda: node.ask("DELETE", path)),
    ]
    for status, word, ask in refusals:
        found, answer = ask()
        answer = answer.decode() if isinstance(answer, bytes) else answer
        assert (found, word in answer) == (status, True), (status, word, found, answer)
    assert {place: place.read_bytes() for place in before} == before
    # Clients of the proxy do not come near it.
    answer = requests.get(f"http://127.0.0.1:{cluster.port}/apus/rings", timeout=10)
    assert answer.status_code >= 400 and b"sha256" not in answer.content
    assert cluster.push(cluster.builders / name)


def test_a_ring_that_was_altered_on_a_node_is_reported_and_not_passed_on(cluster):
    first = cluster.nodes[0]
    path, kept = first.etc / "object.ring.gz", first.ring()
    stranger = cluster.next().read_bytes()
    path.write_bytes(stranger)
    troubles = cluster.report(expect=1)["troubles"]
    assert any(first.ip in trouble and "not passed on" in trouble for trouble in troubles), troubles
    assert first.ask("GET", "/apus/rings/object.ring.gz")[0] == 404
    # Long enough for the others to ask for it several times.
    time.sleep(4 * FETCH_INTERVAL)
    assert [node.ring() == kept for node in cluster.nodes] == [False, True, True]
    report = cluster.push(cluster.builders / "object.ring.gz")
    assert set(outcomes(report)) <= {"installed", "has_it"}
    cluster.settled(cluster.builders / "object.ring.gz")
    assert cluster.report()["troubles"] == []


def test_a_node_that_is_killed_while_rings_come_has_a_whole_one_and_catches_up(cluster):
    node, rounds = cluster.nodes[1], random.Random(7)
    for _ in range(4):
        path = cluster.next("container")
        push = subprocess.Popen([APUS, "ring", "push", str(path), "--swift-dir", str(cluster.etc)], stdout=subprocess.DEVNULL)
        time.sleep(rounds.random() * 0.06)
        for kind in KINDS:
            node.stop(kind, kill=True)
        assert push.wait(timeout=30) in (0, 1)
        assert 0 < version_of(node.etc / "container.ring.gz") <= version_of(path)
        node.start_all()
    cluster.settled(path)
    wait_until(
        lambda: not any(node.ip in trouble for trouble in json.loads(cluster.run("report", "--json", expect=None))["troubles"]),
        "signed again",
    )
    assert not list(node.etc.glob("*.apus-unfinished"))


def test_a_new_node_takes_all_rings_of_another(cluster, tmp_path):
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    source = cluster.nodes[1]
    fetch = ["fetch", "--from", source.endpoint("account"), "--swift-dir", str(tmp_path), "--key-file", str(key)]
    assert cluster.run(*fetch).count("installed") == 3
    assert all((tmp_path / name).read_bytes() == source.ring(name) for name in RINGS)
    assert cluster.run(*fetch).count("has it") == 3
    key.write_text(OTHER_KEY)
    assert "another cluster key" in cluster.run(*fetch, expect=2)
    assert "swift.conf" in cluster.run(*fetch[:5], expect=2)


def test_in_an_open_cluster_rings_do_not_travel(cluster, tmp_path):
    node = RingNode(
        tmp_path, 9, cluster.network.address(9), (cluster.etc / "swift.conf").read_text().replace("[apus]", "[apus]\nbackend_auth = open")
    )
    for name in RINGS:
        shutil.copy(cluster.etc / name, node.etc)
    try:
        node.start("object")
        for ask in (lambda: node.ask("GET", "/apus/rings"), lambda: node.ask("PUT", "/apus/rings/object.ring.gz", b"x", "{}")):
            status, answer = ask()
            assert status == 403 and "cluster_key" in answer
        assert requests.get(f"http://{node.endpoint('object')}/apus/rings", timeout=10).status_code == 403
        assert "ring_fetch_interval has no effect" in (node.etc / "object.log").read_text()
    finally:
        node.stop_all()
    answer = cluster.run("push", cluster.builders / "object.ring.gz", "--swift-dir", str(node.etc), expect=2)
    assert "cluster_key" in answer
