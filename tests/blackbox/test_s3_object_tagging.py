"""Tags of objects: limits, headers, copies, and what Swift's dialect keeps of them."""

import threading

import pytest
import swiftclient
from botocore.exceptions import ClientError

from apus_testing.s3_requests import PRESIGNED, S3Requests


def tags_of(s3, bucket, key="k"):
    return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


def put_tags(s3, bucket, tags, key="k"):
    tags = tags.items() if isinstance(tags, dict) else tags
    tagging = {"TagSet": [{"Key": name, "Value": value} for name, value in tags]}
    return s3.put_object_tagging(Bucket=bucket, Key=key, Tagging=tagging)


def code(call, *arguments, **named):
    with pytest.raises(ClientError) as error:
        call(*arguments, **named)
    return error.value.response["Error"]["Code"]


def count(s3, bucket, key="k"):
    headers = s3.head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    return headers.get("x-amz-tagging-count")


@pytest.fixture
def tagged(s3, bucket):
    """A bucket with an object `k` that has metadata and a tag."""
    metadata = {"Metadata": {"color": "blue"}, "CacheControl": "max-age=60", "ContentType": "text/x"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"body", Tagging="team=a%20b", **metadata)
    return bucket


def test_tags_are_replaced_and_removed_and_nothing_else_changes(s3, bucket, tagged):
    assert tags_of(s3, bucket) == {"team": "a b"}
    largest = {f"{number}{'k' * 127}": "v" * 256 for number in range(10)}
    for tags in ({"x": ""}, {"größe": "日本 語", "a+b/c:d@e=f.g_h-": "="}, largest, {}):
        put_tags(s3, bucket, tags)
        assert tags_of(s3, bucket) == tags
        assert count(s3, bucket) == (str(len(tags)) if tags else None)
    put_tags(s3, bucket, {"x": "y"})
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags_of(s3, bucket) == {}
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["CacheControl"], head["ContentType"]) == ({"color": "blue"}, "max-age=60", "text/x")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"body"
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert tags_of(s3, bucket) == {}


def test_invalid_tags_change_nothing(s3, bucket, tagged):
    for tags in (
        [(f"k{number}", "") for number in range(11)],
        [("k" * 129, "")],
        [("k", "v" * 257)],
        [("k", "1"), ("k", "2")],
        [("aws:k", "v")],
        [("k", "<")],
    ):
        assert code(put_tags, s3, bucket, tags) == "InvalidTag", tags
    for tagging, expected in (
        ("a=1&a=2", "InvalidArgument"),
        ("a=%ff", "InvalidArgument"),
        ("aws:a=1", "InvalidTag"),
        ("&".join(f"{number}=" for number in range(11)), "InvalidTag"),
    ):
        assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging=tagging) == expected, tagging
        assert code(s3.create_multipart_upload, Bucket=bucket, Key="k", Tagging=tagging) == expected, tagging
    assert tags_of(s3, bucket) == {"team": "a b"}
    for call in (s3.get_object_tagging, s3.delete_object_tagging):
        assert code(call, Bucket=bucket, Key="missing") == "NoSuchKey"
    assert code(put_tags, s3, bucket, {}, key="missing") == "NoSuchKey"


