"""Reads, copies and uploads of S3 objects as AWS answers them, where stores are known to differ."""

import base64
import zlib
from email.header import decode_header, make_header
from xml.etree import ElementTree

import pytest
from botocore.exceptions import ClientError

from apus_testing.s3_requests import UNSIGNED_PAYLOAD, S3Requests

PART = b"p" * (5 * 1024 * 1024)


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


@pytest.fixture
def raw(cluster):
    return S3Requests(cluster.access["endpoint"], payload=UNSIGNED_PAYLOAD)


def test_head_of_a_bucket_has_the_type_of_its_listings(s3, bucket):
    headers = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-type"] == "application/xml"


# Metadata


def test_robots_tags_are_stored_for_both_dialects(raw, s3, swift, bucket):
    assert raw("PUT", f"/{bucket}/k", {"X-Robots-Tag": "noarchive"}, b"x").status == 200
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    for key in ["k", "copy"]:
        assert s3.head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]["x-robots-tag"] == "noarchive"
        assert swift.head_object(bucket, key)["x-robots-tag"] == "noarchive"


@pytest.mark.parametrize(
    "sent",
    [
        "grün".encode(),
        "grün".encode("latin-1"),
        b"=?UTF-8?B?Z3LDvG4=?=",
        b"=?utf-8?q?gr=C3=BCn?=",
        b"=?ISO-8859-1?Q?gr=FCn?=",
    ],
)
def test_metadata_beyond_ascii_is_one_text_however_it_is_sent(raw, swift, bucket, sent):
    # Clients sign the text, and encoded words as they are.
    text = sent.decode() if sent.startswith(b"=?") else "grün"
    _, headers = raw.signed("PUT", f"/{bucket}/k", {"x-amz-meta-colour": text})
    headers["x-amz-meta-colour"] = sent
    assert raw.send("PUT", f"/{bucket}/k", headers, b"x").status == 200
    for method in ("HEAD", "GET"):
        shown = raw(method, f"/{bucket}/k").headers["x-amz-meta-colour"]
        assert shown.isascii() and str(make_header(decode_header(shown))) == "grün"
    assert swift.head_object(bucket, "k")["x-object-meta-colour"] == "grün"


def test_an_encoded_word_brings_in_no_header(raw, bucket):
    word = "=?UTF-8?Q?a=0D=0AX-Injected:_1?="
    assert raw("PUT", f"/{bucket}/k", {"x-amz-meta-a": word}, b"x").status == 200
    answer = raw("HEAD", f"/{bucket}/k")
    assert answer.headers["x-amz-meta-a"] == word and "x-injected" not in answer.headers


def test_lines_of_one_header_are_one_list(raw, bucket):
    lists = {"x-amz-meta-a": ["1", "2"], "cache-control": ["no-cache", "no-store"]}
    _, headers = raw.signed("PUT", f"/{bucket}/k", {"x-amz-meta-a": "1,2"})
    assert raw.send("PUT", f"/{bucket}/k", headers | lists, b"x").status == 200
    answer = raw("HEAD", f"/{bucket}/k")
    assert answer.headers["x-amz-meta-a"] == "1,2"
    assert answer.headers["cache-control"] == "no-cache,no-store"
    asked = {"x-amz-object-attributes": "ETag,ObjectSize"}
    _, headers = raw.signed("GET", f"/{bucket}/k?attributes", asked)
    headers["x-amz-object-attributes"] = ["ETag", "ObjectSize"]
    answer = raw.send("GET", f"/{bucket}/k?attributes", headers)
    assert answer.status == 200 and answer.element("ETag") and answer.element("ObjectSize") == "1"


