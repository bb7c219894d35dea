"""The elements of S3 error documents that clients and users rely on."""

from xml.etree import ElementTree

import pytest

from apus_testing.s3_requests import UNSIGNED_PAYLOAD, S3Requests


@pytest.fixture
def raw(cluster):
    return S3Requests(cluster.access["endpoint"], payload=UNSIGNED_PAYLOAD)


@pytest.fixture
def demo(s3, bucket):
    """A bucket with an object of five bytes and an empty one."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"hello")
    s3.put_object(Bucket=bucket, Key="empty")
    return bucket


def error(answer):
    """Status, code and elements; every document names its resource and request."""
    root = ElementTree.fromstring(answer.body)
    assert root.tag == "Error"
    elements = {element.tag: element.text for element in root}
    assert len(elements) == len(root), "an element that is there twice"
    assert elements["Resource"].startswith("/") and elements["RequestId"] == elements["HostId"]
    return answer.status, elements.pop("Code"), elements


@pytest.mark.parametrize(
    "method,target,headers,expected",
    [
        ("GET", "/{b}/no", {}, (404, "NoSuchKey", {"Key": "no", "Resource": "/{b}/no"})),
        ("GET", "/{b}/n%C3%B6", {}, (404, "NoSuchKey", {"Key": "nö", "Resource": "/{b}/nö"})),
        ("GET", "/no-such", {}, (404, "NoSuchBucket", {"BucketName": "no-such"})),
        ("PUT", "/no-such/k", {}, (404, "NoSuchBucket", {"BucketName": "no-such"})),
        ("DELETE", "/{b}", {}, (409, "BucketNotEmpty", {"BucketName": "{b}", "Resource": "/{b}"})),
        (
            "GET",
            "/{b}/empty",
            {"Range": "bytes=0-99"},
            (416, "InvalidRange", {"ActualObjectSize": "0", "RangeRequested": "bytes=0-99"}),
        ),
        (
            "GET",
            "/{b}/a",
            {"Range": "bytes=5-"},
            (416, "InvalidRange", {"ActualObjectSize": "5", "RangeRequested": "bytes=5-"}),
        ),
        ("GET", "/{b}/a", {"If-Match": '"x"'}, (412, "PreconditionFailed", {"Condition": "If-Match"})),
        (
            "GET",
            "/{b}/a",
            {"If-Unmodified-Since": "Tue, 14 Nov 2000 22:13:20 GMT"},
            (412, "PreconditionFailed", {"Condition": "If-Unmodified-Since"}),
        ),
        (
            "PUT",
            "/{b}/a",
            {"If-None-Match": "*"},
            (412, "PreconditionFailed", {"Condition": "If-None-Match"}),
        ),
        (
            "DELETE",
            "/{b}/a",
            {"If-Match": '"x"'},
            (412, "PreconditionFailed", {"Condition": "If-Match"}),
        ),
        (
            "PUT",
            "/{b}/c",
            {"x-amz-copy-source": "{b}/a", "x-amz-copy-source-if-match": '"x"'},
            (412, "PreconditionFailed", {"Condition": "x-amz-copy-source-If-Match"}),
        ),
        (
            "PUT",
            "/{b}/c",
            {"x-amz-copy-source": "{b}/a", "x-amz-copy-source-if-none-match": "*"},
            (412, "PreconditionFailed", {"Condition": "x-amz-copy-source-If-None-Match"}),
        ),
        ("PUT", "/{b}/c", {"x-amz-copy-source": "{b}/no"}, (404, "NoSuchKey", {"Key": "no"})),
        (
            "PUT",
            "/{b}/c",
            {"x-amz-copy-source": "no-such/a"},
            (404, "NoSuchBucket", {"BucketName": "no-such"}),
        ),
        (
            "PUT",
            "/no-such/c",
            {"x-amz-copy-source": "{b}/a"},
            (404, "NoSuchBucket", {"BucketName": "no-such"}),
        ),
        (
            "PUT",
            "/{b}/c",
            {"x-amz-copy-source": "nothing"},
            (400, "InvalidArgument", {"ArgumentName": "x-amz-copy-source", "ArgumentValue": "nothing"}),
        ),
        (
            "PUT",
            "/{b}/c",
            {"x-amz-copy-source": "{b}/a", "x-amz-metadata-directive": "x"},
            (400, "InvalidArgument", {"ArgumentName": "x-amz-metadata-directive", "ArgumentValue": "x"}),
        ),
        (
            "GET",
            "/{b}/a?partNumber=x",
            {},
            (400, "InvalidArgument", {"ArgumentName": "partNumber", "ArgumentValue": "x"}),
        ),
        (
            "GET",
            "/{b}?max-keys=x",
            {},
            (400, "InvalidArgument", {"ArgumentName": "max-keys", "ArgumentValue": "x"}),
        ),
        (
            "PUT",
            "/{b}/" + "k" * 1025,
            {},
            (400, "KeyTooLongError", {"Size": "1025", "MaxSizeAllowed": "1024"}),
        ),
        (
            "PUT",
            "/{b}/k",
            {"x-amz-meta-a": "v" * 3000},
            (400, "MetadataTooLarge", {"Size": "3001", "MaxSizeAllowed": "2048"}),
        ),
        (
            "GET",
            "/{b}/a?uploadId=" + "0" * 32,
            {},
            (404, "NoSuchUpload", {"UploadId": "0" * 32}),
        ),
    ],
)
def test_an_error_names_what_it_is_about(raw, demo, method, target, headers, expected):
    headers = {name: value.format(b=demo) for name, value in headers.items()}
    status, code, elements = error(raw(method, target.format(b=demo), headers))
    assert (status, code) == expected[:2]
    for name, value in expected[2].items():
        assert elements[name] == value.format(b=demo)


def test_the_part_that_is_wrong_is_named(raw, s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etags = [s3.upload_part(**which, PartNumber=n, Body=b"small")["ETag"].strip('"') for n in (1, 2)]

    def complete(*parts):
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in parts)
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        return error(raw("POST", f"/{bucket}/k?uploadId={upload}", {}, body))

    status, code, elements = complete((1, etags[0]), (2, etags[1]))
    assert (status, code) == (400, "EntityTooSmall")
    assert (elements["PartNumber"], elements["ETag"]) == ("1", etags[0])
    assert (elements["ProposedSize"], elements["MinSizeAllowed"]) == ("5", "5242880")
    for part in [(7, etags[0]), (2, "f" * 32)]:
        status, code, elements = complete((1, etags[0]), part)
        assert (status, code) == (400, "InvalidPart")
        assert (elements["PartNumber"], elements["ETag"]) == (str(part[0]), part[1])
        assert elements["UploadId"] == upload


def test_an_upload_that_is_too_large_says_so_before_it_is_sent(raw, bucket):
    _, headers = raw.signed("PUT", f"/{bucket}/k", {"Content-Length": "6000000000"})
    headers["Expect"] = "100-continue"
    status, code, elements = error(raw.send_head("PUT", f"/{bucket}/k", headers))
    assert (status, code) == (400, "EntityTooLarge")
    assert (elements["ProposedSize"], elements["MaxSizeAllowed"]) == ("6000000000", "5368709122")


@pytest.mark.parametrize("name", ["crc16", "sha3", "blake3"])
def test_an_algorithm_that_is_not_supported_is_answered_with_those_that_are(raw, bucket, name):
    header = f"x-amz-checksum-{name}"
    status, code, elements = error(raw("PUT", f"/{bucket}/k", {header: "AAAA"}, b"x"))
    assert (status, code) == (400, "InvalidRequest")
    assert elements["Message"].startswith(f"{header} is not supported; use one of x-amz-checksum-crc32")
    trailer = {"x-amz-trailer": header, "x-amz-decoded-content-length": "0"}
    answer = raw("PUT", f"/{bucket}/k", trailer, b"0\r\n\r\n", payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert "not supported; use one of" in error(answer)[2]["Message"]


def test_each_key_that_was_not_deleted_is_named(raw, demo):
    document = (
        "<Delete><Object><Key>a</Key><VersionId>7</VersionId></Object>"
        '<Object><Key>a</Key><ETag>"x"</ETag></Object><Object><Key>empty</Key></Object></Delete>'
    )
    answer = raw("POST", f"/{demo}?delete", {}, document.encode())
    results = [{element.tag.rsplit("}", 1)[1]: element.text for element in result} for result in ElementTree.fromstring(answer.body)]
    assert [(found["Key"], found.get("Code")) for found in results] == [
        ("a", "NoSuchVersion"),
        ("a", "PreconditionFailed"),
        ("empty", None),
    ]
    assert results[0]["VersionId"] == "7"
