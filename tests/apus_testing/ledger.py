"""The states of each key that may be read: the last acknowledged one, and those of writes with unknown outcome.

"Acknowledged" means that the client read a final 2xx. After a timeout, a reset or a 5xx both outcomes are legal until
the next acknowledged write; then exactly that one is.
"""

import random
import threading
import time
from dataclasses import dataclass

from .clients import Refused

SIZES = (0, 10, 5000, 70_000, 700_000)


@dataclass(frozen=True)
class State:
    """An object: `tag` makes the body, `meta` is its user metadata."""

    size: int
    tag: str
    meta: str

    def body(self):
        return (self.tag.encode() * (self.size // len(self.tag) + 1))[: self.size]


ABSENT = None


class Ledger:
    """Thread-safe as long as each key has one writer at a time."""

    def __init__(self):
        self.allowed = {}
        # Keys that were written to since this was last cleared.
        self.touched = set()
        self.acknowledged = self.unknown = 0
        self._lock = threading.Lock()

    def states(self, key):
        return self.allowed.get(key, {ABSENT})

    def begin(self, key, after):
        """Records a write in flight; `after` are the states that it may leave. Returns the functions that record its outcome."""
        before = self.states(key)
        self.allowed[key] = before | after
        self.touched.add(key)
        with self._lock:
            self.unknown += 1

        def acknowledge():
            self.allowed[key] = after
            with self._lock:
                self.unknown -= 1
                self.acknowledged += 1

        def refuse():
            self.allowed[key] = before
            with self._lock:
                self.unknown -= 1

        return acknowledge, refuse

    def judge(self, key, found):
        """What is wrong with a state that was read, or None: "lost", "resurrected" or "torn"."""
        states = self.states(key)
        if found in states:
            return None
        if found is ABSENT:
            return "lost"
        if states == {ABSENT}:
            return "resurrected"
        whole = isinstance(found, State)
        return "lost" if whole else "torn"


class SteppingThread(threading.Thread):
    """Takes steps until it is ended. An error that a step does not expect is raised by `end`."""

    def __init__(self, name, pause):
        super().__init__(name=name, daemon=True)
        self.pause, self.stopped, self.unexpected = pause, threading.Event(), None

    def step(self):
        raise NotImplementedError

    def run(self):
        try:
            while not self.stopped.wait(self.pause):
                self.step()
        except Exception as error:  # raised by the main thread
            self.unexpected = error

    def end(self):
        self.stopped.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name} hangs"
        if self.unexpected is not None:
            raise self.unexpected


class Writer(SteppingThread):
    """Writes its own keys through both dialects until it is stopped."""

    def __init__(self, cluster, ledger, bucket, number, seed, *, keys=6, pause=0.0, proxy=0, account="test", sizes=SIZES):
        super().__init__(f"writer{number}", pause)
        user = f"{account}:tester"
        self.swift, self.s3 = cluster.swift(user, proxy=proxy), cluster.s3(user, proxy=proxy)
        self.ledger, self.bucket, self.number, self.keys = ledger, bucket, number, keys
        self.random, self.sizes, self.counter = random.Random(f"{seed}/{number}"), sizes, 0

    def step(self, kind=None, key=None):
        """One write."""
        key = key or f"{self.number}/{self.random.randrange(self.keys)}"
        kind = kind or self.random.choice(["put", "put", "put", "s3-put", "s3-put", "delete", "s3-delete", "post"])
        self.counter += 1
        tag = f"{self.number}.{self.counter}.{self.random.randrange(1 << 30)}"
        size = self.random.choice(self.sizes)
        if kind == "post":
            present = {state for state in self.ledger.states(key) if state is not ABSENT}
            # Metadata is only posted to what is there for certain.
            if len(present) != len(self.ledger.states(key)):
                return
            after = {State(state.size, state.tag, tag) for state in present}
        else:
            after = {ABSENT} if kind.endswith("delete") else {State(size, tag, tag)}
        acknowledge, refuse = self.ledger.begin(key, after)
        try:
            self.send(kind, key, next(iter(after)), tag)
        except OSError:
            # What a broken connection leaves is not known, and the next try may be too early for a restarted server.
            self.stopped.wait(0.02)
        except Refused as refused:
            if kind == "post" and refused.status == 404:
                # Most nodes that answered missed the object (Swift's dialect is eventual); one may have the metadata.
                pass
            elif refused.status < 500:
                refuse()
                raise
            self.stopped.wait(0.02)
        else:
            acknowledge()

    def send(self, kind, key, state, tag):
        path = f"{self.bucket}/{key}"
        if kind == "put":
            self.swift.put(path, state.body(), {"X-Object-Meta-Tag": tag})
        elif kind == "s3-create":
            # Only on a key that is not there for certain.
            self.s3.put(self.bucket, key, state.body(), {"x-amz-meta-tag": tag, "If-None-Match": "*"})
        elif kind == "s3-put":
            self.s3.put(self.bucket, key, state.body(), {"x-amz-meta-tag": tag})
        elif kind == "delete":
            self.swift.delete(path, expect=(204, 404))
        elif kind == "s3-delete":
            self.s3.delete(self.bucket, key)
        else:
            self.swift.post(path, {"X-Object-Meta-Tag": tag})


@dataclass
class Verdict:
    """How many keys were wrong, and how."""

    checked: int = 0
    lost: int = 0
    resurrected: int = 0
    torn: int = 0
    details: tuple = ()

    @property
    def is_good(self):
        return not (self.lost or self.resurrected or self.torn)

    def figures(self):
        return f"lost={self.lost} resurrected={self.resurrected} torn={self.torn}"


def decode(body, meta):
    """What was read → the state that it is, or the raw pieces when it matches no state."""
    text = body[:64].decode(errors="replace")
    # The metadata of a PUT is its tag; after a POST the body shows the tag, as far as its length allows.
    for tag in (meta, text):
        state = State(len(body), tag, meta)
        if tag and body and body == state.body():
            return state
    return (body[:64], len(body), meta)


def patiently(work, seconds=20):
    """Tries again while servers are said to be unavailable: the proxy avoids for ten seconds those that just died."""
    until = time.monotonic() + seconds
    while True:
        try:
            return work()
        except Refused as refused:
            if refused.status != 503 or time.monotonic() > until:
                raise
            time.sleep(0.2)


def read(s3, bucket, key):
    """The strong read of a key: (body, tag) or None when it is absent."""
    answer = patiently(lambda: s3.get(bucket, key, expect=(200, 404)))
    if answer.status == 404:
        return ABSENT
    return answer.body, answer.headers.get("x-amz-meta-tag", "")


def check(cluster, ledger, bucket, *, account="test", keys=None):
    """Reads every key and lists them; returns a verdict with what is wrong in it.

    A listing may lag behind when container servers were away: waiting rows are delivered first. A write in Swift's
    dialect may have been acknowledged with the help of handoffs, where a strong read need not look: what seems to be
    lost is looked for again after replication.
    """
    cluster.once("object-updater")
    verdict = look(cluster, ledger, bucket, account=account, keys=keys)
    if not verdict.is_good:
        cluster.once("object-replicator", "object-updater")
        verdict = look(cluster, ledger, bucket, account=account, keys=keys)
    return verdict


def look(cluster, ledger, bucket, *, account="test", keys=None):
    """Reads every key and lists them, as they are now."""
    s3 = cluster.s3(f"{account}:tester")
    listed = patiently(lambda: s3.listing(bucket))
    verdict, details = Verdict(), []
    for key in keys or sorted(ledger.allowed):
        found = read(s3, bucket, key)
        allowed = {ABSENT if state is ABSENT else (state.body(), state.meta): state for state in ledger.states(key)}
        verdict.checked += 1
        if found not in allowed:
            state = None if found is ABSENT else decode(*found)
            what = "torn" if found is not ABSENT and not isinstance(state, State) else ledger.judge(key, state)
            setattr(verdict, what, getattr(verdict, what) + 1)
            details.append(f"{key}: {what}: found {state}, allowed {ledger.states(key)}")
            continue
        sizes = {state.size for state in ledger.states(key) if state is not ABSENT}
        if key in listed and listed[key][0] not in sizes:
            verdict.resurrected += 1
            details.append(f"{key}: listed with {listed[key]}, allowed {ledger.states(key)}")
        if key not in listed and ABSENT not in ledger.states(key):
            verdict.lost += 1
            details.append(f"{key}: not listed, allowed {ledger.states(key)}")
    for key in listed.keys() - ledger.allowed.keys():
        verdict.resurrected += 1
        details.append(f"{key}: listed and never written")
    verdict.details = tuple(details)
    return verdict
