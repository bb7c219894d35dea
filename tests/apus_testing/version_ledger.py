"""The versions that a bucket with versioning must have: those acknowledged, without those whose deletion was.

Each version has a body of its own. A write with an unknown outcome may have made a version, and a deletion with an
unknown outcome may have removed one. A version under a compliance lock can never be removed.
"""

import datetime
import random
import xml.etree.ElementTree
from dataclasses import dataclass, field

from .clients import NAMESPACE, Refused
from .ledger import SteppingThread, Verdict, patiently

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
LOCKED_SECONDS = 7200
MARKER = None


@dataclass
class Versions:
    """The versions of one key: acknowledged id → body, or `MARKER`."""

    present: dict = field(default_factory=dict)
    # A deletion of these has an unknown outcome.
    doubtful: set = field(default_factory=set)
    removed: set = field(default_factory=set)
    locked: set = field(default_factory=set)
    # Bodies of writes with an unknown outcome, and whether there is such a delete marker.
    possible: set = field(default_factory=set)
    possible_marker: bool = False
    # The last acknowledged write when nothing with an unknown outcome came after it.
    newest: str | None = None


class VersionWriter(SteppingThread):
    """Writes versions of its own keys in a bucket of its own until it is stopped. The bucket has an object lock."""

    def __init__(self, cluster, bucket, seed, *, keys=4, pause=0.0):
        super().__init__(f"versions-{bucket}", pause)
        self.s3, self.bucket = cluster.s3(), bucket
        self.random, self.counter = random.Random(f"{seed}/{bucket}"), 0
        self.keys = {f"key{number}": Versions() for number in range(keys)}
        self.acknowledged = 0

    def create(self):
        """Makes the bucket, at a time when no server dies."""
        self.s3.put(self.bucket, headers={"x-amz-bucket-object-lock-enabled": "true"})

    def step(self, kind=None, key=None):
        """One write. Returns whether its outcome is known."""
        key = key or self.random.choice(sorted(self.keys))
        kind = kind or self.random.choice(["put", "put", "put", "locked", "mark", "remove", "remove", "remove-locked"])
        state = self.keys[key]
        try:
            self.send(kind, key, state)
        except OSError:
            self.stopped.wait(0.02)
            return False
        except Refused as refused:
            if refused.status < 500:
                raise
            self.stopped.wait(0.02)
            return False
        self.acknowledged += 1
        return True

    def send(self, kind, key, state):
        if kind in ("put", "locked"):
            self.counter += 1
            body = f"{self.bucket} {self.counter} ".encode() * self.random.choice([1, 300, 9000])
            state.possible.add(body)
            state.newest, headers = None, {}
            if kind == "locked":
                until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=LOCKED_SECONDS)
                headers = {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
            version = self.s3.put(self.bucket, key, body, headers).headers["x-amz-version-id"]
            state.possible.discard(body)
            assert version not in state.present, version
            state.present[version], state.newest = body, version
            if kind == "locked":
                state.locked.add(version)
        elif kind == "mark":
            state.newest = None
            before, state.possible_marker = state.possible_marker, True
            version = self.s3.delete(self.bucket, key).headers["x-amz-version-id"]
            state.possible_marker = before
            state.present[version], state.newest = MARKER, version
        elif kind == "remove":
            free = sorted(set(state.present) - state.locked)
            if free:
                self.remove(key, state, self.random.choice(free))
        else:
            for version in sorted(state.locked)[:1]:
                answer = self.s3.delete(self.bucket, key, query={"versionId": version}, expect=(403, 500, 503))
                if answer.status != 403:
                    raise Refused("removal of a locked version", answer)

    def remove(self, key, state, version):
        state.doubtful.add(version)
        newest, state.newest = state.newest, None
        self.s3.delete(self.bucket, key, query={"versionId": version})
        state.doubtful.discard(version)
        state.removed.add(version)
        del state.present[version]
        # What was newest stays so if another version was removed.
        state.newest = newest if newest != version else None

    def listed(self):
        """Key → [(version, is a marker, is latest)], all pages."""
        found, query = {}, {"versions": "", "max-keys": 100}
        while True:
            page = dict(query)
            tree = xml.etree.ElementTree.fromstring(patiently(lambda page=page: self.s3.get(self.bucket, query=page)).body)
            for row in tree:
                kind = row.tag.rpartition("}")[2]
                if kind in ("Version", "DeleteMarker"):
                    name, version, latest = (row.findtext(f"s3:{name}", namespaces=NAMESPACE) for name in ("Key", "VersionId", "IsLatest"))
                    found.setdefault(name, []).append((version, kind == "DeleteMarker", latest == "true"))
            if tree.findtext("s3:IsTruncated", namespaces=NAMESPACE) != "true":
                return found
            query["key-marker"] = tree.findtext("s3:NextKeyMarker", namespaces=NAMESPACE)
            query["version-id-marker"] = tree.findtext("s3:NextVersionIdMarker", namespaces=NAMESPACE)

    def check(self, cluster):
        """Reads every version and lists them. Rows of listings that wait are delivered first."""
        cluster.once("object-updater")
        verdict = self.look()
        if not verdict.is_good:
            cluster.once("object-replicator", "object-updater")
            verdict = self.look()
        return verdict

    def look(self):
        verdict, details = Verdict(), []
        listed = self.listed()

        def wrong(what, text):
            setattr(verdict, what, getattr(verdict, what) + 1)
            details.append(f"{self.bucket}/{text}")

        for key, state in self.keys.items():
            rows = {version: marker for version, marker, _ in listed.get(key, [])}
            for version, body in state.present.items():
                found = self.read(key, version)
                verdict.checked += 1
                if version in state.doubtful and found == 404:
                    continue
                if found == 404:
                    wrong("lost", f"{key}: version {version} is gone")
                elif found != (405 if body is MARKER else body):
                    wrong("torn", f"{key}: version {version} is {found if isinstance(found, int) else found[:60]}")
                elif rows.get(version) is not (body is MARKER):
                    wrong("lost", f"{key}: version {version} is listed as {rows.get(version)}")
            for version in state.removed:
                if self.read(key, version) != 404 or version in rows:
                    wrong("resurrected", f"{key}: version {version} was removed")
            for version in rows.keys() - state.present.keys() - state.removed:
                found = self.read(key, version)
                is_possible = state.possible_marker if found == 405 else found in state.possible
                if not is_possible:
                    wrong("torn", f"{key}: version {version} was never written")
            self.check_current(key, state, listed.get(key, []), wrong)
        verdict.details = tuple(details)
        return verdict

    def check_current(self, key, state, rows, wrong):
        """What a plain read returns, which is what the listing calls the latest."""
        answer = patiently(lambda: self.s3.get(self.bucket, key, expect=(200, 404)))
        current = answer.headers.get("x-amz-version-id") if answer.status == 200 else MARKER
        latest = [version for version, marker, is_latest in rows if is_latest and not marker]
        if latest != ([current] if current else []):
            wrong("lost", f"{key}: the current version is {current}, the latest in the listing {latest}")
        newest = state.newest
        if newest and state.present.get(newest) is not MARKER and current != newest:
            wrong("lost", f"{key}: the current version is {current}, the newest acknowledged one {newest}")
        if newest and state.present.get(newest) is MARKER and current is not MARKER:
            wrong("resurrected", f"{key}: the current version is {current}, and the delete marker {newest} is newer")

    def read(self, key, version):
        """The body of a version, or the status: 404, or 405 for a delete marker."""
        answer = patiently(lambda: self.s3.get(self.bucket, key, query={"versionId": version}, expect=(200, 404, 405)))
        return answer.body if answer.status == 200 else answer.status
