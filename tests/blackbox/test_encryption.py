"""Encryption at rest: by keys of the cluster, of clients and of the key management service."""

import base64
import hashlib
import json
import os

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.saio import Saio

PART = 5 * 1024 * 1024
TEXT = b"a plain text that must not be found on any disk. " * 64
KMS = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "one"}
SSE_S3 = {"ServerSideEncryption": "AES256"}


def secret(character):
    return base64.b64encode(character * 32).decode()


def customer(character, prefix=""):
    key = character * 32
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


WRITES = [SSE_S3, KMS, customer(b"c")]


def reads(write):
    return write if "SSECustomerKey" in write else {}


def sources(write):
    return customer(b"c", "CopySource") if "SSECustomerKey" in write else {}


def bodies(cluster):
    """All files of objects on the devices."""
    for device in (cluster.data / "devices").iterdir():
        yield from (device / "objects").rglob("*.data")


def metadata(file):
    names = [name for name in os.listxattr(file) if name.startswith("user.swift.metadata")]
    return b"".join(os.getxattr(file, name) for name in sorted(names))


def code(error):
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def rewrite(cluster, name, change):
    assert cluster.stop() == 0
    path = cluster.data / "etc" / name
    path.write_text(change(path.read_text()))
    cluster.start()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("encryption") / "data", "--dev-users").start()
    rewrite(cluster, "keymaster.conf", lambda text: text + f"\n[kms]\nkey_one = {secret(b'1')}\nkey_two = {secret(b'2')}\n")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def s3(cluster):
    s3 = cluster.s3()
    s3.create_bucket(Bucket="sse")
    return s3


def test_the_root_secret_is_only_readable_by_its_owner(cluster):
    path = cluster.data / "etc" / "keymaster.conf"
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("write", WRITES, ids=["s3", "kms", "c"])
def test_no_disk_has_the_plain_text(cluster, s3, write):
    key = "disk-" + "-".join(write)
    written = s3.put_object(Bucket="sse", Key=key, Body=TEXT, Metadata={"color": "hidden-value"}, **write)
    read = s3.get_object(Bucket="sse", Key=key, **reads(write))
    assert read["Body"].read() == TEXT
    assert read["Metadata"] == {"color": "hidden-value"}
    head = s3.head_object(Bucket="sse", Key=key, **reads(write))
    assert read["ETag"] == head["ETag"] == written["ETag"]
    listed = s3.list_objects_v2(Bucket="sse", Prefix=key)["Contents"]
    assert [entry["ETag"] for entry in listed] == [written["ETag"]]
    md5 = hashlib.md5(TEXT).hexdigest()
    assert (written["ETag"].strip('"') == md5) == (write is SSE_S3)
    for answer in (written, read, head):
        assert answer.get("ServerSideEncryption") == write.get("ServerSideEncryption")
        assert answer.get("SSEKMSKeyId") == write.get("SSEKMSKeyId")
        assert answer.get("SSECustomerAlgorithm") == write.get("SSECustomerAlgorithm")
    files = list(bodies(cluster))
    assert files
    for file in files:
        assert TEXT[:40] not in file.read_bytes()
        if write is SSE_S3:
            assert md5.encode() not in metadata(file)
            assert b"hidden-value" not in metadata(file) or b"Crypto" not in metadata(file)


@pytest.mark.parametrize("write", WRITES, ids=["s3", "kms", "c"])
def test_ranges_start_at_any_byte(s3, write):
    body = bytes(range(256)) * 1200
    s3.put_object(Bucket="sse", Key="range", Body=body, **write)
    for first, last in [(0, 0), (1, 15), (15, 16), (17, 70000), (65535, 65536), (307199, 307199)]:
        read = s3.get_object(Bucket="sse", Key="range", Range=f"bytes={first}-{last}", **reads(write))
        assert read["Body"].read() == body[first : last + 1]


