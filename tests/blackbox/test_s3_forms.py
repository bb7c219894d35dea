"""Uploads by HTML forms (POST Object), with policies of both signature versions."""

import base64
import hashlib
import zlib
from xml.etree import ElementTree

import boto3
import botocore.config
import pytest
import requests

VERSIONS = ["s3v4", "s3"]


def client(cluster, version):
    return boto3.client(
        "s3",
        endpoint_url=cluster.access["endpoint"],
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=botocore.config.Config(signature_version=version, s3={"addressing_style": "path"}),
    )


class Form:
    """A form that botocore signs."""

    def __init__(self, cluster, bucket, version="s3v4"):
        self.cluster, self.bucket, self.s3 = cluster, bucket, client(cluster, version)

    def sign(self, key="k", fields=None, conditions=None, seconds=300):
        fields = dict(fields or {})
        conditions = [{name: value} for name, value in fields.items()] if conditions is None else conditions
        return self.s3.generate_presigned_post(self.bucket, key, fields, conditions, seconds)

    def send(self, form, data=b"data", filename="a.txt", **changed):
        fields = {name: value for name, value in {**form["fields"], **changed}.items() if value is not None}
        files = {"file": (filename, data)} if data is not None else {"x-ignore-no": ("", b"")}
        return requests.post(form["url"], data=fields, files=files, timeout=30, allow_redirects=False)

    def __call__(self, *args, data=b"data", filename="a.txt", **more):
        return self.send(self.sign(*args, **more), data, filename)


@pytest.fixture(params=VERSIONS)
def form(cluster, bucket, request):
    return Form(cluster, bucket, request.param)


def code(reply):
    return ElementTree.fromstring(reply.content).findtext("Code")


def message(reply):
    return ElementTree.fromstring(reply.content).findtext("Message")


