"""Lifecycle rules: what the daemon deletes, what the API accepts, and the operators' dry run."""

import datetime
import json
import re
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from apus_testing.executables import APUS
from apus_testing.servers_with_daemons import ServersWithDaemons

ACCOUNT = "AUTH_test"
DAY = 2
WAIT = DAY + 1.5


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ServersWithDaemons(tmp_path_factory.mktemp("lifecycle")) as nodes:
        nodes.option("container", "container-lifecycle", f"seconds_per_day = {DAY}\ndeletions_per_second = 0")
        yield nodes


@pytest.fixture
def s3(nodes):
    return nodes.s3()


@pytest.fixture
def bucket(s3):
    name = f"lc-{time.time_ns()}"
    s3.create_bucket(Bucket=name)
    yield name
    s3.delete_bucket_lifecycle(Bucket=name)


def rule(name="r", status="Enabled", **parts):
    parts.setdefault("Filter", {"Prefix": ""})
    if "Prefix" in parts:
        del parts["Filter"]
    return {"ID": name, "Status": status, **parts}


def put_rules(s3, bucket, *rules, **options):
    return s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}, **options)


def expire(**parts):
    return rule(Expiration={"Days": 1}, **parts)


def keys(s3, bucket):
    return [row["Key"] for row in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def refusal(call, *arguments, **named):
    with pytest.raises(ClientError) as error:
        call(*arguments, **named)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"], error.value.response["Error"]["Code"]


def run(nodes):
    """One pass; returns its report."""
    nodes.once("container-lifecycle")
    report = json.loads((nodes.cache / "apus_passes.recon").read_text()) if (nodes.cache / "apus_passes.recon").exists() else {}
    return report.get("container-lifecycle", {}).get("report") or nodes.recon("container")


def dry_run(nodes, bucket, *options):
    command = [APUS, "lifecycle", f"/{ACCOUNT}/{bucket}", "--swiftdir", str(nodes.etc), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_rules_are_stored_returned_and_removed(s3, bucket):
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")
    rules = [
        expire(name="legacy", Prefix="a/"),
        rule("date", Expiration={"Date": datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)}, Filter={"Prefix": "é &<"}),
        rule("size", Expiration={"Days": 7}, Filter={"ObjectSizeGreaterThan": 500}),
        rule("tag", "Disabled", Expiration={"Days": 7}, Filter={"Tag": {"Key": "k", "Value": "v"}}),
        rule(
            "and",
            NoncurrentVersionExpiration={"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
            Filter={"And": {"Prefix": "x", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeLessThan": 9}},
        ),
        rule("marker", Expiration={"ExpiredObjectDeleteMarker": True}),
        rule("abort", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
    ]
    answer = put_rules(s3, bucket, *rules)
    assert answer["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert found["Rules"] == rules
    put_rules(s3, bucket, *rules[:1], TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert (found["Rules"], found["TransitionDefaultMinimumObjectSize"]) == (rules[:1], "varies_by_storage_class")
    # As many rules as AWS allows.
    many = [expire(name=f"rule-{number}", Prefix=f"some/longer/prefix/{number}/") for number in range(1000)]
    put_rules(s3, bucket, *many)
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == many
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")
    s3.delete_bucket_lifecycle(Bucket=bucket)


def test_what_cannot_be_done_is_refused(s3, bucket):
    for bad, expected in (
        (expire(name="a" * 256), (400, "InvalidArgument")),
        (rule(Expiration={"Days": 0}), (400, "InvalidArgument")),
        (rule(Expiration={"Date": datetime.datetime(2040, 1, 1, 5, tzinfo=datetime.UTC)}), (400, "InvalidArgument")),
        (rule(), (400, "InvalidRequest")),
        (
            rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}, Filter={"Tag": {"Key": "k", "Value": ""}}),
            (400, "InvalidRequest"),
        ),
        (expire(status="enabled"), (400, "MalformedXML")),
        (rule(Transitions=[{"Days": 1, "StorageClass": "GLACIER"}]), (501, "NotImplemented")),
        (rule(NoncurrentVersionTransitions=[{"NoncurrentDays": 1, "StorageClass": "GLACIER"}]), (501, "NotImplemented")),
    ):
        assert refusal(put_rules, s3, bucket, bad) == expected, bad
    assert refusal(put_rules, s3, bucket, expire(), expire()) == (400, "InvalidArgument")
    assert refusal(put_rules, s3, bucket, *[expire(name=str(n)) for n in range(1001)]) == (400, "MalformedXML")
    assert refusal(put_rules, s3, "no-such-bucket", expire()) == (404, "NoSuchBucket")
    assert refusal(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")


def test_objects_expire_by_days_prefix_and_size_and_others_stay(nodes, s3, bucket):
    put_rules(
        s3,
        bucket,
        expire(name="1", Filter={"Prefix": "old/"}),
        expire(name="2", Filter={"And": {"Prefix": "s/", "ObjectSizeLessThan": 100}}),
    )
    for key, size in (("old/a", 1), ("old/ü b", 1), ("keep", 1), ("s/small", 99), ("s/big", 100)):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size)
    run(nodes)
    assert len(keys(s3, bucket)) == 5
    time.sleep(WAIT)
    status, entries, _ = dry_run(nodes, bucket, "--dry-run", "--seconds-per-day", str(DAY))
    assert status == 0
    assert [(e["action"], e["key"], e["rule"]) for e in entries] == [
        ("expire", "old/a", "1"), ("expire", "old/ü b", "1"), ("expire", "s/small", "2"),
    ]  # fmt: skip
    assert len(keys(s3, bucket)) == 5
    # A new version of what is due stays: its days begin again.
    s3.put_object(Bucket=bucket, Key="old/a", Body=b"new")
    run(nodes)
    assert keys(s3, bucket) == ["keep", "old/a", "s/big"]
    recon = nodes.recon("container")
    assert recon["container_lifecycle_buckets"] >= 1 and recon["container_lifecycle_errors"] == 0


def test_each_bucket_is_walked_by_one_primary(nodes, s3, bucket):
    put_rules(s3, bucket, rule(Expiration={"Days": 1}))
    s3.put_object(Bucket=bucket, Key="o", Body=b"")
    nodes.once("container-lifecycle")
    recon = nodes.recon("container")
    assert recon["container_lifecycle_buckets"] == 1, recon


def test_objects_of_a_date_expire_at_once(nodes, s3, bucket):
    past, future = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2015, 2040))
    put_rules(s3, bucket, rule("1", Expiration={"Date": past}, Prefix="past/"), rule("2", Expiration={"Date": future}, Prefix="future/"))
    for key in ("past/o", "future/o"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    run(nodes)
    assert keys(s3, bucket) == ["future/o"]


def test_objects_expire_by_tags(nodes, s3, bucket):
    tag = {"Key": "class", "Value": "tmp"}
    put_rules(s3, bucket, expire(Filter={"Tag": tag}))
    s3.put_object(Bucket=bucket, Key="header", Body=b"", Tagging="class=tmp&x=1")
    s3.put_object(Bucket=bucket, Key="other", Body=b"", Tagging="class=keep")
    s3.put_object(Bucket=bucket, Key="none", Body=b"")
    s3.put_object(Bucket=bucket, Key="later", Body=b"")
    s3.put_object_tagging(Bucket=bucket, Key="later", Tagging={"TagSet": [tag]})
    assert "x-amz-expiration" in s3.head_object(Bucket=bucket, Key="later")["ResponseMetadata"]["HTTPHeaders"]
    assert "x-amz-expiration" not in s3.head_object(Bucket=bucket, Key="other")["ResponseMetadata"]["HTTPHeaders"]
    time.sleep(WAIT)
    run(nodes)
    assert keys(s3, bucket) == ["none", "other"]


def test_multipart_objects_expire_with_their_parts_and_uploads_are_aborted(nodes, s3, bucket):
    key = "up/done"
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    for name in ("up/open", "other/open"):
        upload = s3.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
        s3.upload_part(Bucket=bucket, Key=name, UploadId=upload, PartNumber=1, Body=b"x")
    put_rules(
        s3, bucket, expire(name="1", Prefix="up/"), rule("2", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}, Prefix="up/")
    )
    time.sleep(WAIT)
    run(nodes)
    assert keys(s3, bucket) == []
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in uploads] == ["other/open"]
    hidden = [row["name"] for row in nodes.swift().get_container(f"{bucket}+segments")[1]]
    assert hidden and all(name.startswith("other/open/") for name in hidden), hidden


def test_versions_and_lone_delete_markers_expire(nodes, s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket=bucket, Key="old/a", Body=b"x" * size)["VersionId"] for size in (1, 2, 3, 4)]
    s3.put_object(Bucket=bucket, Key="keep/a", Body=b"1")
    s3.put_object(Bucket=bucket, Key="keep/a", Body=b"2")
    s3.put_object(Bucket=bucket, Key="gone/a", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="gone/a")
    put_rules(
        s3,
        bucket,
        rule("1", NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}, Prefix="old/"),
        rule("2", NoncurrentVersionExpiration={"NoncurrentDays": 1}, Expiration={"ExpiredObjectDeleteMarker": True}, Prefix="gone/"),
        rule("3", Expiration={"Days": 1}, Filter={"And": {"Prefix": "old/", "ObjectSizeLessThan": 4}}),
    )
    run(nodes)
    time.sleep(WAIT)
    # Versions first: the delete marker is alone in the next pass.
    run(nodes)
    run(nodes)
    found = s3.list_object_versions(Bucket=bucket)
    versions = [(row["Key"], row["VersionId"]) for row in found["Versions"]]
    assert [version for version in versions if version[0] == "old/a"] == [("old/a", ids[3]), ("old/a", ids[2])]
    assert sum(key == "keep/a" for key, _ in versions) == 2
    assert "gone/a" not in [key for key, _ in versions] and found.get("DeleteMarkers", []) == []
    put_rules(s3, bucket, rule("4", Expiration={"Days": 1}, Prefix="old/"))
    run(nodes)
    found = s3.list_object_versions(Bucket=bucket, Prefix="old/")
    assert [row["IsLatest"] for row in found["DeleteMarkers"]] == [True]
    assert [row["VersionId"] for row in found["Versions"]] == [ids[3], ids[2]]