@pytest.mark.parametrize("parameter", ["swift_bytes=999", " charset=x; SWIFT_Bytes=9", "swift_x"])
def test_content_types_with_parameters_of_the_cluster_are_refused(s3, bucket, parameter):
    kind = f"text/plain;{parameter}"
    arguments = {"Bucket": bucket, "Key": "k", "ContentType": kind}
    assert refused(s3.put_object, **arguments) == (400, "InvalidArgument")
    assert refused(s3.create_multipart_upload, **arguments) == (400, "InvalidArgument")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    copy = {**arguments, "CopySource": f"{bucket}/k", "MetadataDirective": "REPLACE"}
    assert refused(s3.copy_object, **copy) == (400, "InvalidArgument")


# Reads


def test_a_range_is_for_who_has_this_version(raw, s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"hello")["ETag"]
    date = raw("HEAD", f"/{bucket}/k").headers["last-modified"]
    for method in ("GET", "HEAD"):
        for value, status in [
            (etag, 206),
            (date, 206),
            ('"other"', 200),
            (f"W/{etag}", 200),
            ("Tue, 14 Nov 2023 22:13:20 GMT", 200),
        ]:
            headers = {"Range": "bytes=1-2", "If-Range": value}
            answer = raw(method, f"/{bucket}/k", headers)
            length = "2" if status == 206 else "5"
            assert (answer.status, answer.headers["content-length"]) == (status, length), value
        beyond = {"Range": "bytes=9-", "If-Range": '"other"'}
        assert raw(method, f"/{bucket}/k", beyond).status == 200
        assert raw(method, f"/{bucket}/k", beyond | {"If-Range": etag}).status == 416


