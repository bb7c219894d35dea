"""Keys that are hard for stores: each is an object of its own in both dialects, or is refused as AWS refuses it."""

import http.client
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from apus_testing.s3_requests import UNSIGNED_PAYLOAD, S3Requests

NAMES = [
    "a", "a/", "a//", "a//b", "a/b", "a/b/c", "/a", "//", "/", "///a", ".", "..", "./a", "../a", "a/.", "a/..", "a/../b", "a/./b",
    " ", "  ", " a", "a ", "a b", "a+b", "a%2Fb", "a%2fb", "%", "%00", "%zz", "a%20b", "?", "a?b", "a?uploads", "a&b=c", "a=b", "#", "a#b",
    "a;b", "a:b", "a,b", "a@b", "a$b", "a!b", "a*b", "(a)", "[a]", "{a}", "a|b", "a\\b", "a^b", "a`b", "a~b", "'", '"', "<a>", "]]>", "&amp;", "<!--",
    "\t", "a\tb", "\n", "a\nb", "\r", "a\r\nb", "\x01", "a\x1fb", "\x7f", "\x0b", "\x85",
    "ü", "u\u0308", "ß", "İ", "ﬁ", "日本語", "😀", "\u200b", "\u202e", "\ufeffa", "\ufffd", "\ufffe", "\U0010ffff", "\u2028",
    "A", "b", "B", "a" * 255, "a" * 256 + "/" + "b" * 700, "x" * 1024, "ü" * 512, "日" * 341, "😀" * 256, "/" * 1024, "\x01" * 1024,
    "con", "nul.txt", "0", "null", "None", "true", "-", "--", "_", "a.", "a..b", "index.html", ".htaccess", "bucket+segments", "0" * 32,
    f"a/{'0' * 32}", f"a/{'0' * 32}/1", f"a/u{'0' * 32}/00", "x-amz-meta", "uploads", "versions", "acl", "v1/AUTH_test/c/o",
]  # fmt: skip


@pytest.fixture
def raw(cluster):
    return S3Requests(cluster.access["endpoint"], payload=UNSIGNED_PAYLOAD)


class SwiftNames:
    """Swift's dialect without a client library: those remove dots from paths."""

    def __init__(self, swift):
        url, self.token = swift.get_auth()
        self.url = urlsplit(url)
        self.connection = http.client.HTTPConnection(self.url.netloc, timeout=20)

    def __call__(self, method, bucket, name, body=None):
        path = f"{self.url.path}/{quote(bucket, safe='')}/{quote(name, safe='')}"
        self.connection.request(method, path, body, {"X-Auth-Token": self.token})
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status // 100 == 2, (method, name, answer.status, body)
        return body


@pytest.fixture
def named(swift):
    return SwiftNames(swift)


def listed(s3, bucket, **options):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **options)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def test_each_name_is_an_object_of_its_own(s3, swift, named, bucket):
    assert len(set(NAMES)) == len(NAMES)
    by_bytes = sorted(NAMES, key=str.encode)
    for number, name in enumerate(NAMES):
        s3.put_object(Bucket=bucket, Key=name, Body=str(number).encode())
    for number, name in enumerate(NAMES):
        body = str(number).encode()
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == body, name
        assert s3.head_object(Bucket=bucket, Key=name)["ContentLength"] == len(body), name
    assert listed(s3, bucket) == by_bytes
    assert listed(s3, bucket, PaginationConfig={"PageSize": 7}) == by_bytes
    rows = swift.get_container(bucket, full_listing=True)[1]
    assert [row["name"] for row in rows] == by_bytes
    for number, name in enumerate(NAMES):
        assert named("GET", bucket, name) == str(number).encode(), name


def test_each_name_can_be_written_through_swift_copied_and_deleted(s3, named, bucket):
    for number, name in enumerate(NAMES):
        named("PUT", bucket, name, str(number))
    for number, name in enumerate(NAMES):
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == str(number).encode(), name
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": name})
        assert named("GET", bucket, "copy") == str(number).encode(), name
        s3.copy_object(Bucket=bucket, Key=name, CopySource={"Bucket": bucket, "Key": "copy"})
    s3.delete_object(Bucket=bucket, Key="copy")
    half = NAMES[::2]
    for name in half:
        s3.delete_object(Bucket=bucket, Key=name)
    assert listed(s3, bucket) == sorted(set(NAMES) - set(half), key=str.encode)


def test_each_name_can_be_uploaded_in_parts(s3, bucket):
    # A key of 1,024 bytes leaves no room in Swift's limit for the names of parts, but in ours.
    names = [name for name in NAMES if len(name) < 4 or len(name) > 250]
    for name in names:
        which = {"Bucket": bucket, "Key": name}
        which["UploadId"] = s3.create_multipart_upload(**which)["UploadId"]
        etag = s3.upload_part(**which, PartNumber=1, Body=b"part")["ETag"]
        found = s3.list_multipart_uploads(Bucket=bucket, Prefix=name, EncodingType="url")
        assert [unquote(upload["Key"]) for upload in found["Uploads"]] == [name]
        assert len(s3.list_parts(**which)["Parts"]) == 1
        s3.complete_multipart_upload(**which, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == b"part", name
    assert listed(s3, bucket) == sorted(names, key=str.encode)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_names_roll_up_under_any_delimiter(s3, bucket):
    for name in ["a/b", "a//b", "a\x01b", "a\x01c", "aüb", "a b", "//"]:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    for delimiter, expected in [("/", ["/", "a/"]), ("\x01", ["a\x01"]), ("ü", ["aü"]), (" ", ["a "]), ("//", ["//", "a//"])]:
        found = s3.list_objects_v2(Bucket=bucket, Delimiter=delimiter)
        assert [prefix["Prefix"] for prefix in found.get("CommonPrefixes", [])] == expected, delimiter


@pytest.mark.parametrize("name", ["x" * 1025, "ü" * 513, "😀" * 257, "/" * 1025])
def test_a_key_of_more_than_1024_bytes_is_refused(s3, bucket, name):
    for call in (s3.put_object, s3.get_object, s3.create_multipart_upload):
        with pytest.raises(ClientError) as error:
            call(Bucket=bucket, Key=name)
        answer = error.value.response
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (400, "KeyTooLongError")


@pytest.mark.parametrize("path", ["%00", "a%00b", "%ff", "a%c3", "%ed%a0%80"])
def test_a_name_with_nul_or_that_is_not_utf8_is_refused(raw, s3, bucket, path):
    for method in ("PUT", "GET", "DELETE"):
        answer = raw.send(method, f"/{bucket}/{path}", raw.signed(method, f"/{bucket}/{path}", {})[1], b"")
        assert answer.status == 400, (method, answer.status, answer.body)
    assert listed(s3, bucket) == []


def test_a_listing_that_is_not_encoded_can_be_parsed(raw, s3, bucket):
    for name in NAMES:
        s3.put_object(Bucket=bucket, Key=name, Body=b"")
    document = ElementTree.fromstring(raw("GET", f"/{bucket}?list-type=2").body)
    assert len([item for item in document.iter() if item.tag.endswith("}Key")]) == len(NAMES)
