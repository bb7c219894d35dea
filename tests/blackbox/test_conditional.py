"""Conditional writes: decided by the stored object, and won by exactly one of many."""

import threading
import time

import pytest
import swiftclient
from botocore.exceptions import ClientError

RACERS = 16


def code(call, **arguments):
    """What a call was refused with; None when it succeeded."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def test_a_put_is_judged_by_the_etag_that_is_there(s3, bucket):
    def put(**conditions):
        return code(s3.put_object, Bucket=bucket, Key="k", Body=b"new", **conditions)

    assert put(IfMatch="*") == "NoSuchKey"
    assert put(IfNoneMatch="*") is None
    assert put(IfNoneMatch="*") == "PreconditionFailed"
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    assert put(IfMatch='"0123"') == "PreconditionFailed"
    assert put(IfMatch=etag) is None
    s3.delete_object(Bucket=bucket, Key="k")
    assert put(IfMatch=etag) == "NoSuchKey"
    assert put(IfNoneMatch="*") is None


def test_a_long_body_is_judged_when_it_has_arrived(s3, bucket):
    body = b"x" * 3_000_000
    assert code(s3.put_object, Bucket=bucket, Key="long", Body=body, IfNoneMatch="*") is None
    assert code(s3.put_object, Bucket=bucket, Key="long", Body=body, IfNoneMatch="*") == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="long")["Body"].read() == body


def test_a_completed_upload_and_a_copy_are_judged_as_well(s3, bucket):
    def complete(**conditions):
        upload = s3.create_multipart_upload(Bucket=bucket, Key="mpu")["UploadId"]
        part = s3.upload_part(Bucket=bucket, Key="mpu", UploadId=upload, PartNumber=1, Body=b"part")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}

        def call(**more):
            return s3.complete_multipart_upload(Bucket=bucket, Key="mpu", UploadId=upload, MultipartUpload=parts, **more)

        refused = code(call, **conditions)
        if refused:
            # What was refused can be completed later.
            assert code(call) is None
        return refused

    assert complete(IfNoneMatch="*") is None
    etag = s3.head_object(Bucket=bucket, Key="mpu")["ETag"]
    assert etag.endswith('-1"')
    assert complete(IfNoneMatch="*") == "PreconditionFailed"
    assert complete(IfMatch=etag) is None
    source = {"Bucket": bucket, "Key": "mpu"}

    def copy(**conditions):
        return code(s3.copy_object, Bucket=bucket, Key="copy", CopySource=source, **conditions)

    assert copy(IfNoneMatch="*") is None
    assert copy(IfNoneMatch="*") == "PreconditionFailed"


def test_a_deletion_is_judged_by_etag_size_and_time(s3, bucket):
    def put():
        return s3.put_object(Bucket=bucket, Key="gone", Body=b"four")["ETag"]

    def delete(**conditions):
        return code(s3.delete_object, Bucket=bucket, Key="gone", **conditions)

    etag = put()
    modified = s3.head_object(Bucket=bucket, Key="gone")["LastModified"]
    assert delete(IfMatch='"0123"') == "PreconditionFailed"
    assert delete(IfMatchSize=5) == "PreconditionFailed"
    assert delete(IfMatch=etag, IfMatchSize=4, IfMatchLastModifiedTime=modified) is None
    assert delete(IfMatch='"0123"') is None
    etag = put()
    objects = [{"Key": "gone", "ETag": '"0123"'}, {"Key": "never", "ETag": '"0123"'}]
    reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [error["Code"] for error in reply["Errors"]] == ["PreconditionFailed"]
    reply = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "gone", "ETag": etag}]})
    assert [deleted["Key"] for deleted in reply["Deleted"]] == ["gone"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_conditional_deletion_that_is_refused_leaves_the_parts_of_an_upload(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mpu")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="mpu", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="mpu", UploadId=upload, MultipartUpload=parts)
    assert code(s3.delete_object, Bucket=bucket, Key="mpu", IfMatch='"0123"') == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="mpu")["Body"].read() == b"part"
    etag = s3.head_object(Bucket=bucket, Key="mpu")["ETag"]
    assert code(s3.delete_object, Bucket=bucket, Key="mpu", IfMatch=etag, IfMatchSize=4) is None
    assert code(s3.get_object, Bucket=bucket, Key="mpu") == "NoSuchKey"


@pytest.mark.parametrize("complete", [False, True], ids=["put", "complete"])
def test_of_many_who_create_a_name_exactly_one_wins(cluster, bucket, complete):
    clients = [cluster.s3() for _ in range(RACERS)]
    for turn in range(5):
        key, outcomes = f"race-{turn}", [None] * RACERS

        def race(number):
            s3, body = clients[number], str(number).encode()
            if not complete:
                outcomes[number] = code(s3.put_object, Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
                return
            upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=body)
            outcomes[number] = code(
                s3.complete_multipart_upload,
                Bucket=bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
                IfNoneMatch="*",
            )

        threads = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(winners) == 1, outcomes
        assert set(outcomes) <= {None, "PreconditionFailed", "ConditionalRequestConflict"}
        assert clients[0].get_object(Bucket=bucket, Key=key)["Body"].read() == str(winners[0]).encode()


def test_a_counter_loses_no_increment(cluster, bucket):
    clients = [cluster.s3() for _ in range(8)]
    clients[0].put_object(Bucket=bucket, Key="counter", Body=b"0")
    counted, until = [0] * len(clients), time.monotonic() + 3

    def count(number):
        s3 = clients[number]
        while time.monotonic() < until:
            read = s3.get_object(Bucket=bucket, Key="counter")
            body = str(int(read["Body"].read()) + 1).encode()
            refused = code(s3.put_object, Bucket=bucket, Key="counter", Body=body, IfMatch=read["ETag"])
            assert refused in (None, "PreconditionFailed", "ConditionalRequestConflict")
            counted[number] += refused is None

    threads = [threading.Thread(target=count, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = int(clients[0].get_object(Bucket=bucket, Key="counter")["Body"].read())
    assert last == sum(counted) > 0


def test_a_bucket_is_empty_once_its_last_objects_were_deleted_by_one_of_many(cluster, bucket):
    clients = [cluster.s3() for _ in range(6)]
    etags = {f"key{number}": clients[0].put_object(Bucket=bucket, Key=f"key{number}", Body=b"x")["ETag"] for number in range(20)}
    outcomes = []

    def delete(s3):
        for key, etag in etags.items():
            outcomes.append(code(s3.delete_object, Bucket=bucket, Key=key, IfMatch=etag))

    threads = [threading.Thread(target=delete, args=(s3,)) for s3 in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {None, "PreconditionFailed", "ConditionalRequestConflict"}
    # Each replica of the container must have the rows of all deletions, since one is enough to refuse this.
    clients[0].delete_bucket(Bucket=bucket)


def test_a_condition_in_the_swift_dialect_is_judged_too(swift, bucket):
    swift.put_container("conditions")
    swift.put_object("conditions", "o", b"one", headers={"If-None-Match": "*"})
    with pytest.raises(swiftclient.ClientException) as refused:
        swift.put_object("conditions", "o", b"two", headers={"If-None-Match": "*"})
    assert refused.value.http_status == 412
    assert swift.get_object("conditions", "o")[1] == b"one"
