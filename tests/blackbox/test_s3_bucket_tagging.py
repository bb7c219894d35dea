"""Tags of buckets."""

import pytest
from botocore.exceptions import ClientError


def tags_of(s3, bucket):
    return s3.get_bucket_tagging(Bucket=bucket)["TagSet"]


def put(s3, bucket, tags):
    tagging = {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}
    return s3.put_bucket_tagging(Bucket=bucket, Tagging=tagging)


def code(call, *arguments, **named):
    with pytest.raises(ClientError) as error:
        call(*arguments, **named)
    return error.value.response["Error"]["Code"]


def test_tags_of_a_bucket_are_replaced_and_removed_as_a_whole(s3, bucket):
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    for tags in ([("team", "storage"), ("ü", "a = b")], [("one", "")], [(f"k{n}", "é" * 200) for n in range(50)], []):
        assert put(s3, bucket, tags)["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert tags_of(s3, bucket) == [{"Key": key, "Value": value} for key, value in tags]
    s3.delete_bucket_tagging(Bucket=bucket)
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    s3.delete_bucket_tagging(Bucket=bucket)


def test_invalid_tags_of_a_bucket_change_nothing(s3, bucket):
    put(s3, bucket, [("team", "storage")])
    for tags in (
        [(f"k{n}", "") for n in range(51)],
        [("k" * 129, "")],
        [("k", "v" * 257)],
        [("k", "1"), ("k", "2")],
        [("aws:k", "v")],
    ):
        assert code(put, s3, bucket, tags) == "InvalidTag", tags
    assert tags_of(s3, bucket) == [{"Key": "team", "Value": "storage"}]


def test_tags_are_gone_with_their_bucket_and_do_not_show_in_swift(s3, bucket, swift):
    put(s3, bucket, [("team", "storage")])
    headers = swift.head_container(bucket)
    assert not [name for name in headers if "sysmeta" in name.lower() or "apus" in name.lower()]
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"


def test_only_the_owner_reads_and_changes_tags(s3, bucket, cluster):
    put(s3, bucket, [("team", "storage")])
    stranger = cluster.s3("test:tester3", "testing3")
    for caller, name, expected in ((stranger, bucket, "AccessDenied"), (s3, "b-that-is-not-there", "NoSuchBucket")):
        assert code(put, caller, name, []) == expected
        assert code(caller.get_bucket_tagging, Bucket=name) == expected
        assert code(caller.delete_bucket_tagging, Bucket=name) == expected
    assert tags_of(s3, bucket) == [{"Key": "team", "Value": "storage"}]
