"""Single flipped bits in every file on the disks: none is served, one pass of the auditors finds all that matter, and one
pass of the replicators repairs them.

Each round: some writes that a node misses, updates that wait, flips of at most one copy of each thing, reads of
everything through the proxy and of what was damaged straight from its server, auditors, updater, replicators; then all
disks are compared, read by Swift's own code. A flip is visible when what the file says has changed.
"""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import urllib.request
from contextlib import contextmanager

import pytest
from swift.obj import diskfile

from apus_testing import bit_rot, checkers, etc, figures, quiesce, replicas, swift_code
from apus_testing.cluster import Cluster
from apus_testing.executables import APUS
from apus_testing.filled_cluster import CHANGES, THINGS, FilledCluster

ROUNDS = 4
# Flips of a round by kind: 50 in the slice, 400 in the whole.
FLIPS = {
    "data": figures.amount(14, 140), "xattrs": figures.amount(10, 86), "databases": figures.amount(10, 40),
    "hashes": figures.amount(6, 44), "async": figures.amount(6, 40), "rings": figures.amount(4, 50),
}  # fmt: skip
AUDITORS = ("object-auditor", "container-auditor", "account-auditor")
FAST = {
    "object-auditor": {"files_per_second": 0, "bytes_per_second": 0},
    "container-auditor": {"containers_per_second": 0},
    "account-auditor": {"accounts_per_second": 0},
    "app:object-server": {"quarantines_per_hour": 100_000},
}