@pytest.mark.parametrize("write", WRITES, ids=["s3", "kms", "c"])
def test_parts_have_the_encryption_of_their_upload(s3, write):
    upload = s3.create_multipart_upload(Bucket="sse", Key="parts", **write)
    assert upload.get("ServerSideEncryption") == write.get("ServerSideEncryption")
    data = [os.urandom(PART), os.urandom(1001)]
    parts = []
    for number, body in enumerate(data, 1):
        part = s3.upload_part(Bucket="sse", Key="parts", UploadId=upload["UploadId"], PartNumber=number, Body=body, **reads(write))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    if reads(write):
        with pytest.raises(ClientError) as error:
            s3.upload_part(Bucket="sse", Key="parts", UploadId=upload["UploadId"], PartNumber=3, Body=b"x")
        assert code(error) == ("InvalidRequest", 400)
    done = s3.complete_multipart_upload(
        Bucket="sse", Key="parts", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}, **reads(write)
    )
    assert done.get("ServerSideEncryption") == write.get("ServerSideEncryption")
    whole = b"".join(data)
    assert s3.get_object(Bucket="sse", Key="parts", **reads(write))["Body"].read() == whole
    second = s3.get_object(Bucket="sse", Key="parts", PartNumber=2, **reads(write))
    assert second["Body"].read() == data[1]
    across = s3.get_object(Bucket="sse", Key="parts", Range=f"bytes={PART - 5}-{PART + 4}", **reads(write))
    assert across["Body"].read() == whole[PART - 5 : PART + 5]
    s3.delete_object(Bucket="sse", Key="parts")
    with pytest.raises(ClientError):
        s3.head_object(Bucket="sse", Key="parts", **reads(write))


@pytest.mark.parametrize("source", [{}, *WRITES], ids=["plain", "s3", "kms", "c"])
@pytest.mark.parametrize("target", [{}, SSE_S3, KMS, customer(b"t")], ids=["plain", "s3", "kms", "c"])
def test_copies_are_encrypted_as_their_request_says(s3, source, target):
    s3.put_object(Bucket="sse", Key="from", Body=TEXT, Metadata={"a": "b"}, **source)
    named = {"Bucket": "sse", "Key": "from"}
    copied = s3.copy_object(Bucket="sse", Key="to", CopySource=named, **sources(source), **target)
    assert copied.get("ServerSideEncryption") == target.get("ServerSideEncryption")
    read = s3.get_object(Bucket="sse", Key="to", **reads(target))
    assert read["Body"].read() == TEXT and read["Metadata"] == {"a": "b"}
    assert read.get("ServerSideEncryption") == target.get("ServerSideEncryption")


def test_conditions_compare_the_etag_that_clients_see(s3):
    etag = s3.put_object(Bucket="sse", Key="if", Body=b"one", **SSE_S3)["ETag"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="sse", Key="if", IfNoneMatch=etag)
    assert code(error)[1] == 304
    assert s3.get_object(Bucket="sse", Key="if", IfMatch=etag)["Body"].read() == b"one"
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="sse", Key="if", Body=b"two", IfMatch='"0123"', **SSE_S3)
    assert code(error)[1] == 412
    s3.put_object(Bucket="sse", Key="if", Body=b"two", IfMatch=etag, **SSE_S3)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="sse", Key="if", Body=b"three", IfMatch=etag, **SSE_S3)
    assert code(error)[1] == 412


def test_checksums_are_those_of_the_plain_text(s3):
    s3.put_object(Bucket="sse", Key="sum", Body=TEXT, ChecksumAlgorithm="SHA256", **SSE_S3)
    head = s3.head_object(Bucket="sse", Key="sum", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="sse", Key="sum", Body=TEXT, ContentMD5=base64.b64encode(bytes(16)).decode(), **SSE_S3)
    assert code(error) == ("BadDigest", 400)