def test_malformed_documents_are_refused(s3, bucket, tagged, cluster):
    requests = S3Requests(cluster.access["endpoint"])
    for document in (b"", b"<Tagging/>", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", b"<Tags/>"):
        target, headers = requests.signed("PUT", f"/{bucket}/k?tagging", {}, document)
        reply = requests.send("PUT", target, headers, document)
        assert (reply.status, reply.code) == (400, "MalformedXML"), document
    assert tags_of(s3, bucket) == {"team": "a b"}


def test_an_upload_and_a_presigned_put_have_tags(s3, bucket, cluster):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", Tagging="b=2&a=1")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts)
    assert tags_of(s3, bucket) == {"a": "1", "b": "2"}
    put_tags(s3, bucket, {"c": "3"})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"part"
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-1"')
    requests = S3Requests(cluster.access["endpoint"])
    target, headers = requests.signed("PUT", f"/{bucket}/p?x-amz-tagging=a%3Db%2520c", how=PRESIGNED)
    assert requests.send("PUT", target, headers, b"x").status == 200
    assert tags_of(s3, bucket, "p") == {"a": "b c"}


def test_a_copy_keeps_tags_or_replaces_them(s3, swift, bucket, tagged):
    source = {"Bucket": bucket, "Key": "k"}
    for named, expected in (
        ({}, {"team": "a b"}),
        ({"MetadataDirective": "REPLACE"}, {"team": "a b"}),
        ({"TaggingDirective": "COPY", "Tagging": "x=y"}, {"team": "a b"}),
        ({"TaggingDirective": "REPLACE", "Tagging": "x=y"}, {"x": "y"}),
        ({"TaggingDirective": "REPLACE"}, {}),
    ):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, **named)
        assert tags_of(s3, bucket, "copy") == expected, named
    swift.copy_object(bucket, "k", f"/{bucket}/swift")
    assert tags_of(s3, bucket, "swift") == {"team": "a b"}
    swift.copy_object(bucket, "k", f"/{bucket}/swift", fresh_metadata=True)
    assert tags_of(s3, bucket, "swift") == {}


def test_a_post_of_swift_keeps_tags_and_never_shows_them(s3, swift, bucket, tagged):
    swift.post_object(bucket, "k", {"X-Object-Meta-Size": "1", "X-Object-Transient-Sysmeta-Apus-S3-Tagging": "x=y"})
    assert tags_of(s3, bucket) == {"team": "a b"}
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"size": "1"}
    headers = swift.head_object(bucket, "k")
    assert not [name for name in headers if "sysmeta" in name.lower() or "tagging" in name.lower()]
    swift.put_object(bucket, "k", b"new", headers={"X-Object-Transient-Sysmeta-Apus-S3-Tagging": "x=y"})
    assert tags_of(s3, bucket) == {}
    with pytest.raises(swiftclient.ClientException):
        swift.post_object(bucket, "missing", {"X-Object-Meta-Size": "1"})


def test_tags_of_an_object_behind_a_link_are_those_of_its_target(s3, swift, bucket, tagged):
    swift.put_object(bucket, "link", b"", headers={"X-Symlink-Target": f"{bucket}/k"})
    put_tags(s3, bucket, {"through": "link"}, key="link")
    assert tags_of(s3, bucket) == tags_of(s3, bucket, "link") == {"through": "link"}
    assert s3.get_object(Bucket=bucket, Key="link")["Body"].read() == b"body"


def test_a_stranger_neither_reads_nor_changes_tags(s3, cluster, bucket, tagged):
    stranger = cluster.s3("test:tester3", "testing3")
    assert code(put_tags, stranger, bucket, {}) == "AccessDenied"
    for call in (stranger.get_object_tagging, stranger.delete_object_tagging):
        assert code(call, Bucket=bucket, Key="k") == "AccessDenied"
    assert tags_of(s3, bucket) == {"team": "a b"}


def test_concurrent_changes_lose_nothing(cluster, bucket, tagged):
    """Swift's POST changes metadata, S3 changes tags, and both also rewrite the object: after each round, what was written
    last by either is there, and nothing that was there before the last rewrite."""
    failures = []

    def run(work):
        try:
            work()
        except Exception as error:
            failures.append(error)

    s3, swift = cluster.s3(), cluster.swift()
    for number in range(15):
        writers = [
            lambda number=number: put_tags(cluster.s3(), bucket, {"round": str(number)}),
            lambda number=number: cluster.swift().post_object(bucket, "k", {"X-Object-Meta-Round": str(number)}),
        ]
        threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert tags_of(s3, bucket) == {"round": str(number)}
        assert swift.head_object(bucket, "k")["x-object-meta-round"] == str(number)
        rewrites = [
            lambda number=number: cluster.swift().put_object(bucket, "k", b"new", headers={"X-Object-Meta-New": str(number)}),
            lambda: put_tags(cluster.s3(), bucket, {"late": "x"}),
        ]
        threads = [threading.Thread(target=run, args=(writer,)) for writer in rewrites]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        headers = swift.head_object(bucket, "k")
        assert headers.get("x-object-meta-new") == str(number), "the metadata before the rewrite came back"
        assert "x-object-meta-round" not in headers
        assert tags_of(s3, bucket) in ({}, {"late": "x"})