def test_a_disabled_rule_and_a_removed_one_delete_nothing(nodes, s3, bucket):
    s3.put_object(Bucket=bucket, Key="o", Body=b"")
    put_rules(s3, bucket, expire(status="Disabled"))
    time.sleep(WAIT)
    run(nodes)
    put_rules(s3, bucket, expire())
    s3.delete_bucket_lifecycle(Bucket=bucket)
    run(nodes)
    assert keys(s3, bucket) == ["o"]
    status, _, text = dry_run(nodes, bucket, "--dry-run")
    assert status == 2 and "no lifecycle rules" in text


def test_the_expiration_header_names_date_and_rule(s3, bucket):
    put_rules(s3, bucket, rule("a b", Expiration={"Days": 3}, Prefix="x/"), rule("late", Expiration={"Days": 30}, Prefix="x/"))
    written = s3.put_object(Bucket=bucket, Key="x/o", Body=b"12345")["Expiration"]
    for found in (
        written,
        s3.head_object(Bucket=bucket, Key="x/o")["Expiration"],
        s3.get_object(Bucket=bucket, Key="x/o", Range="bytes=1-2")["Expiration"],
    ):
        date, name = re.fullmatch(r'expiry-date="([^"]+)", rule-id="([^"]+)"', found).groups()
        at = datetime.datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")
        days = (at - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)) / datetime.timedelta(days=1)
        assert days + 0.01 >= 3 and days <= 4 and (at.hour, at.minute, at.second) == (0, 0, 0)
        assert name == "a%20b"
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="y", Body=b"")
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="x/o")


def test_no_object_is_archived(s3, bucket):
    s3.put_object(Bucket=bucket, Key="o", Body=b"")
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="o")
    request = {"Days": 1, "GlacierJobParameters": {"Tier": "Standard"}}
    assert refusal(s3.restore_object, Bucket=bucket, Key="o", RestoreRequest=request) == (403, "InvalidObjectState")
    assert refusal(s3.restore_object, Bucket=bucket, Key="none", RestoreRequest=request) == (404, "NoSuchKey")


def test_the_operators_command_applies_rules_at_once(nodes, s3, bucket):
    put_rules(s3, bucket, rule(Expiration={"Date": datetime.datetime(2015, 1, 1, tzinfo=datetime.UTC)}))
    for number in range(30):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"")
    status, entries, text = dry_run(nodes, bucket)
    assert status == 0 and len(entries) == 30 and "30 done" in text
    assert keys(s3, bucket) == []