class Run:
    """Rounds over one cluster, and what came of them."""

    def __init__(self, cluster, seed):
        self.cluster, self.seed = cluster, seed
        self.world = FilledCluster(cluster, seed)
        self.flips, self.wrong = [], []

    def begin(self):
        self.world.fill()
        quiesce.settle(self.cluster)
        # What Swift would not have: digests and checksums of everything.
        self.cluster.once(*AUDITORS)
        self.judge({}, {})

    def judge(self, objects, databases):
        """All copies of all things are equal, and unchanged where no client changed them."""
        findings = checkers.Findings()
        self.objects = replicas.compare_objects(self.cluster, findings, objects)
        # The account's own counts follow later, and nothing in it is damaged.
        but = {("account", swift_code.hash_path("AUTH_test"))}
        self.databases = replicas.compare_databases(self.cluster, findings, databases, but)
        replicas.check_hashes(self.cluster, findings)
        replicas.check_digests(self.cluster, findings)
        checkers.check_container(self.cluster, findings, "AUTH_test", CHANGES, self.world.expected_rows(CHANGES))
        for path in quiesce.partitions_on_handoffs(self.cluster):
            findings.say(f"on a handoff: {path}")
        findings.check()

    def round(self, number):
        cluster, world = self.cluster, self.world
        draw = random.Random(f"{self.seed}/{number}")
        away = draw.choice(cluster.nodes)
        world.change(away)
        world.leave_notes(FLIPS["async"])
        damage = self.damage(draw)

        def wrong(text):
            return self.wrong.append(f"round {number}: {text}")

        world.read_all(draw, wrong, is_damaged=True)
        self.ask_damaged(damage, draw, wrong)
        self.try_rings(damage)
        before = self.objects, self.databases
        cluster.once(*AUDITORS)
        self.look(damage)
        cluster.once("object-updater", *quiesce.REPLICATORS)
        world.await_accounts()
        self.look_again(damage)
        self.flips += damage
        try:
            self.judge_round(before)
        except AssertionError as error:
            made = "\n".join(str(flip) for flip in damage)
            raise AssertionError(f"round {number}, seed={self.seed}: {error}\nflips:\n{made}") from None
        missed = [flip for flip in damage if flip.visible and not flip.detected]
        assert not missed, f"round {number}, seed={self.seed}: not found:\n" + "\n".join(map(str, missed[:20]))
        for flip in damage:
            flip.healed = True
        world.read_all(draw, wrong, is_damaged=False)
        assert not self.wrong, f"seed={self.seed}: {len(self.wrong)} wrong answers:\n" + "\n".join(self.wrong[:10])

    def judge_round(self, before):
        # Writes of this round changed what is expected of their own container only.
        objects, databases = before
        changed = self.changed_things()

        def keep(known):
            return {key: value for key, value in known.items() if key[1] not in changed}

        self.judge(keep(objects), databases)
        left = quiesce.pending(self.cluster)
        assert not left, f"updates still wait: {left[:3]}"

    def changed_things(self):
        return {swift_code.hash_path("AUTH_test", container, name) for container, name in self.world.objects if container == CHANGES}

    def damage(self, draw):
        """Flips for this round: of databases one half while their servers run, the other while they are stopped."""
        for node in self.cluster.nodes:
            shutil.rmtree(node.disk / "quarantined", ignore_errors=True)
        made = bit_rot.Rot(self.cluster, draw)
        fresh = {("object", "objects", hashed) for hashed in self.changed_things()}
        # Of what a node missed, a minority is damaged already.
        made.taken |= fresh | {key for key in replicas.databases(self.cluster) if self.is_changing(key)}
        made.data(FLIPS["data"])
        made.xattrs(FLIPS["xattrs"])
        made.async_files(FLIPS["async"])

        def partition(hashed):
            return str(int(hashed[:8], 16) >> self.cluster.rings["object"]._part_shift)

        made.hash_files(FLIPS["hashes"], {("partition", "objects", partition(hashed)) for _, _, hashed in fresh})
        half = FLIPS["databases"] // 2
        made.databases(half, stopped=False)
        for node in self.cluster.nodes:
            for kind in ("account", "container"):
                # After a kill the last rows are in the WAL only.
                node.kill(kind) if draw.random() < 0.5 else node.stop(kind)
        made.databases(FLIPS["databases"] - half, stopped=True)
        self.cluster.start()
        self.cluster.restart_proxies()
        # One ring of each node and proxy at a time; the last ones stay damaged while all is read.
        while (left := FLIPS["rings"] - made.count("rings")) > len(self.cluster.nodes):
            self.try_rings(made.rings(left))
        made.rings(left)
        return made.flips

    @staticmethod
    def is_changing(key):
        return key[1] in (swift_code.hash_path("AUTH_test", CHANGES), swift_code.hash_path("AUTH_test"))

    def ask_damaged(self, damage, draw, wrong):
        """What is damaged is asked of the server that has it: it says what is true, or that it cannot."""
        for flip in damage:
            if flip.kind in ("data", "xattrs") and draw.random() < 0.5:

                def output(text, flip=flip):
                    return wrong(f"{flip}: {text}")

                self.ask_object(flip, draw, output)
            elif flip.kind == "databases":

                def output(text, flip=flip):
                    return wrong(f"{flip}: {text}")

                self.ask_database(flip, output)

    def ask(self, flip, kind, method, names, **options):
        """An answer of 2xx, or None."""
        placement = self.cluster.placement(kind, *names, policy=options.get("policy", 0))
        try:
            answer = flip.node.direct(kind).request(method, placement.partition, names, **options)
        except OSError:
            return None
        return answer if answer.status // 100 == 2 else None

    def ask_object(self, flip, draw, wrong):
        _, folder, hashed = flip.thing
        files = self.objects[folder, hashed]
        data = next((files[name][0] for name in files if name.endswith(".data")), None)
        name = next(iter(files.values()))[0]["name"]
        names = name.lstrip("/").split("/", 2)
        policy = replicas.OBJECTS[folder][1]
        for method in ("HEAD", "GET", "range"):
            headers, start = {}, 0
            if method == "range" and data and int(data["Content-Length"]):
                start = draw.randrange(int(data["Content-Length"]))
                headers["Range"] = f"bytes={start}-{start + draw.randrange(100_000)}"
            answer = self.ask(flip, "object", method.replace("range", "GET"), names, headers=headers, policy=policy)
            if answer is None:
                continue
            if data is None:
                wrong(f"{method} {answer.status} of what was deleted")
            elif answer.headers["etag"].strip('"') != data["ETag"]:
                wrong(f"{method}: ETag {answer.headers['etag']}")
            elif method == "GET" and hashlib.md5(answer.body).hexdigest() != data["ETag"]:
                wrong("GET: another body")
            elif method == "range" and headers and not self.bodies(hashed, data, start, answer.body):
                wrong(f"{headers}: another body")

    def bodies(self, hashed, data, start, part):
        """Whether a part of a body is what any copy has that is good."""
        for _, _, _, path in replicas.object_directories(self.cluster):
            if path.name == hashed:
                for file in path.glob("*.data"):
                    body = file.read_bytes()
                    if hashlib.md5(body).hexdigest() == data["ETag"]:
                        return body[start : start + len(part)] == part
        return False

    def ask_database(self, flip, wrong):
        kind, _ = flip.thing
        true = self.databases[flip.thing]
        names = [name.decode() for name in true["about"][0][: 2 if kind == "container" else 1]]
        answer = self.ask(flip, kind, "GET", names, query="format=json")
        if answer is None:
            return
        listed = answer.json() if answer.body else []
        if kind == "container":
            # Of what is put together from others, the whole is listed.
            def size(bytes, etag):
                return None if "slo_etag" in etag else bytes

            found = {(row["name"], size(row["bytes"], row["hash"]), row["hash"]) for row in listed}
            rows = [(row[0].decode(), row[2], row[4].decode()) for row in true["listed"]]
            expected = {(name, size(bytes, etag), etag) for name, bytes, etag in rows}
        else:
            found = {(row["name"], row["count"], row["bytes"]) for row in listed}
            expected = {(row[0].decode(), row[3], row[4]) for row in true["listed"]}
        if found != expected:
            wrong(f"lists {sorted(found ^ expected)[:4]}")
        metadata = json.loads(true["about"][0][-1 if kind == "account" else -2] or "{}")
        headers = {name.lower(): value[0] for name, value in metadata.items()}
        if any(answer.headers.get(name, "") != value for name, value in headers.items()):
            wrong(f"metadata {answer.headers}, it is {headers}")

    def try_rings(self, damage):
        """What starts says which ring is bad; the servers that run have theirs; then the operator pushes it again."""
        good = {ring: digest(self.cluster.rings_folder / f"{ring}.ring.gz") for ring in etc.RINGS}
        for flip in (flip for flip in damage if flip.kind == "rings" and not flip.healed):
            holder = flip.node
            if holder in self.cluster.nodes:
                with urllib.request.urlopen(f"http://{holder.address}:{etc.KINDS['object']}/recon/ringmd5", timeout=10) as answer:
                    output = json.load(answer)
                assert output[str(flip.path)] != good[flip.path.name.removesuffix(".ring.gz")], "recon does not report it"
            # A daemon that has nothing to do here, and a proxy that would find its port taken.
            words = ["account-reaper", "--once"] if holder in self.cluster.nodes else ["proxy-server", "--test-config"]
            command = [APUS, words[0], str(holder.etc), words[1]]
            started = subprocess.run(command, capture_output=True, text=True, timeout=60)
            said = started.stdout + started.stderr
            flip.detected = started.returncode != 0
            assert not flip.detected or flip.path.name in said, f"{flip}: the message does not name it: {said}"
            assert flip.detected or not flip.visible, f"{flip}: taken for good: {said}"
            self.cluster.share_rings(only=[holder])
            flip.healed = True

    def look(self, damage):
        """After the auditors: what was found."""
        findings = checkers.Findings()
        replicas.check_hashes(self.cluster, findings)
        for flip in damage:
            aside = flip.node.disk / "quarantined" if flip.node in self.cluster.nodes else None
            if flip.kind in ("data", "xattrs"):
                moved = list(aside.glob(f"{flip.thing[1]}/{flip.thing[2]}*"))
                flip.detected = bool(moved) or not flip.path.exists() or bit_rot.meaning(flip.path) == flip.before
            elif flip.kind == "databases":
                moved = list(aside.glob(f"{flip.thing[0]}s/{flip.thing[1]}*"))
                # A server that runs may have written the page again, as it should be.
                flip.detected = bool(moved) or is_as_before(flip)
                if not flip.detected:
                    flip.where += f"; {difference(flip.before, flip.after)}"
            elif flip.kind == "hashes":
                where = f"{flip.node} {flip.thing[1]}/{flip.thing[2]}:"
                still = [text for text in findings.wrong if text.startswith(where)]
                flip.detected = not still
                flip.where += "".join(f"; {text}" for text in still)
            elif flip.kind == "async":
                moved = list(aside.glob(f"async_pending*/{flip.path.name}*"))
                flip.detected = bool(moved) or not flip.path.exists() or bit_rot.note(flip.path) == flip.before
        self.check_recon()

    @staticmethod
    def look_again(damage):
        """After the updaters: a container that reports totals to its account again records that again."""
        for flip in damage:
            if flip.kind == "databases" and flip.visible and not flip.detected:
                flip.detected = is_as_before(flip)

    def check_recon(self):
        """Operators see what was quarantined."""
        for node in self.cluster.nodes:
            with urllib.request.urlopen(f"http://{node.address}:{etc.KINDS['object']}/recon/quarantined", timeout=10) as answer:
                output = json.load(answer)
            for kind in ("objects", "accounts", "containers"):
                there = len(list((node.disk / "quarantined" / kind).glob("*")))
                assert output[kind] == there, f"{node}: recon says {output}, there are {there} {kind}"


