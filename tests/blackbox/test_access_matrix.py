"""Every route of both dialects, asked for by each kind of caller: `tests/fixtures/access-matrix.txt` says who may.

Unit tests of the proxy compare the lines of that file with the route tables, so that a new route needs a line.
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from apus_testing.s3_requests import UNSIGNED, S3Requests

CALLERS = ("anonymous", "other", "member", "owner")
KEYS = {
    "other": ("test2:tester2", "testing2"),
    "member": ("test:tester3", "testing3"),
    "owner": ("test:tester", "testing"),
}
NUMBERS = itertools.count()


class Row(NamedTuple):
    """A line of the matrix."""

    dialect: str
    method: str
    resource: str
    sub: str
    permission: str
    anonymous: str
    other: str
    member: str
    owner: str

    def __str__(self):
        return f"{self.dialect} {self.method} {self.resource} {self.sub}"


def rows(dialect):
    path = Path(__file__).parents[1] / "fixtures" / "access-matrix.txt"
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return [Row(*line) for line in lines if line[0] == dialect]


ROW = "<Rule><Status>Enabled</Status><Prefix></Prefix><Expiration><Days>1</Days></Expiration></Rule>"
ENCRYPTION_RULE = (
    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
)
CORS_RULE = "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
DOCUMENTS = {
    "versioning": "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
    "tagging": "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
    "cors": f"<CORSConfiguration>{CORS_RULE}</CORSConfiguration>",
    "encryption": f"<ServerSideEncryptionConfiguration>{ENCRYPTION_RULE}</ServerSideEncryptionConfiguration>",
    "lifecycle": f"<LifecycleConfiguration>{ROW}</LifecycleConfiguration>",
    "website": "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument></WebsiteConfiguration>",
    "notification": "<NotificationConfiguration/>",
    "object-lock": "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
    "legal-hold": "<LegalHold><Status>OFF</Status></LegalHold>",
    "policy": '{"Statement":{"Effect":"Allow","Principal":{"AWS":"none"},"Action":"s3:GetObject","Resource":"*"}}',
    "retention": "<Retention/>",
    "delete": "<Delete><Object><Key>kept</Key></Object></Delete>",
    "restore": "<RestoreRequest><Days>1</Days></RestoreRequest>",
}


class Victim:
    """A bucket of the owner with an object, its version and an upload."""

    def __init__(self, cluster):
        self.cluster, self.bucket = cluster, f"matrix-{next(NUMBERS)}"
        self.s3 = s3 = cluster.s3()
        s3.create_bucket(Bucket=self.bucket)
        s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.version = s3.put_object(Bucket=self.bucket, Key="kept", Body=b"kept")["VersionId"]
        self.upload = s3.create_multipart_upload(Bucket=self.bucket, Key="part")["UploadId"]

    def target(self, row, key="kept"):
        sub = "" if row.sub in ("-", "x-amz-copy-source", "uploadId") else row.sub
        sub = "list-type=2" if sub == "list-type" else sub
        queries = {"version": f"versionId={self.version}", "upload": f"uploadId={self.upload}"}
        query = "&".join(part for part in (sub, queries.get(row.resource, "")) if part)
        if row.resource == "upload" and row.method == "PUT":
            query += "&partNumber=1"
        path = {"service": "/", "bucket": f"/{self.bucket}", "upload": f"/{self.bucket}/part"}
        return path.get(row.resource, f"/{self.bucket}/{key}") + (f"?{query}" if query else "")

    def ask(self, caller, row, key="kept", content_type=None):
        """The response to the route's request by this caller."""
        if content_type is None and (row.method, row.resource, row.sub) == ("POST", "bucket", "-"):
            return self.form(caller)
        client = S3Requests(self.cluster.access["endpoint"], *KEYS.get(caller, ()))
        headers = {} if content_type is None else {"content-type": content_type}
        if row.sub == "x-amz-copy-source":
            # A copy of an object to itself must change its metadata.
            headers.update({"x-amz-copy-source": f"/{self.bucket}/kept", "x-amz-metadata-directive": "REPLACE"})
        if row.method == "DELETE" and row.sub == "tagging" or row.sub == "attributes":
            headers["x-amz-object-attributes"] = "ETag"
        body = DOCUMENTS.get(row.sub, "") if row.method in ("PUT", "POST") else ""
        if row.method == "PUT" and row.sub in ("-", "uploadId") and row.resource != "bucket":
            body = "other"
        how = UNSIGNED if caller == "anonymous" else "header"
        return client(row.method, self.target(row, key), headers, body.encode(), how)

    def form(self, caller):
        fields = {"key": "form"}
        if caller != "anonymous":
            client = self.cluster.s3(*KEYS[caller], signature_version="s3v4")
            fields = client.generate_presigned_post(self.bucket, "form")["fields"]
        url = f"{self.cluster.access['endpoint']}/{self.bucket}"
        reply = requests.post(url, data=fields, files={"file": b"x"}, timeout=30)
        return Reply(reply.status_code, reply.content)

    def state(self):
        """What the owner sees."""
        client = S3Requests(self.cluster.access["endpoint"])
        rows_of_reads = [row for row in rows("s3") if row.method == "GET" and row.resource != "service"]
        found = [client("GET", self.target(row), {"x-amz-object-attributes": "ETag"}) for row in rows_of_reads]
        # Ids of requests differ.
        return [(reply.status, reply.body.split(b"<RequestId>")[0]) for reply in found]


class Reply(NamedTuple):
    status: int
    body: bytes


def outcome(reply):
    """`deny`, `allow`, or the code of a conflict between accounts."""
    if b"<Code>BucketAlreadyExists</Code>" in reply.body:
        return "BucketAlreadyExists"
    denied = b"<Code>AccessDenied</Code>" in reply.body or (reply.status == 403 and not reply.body)
    return "deny" if denied else "allow"


