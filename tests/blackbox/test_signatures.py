"""Signatures of S3 requests on every route that writes, in every form that a body can have."""

import itertools
from xml.etree import ElementTree

import pytest
import requests

from apus_testing.s3_requests import HEADER, PRESIGNED, UNSIGNED_PAYLOAD, S3Requests
from apus_testing.saio import Saio

SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
PAYLOADS = [
    None,
    UNSIGNED_PAYLOAD,
    SIGNED_CHUNKS,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
]
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
NUMBERS = itertools.count()


def versioning(status):
    return f"<VersioningConfiguration {XMLNS}><Status>{status}</Status></VersioningConfiguration>".encode()


def tags(value):
    return f"<Tagging><TagSet><Tag><Key>k</Key><Value>{value}</Value></Tag></TagSet></Tagging>".encode()


def cors(origin):
    rule = f"<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>{origin}</AllowedOrigin></CORSRule>"
    return f"<CORSConfiguration>{rule}</CORSConfiguration>".encode()


def lifecycle(days):
    rule = f"<Rule><Status>Enabled</Status><Prefix></Prefix><Expiration><Days>{days}</Days></Expiration></Rule>"
    return f"<LifecycleConfiguration>{rule}</LifecycleConfiguration>".encode()


def website(suffix):
    index = f"<IndexDocument><Suffix>{suffix}</Suffix></IndexDocument>"
    return f"<WebsiteConfiguration>{index}</WebsiteConfiguration>".encode()


def deletion(key):
    return f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()


# Method, target, and two bodies of one length; the second one is what an attacker sends.
WRITES = [
    ("PUT", "/{bucket}/new", b"a body", b"other!"),
    ("PUT", "/{bucket}/kept", b"a body", b"other!"),
    ("PUT", "/{bucket}/kept?tagging", tags("a"), tags("b")),
    ("PUT", "/{bucket}/part?partNumber=1&uploadId={upload}", b"a body", b"other!"),
    ("PUT", "/{bucket}?versioning", versioning("Enabled"), versioning("enabled")),
    ("PUT", "/{bucket}?tagging", tags("a"), tags("b")),
    ("PUT", "/{bucket}?cors", cors("http://a"), cors("http://b")),
    ("PUT", "/{bucket}?lifecycle", lifecycle(1), lifecycle(2)),
    ("PUT", "/{bucket}?website", website("a"), website("b")),
    ("POST", "/{bucket}?delete", deletion("gone"), deletion("kept")),
]
NAMES = [f"{method} {target}" for method, target, _, _ in WRITES]


class Victim:
    """A bucket with an object and an upload, and what requests find in it."""

    def __init__(self, s3):
        self.s3, self.bucket = s3, f"victim-{next(NUMBERS)}"
        s3.create_bucket(Bucket=self.bucket)
        s3.put_object(Bucket=self.bucket, Key="kept", Body=b"kept")
        self.upload = s3.create_multipart_upload(Bucket=self.bucket, Key="part")["UploadId"]

    def target(self, text):
        return text.format(bucket=self.bucket, upload=self.upload)

    def state(self):
        client, bucket = S3Requests(self.s3.meta.endpoint_url), self.bucket
        names = ("versioning", "tagging", "cors", "lifecycle", "website", "uploads", "list-type=2")
        found = [client("GET", f"/{bucket}?{name}") for name in names]
        found.append(client("GET", f"/{bucket}/kept"))
        found.append(client("GET", f"/{bucket}/kept?tagging"))
        found.append(client("GET", self.target("/{bucket}/part?uploadId={upload}")))
        # Ids of requests differ.
        return [(reply.status, reply.body.split(b"<RequestId>")[0]) for reply in found]


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


@pytest.fixture(scope="module")
def victim(cluster):
    return Victim(cluster.s3())


def framed(request_s3, headers, body, payload, signatures):
    """The body as `payload` says; `signatures` are those of its chunks."""
    if payload in (None, UNSIGNED_PAYLOAD):
        return body
    if payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
        return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    chain = request_s3.chunk_chain(headers)
    out = chain.chunk(signatures).replace(signatures, body) + chain.chunk(b"")
    return out + (b"\r\n" if payload == SIGNED_CHUNKS else chain.trailer("x-amz-checksum-crc32", "AAAAAA==").encode())


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("write", WRITES, ids=NAMES)
def test_a_wrong_signature_is_refused_in_every_form_of_body(request_s3, victim, write, payload):
    method, target, body, _ = write
    before = victim.state()
    headers = {} if payload in (None, UNSIGNED_PAYLOAD) else {"x-amz-decoded-content-length": str(len(body))}
    target, headers = request_s3.signed(method, victim.target(target), headers, body, payload=payload)
    good = headers["Authorization"]
    last = good[-1]
    headers["Authorization"] = good[:-1] + ("0" if last != "0" else "1")
    reply = request_s3.send(method, target, headers, body)
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")
    assert good.rsplit("=", 1)[1] not in reply.body.decode()
    assert victim.state() == before


