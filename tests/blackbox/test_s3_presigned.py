"""Headers that tools move into the query of a presigned URL mean what they mean as headers."""

import base64
import zlib
from urllib.parse import quote, urlsplit

import boto3
import botocore.config
import pytest

from apus_testing.s3_requests import PRESIGNED, S3Requests

SDK_CHECKSUM = f"x-amz-checksum-crc32={quote('AAAAAA==', safe='')}&x-amz-sdk-checksum-algorithm=CRC32"


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


def crc32(body):
    return quote(base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(), safe="")


def put(request_s3, bucket, query, body=b"x", headers=None):
    return request_s3("PUT", f"/{bucket}/k?{query}", headers, body, PRESIGNED)


def test_metadata_and_checksums_in_the_query_are_kept(request_s3, s3, bucket):
    query = f"x-amz-meta-colour=red&X-Amz-Meta-Size=big%20one&x-amz-acl=bucket-owner-full-control&x-amz-checksum-crc32={crc32(b'hello')}"
    assert put(request_s3, bucket, query, b"hello").status == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["Metadata"] == {"colour": "red", "size": "big one"}
    assert head["ChecksumCRC32"] == base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    "query, status, code",
    [
        ("x-amz-acl=public-read", 400, "AccessControlListNotSupported"),
        ("X-AMZ-ACL=public-read", 400, "AccessControlListNotSupported"),
        ("x-amz-tagging=a%3Db%26a%3Dc", 400, "InvalidArgument"),
        ("x-amz-object-lock-mode=GOVERNANCE", 400, "InvalidArgument"),
        ("x-amz-object-lock-legal-hold=ON", 400, "InvalidRequest"),
        ("x-amz-website-redirect-location=%2Fx", 501, "NotImplemented"),
        ("x-amz-server-side-encryption=aws%3Akms%3Adsse", 501, "NotImplemented"),
        ("x-amz-grant-read=id%3Da%3Ab", 400, "AccessControlListNotSupported"),
        ("x-amz-storage-class=GLACIER", 400, "InvalidStorageClass"),
        ("x-amz-checksum-crc32=AAAAAA%3D%3D", 400, "BadDigest"),
        ("x-amz-checksum-sha256=" + "A" * 43 + "%3D", 400, "BadDigest"),
        ("x-amz-expected-bucket-owner=another", 403, "AccessDenied"),
        ("x-amz-copy-source=%2Fb%2Fk", 400, "InvalidArgument"),
        ("X-Amz-Copy-Source=%2Fb%2Fk", 400, "InvalidArgument"),
        ("x-amz-copy-source-if-match=x", 400, "InvalidArgument"),
        ("x-amz-rename-source=%2Fb%2Fk", 501, "NotImplemented"),
        ("x-amz-meta-a=1&X-Amz-Meta-A=2", 400, "InvalidArgument"),
        ("x-amz-meta-a%20b=1", 400, "InvalidArgument"),
        ("x-amz-meta-a=1%0A2", 400, "InvalidArgument"),
    ],
)
def test_what_would_be_refused_as_a_header_is_refused_in_the_query(request_s3, s3, bucket, query, status, code):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    reply = put(request_s3, bucket, query)
    assert (reply.status, reply.code) == (status, code)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"


def test_a_refused_copy_says_why(request_s3, bucket):
    reply = put(request_s3, bucket, "x-amz-copy-source=%2Fb%2Fk")
    assert "sign it as a header" in reply.element("Message")


def test_a_header_and_a_parameter_of_one_name_must_agree(request_s3, s3, bucket):
    headers = {"x-amz-meta-a": "1"}
    assert put(request_s3, bucket, "x-amz-meta-a=2", headers=headers).code == "InvalidArgument"
    assert put(request_s3, bucket, "x-amz-meta-a=1", headers=headers).status == 200
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "1"}


def test_the_checksum_of_nothing_that_an_sdk_adds_is_ignored(request_s3, s3, bucket):
    assert put(request_s3, bucket, SDK_CHECKSUM + "&x-id=PutObject", b"a body").status == 200
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"a body"


def test_a_parameter_that_was_added_later_breaks_the_signature(request_s3, bucket):
    target, headers = request_s3.signed("PUT", f"/{bucket}/k", how=PRESIGNED)
    reply = request_s3.send("PUT", target + "&x-amz-meta-a=1", headers, b"x")
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")


def test_a_signed_header_that_is_missing_is_named(request_s3, bucket):
    target, headers = request_s3.signed("PUT", f"/{bucket}/k", {"x-amz-meta-a": "1"}, how=PRESIGNED)
    headers.pop("x-amz-meta-a")
    reply = request_s3.send("PUT", target, headers, b"x")
    assert (reply.status, reply.code) == (403, "SignatureDoesNotMatch")
    assert reply.element("HeaderMissing") == "x-amz-meta-a"
    assert "x-amz-meta-a" in reply.element("Message")


def test_other_queries_may_not_hold_headers(request_s3, s3, bucket):
    for name in ("x-amz-acl", "X-Amz-Meta-A", "x-amz-copy-source", "x-amz-checksum-sha256"):
        reply = request_s3("PUT", f"/{bucket}/k?{name}=private", body=b"x")
        assert (reply.status, reply.code) == (400, "InvalidArgument"), name
    assert request_s3("PUT", f"/{bucket}/k?x-amz-request-payer=requester&x-id=PutObject", body=b"x").status == 200


def version_2(cluster):
    return boto3.client(
        "s3",
        endpoint_url=cluster.access["endpoint"],
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=botocore.config.Config(signature_version="s3", s3={"addressing_style": "path"}),
    )


def test_the_same_holds_for_urls_signed_by_version_2(cluster, request_s3, s3, bucket):
    def presigned(**more):
        parameters = {"Bucket": bucket, "Key": "k", **more}
        url = urlsplit(version_2(cluster).generate_presigned_url("put_object", parameters))
        assert "AWSAccessKeyId" in url.query
        return f"{url.path}?{url.query}"

    target = presigned(Metadata={"colour": "red"}, ContentType="text/x-own")
    assert request_s3.send("PUT", target, {}, b"x").status == 200
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["ContentType"]) == ({"colour": "red"}, "text/x-own")
    assert request_s3.send("PUT", presigned(ACL="public-read"), {}, b"x").code == "AccessControlListNotSupported"
    reply = request_s3.send("PUT", presigned() + "&x-amz-meta-a=1", {}, b"x")
    assert reply.code == "SignatureDoesNotMatch"
    reply = request_s3.send("PUT", presigned() + "&x-amz-copy-source=%2Fb%2Fk", {}, b"x")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