def test_a_clients_key_is_needed_for_every_read(s3):
    s3.put_object(Bucket="sse", Key="own", Body=TEXT, **customer(b"c"))
    for read in (s3.get_object, s3.head_object):
        for given in ({}, customer(b"x")):
            with pytest.raises(ClientError) as error:
                read(Bucket="sse", Key="own", **given)
            assert code(error)[1] == 400
    s3.put_object(Bucket="sse", Key="own-not", Body=TEXT)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket="sse", Key="own-not", **customer(b"c"))
    assert code(error) == ("InvalidRequest", 400)
    s3.delete_object(Bucket="sse", Key="own")


def test_unknown_keys_and_algorithms_are_refused(s3):
    for given, expected in [
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "three"}, ("KMS.NotFoundException", 400)),
        ({"ServerSideEncryption": "aws:kms"}, ("InvalidArgument", 400)),
        ({"ServerSideEncryption": "aws:kms:dsse"}, ("NotImplemented", 501)),
    ]:
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="sse", Key="refused", Body=b"x", **given)
        assert code(error) == expected, given
    with pytest.raises(ClientError):
        s3.head_object(Bucket="sse", Key="refused")


def test_the_default_of_a_bucket_applies_to_both_dialects(cluster, s3):
    s3.create_bucket(Bucket="default")
    with pytest.raises(ClientError) as error:
        s3.get_bucket_encryption(Bucket="default")
    assert code(error) == ("ServerSideEncryptionConfigurationNotFoundError", 404)
    for rule, expected in [
        ({"SSEAlgorithm": "AES256"}, ("AES256", None)),
        ({"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "two"}, ("aws:kms", "two")),
    ]:
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule, "BucketKeyEnabled": False}]}
        s3.put_bucket_encryption(Bucket="default", ServerSideEncryptionConfiguration=rules)
        found = s3.get_bucket_encryption(Bucket="default")["ServerSideEncryptionConfiguration"]
        assert found == rules
        written = s3.put_object(Bucket="default", Key="s3", Body=TEXT)
        assert (written["ServerSideEncryption"], written.get("SSEKMSKeyId")) == expected
        swift = cluster.swift()
        swift.put_object("default", "swift", contents=TEXT, headers={"X-Object-Meta-A": "b"})
        head = s3.head_object(Bucket="default", Key="swift")
        assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == expected
        assert swift.get_object("default", "swift")[1] == TEXT
        assert s3.get_object(Bucket="default", Key="s3")["Body"].read() == TEXT
    s3.delete_bucket_encryption(Bucket="default")
    assert "ServerSideEncryption" not in s3.put_object(Bucket="default", Key="s3", Body=TEXT)


def test_versions_are_encrypted(s3):
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for write in [*WRITES, {}]:
        s3.put_object(Bucket="versions", Key="k", Body=json.dumps(sorted(write)).encode(), **write)
    versions = s3.list_object_versions(Bucket="versions", Prefix="k")["Versions"]
    assert len(versions) == 4
    for version, write in zip(versions, [{}, *reversed(WRITES)], strict=True):
        read = s3.get_object(Bucket="versions", Key="k", VersionId=version["VersionId"], **reads(write))
        assert read["Body"].read() == json.dumps(sorted(write)).encode()
        assert read["ETag"] == version["ETag"]
        assert read.get("ServerSideEncryption") == write.get("ServerSideEncryption")