@pytest.mark.parametrize("write", WRITES, ids=NAMES)
def test_a_body_that_is_not_the_signed_one_changes_nothing(request_s3, victim, write):
    method, target, body, other = write
    assert len(body) == len(other) and body != other
    before = victim.state()
    target, headers = request_s3.signed(method, victim.target(target), {}, body)
    reply = request_s3.send(method, target, headers, other)
    assert (reply.status, reply.code) == (400, "XAmzContentSHA256Mismatch")
    assert victim.state() == before


@pytest.mark.parametrize("write", WRITES, ids=NAMES)
def test_a_chunk_that_is_not_the_signed_one_changes_nothing(request_s3, victim, write):
    method, target, body, other = write
    before = victim.state()
    headers = {"x-amz-decoded-content-length": str(len(body)), "content-encoding": "aws-chunked"}
    target, headers = request_s3.signed(method, victim.target(target), headers, payload=SIGNED_CHUNKS)
    chain = request_s3.chunk_chain(headers)
    sent = chain.chunk(body).replace(body, other) + chain.chunk(b"") + b"\r\n"
    reply = request_s3.send(method, target, headers, sent)
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")
    assert victim.state() == before


@pytest.mark.parametrize("how", [HEADER, PRESIGNED])
def test_a_copy_cannot_be_added_to_a_signed_upload(request_s3, s3, victim, how):
    before = victim.state()
    for name in ("x-amz-copy-source", "X-Amz-Copy-Source", "x-amz-meta-added", "x-amz-acl", "x-amz-tagging"):
        target, headers = request_s3.signed("PUT", f"/{victim.bucket}/new", how=how)
        headers[name] = f"/{victim.bucket}/kept"
        reply = request_s3.send("PUT", target, headers)
        assert (reply.status, reply.code) == (403, "AccessDenied"), name
        assert reply.element("HeadersNotSigned") == name.lower()
    assert victim.state() == before


def test_a_signature_is_of_one_bucket_in_either_style(request_s3, victim):
    """Path and virtual-hosted style may not be mixed to reach another bucket."""
    target, headers = request_s3.signed("GET", f"/{victim.bucket}/kept")
    headers["Host"] = f"other.localhost:{request_s3.port}"
    assert request_s3.send("GET", target, headers).code == "SignatureDoesNotMatch"
    headers = {**headers, "Host": request_s3.host}
    assert request_s3.send("GET", target, headers).status == 200
    absolute = f"http://other.localhost{target}"
    assert request_s3.send("GET", absolute, headers).status == 200
    for name in ("X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Original-URL", "X-Rewrite-URL"):
        assert request_s3.send("GET", target, {**headers, name: "/other/key"}).body == b"kept", name


def test_the_hash_of_a_missing_body_is_that_of_nothing(request_s3, victim):
    target, headers = request_s3.signed("GET", f"/{victim.bucket}/kept", payload="0" * 64)
    reply = request_s3.send("GET", target, headers)
    assert (reply.status, reply.code) == (400, "XAmzContentSHA256Mismatch")


def test_a_refused_signature_shows_the_canonical_request(request_s3, victim):
    target, headers = request_s3.signed("GET", f"/{victim.bucket}/kept?versionId=null")
    good = headers["Authorization"].rsplit("=", 1)[1]
    headers["Authorization"] = headers["Authorization"].replace(good, "0" * 64)
    reply = request_s3.send("GET", target, headers)
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")
    found = {element.tag: element.text for element in ElementTree.fromstring(reply.body)}
    canonical = found["CanonicalRequest"]
    assert canonical.startswith(f"GET\n/{victim.bucket}/kept\nversionId=null\nhost:{request_s3.host}\n")
    assert bytes.fromhex(found["CanonicalRequestBytes"]).decode() == canonical
    text = found["StringToSign"]
    assert text.startswith(f"AWS4-HMAC-SHA256\n{headers['X-Amz-Date']}\n")
    assert bytes.fromhex(found["StringToSignBytes"]).decode() == text
    assert found["SignatureProvided"] == "0" * 64
    assert found["AWSAccessKeyId"] == "test:tester"
    assert good.encode() not in reply.body and b"testing" not in reply.body


CONTROLS = {
    "x-object-meta-a": "1",
    "x-object-sysmeta-a": "1",
    "x-object-transient-sysmeta-a": "1",
    "x-object-manifest": "other/prefix",
    "x-static-large-object": "True",
    "x-symlink-target": "other/o",
    "x-copy-from": "other/o",
    "x-delete-at": "1",
    "x-delete-after": "1",
    "x-timestamp": "1",
    "x-backend-storage-policy-index": "1",
    "x-backend-container-host": "127.0.0.1:1",
    "x-container-host": "127.0.0.1:1",
    "x-container-device": "sd1",
    "x-container-partition": "1",
    "x-container-read": ".r:*",
    "x-container-write": "*",
    "x-container-meta-a": "1",
    "x-container-sysmeta-a": "1",
    "x-versions-location": "other",
    "x-versions-enabled": "true",
    "x-account-meta-a": "1",
    "x-auth-token": "AUTH_tk0",
    "x-service-token": "AUTH_tk0",
}


