"""The data in which bits are flipped: objects of all shapes, containers, accounts and pending updates; and its readers.

Whatever a client wrote is remembered here, and every answer is held against that.
"""

import hashlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import figures
from .clients import Refused
from .ledger import patiently
from .waiting import wait_for_container_reports

THINGS, CHANGES, PARTS, SLO = "things", "changes", "multipart", "large"
SIZES = (0, 1, 10, 100, 1000, 5000, 65_535, 65_536, 65_537, 70_000, 131_072, 300_000, 700_000, 1_500_000)
COPIES = figures.amount(3, 6)
CONTAINERS, ACCOUNTS = figures.amount(12, 30), figures.amount(5, 10)
ROWS = (3, 30, 250)
CLIENTS = 4
NOTES_AT_ONCE = 6
MULTIPART_PART = 5 * 1024 * 1024


@dataclass
class Written:
    """An object as a client wrote it."""

    body: bytes
    meta: dict = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    # The MD5 of the body; of what was put together from parts, one for each dialect.
    etags: tuple = ()
    # Metadata and content type before each POST.
    earlier: list = field(default_factory=list)

    def __post_init__(self):
        self.etags = self.etags or (hashlib.md5(self.body).hexdigest(),)

    @property
    def etag(self):
        return self.etags[0]