@pytest.fixture(scope="module")
def victim(cluster):
    return Victim(cluster)


def test_callers_without_rights_change_nothing_and_see_nothing(victim):
    before = victim.state()
    wrong = []
    for row in rows("s3"):
        for caller in ("anonymous", "other", "member"):
            expected = getattr(row, caller)
            reply = victim.ask(caller, row)
            if (row.resource, caller, reply.status) == ("service", "anonymous", 404):
                # Without a signature it is a request of Swift's dialect.
                continue
            if outcome(reply) != expected:
                wrong.append((str(row), caller, expected, reply.status, reply.body[:200]))
            # Whether an object exists is not shown either.
            if expected == "deny" and row.resource == "object":
                absent = victim.ask(caller, row, "absent")
                if absent.status != reply.status:
                    wrong.append((str(row), caller, "absent", absent.status, absent.body[:200]))
    assert wrong == []
    assert victim.state() == before


def test_the_owner_may_use_every_route(cluster):
    wrong = []
    for row in rows("s3"):
        reply = Victim(cluster).ask("owner", row)
        if outcome(reply) != row.owner:
            wrong.append((str(row), reply.status, reply.body[:200]))
    assert wrong == []


CONTENT_TYPES = ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/xml", "text/plain"]


def test_no_type_of_content_opens_a_route(victim):
    before = victim.state()
    changes = [row for row in rows("s3") if row.method in ("PUT", "POST") and row.anonymous == "deny"]
    for row, content_type in itertools.product(changes, CONTENT_TYPES):
        reply = victim.ask("anonymous", row, content_type=content_type)
        # A form that is not one is malformed before anything else.
        assert outcome(reply) == "deny" or reply.status in (400, 412), (str(row), content_type, reply)
    assert victim.state() == before


def test_an_upload_belongs_to_its_key_and_bucket(cluster, victim):
    other = Victim(cluster)
    client = S3Requests(cluster.access["endpoint"])
    for path in (f"/{victim.bucket}/another", f"/{other.bucket}/part"):
        for method, query, body in [
            ("PUT", "&partNumber=1", b"x"),
            ("GET", "", b""),
            ("DELETE", "", b""),
            ("POST", "", b"<CompleteMultipartUpload/>"),
        ]:
            reply = client(method, f"{path}?uploadId={victim.upload}{query}", body=body)
            assert reply.status in (400, 404) and reply.code in ("NoSuchUpload", "MalformedXML"), (method, path, reply)
    assert client("GET", f"/{victim.bucket}/part?uploadId={victim.upload}").status == 200


def test_a_copy_needs_the_right_to_read_its_source(cluster, victim):
    own = f"thief-{next(NUMBERS)}"
    s3 = cluster.s3(*KEYS["other"])
    s3.create_bucket(Bucket=own)
    upload = s3.create_multipart_upload(Bucket=own, Key="k")["UploadId"]
    client = S3Requests(cluster.access["endpoint"], *KEYS["other"])
    for source in ("kept", f"kept?versionId={victim.version}", "absent"):
        headers = {"x-amz-copy-source": f"/{victim.bucket}/{source}"}
        for target in (f"/{own}/k", f"/{own}/k?partNumber=1&uploadId={upload}"):
            reply = client("PUT", target, headers)
            assert outcome(reply) == "deny", (source, target, reply)
    assert "Contents" not in s3.list_objects_v2(Bucket=own)


TOKENS = {"other": "test2:tester2", "member": "test:tester3", "owner": "test:tester"}


def swift_request(cluster, caller, row, container):
    headers = {}
    if caller != "anonymous":
        headers["X-Auth-Token"] = cluster.swift(TOKENS[caller], KEYS[caller][1]).get_auth()[1]
    path = {"account": "", "container": f"/{container}", "object": f"/{container}/kept"}[row.resource]
    body = b"other" if (row.method, row.resource) == ("PUT", "object") else b""
    if row.sub == "bulk-delete":
        path, body = "?bulk-delete", f"{container}/kept\n".encode()
        headers.update({"Content-Type": "text/plain", "Accept": "application/json"})
    if row.method == "COPY":
        headers["Destination"] = f"{container}/copy"
    url = f"{cluster.access['endpoint']}/v1/AUTH_test{path}"
    return requests.request(row.method, url, headers=headers, data=body, timeout=30)


def swift_outcome(reply):
    refused = reply.status_code in (401, 403, 405)
    # A batch reports on each name.
    inner = b"403 Forbidden" in reply.content or b"401 Unauthorized" in reply.content
    return "deny" if refused or inner else "allow"


def test_swifts_methods_ask_for_the_same_rights(cluster):
    swift = cluster.swift()
    wrong = []
    swift.put_container("matrix")
    swift.put_object("matrix", "kept", b"kept")
    before = swift.get_container("matrix", full_listing=True)[1]
    for row in rows("swift"):
        for caller in ("anonymous", "other", "member"):
            reply = swift_request(cluster, caller, row, "matrix")
            if swift_outcome(reply) != getattr(row, caller):
                wrong.append((str(row), caller, reply.status_code, reply.content[:200]))
    assert swift.get_container("matrix", full_listing=True)[1] == before
    for row in rows("swift"):
        container = f"matrix-{next(NUMBERS)}"
        swift.put_container(container)
        swift.put_object(container, "kept", b"kept")
        reply = swift_request(cluster, "owner", row, container)
        if swift_outcome(reply) != row.owner:
            wrong.append((str(row), "owner", reply.status_code, reply.content[:200]))
    assert wrong == []
