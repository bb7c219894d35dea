"""Conditional writes race through two proxies while storage nodes are killed and stall: never two winners.

Each round all clients try the same conditional write of one key at once. An answer of 2xx is a win; 4xx is a loss; what
ends without an answer or with 5xx may have won. When one client won for certain, no other may have: what is read
afterwards is the winner's.
"""

import random
import threading
import time
import xml.etree.ElementTree

import pytest

from apus_testing import figures, ledger
from apus_testing.clients import NAMESPACE, Refused
from apus_testing.cluster import Cluster

CLIENTS = 16
ROUNDS = figures.amount(12, 120)
BUCKET = "races"
LOST = (404, 409, 412)


class Nemesis(threading.Thread):
    """Kills and pauses object servers, one at a time, until it is stopped."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster, self.random, self.stopped = cluster, random.Random(seed), threading.Event()
        self.faults, self.unexpected = 0, None

    def run(self):
        try:
            while not self.stopped.wait(self.random.uniform(0.05, 0.4)):
                node = self.random.choice(self.cluster.nodes)
                self.faults += 1
                if self.random.random() < 0.5:
                    node.kill("object")
                    time.sleep(self.random.uniform(0, 0.2))
                    self.cluster.start()
                else:
                    node.pause("object")
                    time.sleep(self.random.uniform(0.1, 1.5))
                    node.resume("object")
        except Exception as error:  # raised by the main thread
            self.unexpected = error

    def end(self):
        self.stopped.set()
        if self.ident is not None:
            self.join(30)
        if self.unexpected is not None:
            raise self.unexpected


def create(s3, key, body, _):
    s3.put(BUCKET, key, body, {"If-None-Match": "*"})


def replace(s3, key, body, etag):
    s3.put(BUCKET, key, body, {"If-Match": etag})


def delete(s3, key, body, etag):
    """Every other client replaces what the rest delete: a client that comes after a deletion gets 204 too, as on AWS."""
    if int(body) % 2:
        return replace(s3, key, body, etag)
    s3.delete(BUCKET, key, headers={"If-Match": etag})


def complete(s3, key, body, _):
    def text(answer, name):
        return xml.etree.ElementTree.fromstring(answer.body).findtext(f"s3:{name}", namespaces=NAMESPACE)

    upload = text(s3.request("POST", BUCKET, key, query={"uploads": ""}), "UploadId")
    part = s3.put(BUCKET, key, body, query={"partNumber": 1, "uploadId": upload}).headers["etag"]
    document = (f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part}</ETag></Part></CompleteMultipartUpload>").encode()
    s3.request("POST", BUCKET, key, document, {"If-None-Match": "*"}, {"uploadId": upload})


def one_round(clients, work, key, etag):
    """The outcome of each client: "won", "lost" or "unknown"."""
    outcomes, ready = ["unknown"] * len(clients), threading.Barrier(len(clients))

    def race(number):
        ready.wait()
        try:
            work(clients[number], key, str(number).encode(), etag)
            outcomes[number] = "won"
        except Refused as refused:
            assert refused.status in LOST or refused.status >= 500, refused
            outcomes[number] = "lost" if refused.status in LOST else "unknown"
        except OSError:
            outcomes[number] = "unknown"

    threads = [threading.Thread(target=race, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in outcomes
    return outcomes


@pytest.mark.parametrize("work", [create, replace, complete, delete], ids=lambda work: work.__name__)
def test_never_two_win_while_nodes_are_killed_and_stall(work):
    seed = figures.seed()
    won = unknown = 0
    with Cluster(proxies=2) as cluster:
        cluster.s3().put(BUCKET)
        clients = [cluster.s3(proxy=number % 2) for number in range(CLIENTS)]
        reader = cluster.s3()
        nemesis = Nemesis(cluster, seed)
        try:
            for number in range(ROUNDS):
                key, etag = f"{work.__name__}/{number}", None
                if work in (replace, delete):
                    etag = ledger.patiently(lambda key=key: reader.put(BUCKET, key, b"before")).headers["etag"]
                if number == 0:
                    nemesis.start()
                outcomes = one_round(clients, work, key, etag)
                winners = [str(client).encode() for client, outcome in enumerate(outcomes) if outcome == "won"]
                unknowns = [str(client).encode() for client, outcome in enumerate(outcomes) if outcome == "unknown"]
                output = f"round {number}, seed={seed}: {outcomes}"
                deleted = [body for body in winners if work is delete and not int(body) % 2]
                written = [body for body in winners if body not in deleted]
                assert len(written) <= 1 and not (written and deleted), output
                found = ledger.patiently(lambda key=key: reader.get(BUCKET, key, expect=(200, 404)), seconds=30)
                found = found.body if found.status == 200 else None
                before = b"before" if etag else None
                if deleted:
                    assert found is None, f"{output}: found {found}"
                elif work is delete and not written:
                    assert found in (None, before, *unknowns), f"{output}: found {found}"
                else:
                    assert found in (written or [before, *unknowns]), f"{output}: found {found}"
                won += bool(winners)
                unknown += len(unknowns)
        finally:
            nemesis.end()
        faults = nemesis.faults
    figures.report(
        part="races", write=work.__name__, rounds=ROUNDS, clients=CLIENTS, faults=faults,
        won=won, two_winners=0, unknown=unknown, seed=seed,
    )  # fmt: skip
    assert won > 0 and faults > 0
