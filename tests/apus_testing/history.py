"""Histories of clients as JSON lines, and the clients that write them: registers and sets over S3.

A record is `{process, f, key, value, invoke_ns, return_ns, ok, node}`: `f` is write, read, delete, add, remove or list;
`ok` is "ok", "fail" (refused: it had no effect) or "info" (the outcome is unknown for ever; `return_ns` is null).
Values are unique, so a read shows which write it saw.
"""

import json
import random
import threading
import time

from .clients import Refused

SIZES = (0, 20, 3000, 100_000)
# Between two operations of a client, at most.
THINK_SECONDS = 0.05


class History:
    """Collects records of all clients."""

    def __init__(self):
        self.records, self.lock = [], threading.Lock()

    def add(self, record):
        with self.lock:
            self.records.append(record)

    def write(self, path):
        with open(path, "w") as file:
            for record in self.records:
                file.write(json.dumps(record) + "\n")

    def counts(self):
        found = {"ok": 0, "fail": 0, "info": 0}
        for record in self.records:
            found[record["ok"]] += 1
        return found


def load(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


class Client(threading.Thread):
    """One sequential client on one proxy. A client whose operation has an unknown outcome continues as another process."""

    def __init__(self, cluster, history, number, seed, until, *, bucket, proxy):
        super().__init__(name=f"client{number}", daemon=True)
        self.s3 = cluster.s3(proxy=proxy)
        self.s3.connection.timeout = 15
        self.history, self.number, self.until, self.bucket, self.node = history, number, until, bucket, f"proxy{proxy + 1}"
        self.random, self.process, self.count, self.unexpected = random.Random(f"{seed}/{number}"), f"{number}", 0, None

    def run(self):
        try:
            while not self.until():
                self.step()
                time.sleep(self.random.uniform(0, THINK_SECONDS))
        except Exception as error:  # raised by the main thread
            self.unexpected = error

    def unique(self):
        self.count += 1
        return f"{self.number}.{self.count}"

    def perform(self, f, key, value, work):
        """Runs an operation and records it; `work` returns what was read, for reads."""
        record = {"process": self.process, "f": f, "key": key, "value": value, "node": self.node}
        record["invoke_ns"] = time.monotonic_ns()
        try:
            result = work()
            record.update(ok="ok", return_ns=time.monotonic_ns())
            if f in ("read", "list"):
                record["value"] = result
        except Refused as refused:
            refusal = "fail" if refused.status < 500 else "info"
            record.update(ok=refusal, return_ns=time.monotonic_ns() if refusal == "fail" else None)
        except OSError:
            record.update(ok="info", return_ns=None)
        if record["ok"] == "info":
            self.process = f"{self.number}/{self.unique()}"
            # A server that was killed refuses connections at once.
            time.sleep(0.1)
        self.history.add(record)

    def step(self):
        raise NotImplementedError


class RegisterClient(Client):
    """PUT, GET, HEAD, DELETE and range GET of a few shared keys."""

    keys = 20
    turns = 100

    def __init__(self, *arguments, shared, **options):
        super().__init__(*arguments, **options)
        self.shared = shared

    def step(self):
        key = self.shared.pick(self.random)
        kind = self.random.choices(["write", "read", "head", "delete", "range"], [35, 40, 8, 12, 5])[0]
        if kind == "write":
            value = self.unique()
            body = (f"{value};" + "x" * self.random.choice(SIZES)).encode()
            self.perform("write", key, value, lambda: self.s3.put(self.bucket, key, body, {"x-amz-meta-value": value}))
        elif kind == "delete":
            self.perform("delete", key, None, lambda: self.s3.delete(self.bucket, key))
        else:
            self.perform("read", key, None, lambda: self.read(kind, key))

    def read(self, kind, key):
        if kind == "head":
            answer = self.s3.head(self.bucket, key, expect=(200, 404))
        elif kind == "range":
            answer = self.s3.get(self.bucket, key, {"Range": "bytes=0-30"}, expect=(200, 206, 404))
        else:
            answer = self.s3.get(self.bucket, key, expect=(200, 404))
        if answer.status == 404:
            return None
        value = answer.headers["x-amz-meta-value"]
        if kind != "head":
            # Body and metadata are of one write, and the body is all of it.
            head, _, rest = answer.body.decode().partition(";")
            whole = kind == "range" or len(rest) in SIZES
            if head != value or rest.strip("x") or not whole:
                return f"torn: metadata {value}, body {head} with {len(answer.body)} bytes"
        return value


class Keys:
    """Keys that all clients share: so many operations each, then fresh ones."""

    def __init__(self, keys, turns):
        self.keys, self.turns, self.used, self.lock = keys, turns, 0, threading.Lock()

    def pick(self, random):
        with self.lock:
            self.used += 1
            generation = self.used // (self.keys * self.turns)
        return f"r{generation}.{random.randrange(self.keys)}"


class SetClient(Client):
    """Adds and removes keys of its own under a shared prefix, and lists it."""

    prefix = "set/"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.present = []

    def step(self):
        kind = self.random.choices(["add", "remove", "list"], [50, 20 if self.present else 0, 30])[0]
        if kind == "add":
            key = f"{self.prefix}{self.unique()}"
            self.perform("add", key, key, lambda: self.s3.put(self.bucket, key, b"x"))
            self.present.append(key)
        elif kind == "remove":
            key = self.present.pop(self.random.randrange(len(self.present)))
            self.perform("remove", key, key, lambda: self.s3.delete(self.bucket, key))
        else:
            self.perform("list", self.prefix, None, lambda: sorted(self.s3.listing(self.bucket, self.prefix)))