class FilledCluster:
    """A filled cluster and what is in it."""

    def __init__(self, cluster, seed):
        self.cluster, self.draw = cluster, random.Random(f"{seed}/world")
        self.swift, self.s3 = cluster.swift(), cluster.s3()
        # (container, name) → what is there; None was deleted.
        self.objects = {}
        # account → container → names.
        self.rows = {}
        self.container_meta = {}
        self.made = 0

    def each(self, work, items):
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(work, items))

    # Filling.

    def fill(self):
        for container in (THINGS, CHANGES, SLO):
            self.swift.put(container)
        self.s3.put(PARTS)
        names = [(f"{size}/{copy}", size) for size in SIZES for copy in range(COPIES)]
        self.each(lambda item: self.put(THINGS, *item), names)
        for number, (name, _) in enumerate(names):
            if number % 3 == 0:
                self.post(THINGS, name, with_type=number % 2 == 0)
            elif number % 7 == 1:
                self.delete(THINGS, name)
        for copy in range(3):
            # More metadata than ext4 has room for.
            self.put(THINGS, f"much/{copy}", 20_000, {f"Long-{n}": f"{copy}{n % 10}" * 90 for n in range(20)})
        self.assemble()
        self.multipart()
        self.fill_rows()

    def body(self, size):
        return self.draw.randbytes(size)

    def put(self, container, name, size, meta=None):
        written = Written(self.body(size), meta or {"Color": f"c{self.draw.randrange(10**9)}"}, "text/x-flip")
        headers = {f"X-Object-Meta-{key}": value for key, value in written.meta.items()}
        self.swift.put(f"{container}/{name}", written.body, {**headers, "Content-Type": written.content_type})
        self.objects[container, name] = written

    def post(self, container, name, with_type=False):
        written = self.objects[container, name]
        headers = {"X-Object-Meta-Posted": f"p{self.draw.randrange(10**9)}"}
        if with_type:
            headers["Content-Type"] = "text/x-posted"
        self.swift.post(f"{container}/{name}", headers)
        written.earlier.append((written.meta, written.content_type))
        written.meta = {"Posted": headers["X-Object-Meta-Posted"]}
        written.content_type = headers.get("Content-Type", written.content_type)

    def delete(self, container, name):
        self.swift.delete(f"{container}/{name}")
        self.objects[container, name] = None

    def assemble(self):
        segments = []
        for number in range(3):
            self.put(SLO, f"segment/{number}", 70_000)
            own = self.objects[SLO, f"segment/{number}"]
            segments.append({"path": f"/{SLO}/segment/{number}", "etag": own.etag, "size_bytes": len(own.body)})
        self.swift.put(f"{SLO}/manifest", json.dumps(segments).encode(), query="multipart-manifest=put")
        whole = b"".join(self.objects[SLO, f"segment/{number}"].body for number in range(3))
        etag = hashlib.md5("".join(segment["etag"] for segment in segments).encode()).hexdigest()
        self.objects[SLO, "manifest"] = Written(whole, etags=(etag,))

    def multipart(self):
        query = {"uploads": ""}
        upload = self.s3.request("POST", PARTS, "upload", query=query).body.decode()
        upload = upload.partition("<UploadId>")[2].partition("</UploadId>")[0]
        bodies, etags = [self.body(MULTIPART_PART), self.body(100_000)], []
        for number, body in enumerate(bodies, 1):
            query = {"partNumber": str(number), "uploadId": upload}
            etags.append(self.s3.request("PUT", PARTS, "upload", body, query=query).headers["etag"].strip('"'))
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
        text = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        self.s3.request("POST", PARTS, "upload", text, query={"uploadId": upload})
        s3 = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in etags)).hexdigest() + "-2"
        swift = hashlib.md5("".join(etags).encode()).hexdigest()
        self.objects[PARTS, "upload"] = Written(b"".join(bodies), etags=(swift, s3))

    def fill_rows(self):
        """Containers with rows and metadata in this account, and some in others."""
        made = []
        for number in range(CONTAINERS):
            made.append((self.swift, f"rows{number}", ROWS[number % len(ROWS)] if number < 4 else 3))
        for number in range(ACCOUNTS):
            swift = self.cluster.swift(f"own{number}:tester")
            made += [(swift, f"c{n}", 2) for n in range(2)]
        for swift, container, count in made:
            meta = f"m{self.draw.randrange(10**9)}"
            swift.put(container, headers={"X-Container-Meta-Flip": meta, "X-Container-Read": ".r:*,.rlistings"})
            self.container_meta[swift.account, container] = meta
            names = {f"row-{n:04}-{self.draw.randrange(10**6)}" for n in range(count)}
            self.rows.setdefault(swift.account, {})[container] = names
        every = [(swift, container, name) for swift, container, _ in made for name in self.rows[swift.account][container]]
        self.each(lambda row: row[0].put(f"{row[1]}/{row[2]}", row[2].encode()), every)

    def change(self, away):
        """Writes that a node misses, so that replicas differ and replicators have to see it."""
        away.kill("container", "object")
        try:
            for kind in ("put", "put", "put", "overwrite", "overwrite", "delete", "post"):
                there = [name for (container, name), own in self.objects.items() if container == CHANGES and own]
                if kind == "put" or not there:
                    self.made += 1
                    name = f"change/{self.made}"
                    patiently(lambda name=name: self.put(CHANGES, name, self.draw.choice((0, 10, 70_000))))
                else:
                    name = self.draw.choice(there)
                    work = {"overwrite": lambda: self.put(CHANGES, name, 1000), "delete": lambda: self.delete(CHANGES, name)}
                    patiently(work.get(kind, lambda: self.post(CHANGES, name)))
        finally:
            away.start("container", "object")
        # The proxy would avoid that node for a while.
        self.cluster.restart_proxies()

    def leave_notes(self, count):
        """Writes while no container server is up: each copy keeps a pending update."""
        left = [f"late/{self.made + number}" for number in range(1, count + 1)]
        self.made += count
        while left:
            # The proxy remembers for ten seconds what the container is, which is enough for some.
            some, left = left[:NOTES_AT_ONCE], left[NOTES_AT_ONCE:]
            patiently(lambda: self.swift.head(CHANGES))
            for node in self.cluster.nodes:
                node.kill("container")
            try:
                written = self.each(self.try_late, some)
            finally:
                for node in self.cluster.nodes:
                    node.start("container")
            left = [name for name, is_done in zip(some, written, strict=True) if not is_done] + left
        self.cluster.restart_proxies()

    def try_late(self, name):
        """Whether it was written: a proxy that cannot read the container refuses, and nothing is written."""
        try:
            self.put(CHANGES, name, 100)
            if int(name.partition("/")[2]) % 4 == 3:
                self.delete(CHANGES, name)
        except Refused as refused:
            if refused.status != 503:
                raise
        return (CHANGES, name) in self.objects

    # Reading.

    def live(self, container):
        return {name: own for (of, name), own in self.objects.items() if of == container and own is not None}

    def read_all(self, draw, wrong, is_damaged):
        """Everything through the proxy in both dialects; what differs from what was written is reported to `wrong`.

        While something is damaged, the copies of what has just changed are not equal either, and Swift's dialect may give
        what a copy had before.
        """
        keys = list(self.objects)
        draw.shuffle(keys)
        seeds = {key: draw.randrange(1 << 30) for key in keys}
        self.each(lambda key: self.read(key, random.Random(seeds[key]), wrong, is_damaged), keys)
        self.each(lambda of: self.list_container(of[0], of[1], wrong), [(a, c) for a, own in self.rows.items() for c in own])

    def read(self, key, draw, wrong, is_damaged=False):
        container, name = key
        own = self.objects[key]
        path = f"{container}/{name}"
        dialects = {
            "s3": (lambda method, **options: self.s3.request(method, container, name, **options), "x-amz-meta-"),
            "swift": (lambda method, **options: self.swift.request(method, path, **options), "x-object-meta-"),
        }
        for dialect in ("s3",) if is_damaged and container == CHANGES else ("s3", "swift"):
            ask, prefix = dialects[dialect]

            def report_wrong(what, dialect=dialect):
                return wrong(f"{dialect} {path}: {what}")

            if own is None:
                answer = patiently(lambda ask=ask: ask("GET", expect=(200, 404)))
                if answer.status != 404:
                    report_wrong(f"{answer.status}, it was deleted")
                continue
            # While a copy is repaired, Swift's dialect may see the body before the metadata of a later POST.
            states = [(own.meta, own.content_type)]
            states += own.earlier if dialect == "swift" and is_damaged else []
            self.compare(patiently(lambda ask=ask: ask("GET")), own, own.body, prefix, states, report_wrong)
            self.compare(patiently(lambda ask=ask: ask("HEAD")), own, None, prefix, states, report_wrong)
            if own.body:
                start = draw.randrange(len(own.body))
                end = draw.choice([start, len(own.body) - 1, draw.randrange(start, len(own.body))])
                headers = {"Range": f"bytes={start}-{end}"}
                answer = patiently(lambda ask=ask, headers=headers: ask("GET", headers=headers))
                self.compare(answer, own, own.body[start : end + 1], prefix, states, report_wrong)

    @staticmethod
    def compare(answer, own, body, prefix, states, wrong):
        """Body and metadata of an answer; with `body` of None it is one to HEAD."""
        headers = answer.headers
        if body is None:
            if int(headers["content-length"]) != len(own.body):
                wrong(f"length {headers['content-length']} of {len(own.body)}")
        elif answer.body != body:
            wrong(f"{len(answer.body)} bytes, not the {len(body)} of {answer.status} {headers}")
        if headers["etag"].strip('"') not in own.etags:
            wrong(f"ETag {headers['etag']}, it is {own.etags}")
        meta = {name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix)}
        found = (meta, headers["content-type"].partition(";")[0] if own.meta else own.content_type)
        expected = [({name.lower(): value for name, value in meta.items()}, kind) for meta, kind in states]
        if found not in expected:
            wrong(f"metadata {found}, it is {expected}")

    def list_container(self, account, container, wrong):
        """A listing and the metadata of a container, in both dialects."""
        names = self.rows[account][container]
        expected = {name: (len(name), hashlib.md5(name.encode()).hexdigest()) for name in names}
        swift = self.client(account)
        listed = patiently(lambda: swift.listing(container))
        self.compare_rows(f"swift {account}/{container}", {r["name"]: (r["bytes"], r["hash"]) for r in listed}, expected, wrong)
        head = patiently(lambda: swift.head(container)).headers
        meta = (head.get("x-container-meta-flip"), head.get("x-container-read"))
        if meta != (self.container_meta[account, container], ".r:*,.rlistings"):
            wrong(f"swift {account}/{container}: metadata {meta}")
        if account == self.swift.account:
            self.compare_rows(f"s3 {container}", patiently(lambda: self.s3.listing(container)), expected, wrong)
        else:
            containers = {row["name"] for row in patiently(lambda: swift.listing())}
            if containers != set(self.rows[account]):
                wrong(f"swift {account}: containers {containers}")

    @staticmethod
    def compare_rows(what, listed, expected, wrong):
        if listed != expected:
            differing = sorted(dict(set(listed.items()) ^ set(expected.items())).items())
            wrong(f"{what}: {len(listed)} rows of {len(expected)}, differing: {differing[:4]}")

    def client(self, account):
        if account == self.swift.account:
            return self.swift
        return self.cluster.swift(f"{account.removeprefix('AUTH_')}:tester")

    def expected_rows(self, container):
        """name → (size, etag), as listings have it."""
        return {name: (len(own.body), own.etag) for name, own in self.live(container).items()}

    def await_accounts(self):
        """Waits until accounts have the totals of their containers."""
        wait_for_container_reports()
        self.cluster.once("container-updater")