def test_an_object_without_parts_is_its_own_first_part(raw, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k?partNumber=1")
        assert (answer.status, answer.headers["content-range"]) == (206, "bytes 0-4/5")
        assert answer.headers["content-length"] == "5"
        assert raw(method, f"/{bucket}/k?partNumber=2").status == 400
        assert raw(method, f"/{bucket}/k?partNumber=0").status == 400
    answer = raw("GET", f"/{bucket}/k?partNumber=2")
    assert answer.element("Code") == "InvalidPart"
    assert answer.element("PartNumberRequested") == "2"
    assert answer.element("ActualPartCount") == "1"
    both = raw("GET", f"/{bucket}/k?partNumber=1", {"Range": "bytes=0-1"})
    assert (both.status, both.element("Code")) == (400, "InvalidRequest")


def test_a_304_has_what_caches_need(raw, s3, bucket):
    put = {"CacheControl": "max-age=60", "Expires": "Tue, 14 Nov 2034 22:13:20 GMT"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/css", **put)
    known = raw("HEAD", f"/{bucket}/k").headers
    for method in ("GET", "HEAD"):
        answer = raw(method, f"/{bucket}/k", {"If-None-Match": known["etag"]})
        assert (answer.status, answer.body) == (304, b"")
        for name in ("etag", "last-modified", "cache-control", "expires"):
            assert answer.headers[name] == known[name]
        assert "content-type" not in answer.headers


# Copies


@pytest.mark.parametrize(
    "key,source",
    [
        ("b c", "b+c"),
        ("b c", "b%20c"),
        ("b+c", "b%2Bc"),
        ("what?.txt", "what?.txt"),
        ("a?versionId=1", "a%3FversionId%3D1"),
        ("grün/ä", "gr%C3%BCn%2F%C3%A4"),
        ("null", "null?versionId=null"),
    ],
)
def test_a_copy_source_is_read_as_aws_reads_it(raw, s3, bucket, key, source):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for prefix in (f"{bucket}/", f"/{bucket}/", f"{bucket}%2F"):
        copied = raw("PUT", f"/{bucket}/copy", {"x-amz-copy-source": prefix + source})
        assert copied.status == 200, copied.body
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode()


@pytest.mark.parametrize(
    "headers,status",
    [
        ({}, 400),
        ({"content-type": "text/css"}, 400),
        ({"x-amz-metadata-directive": "COPY"}, 400),
        ({"x-amz-metadata-directive": "REPLACE"}, 200),
        ({"x-amz-storage-class": "STANDARD"}, 200),
        ({"x-amz-tagging-directive": "REPLACE"}, 200),
        ({"x-amz-checksum-algorithm": "SHA256"}, 200),
        ({"x-amz-metadata-directive": "other"}, 400),
        ({"x-amz-tagging-directive": "other"}, 400),
        ({"x-amz-checksum-algorithm": "MD5"}, 200),
        ({"x-amz-checksum-algorithm": "CRC16"}, 400),
    ],
)
def test_a_copy_onto_itself_must_change_something(raw, s3, bucket, headers, status):
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", Metadata={"a": "b"})
    answer = raw("PUT", f"/{bucket}/k", {"x-amz-copy-source": f"{bucket}/k", **headers})
    assert answer.status == status, answer.body
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


def test_a_copy_keeps_what_belongs_to_the_object(s3, swift, raw, bucket):
    headers = {
        "x-amz-checksum-crc32": crc32(b"hello"),
        "x-amz-meta-empty": "",
        "x-amz-meta-full": "1",
        "content-language": "de",
        "content-type": "text/x",
    }
    assert raw("PUT", f"/{bucket}/k", headers, b"hello").status == 200
    copied = raw("PUT", f"/{bucket}/s3", {"x-amz-copy-source": f"{bucket}/k"})
    assert copied.element("ChecksumCRC32") == crc32(b"hello")
    swift.copy_object(bucket, "k", f"/{bucket}/swift")
    for copy in ("s3", "swift"):
        shown = raw("HEAD", f"/{bucket}/{copy}", {"x-amz-checksum-mode": "ENABLED"}).headers
        assert {name: shown.get(name) for name in headers} == headers, copy
    replaced = {"x-amz-copy-source": f"{bucket}/k", "x-amz-metadata-directive": "REPLACE"}
    assert raw("PUT", f"/{bucket}/new", replaced).status == 200
    shown = raw("HEAD", f"/{bucket}/new", {"x-amz-checksum-mode": "ENABLED"}).headers
    assert shown["x-amz-checksum-crc32"] == crc32(b"hello")
    assert "x-amz-meta-full" not in shown and "content-language" not in shown
    other = {"x-amz-copy-source": f"{bucket}/k", "x-amz-checksum-algorithm": "SHA1"}
    copied = raw("PUT", f"/{bucket}/sha", other)
    assert copied.element("ChecksumSHA1") == "qvTGHdzF6KLavt4PO0gs2a6pQ00="
    shown = raw("HEAD", f"/{bucket}/sha", {"x-amz-checksum-mode": "ENABLED"}).headers
    assert shown["x-amz-checksum-sha1"] == copied.element("ChecksumSHA1")
    assert "x-amz-checksum-crc32" not in shown


# Multipart uploads


def begin(s3, bucket, key="k", **options):
    return s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]


@pytest.mark.parametrize("suffix,code", [("", None), ("-2", None), ("-3", "BadDigest")])
def test_a_composite_checksum_may_lack_its_number_of_parts(s3, raw, bucket, suffix, code):
    upload = begin(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType="COMPOSITE")
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    bodies, parts = [PART, b"end"], []
    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(**which, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    listed = s3.list_parts(**which)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == ("CRC32", "COMPOSITE")
    assert [part["ChecksumCRC32"] for part in listed["Parts"]] == [crc32(body) for body in bodies]
    whole = crc32(b"".join(zlib.crc32(body).to_bytes(4, "big") for body in bodies))
    complete = {**which, "MultipartUpload": {"Parts": parts}, "ChecksumCRC32": whole + suffix}
    if code:
        assert refused(s3.complete_multipart_upload, **complete) == (400, code)
        return
    assert s3.complete_multipart_upload(**complete)["ChecksumCRC32"] == whole + "-2"
    # A copy is one object, with a checksum of the whole.
    copied = raw("PUT", f"/{bucket}/copy", {"x-amz-copy-source": f"{bucket}/k"})
    assert copied.element("ChecksumCRC32") == crc32(PART + b"end")
    shown = s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (shown["ChecksumCRC32"], shown["ChecksumType"]) == (crc32(PART + b"end"), "FULL_OBJECT")
    assert "-" not in shown["ETag"]


def test_a_part_has_the_algorithm_of_its_upload(s3, raw, bucket):
    upload = begin(s3, bucket, ChecksumAlgorithm="SHA256")
    target = f"/{bucket}/k?partNumber=1&uploadId={upload}"
    other = raw("PUT", target, {"x-amz-checksum-crc32": crc32(b"x")}, b"x")
    assert (other.status, other.element("Code")) == (400, "InvalidRequest")
    assert "expected checksum Type: sha256, actual checksum Type: crc32" in other.element("Message")
    none = raw("PUT", target, {}, b"x")
    assert "actual checksum Type: null" in none.element("Message")
    assert "Parts" not in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)


def test_a_part_that_is_named_twice_is_out_of_order(s3, bucket):
    upload = begin(s3, bucket)
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etag = s3.upload_part(**which, PartNumber=1, Body=b"x")["ETag"]
    part = {"PartNumber": 1, "ETag": etag}

    def complete(parts):
        return {**which, "MultipartUpload": {"Parts": parts}}

    stale = {"PartNumber": 1, "ETag": '"%s"' % ("f" * 32)}
    for parts in ([part, part], [stale, part, part]):
        twice = complete(parts)
        assert refused(s3.complete_multipart_upload, **twice) == (400, "InvalidPartOrder")
    # Of a part that was sent again while it was under way the last etag counts.
    s3.complete_multipart_upload(**complete([stale, part]))


def test_uploads_are_listed_by_delimiter_a_page_at_a_time(s3, bucket):
    keys = ["a", "a-b", "a/1", "a/2/x", "b/1", "c"]
    for key in keys:
        begin(s3, bucket, key)
    listed = s3.list_multipart_uploads(Bucket=bucket)
    assert [upload["Key"] for upload in listed["Uploads"]] == keys
    for size in range(1, 8):
        uploads, prefixes = [], []
        pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
        for page in pages:
            found = [upload["Key"] for upload in page.get("Uploads", [])]
            rolled = [prefix["Prefix"] for prefix in page.get("CommonPrefixes", [])]
            assert len(found) + len(rolled) <= size
            uploads += found
            prefixes += rolled
        assert (uploads, prefixes) == (["a", "a-b", "c"], ["a/", "b/"]), size
    below = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/", Prefix="a/")
    assert [upload["Key"] for upload in below["Uploads"]] == ["a/1"]
    assert [prefix["Prefix"] for prefix in below["CommonPrefixes"]] == ["a/2/"]


# Documents


def test_answers_of_keys_with_control_characters_can_be_parsed(s3, raw, bucket):
    keys = ["bell\x07", "\x01ctl", "cr\rlf\n\ttab", "\x7f\x85", "plain"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key)
    ElementTree.fromstring(raw("GET", f"/{bucket}?list-type=2").body)
    # Listings of boto3 are percent-encoded.
    listed = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(listed) == sorted(keys)
    plain = [key for key in keys if key not in ("bell\x07", "\x01ctl")]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in plain]})
    assert sorted(found["Key"] for found in deleted["Deleted"]) == sorted(plain)
    document = "".join(f"<Object><Key>{key}</Key></Object>" for key in ["bell\x07", "\x01ctl", "nul\0"])
    answer = raw("POST", f"/{bucket}?delete", {}, f"<Delete>{document}</Delete>".encode())
    root = ElementTree.fromstring(answer.body)
    names = [element.tag.rsplit("}", 1)[1] for element in root]
    assert (answer.status, names) == (200, ["Deleted", "Deleted", "Error"])
    assert answer.element("Code") == "InvalidArgument"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