def test_controls_of_swift_have_no_effect_on_s3_requests(request_s3, s3, swift):
    """CVE-2026-71192 and CVE-2026-50221."""
    bucket = f"controls-{next(NUMBERS)}"
    assert request_s3("PUT", f"/{bucket}", CONTROLS).status == 200
    assert request_s3("PUT", f"/{bucket}/k", CONTROLS, b"data").status == 200
    assert request_s3("POST", f"/{bucket}/k?uploads", CONTROLS).status == 200
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    container = swift.head_container(bucket)
    entry = swift.head_object(bucket, "k")
    for name in CONTROLS:
        if name != "x-timestamp":
            assert name not in container and name not in entry, name
    assert entry["content-length"] == "4"
    assert requests.get(f"{request_s3.endpoint}/v1/AUTH_test/{bucket}/k", timeout=30).status_code == 401


def configured(folder, change):
    cluster = Saio(folder / "data", "--dev-users").start()
    cluster.stop()
    conf = cluster.data / "etc/proxy-server.conf"
    text = conf.read_text()
    assert change(text) != text
    conf.write_text(change(text))
    # Without the option that would add its lines again.
    cluster.options = ()
    return cluster.start()


def test_a_form_with_a_session_token_is_refused(cluster, victim):
    form = cluster.s3(signature_version="s3v4").generate_presigned_post(victim.bucket, "form")
    fields = {**form["fields"], "x-amz-security-token": "token"}
    reply = requests.post(form["url"], data=fields, files={"file": b"x"}, timeout=30)
    assert reply.status_code == 400 and "<Code>InvalidToken</Code>" in reply.text


def test_version_2_is_refused_where_it_is_off(tmp_path):
    cluster = configured(tmp_path, lambda text: text.replace("sigv2 = true", "sigv2 = false"))
    old = cluster.s3(signature_version="s3")
    url = old.generate_presigned_url("list_objects", {"Bucket": "bucket"})
    form = old.generate_presigned_post("bucket", "key")
    header = {"Authorization": "AWS test:tester:x", "Date": "Mon, 30 Nov 2026 00:00:00 GMT"}
    for reply in (
        requests.get(url, timeout=30),
        requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=30),
        requests.get(f"{cluster.access['endpoint']}/bucket", headers=header, timeout=30),
    ):
        assert reply.status_code == 400
        assert "<Code>InvalidRequest</Code>" in reply.text and "AWS4-HMAC-SHA256" in reply.text
    assert cluster.stop() == 0


def test_clients_sign_for_the_public_url_behind_a_gateway(tmp_path):
    public = "https://store.example:8443/gate"
    section = "[app:proxy-server]\n"
    cluster = configured(tmp_path, lambda text: text.replace(section, f"{section}public_url = {public}\n"))
    client = S3Requests(public)
    for method, path, body in [("PUT", "/bucket", b""), ("PUT", "/bucket/a%20b", b"data"), ("GET", "/bucket/a%20b", b"")]:
        for how in (HEADER, PRESIGNED):
            target, headers = client.signed(method, path, body=body, how=how)
            client.host = f"127.0.0.1:{cluster.port}"
            reply = client.send(method, target, headers, body)
            assert reply.status in (200, 409), reply
    assert reply.body == b"data"
    direct = S3Requests(cluster.access["endpoint"])
    assert direct("GET", "/bucket/a%20b").body == b"data"
    other = S3Requests("https://other.example:8443/gate")
    target, headers = other.signed("GET", "/bucket/a%20b")
    other.host = f"127.0.0.1:{cluster.port}"
    assert other.send("GET", target, headers).code == "SignatureDoesNotMatch"
    assert cluster.stop() == 0


@pytest.mark.parametrize("lines", [["a", "b"], [b"\xff"]], ids=["two lines", "not text"])
@pytest.mark.parametrize(
    "name",
    ["If-Match", "If-None-Match", "Content-MD5", "x-amz-tagging", "x-amz-grant-read", "x-amz-object-lock-mode", "x-amz-checksum-crc32"],
)
def test_a_header_that_decides_is_one_line_of_text(s3, bucket, request_s3, name, lines):
    s3.put_object(Bucket=bucket, Key="key", Body=b"first")
    target, headers = request_s3.signed("PUT", f"/{bucket}/key", body=b"second")
    reply = request_s3.send("PUT", target, {**headers, name: lines}, b"second")
    assert (reply.status, reply.code) == (400, "InvalidArgument") and name.lower().encode() in reply.body.lower()
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"first"