def test_a_form_uploads_its_file_with_its_fields(form, s3, bucket):
    fields = {
        "acl": "bucket-owner-full-control",
        "Content-Type": "text/plain",
        "Cache-Control": "max-age=5",
        "x-amz-meta-colour": "grün",
        "x-amz-storage-class": "STANDARD",
    }
    reply = form("up/${filename}", fields, filename="C:\\dir\\a b.txt", data=b"hello")
    assert (reply.status_code, reply.content) == (204, b""), reply.content
    assert reply.headers["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    found = s3.get_object(Bucket=bucket, Key="up/a b.txt")
    assert found["Body"].read() == b"hello"
    assert (found["ContentType"], found["CacheControl"]) == ("text/plain", "max-age=5")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_the_response_is_the_one_that_the_form_asks_for(form, cluster, bucket):
    assert form("k", {"success_action_status": "200"}).status_code == 200
    assert form("k", {"success_action_status": "404"}).status_code == 204
    reply = form("dir/k ü", {"success_action_status": "201"})
    assert reply.status_code == 201
    document = ElementTree.fromstring(reply.content)
    assert (document.tag, document.findtext("Bucket"), document.findtext("Key")) == ("PostResponse", bucket, "dir/k ü")
    assert document.findtext("ETag") == reply.headers["ETag"]
    location = f"{cluster.access['endpoint']}/{bucket}/dir/k%20%C3%BC"
    assert document.findtext("Location") == reply.headers["Location"] == location


def test_a_success_may_redirect_to_a_page(form, bucket):
    etag = hashlib.md5(b"data").hexdigest()
    for field, page, joint in [
        ("success_action_redirect", "http://page/done", "?"),
        ("redirect", "https://page/done?a=1", "&"),
    ]:
        reply = form("a&b", {field: page})
        assert reply.status_code == 303
        assert reply.headers["Location"] == f"{page}{joint}bucket={bucket}&key=a%26b&etag=%22{etag}%22"
    for page in ("javascript:alert(1)", "/done", "page"):
        reply = form("k", {"success_action_redirect": page})
        assert reply.status_code == 204


@pytest.mark.parametrize(
    "condition, key, fields",
    [
        (["starts-with", "$key", "user/"], "other/k", {}),
        (["eq", "$Content-Type", "text/plain"], "k", {"Content-Type": "text/html"}),
        (["eq", "$Content-Type", "text/plain"], "k", {}),
        ({"x-amz-meta-a": "1"}, "k", {"x-amz-meta-a": "2"}),
        ({"x-amz-meta-a": "1"}, "k", {}),
        ({"bucket": "other"}, "k", {}),
        (["starts-with", "$x-amz-meta-a", ""], "k", {}),
    ],
)
def test_each_condition_is_enforced_alone(form, s3, bucket, condition, key, fields):
    allowed = [["starts-with", f"${name}", ""] for name in fields]
    reply = form(key, fields, conditions=[*allowed, condition])
    assert (reply.status_code, code(reply)) == (403, "AccessDenied")
    assert message(reply).startswith("Invalid according to Policy: Policy Condition failed: ")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_field_that_the_policy_does_not_name_is_refused(form, s3, bucket):
    signed = form.sign("k")
    for extra in ("acl", "x-amz-meta-a", "success_action_redirect", "Content-Type", "tagging"):
        reply = form.send(signed, **{extra: "x"})
        assert (reply.status_code, code(reply)) == (403, "AccessDenied")
        assert message(reply) == f"Invalid according to Policy: Extra input fields: {extra.lower()}"
    assert form.send(signed, **{"x-ignore-me": "x"}).status_code == 204


def test_the_size_of_the_file_is_enforced_as_it_arrives(form, s3, bucket):
    sizes = [["content-length-range", 10, 1_000_000]]
    for size, expected in [(9, "EntityTooSmall"), (10, None), (1_000_000, None), (1_000_001, "EntityTooLarge")]:
        s3.delete_object(Bucket=bucket, Key="k")
        reply = form("k", conditions=sizes, data=b"x" * size)
        if expected is None:
            assert reply.status_code == 204
            assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == size
        else:
            assert (reply.status_code, code(reply)) == (400, expected)
            assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_large_file_is_stored_whole(form, s3, bucket):
    data = bytes(range(256)) * 40_000 + b"\r\n--not the boundary\r"
    assert form("k", data=data).status_code == 204
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data


def test_a_policy_ends_and_its_signature_covers_it(form, cluster, bucket):
    reply = form("k", seconds=-10)
    assert (reply.status_code, message(reply)) == (403, "Invalid according to Policy: Policy expired.")
    signed = form.sign("k")
    policy = base64.b64decode(signed["fields"]["policy"]).replace(b'"k"', b'"l"')
    reply = form.send(signed, policy=base64.b64encode(policy).decode(), key="l")
    assert (reply.status_code, code(reply)) == (403, "SignatureDoesNotMatch")
    name = "AWSAccessKeyId" if "AWSAccessKeyId" in signed["fields"] else "x-amz-credential"
    other = signed["fields"][name].replace("test:tester", "test:unknown")
    reply = form.send(signed, **{name: other})
    assert (reply.status_code, code(reply)) == (403, "InvalidAccessKeyId")
    for missing in {"signature", "x-amz-signature", "x-amz-date", "x-amz-algorithm", name, "policy"} & set(signed["fields"]):
        reply = form.send(signed, **{missing: None})
        assert (reply.status_code, code(reply)) == (400, "InvalidArgument"), missing
        assert f"'{missing}'" in message(reply)


def test_checksums_of_the_file_are_verified(form, s3, bucket):
    good = base64.b64encode(zlib.crc32(b"data").to_bytes(4, "big")).decode()
    reply = form("k", {"x-amz-checksum-crc32": good})
    assert (reply.status_code, reply.headers["x-amz-checksum-crc32"]) == (204, good)
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == good
    for fields in ({"x-amz-checksum-crc32": "AAAAAA=="}, {"Content-MD5": base64.b64encode(bytes(16)).decode()}):
        reply = form("bad", fields)
        assert (reply.status_code, code(reply)) == (400, "BadDigest"), fields
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def test_fields_that_mean_what_is_not_implemented_are_refused(form, s3, bucket):
    for fields, expected in [
        ({"acl": "public-read"}, "AccessControlListNotSupported"),
        ({"x-amz-server-side-encryption": "aws:kms:dsse"}, "NotImplemented"),
        ({"x-amz-storage-class": "GLACIER"}, "InvalidStorageClass"),
        ({"x-amz-copy-source": f"/{bucket}/other"}, "InvalidArgument"),
    ]:
        assert code(form("k", fields)) == expected, fields
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_condition_in_a_field_is_enforced(form, s3, bucket):
    assert form("k", {"If-None-Match": "*"}).status_code == 204
    assert form("k", {"If-None-Match": "*"}, data=b"second").status_code == 412
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_forms_that_are_not_valid_are_refused(cluster, s3, bucket):
    form = Form(cluster, bucket)
    url = f"{cluster.access['endpoint']}/{bucket}"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}

    def post(body, headers):
        return requests.post(url, data=body, headers=headers, timeout=30)

    assert code(post(b"--x--", kind)) == "InvalidArgument"
    assert code(post(b"--x\r\nno end", kind)) == "MalformedPOSTRequest"
    assert code(post(b"data", {"Content-Type": "multipart/form-data"})) == "MalformedPOSTRequest"
    reply = form.send(form.sign("k"), data=None)
    assert (reply.status_code, message(reply)) == (400, "POST requires exactly one file upload per request.")
    reply = form.send(form.sign("k"), key=None)
    assert reply.status_code == 403
    reply = form("k", {"x-amz-meta-a": "v" * 40_000})
    assert code(reply) == "MaxPostPreDataLengthExceeded"
    # Not a form at all.
    assert code(post(b"data", {"Content-Type": "text/plain"})) == "PreconditionFailed"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_form_that_breaks_off_stores_nothing(cluster, s3, bucket):
    form = Form(cluster, bucket)
    signed = form.sign("k")
    request = requests.Request("POST", signed["url"], data=signed["fields"], files={"file": ("a", b"d" * 200_000)})
    prepared = request.prepare()
    prepared.body = prepared.body[:150_000]
    prepared.headers["Content-Length"] = "150000"
    with requests.Session() as session:
        reply = session.send(prepared, timeout=30)
    assert (reply.status_code, code(reply)) == (400, "MalformedPOSTRequest")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_form_without_a_policy_is_anonymous(cluster, s3, bucket):
    url = f"{cluster.access['endpoint']}/{bucket}"
    reply = requests.post(url, data={"key": "k"}, files={"file": ("a", b"data")}, timeout=30)
    assert (reply.status_code, code(reply)) == (403, "AccessDenied")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_form_of_another_user_is_refused_by_the_bucket(cluster, s3, bucket):
    other = Form(cluster, bucket)
    other.s3 = cluster.s3("test2:tester2", "testing2")
    assert (other("k").status_code, code(other("k"))) == (403, "AccessDenied")
