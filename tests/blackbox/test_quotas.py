"""Quotas of accounts and containers: who sets them, and that they hold for every kind of upload in both dialects."""

import json

import botocore.exceptions
import pytest

from apus_testing.swift_http import SwiftHttp
from apus_testing.waiting import wait_until


@pytest.fixture(scope="module")
def swift(cluster):
    return SwiftHttp(cluster)


@pytest.fixture(scope="module")
def reseller(cluster, swift):
    """The reseller's requests to that account."""
    reseller = SwiftHttp(cluster, "test:tester6", "testing6")
    reseller.root = swift.root
    return reseller


@pytest.fixture
def account_quota(swift, reseller):
    """Sets quotas of the account, which are removed at the end."""
    names = []

    def set_quota(name, value):
        names.append(name)
        assert reseller("POST", "", {name: str(value)})[0] == 204

    yield set_quota
    for name in names:
        assert reseller("POST", "", {name: ""})[0] == 204


def used(swift, name):
    return int(swift("HEAD")[1][name])


def test_a_container_takes_what_its_quota_has_room_for(swift):
    assert swift("PUT", "/bytes", {"X-Container-Meta-Quota-Bytes": "10"})[0] == 201
    status, _, body = swift("PUT", "/bytes/o", body=b"x" * 11)
    assert (status, body) == (413, b"Upload exceeds quota.")
    assert swift("PUT", "/bytes/o", body=b"x" * 10)[0] == 201
    # As in Swift, the replaced object counts.
    assert swift("PUT", "/bytes/o", body=b"x")[0] == 413
    assert swift("PUT", "/bytes/empty")[0] == 201
    assert swift("POST", "/bytes", {"X-Remove-Container-Meta-Quota-Bytes": "x"})[0] == 204
    assert swift("PUT", "/bytes/o", body=b"x" * 11)[0] == 201


def test_a_container_takes_as_many_objects_as_its_quota_says(swift):
    assert swift("PUT", "/count", {"X-Container-Meta-Quota-Count": "2"})[0] == 201
    assert swift("PUT", "/count/a")[0] == 201
    assert swift("PUT", "/count/link", {"X-Symlink-Target": "count/a"})[0] == 201
    for headers in [{}, {"X-Symlink-Target": "count/a"}, {"X-Copy-From": "count/a"}]:
        assert swift("PUT", "/count/b", headers)[0] == 413
    assert swift("DELETE", "/count/link")[0] == 204
    assert swift("PUT", "/count/b")[0] == 201