def is_as_before(flip):
    """Whether a database says again what it said before the flip."""
    return flip.path.exists() and replicas.everything(flip.path) == flip.before


def difference(before, after):
    """What a flip changed in the tables of a database."""
    if isinstance(after, str):
        return after

    def rows(tables):
        return {(name, row) for name, found in tables.items() for row in found}

    return sorted(rows(before[1]) ^ rows(after[1]), key=str)[:4] or after[2]


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def run():
    """A filled cluster in which all copies are equal."""
    with Cluster(options=FAST) as cluster:
        run = Run(cluster, figures.seed())
        run.begin()
        yield run


def test_every_visible_flip_is_found_and_healed_and_none_is_served(run):
    for number in range(ROUNDS):
        run.round(number)
    for kind in FLIPS:
        own = [flip for flip in run.flips if flip.kind == kind]
        visible = [flip for flip in own if flip.visible]
        figures.report(
            part="bit-flips", kind=kind, flips=len(own), visible=len(visible),
            detected=sum(flip.detected for flip in visible), healed=sum(flip.healed for flip in visible),
            wrong_bytes=len(run.wrong), seed=run.seed,
        )  # fmt: skip
    assert len(run.flips) == ROUNDS * sum(FLIPS.values())


@contextmanager
def changed_without_trace(*paths):
    """Another body of the same length, and metadata and checksums that are right for it: no auditor can see that."""
    before = [(path, path.read_bytes(), bit_rot.attributes(path)) for path in paths]
    try:
        for path, body, attributes in before:
            other = bytes([body[0] ^ 1]) + body[1:]
            metadata = diskfile.read_metadata(str(path))
            path.write_bytes(other)
            for name in attributes:
                os.removexattr(path, name)
            diskfile.write_metadata(str(path), {**metadata, "ETag": hashlib.md5(other).hexdigest()})
        yield
    finally:
        for path, body, attributes in before:
            path.write_bytes(body)
            for name, value in attributes.items():
                os.setxattr(path, name, value)