def test_secrets_are_rotated_and_a_lost_one_is_named(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    try:
        s3 = cluster.s3()
        s3.create_bucket(Bucket="bucket")
        first = s3.put_object(Bucket="bucket", Key="old", Body=TEXT, **SSE_S3)
        upload = s3.create_multipart_upload(Bucket="bucket", Key="parts", **SSE_S3)
        before = (cluster.data / "etc" / "keymaster.conf").read_text()
        new = f"encryption_root_secret_new = {secret(b'n')}\nactive_root_secret_id = new\n"
        rewrite(cluster, "keymaster.conf", lambda text: text + new)
        s3 = cluster.s3()
        s3.put_object(Bucket="bucket", Key="new", Body=TEXT, **SSE_S3)
        part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload["UploadId"], PartNumber=1, Body=TEXT)
        assert s3.get_object(Bucket="bucket", Key="old", IfMatch=first["ETag"])["Body"].read() == TEXT
        rewrite(cluster, "keymaster.conf", lambda text: f"[keymaster]\n{new}")
        s3 = cluster.s3()
        assert s3.get_object(Bucket="bucket", Key="new")["Body"].read() == TEXT
        listed = {entry["Key"]: entry["ETag"] for entry in s3.list_objects_v2(Bucket="bucket")["Contents"]}
        assert listed == {"new": first["ETag"], "old": '"<unknown>"'}
        with pytest.raises(ClientError) as error:
            s3.get_object(Bucket="bucket", Key="old")
        assert code(error) == ("InternalError", 500)
        assert "root secret without an id" in error.value.response["Error"]["Message"]
        url, token = cluster.swift().get_auth()
        answer = requests.get(f"{url}/bucket/old", headers={"X-Auth-Token": token}, timeout=30)
        assert answer.status_code == 500 and TEXT[:20] not in answer.content
        s3.delete_object(Bucket="bucket", Key="old")
        other = f"[keymaster]\nencryption_root_secret_new = {secret(b'o')}\nactive_root_secret_id = new\n"
        rewrite(cluster, "keymaster.conf", lambda text: other)
        with pytest.raises(ClientError) as error:
            cluster.s3().get_object(Bucket="bucket", Key="new")
        assert "not the one that encrypted it" in error.value.response["Error"]["Message"]
        rewrite(cluster, "keymaster.conf", lambda text: before + new)
        assert cluster.s3().get_object(Bucket="bucket", Key="new")["Body"].read() == TEXT
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        cluster.s3().complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload["UploadId"], MultipartUpload=parts)
        assert cluster.s3().get_object(Bucket="bucket", Key="parts")["Body"].read() == TEXT
    finally:
        cluster.stop()


def test_without_a_root_secret_the_missing_option_is_named(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    try:
        rewrite(cluster, "proxy-server.conf", lambda text: text.replace(" keymaster ", " "))
        s3 = cluster.s3()
        s3.create_bucket(Bucket="bucket")
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="bucket", Key="k", Body=b"x", **SSE_S3)
        assert code(error) == ("NotImplemented", 501)
        assert "encryption_root_secret" in error.value.response["Error"]["Message"]
        s3.put_object(Bucket="bucket", Key="k", Body=b"x", **customer(b"c"))
    finally:
        cluster.stop()


def test_with_encryption_in_the_pipeline_every_object_is_encrypted(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    try:
        rewrite(cluster, "proxy-server.conf", lambda text: text.replace(" keymaster ", " keymaster encryption "))
        swift = cluster.swift()
        swift.put_container("container")
        etag = swift.put_object("container", "o", contents=TEXT, headers={"X-Object-Meta-Color": "hidden-value"})
        assert etag == hashlib.md5(TEXT).hexdigest()
        swift.post_object("container", "o", {"X-Object-Meta-Other": "hidden-other"})
        headers, body = swift.get_object("container", "o")
        assert body == TEXT and headers["x-object-meta-other"] == "hidden-other"
        assert [row["hash"] for row in swift.get_container("container")[1]] == [etag]
        s3 = cluster.s3()
        assert s3.get_object(Bucket="container", Key="o")["ServerSideEncryption"] == "AES256"
        upload = s3.create_multipart_upload(Bucket="container", Key="parts", Metadata={"a": "hidden-meta"})
        sent = {"Bucket": "container", "Key": "parts", "UploadId": upload["UploadId"]}
        part = s3.upload_part(PartNumber=1, Body=TEXT, **sent)
        s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **sent)
        read = s3.get_object(Bucket="container", Key="parts")
        assert read["Body"].read() == TEXT and read["Metadata"] == {"a": "hidden-meta"}
        for file in bodies(cluster):
            raw = file.read_bytes() + metadata(file)
            assert TEXT[:40] not in raw and b"hidden" not in raw and etag.encode() not in raw
        s3.delete_object(Bucket="container", Key="parts")
    finally:
        cluster.stop()