def test_a_body_without_a_length_ends_at_the_quota(swift):
    assert swift("PUT", "/chunked", {"X-Container-Meta-Quota-Bytes": "10"})[0] == 201
    chunked = {"Transfer-Encoding": "chunked"}
    assert swift("PUT", "/chunked/o", chunked, b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n")[0] == 413
    assert swift("HEAD", "/chunked/o")[0] == 404
    assert swift("PUT", "/chunked/o", chunked, b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n")[0] == 201


def test_copies_and_manifests_count(swift):
    assert swift("PUT", "/source")[0] == 201
    assert swift("PUT", "/source/o", body=b"x" * 600)[0] == 201
    assert swift("PUT", "/target", {"X-Container-Meta-Quota-Bytes": "599"})[0] == 201
    assert swift("COPY", "/source/o", {"Destination": "target/o"})[0] == 413
    assert swift("COPY", "/source/o", {"Destination": "target/o", "Range": "bytes=0-99"})[0] == 201
    manifest = json.dumps([{"path": "source/o"}]).encode()
    assert swift("PUT", "/target/slo?multipart-manifest=put", body=manifest)[0] == 201
    assert swift("POST", "/target", {"X-Container-Meta-Quota-Bytes": "100"})[0] == 204
    assert swift("PUT", "/target/slo2?multipart-manifest=put", body=manifest)[0] == 413


def test_versions_count(swift):
    assert swift("PUT", "/versions", {"X-Versions-Enabled": "true"})[0] == 201
    for body in [b"aaaaa", b"bbbbb"]:
        assert swift("PUT", "/versions/o", body=body)[0] == 201
    assert swift("POST", "/versions", {"X-Container-Meta-Quota-Bytes": "10"})[0] == 204
    assert swift("PUT", "/versions/o", body=b"ccccc")[0] == 413


def test_strangers_learn_nothing_of_a_quota(cluster, swift):
    assert swift("PUT", "/full", {"X-Container-Meta-Quota-Bytes": "0"})[0] == 201
    assert swift("PUT", "/full/o", body=b"x")[0] == 413
    assert swift.raw("PUT", f"{swift.root}/full/o", body=b"x")[0] == 401
    other = SwiftHttp(cluster, "test2:tester2", "testing2")
    other.root = swift.root
    assert other("PUT", "/full/o", body=b"x")[0] == 403
    assert other("PUT", "/absent/o", body=b"x")[0] == 403
    assert swift("PUT", "/absent/o", body=b"x")[0] == 404


@pytest.mark.parametrize("name", ["X-Container-Meta-Quota-Bytes", "X-Container-Meta-Quota-Count"])
def test_a_quota_of_a_container_is_a_number(swift, name):
    assert swift("PUT", "/numbers")[0] in (201, 202)
    for value in ["ten", "-1", "1.5"]:
        assert swift("POST", "/numbers", {name: value})[0] == 400
    assert swift("POST", "/numbers", {name: "5"})[0] == 204
    assert swift("HEAD", "/numbers")[1][name.lower()] == "5"


def refused(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


QUOTA_EXCEEDED = ("QuotaExceeded", 403)
MIB = 1024 * 1024


def test_a_bucket_has_the_quota_of_its_container(swift, s3):
    s3.create_bucket(Bucket="quota-bucket")
    assert swift("POST", "/quota-bucket", {"X-Container-Meta-Quota-Bytes": "10"})[0] == 204
    bucket = {"Bucket": "quota-bucket"}
    assert refused(s3.put_object, Key="o", Body=b"x" * 11, **bucket) == QUOTA_EXCEEDED
    s3.put_object(Key="o", Body=b"x" * 6, **bucket)
    source = {"Bucket": "quota-bucket", "Key": "o"}
    assert refused(s3.copy_object, Key="copy", CopySource=source, **bucket) == QUOTA_EXCEEDED


def test_parts_count_in_their_bucket(swift, s3):
    s3.create_bucket(Bucket="quota-parts")
    quota = {"X-Container-Meta-Quota-Bytes": str(6 * MIB), "X-Container-Meta-Quota-Count": "1"}
    assert swift("POST", "/quota-parts", quota)[0] == 204
    upload = {"Bucket": "quota-parts", "Key": "o"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    first = s3.upload_part(PartNumber=1, Body=b"x" * 5 * MIB, **upload)
    assert refused(s3.upload_part, PartNumber=2, Body=b"x" * 2 * MIB, **upload) == QUOTA_EXCEEDED
    last = s3.upload_part(PartNumber=2, Body=b"x" * MIB, **upload)
    parts = [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": last["ETag"]}]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    assert refused(s3.put_object, Bucket="quota-parts", Key="p", Body=b"") == QUOTA_EXCEEDED


QUOTAS = [
    "X-Account-Quota-Bytes",
    "X-Account-Quota-Count",
    "X-Account-Quota-Bytes-Policy-gold",
    "X-Account-Quota-Count-Policy-gold",
]


@pytest.mark.parametrize("name", [*QUOTAS, "X-Account-Meta-Quota-Bytes"])
def test_only_resellers_set_quotas_of_accounts(swift, reseller, account_quota, name):
    for header in [name, name.replace("X-", "X-Remove-", 1)]:
        assert swift("POST", "", {header: "1"})[0] == 403
    assert reseller("POST", "", {name: "ten"})[0] == 400
    account_quota(name, 10**15)
    assert swift("HEAD")[1][name.lower().replace("-meta-", "-")] == str(10**15)


@pytest.mark.parametrize("name", [name for name in QUOTAS if "Bytes" in name])
def test_an_account_takes_what_its_quota_has_room_for(swift, s3, reseller, account_quota, name):
    bucket = f"account{QUOTAS.index(name)}"
    s3.create_bucket(Bucket=bucket)
    account_quota(name, 0)
    assert swift("PUT", f"/{bucket}/o", body=b"x")[0] == 413
    assert refused(s3.put_object, Bucket=bucket, Key="o", Body=b"x") == QUOTA_EXCEEDED
    assert reseller("PUT", f"/{bucket}/o", body=b"x")[0] == 201
    account_quota(name, 10**12)
    assert swift("PUT", f"/{bucket}/o", body=b"x")[0] == 201


@pytest.mark.parametrize("name", [name for name in QUOTAS if "Count" in name])
def test_an_account_takes_as_many_objects_as_its_quota_says(swift, account_quota, name):
    assert swift("PUT", "/counted")[0] in (201, 202)
    assert swift("PUT", "/counted/o")[0] == 201
    wait_until(lambda: used(swift, "x-account-object-count") > 0, "the account counts its objects")
    account_quota(name, 0)
    assert swift("PUT", "/counted/o")[0] == 413
    account_quota(name, 10**6)
    assert swift("PUT", "/counted/o")[0] == 201
