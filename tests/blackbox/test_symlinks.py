"""Symbolic links of Swift's clients together with other features; Swift's own suite tests the rest."""

import pytest
from swiftclient import ClientException

LINK = "symlink=get"


def link(swift, container, name, target, **more):
    swift.put_object(container, name, b"", headers={"X-Symlink-Target": target, **more})


def refused(call, *arguments, **options):
    with pytest.raises(ClientException) as caught:
        call(*arguments, **options)
    return caught.value.http_status


@pytest.fixture
def upload(s3, bucket):
    """A multipart object."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="whole")["UploadId"]
    names = {"Bucket": bucket, "Key": "whole", "UploadId": upload}
    etag = s3.upload_part(**names, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(**names, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    return "whole"


def test_s3_reads_through_links_and_deletes_links_alone(s3, swift, bucket, upload):
    link(swift, bucket, "link", f"{bucket}/{upload}")
    assert s3.get_object(Bucket=bucket, Key="link")["Body"].read() == b"part"
    assert s3.head_object(Bucket=bucket, Key="link")["ContentLength"] == 4
    assert {row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {"link", upload}
    s3.delete_object(Bucket=bucket, Key="link")
    assert s3.get_object(Bucket=bucket, Key=upload)["Body"].read() == b"part", "its parts were deleted"


@pytest.mark.parametrize("how", ["multipart-manifest=delete", "multipart-manifest=delete&async=true"])
def test_deleting_a_link_with_segments_leaves_those_of_its_target(s3, swift, bucket, upload, how):
    link(swift, bucket, "link", f"{bucket}/{upload}")
    try:
        swift.delete_object(bucket, "link", query_string=how)
    except ClientException as error:
        assert "async" in how and error.http_status == 400
    assert swift.get_object(bucket, upload)[1] == b"part"


def test_a_link_gives_no_right_to_read_its_target(cluster, swift, bucket):
    swift.put_object(bucket, "secret", b"secret")
    other = cluster.swift("test2:tester2", "testing2")
    other.put_container(bucket)
    account = swift.get_auth()[0].rsplit("/", 1)[1]
    link(other, bucket, "link", f"{bucket}/secret", **{"X-Symlink-Target-Account": account})
    assert refused(other.get_object, bucket, "link") == 403
    wanted = swift.head_object(bucket, "secret")["etag"]
    static = {"X-Symlink-Target-Account": account, "X-Symlink-Target-Etag": wanted}
    assert refused(link, other, bucket, "static", f"{bucket}/secret", **static) == 403
    swift.post_container(bucket, {"X-Container-Read": "test2"})
    assert other.get_object(bucket, "link")[1] == b"secret"


def test_a_link_is_an_object_of_its_own_to_conditions_on_writing(s3, swift, bucket):
    swift.put_object(bucket, "target", b"target")
    link(swift, bucket, "link", f"{bucket}/target")
    assert refused(swift.put_object, bucket, "link", b"x", headers={"If-None-Match": "*"}) == 412
    assert refused(link, swift, bucket, "link", f"{bucket}/other", **{"If-None-Match": "*"}) == 412
    assert refused(link, swift, bucket, "link", f"{bucket}/other", Etag="0" * 32) == 422
    assert swift.get_object(bucket, "link", query_string=LINK)[0]["x-symlink-target"] == f"{bucket}/target"


@pytest.mark.parametrize("target", ["%00c/o", "c/%00o", "c", "/c/o", "c/", ""])
def test_targets_that_no_client_can_name_are_refused(swift, bucket, target):
    assert refused(link, swift, bucket, "link", target) == 412
