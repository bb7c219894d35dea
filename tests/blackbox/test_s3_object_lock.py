"""Object lock: no request of either dialect, and no daemon, removes a locked version before its time."""

import datetime
import time

import pytest
import swiftclient
from botocore.exceptions import ClientError

from apus_testing.waiting import wait_until

UTC = datetime.UTC


def code(call, *arguments, **named):
    """What a call was refused with; None when it succeeded."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def later(seconds):
    return datetime.datetime.now(UTC).replace(microsecond=0) + datetime.timedelta(seconds=seconds)


@pytest.fixture
def locked(s3):
    """A bucket with a lock."""
    name = f"lock-{time.time_ns()}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def put(s3, bucket, key="k", **named):
    return s3.put_object(Bucket=bucket, Key=key, Body=b"body", **named)["VersionId"]


def retain(s3, bucket, version, seconds=3600, mode="COMPLIANCE", key="k", **named):
    retention = {"Mode": mode, "RetainUntilDate": later(seconds)}
    return code(s3.put_object_retention, Bucket=bucket, Key=key, VersionId=version, Retention=retention, **named)


def remove(s3, bucket, version, key="k", **named):
    return code(s3.delete_object, Bucket=bucket, Key=key, VersionId=version, **named)


def test_a_bucket_with_a_lock_keeps_versions_and_a_default(s3, locked, bucket):
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
    suspended = {"Status": "Suspended"}
    assert code(s3.put_bucket_versioning, Bucket=locked, VersioningConfiguration=suspended) == "InvalidBucketState"
    config = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}}
    assert code(s3.put_object_lock_configuration, Bucket=bucket, ObjectLockConfiguration=config) == "InvalidBucketState"
    s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=config)
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == config
    version = put(s3, locked)
    head = s3.head_object(Bucket=locked, Key="k", VersionId=version)
    assert head["ObjectLockMode"] == "GOVERNANCE"
    days = (head["ObjectLockRetainUntilDate"] - datetime.datetime.now(UTC)).total_seconds() / 86400
    assert 1.99 < days <= 2.01
    assert remove(s3, locked, version) == "AccessDenied"
    assert remove(s3, locked, version, BypassGovernanceRetention=True) is None


def test_the_default_holds_for_swift_and_swift_removes_nothing(s3, swift, locked):
    config = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=config)
    swift.put_object(locked, "k", b"of swift")
    version = s3.head_object(Bucket=locked, Key="k")["VersionId"]
    swift.post_object(locked, "k", {"X-Object-Meta-Color": "blue"})
    assert s3.get_object_retention(Bucket=locked, Key="k")["Retention"]["Mode"] == "COMPLIANCE"
    swift.delete_object(locked, "k")
    with pytest.raises(swiftclient.ClientException):
        swift.delete_object(locked, "k", query_string=f"version-id={version}")
    with pytest.raises(swiftclient.ClientException):
        swift.delete_container(locked)
    swift.post_container(locked, {"X-Container-Sysmeta-Apus-S3-Object-Lock": ""})
    with pytest.raises(swiftclient.ClientException):
        swift.post_container(locked, {"X-Versions-Enabled": "false"})
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"
    assert s3.get_object(Bucket=locked, Key="k", VersionId=version)["Body"].read() == b"of swift"
    assert remove(s3, locked, version, BypassGovernanceRetention=True) == "AccessDenied"


def test_retention_ends_with_time_and_compliance_only_so(s3, locked):
    version = put(s3, locked)
    assert code(s3.get_object_retention, Bucket=locked, Key="k") == "NoSuchObjectLockConfiguration"
    assert retain(s3, locked, version, seconds=-5) == "InvalidArgument"
    assert retain(s3, locked, version, seconds=4) is None
    for named in ({}, {"BypassGovernanceRetention": True}):
        assert retain(s3, locked, version, seconds=2, **named) == "AccessDenied"
        assert retain(s3, locked, version, seconds=10, mode="GOVERNANCE", **named) == "AccessDenied"
        assert remove(s3, locked, version, **named) == "AccessDenied"
    deleted = s3.delete_objects(Bucket=locked, Delete={"Objects": [{"Key": "k", "VersionId": version}]})
    assert [error["Code"] for error in deleted["Errors"]] == ["AccessDenied"]
    marker = s3.delete_object(Bucket=locked, Key="k")
    assert marker["DeleteMarker"]
    assert remove(s3, locked, marker["VersionId"]) is None
    wait_until(lambda: remove(s3, locked, version) is None, "the version is still locked", 60, 0.5)
    assert code(s3.head_object, Bucket=locked, Key="k", VersionId=version) is not None


def test_a_legal_hold_has_no_bypass(s3, locked):
    version = put(s3, locked, ObjectLockLegalHoldStatus="ON")
    assert s3.get_object_legal_hold(Bucket=locked, Key="k")["LegalHold"] == {"Status": "ON"}
    assert remove(s3, locked, version, BypassGovernanceRetention=True) == "AccessDenied"
    s3.put_object_tagging(Bucket=locked, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.head_object(Bucket=locked, Key="k")["ObjectLockLegalHoldStatus"] == "ON"
    s3.put_object_legal_hold(Bucket=locked, Key="k", LegalHold={"Status": "OFF"})
    assert remove(s3, locked, version) is None


def test_only_the_owner_bypasses_governance(s3, swift, cluster, locked):
    version = put(s3, locked, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=later(3600))
    swift.post_container(locked, {"X-Container-Read": "test:tester3", "X-Container-Write": "test:tester3"})
    guest = cluster.s3("test:tester3", "testing3")
    assert remove(guest, locked, version, BypassGovernanceRetention=True) == "AccessDenied"
    assert retain(guest, locked, version, seconds=5, mode="GOVERNANCE", BypassGovernanceRetention=True) == "AccessDenied"
    assert retain(s3, locked, version, seconds=5, mode="GOVERNANCE") == "AccessDenied"
    assert retain(s3, locked, version, seconds=5, mode="GOVERNANCE", BypassGovernanceRetention=True) is None
    assert remove(s3, locked, version, BypassGovernanceRetention=True) is None


def test_parts_of_a_locked_multipart_version_stay(s3, swift, locked):
    named = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": later(3600), "Tagging": "a=b"}
    upload = s3.create_multipart_upload(Bucket=locked, Key="k", **named)["UploadId"]
    part = s3.upload_part(Bucket=locked, Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    version = s3.complete_multipart_upload(Bucket=locked, Key="k", UploadId=upload, MultipartUpload=parts)["VersionId"]
    assert s3.head_object(Bucket=locked, Key="k")["ObjectLockMode"] == "COMPLIANCE"
    assert remove(s3, locked, version, BypassGovernanceRetention=True) == "AccessDenied"
    _, names = swift.get_container(f"{locked}+segments")
    for row in names:
        for attempt in (swift.delete_object, lambda *path: swift.put_object(*path, b"other")):
            with pytest.raises(swiftclient.ClientException):
                attempt(f"{locked}+segments", row["name"])
    assert names and s3.get_object(Bucket=locked, Key="k", VersionId=version)["Body"].read() == b"part"


def test_locks_of_a_source_are_not_copied_and_a_bucket_without_a_lock_has_none(s3, locked, bucket):
    put(s3, locked, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=later(3600))
    s3.copy_object(Bucket=locked, Key="copy", CopySource={"Bucket": locked, "Key": "k"})
    assert "ObjectLockMode" not in s3.head_object(Bucket=locked, Key="copy")
    s3.copy_object(Bucket=locked, Key="copy", CopySource={"Bucket": locked, "Key": "k"}, ObjectLockLegalHoldStatus="ON")
    assert s3.head_object(Bucket=locked, Key="copy")["ObjectLockLegalHoldStatus"] == "ON"
    s3.put_object_legal_hold(Bucket=locked, Key="copy", LegalHold={"Status": "OFF"})
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"", ObjectLockLegalHoldStatus="ON") == "InvalidRequest"
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ObjectLockLegalHoldStatus="OFF")
    assert code(s3.get_object_retention, Bucket=bucket, Key="k") == "InvalidRequest"
    assert code(s3.put_object_legal_hold, Bucket=bucket, Key="k", LegalHold={"Status": "ON"}) == "InvalidRequest"
