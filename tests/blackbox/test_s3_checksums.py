"""Checksums of every algorithm of AWS's service model: in headers, trailers, copies, multipart uploads and attributes."""

import base64
import hashlib

import pytest

from apus_testing.s3_requests import UNSIGNED_PAYLOAD, S3Requests

PART = b"p" * (5 * 1024 * 1024)
# Digests of nothing; xxHash's are from its documentation.
OF_NOTHING = {
    "SHA512": hashlib.sha512().hexdigest(),
    "MD5": hashlib.md5().hexdigest(),
    "XXHASH64": "ef46db3751d8e999",
    "XXHASH3": "2d06800538d394c2",
    "XXHASH128": "99aa06d3014798d86001c324468d497f",
}


def encoded(digest):
    return base64.b64encode(bytes.fromhex(digest)).decode()


@pytest.fixture
def raw(cluster):
    return S3Requests(cluster.access["endpoint"], payload=UNSIGNED_PAYLOAD)


@pytest.mark.parametrize("algorithm", OF_NOTHING)
def test_a_checksum_in_a_header_or_trailer_is_verified_and_shown(raw, s3, bucket, algorithm):
    header, value = f"x-amz-checksum-{algorithm.lower()}", encoded(OF_NOTHING[algorithm])
    assert raw("PUT", f"/{bucket}/k", {header: value}, b"").headers[header] == value
    wrong = raw("PUT", f"/{bucket}/wrong", {header: value}, b"x")
    assert (wrong.status, wrong.element("Code")) == (400, "BadDigest")
    trailing = {"x-amz-trailer": header, "x-amz-decoded-content-length": "0"}
    body = f"0\r\n{header}:{value}\r\n\r\n".encode()
    sent = raw("PUT", f"/{bucket}/t", trailing, body, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert (sent.status, sent.headers[header]) == (200, value)
    for key in ("k", "t"):
        shown = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert (shown[f"Checksum{algorithm}"], shown["ChecksumType"]) == (value, "FULL_OBJECT")
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum"])
    assert attributes["Checksum"][f"Checksum{algorithm}"] == value
    s3.put_object(Bucket=bucket, Key="other", Body=b"", ChecksumAlgorithm="CRC32")
    copied = raw("PUT", f"/{bucket}/copy", {"x-amz-copy-source": f"{bucket}/other", "x-amz-checksum-algorithm": algorithm})
    assert copied.element(f"Checksum{algorithm}") == value


@pytest.mark.parametrize("algorithm", ["SHA512", "MD5"])
def test_a_multipart_object_has_the_digest_of_the_digests_of_its_parts(raw, s3, bucket, algorithm):
    digest = {"SHA512": hashlib.sha512, "MD5": hashlib.md5}[algorithm]
    header = f"x-amz-checksum-{algorithm.lower()}"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == (algorithm, "COMPOSITE")
    s3.put_object(Bucket=bucket, Key="source", Body=b"end")
    target = f"/{bucket}/k?uploadId={upload['UploadId']}&partNumber="
    values = [encoded(digest(body).hexdigest()) for body in (PART, b"end")]
    assert raw("PUT", f"{target}1", {header: values[0]}, PART).headers[header] == values[0]
    # A copied part gets its checksum here.
    second = raw("PUT", f"{target}2", {"x-amz-copy-source": f"{bucket}/source"})
    assert second.element(f"Checksum{algorithm}") == values[1]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    listed = s3.list_parts(**which)
    assert [part[f"Checksum{algorithm}"] for part in listed["Parts"]] == values
    parts = [
        {"PartNumber": 1, "ETag": listed["Parts"][0]["ETag"], f"Checksum{algorithm}": values[0]},
        {"PartNumber": 2, "ETag": listed["Parts"][1]["ETag"], f"Checksum{algorithm}": values[1]},
    ]
    done = s3.complete_multipart_upload(**which, MultipartUpload={"Parts": parts})
    whole = digest(b"".join(base64.b64decode(value) for value in values)).hexdigest()
    assert done[f"Checksum{algorithm}"] == f"{encoded(whole)}-2"
    shown = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", PartNumber=2)
    assert shown[f"Checksum{algorithm}"] == values[1]


def test_a_part_without_a_checksum_gets_that_of_a_full_object_upload(s3, raw, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC64NVME")
    target = f"/{bucket}/k?uploadId={upload['UploadId']}&partNumber=1"
    part = raw("PUT", target, {}, b"123456789")
    assert part.headers["x-amz-checksum-crc64nvme"] == "rosUhgp5mIg="
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    done = raw("POST", f"/{bucket}/k?uploadId={upload['UploadId']}", {}, document.encode())
    assert done.element("ChecksumCRC64NVME") == "rosUhgp5mIg="


def test_the_document_of_a_completion_is_compared_with_its_md5(s3, raw, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part['ETag']}</ETag></Part></CompleteMultipartUpload>"
    target = f"/{bucket}/k?uploadId={upload}"
    for sent, status in ((b"other", 400), (document.encode(), 200)):
        md5 = encoded(hashlib.md5(sent).hexdigest())
        assert raw("POST", target, {"content-md5": md5}, document.encode()).status == status