def test_the_comparison_sees_what_no_checksum_shows(run):
    known = run.objects, run.databases
    name = next(name for (of, name), own in run.world.objects.items() if of == THINGS and own and len(own.body) == 5000)
    hashed = swift_code.hash_path("AUTH_test", THINGS, name)
    files = [file for _, _, _, path in replicas.object_directories(run.cluster) if path.name == hashed for file in path.glob("*.data")]
    assert len(files) == 3
    with changed_without_trace(files[0]), pytest.raises(AssertionError, match=hashed):
        run.judge(*known)
    wrong = []
    with changed_without_trace(*files):
        with pytest.raises(AssertionError, match=hashed):
            run.judge(*known)
        run.world.read((THINGS, name), random.Random(1), wrong.append)
    assert any(text.startswith("s3") for text in wrong) and any(text.startswith("swift") for text in wrong)
    by_node = replicas.databases(run.cluster)["container", swift_code.hash_path("AUTH_test", "rows0")]
    path = next(iter(by_node.values()))
    with sqlite3.connect(path) as connection:
        # A row of its own, and its digest gone.
        connection.create_function("chexor", 3, lambda *_: "0" * 32)
        connection.execute("INSERT INTO object (name, created_at, size, content_type, etag, deleted) VALUES ('x', '1', 1, '', '', 0)")
    connection.close()
    with pytest.raises(AssertionError, match="has other rows"):
        run.judge(*known)
