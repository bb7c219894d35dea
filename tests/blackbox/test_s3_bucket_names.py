"""One namespace of buckets: whose bucket a name is, races of creators, crashes between the writes, both dialects."""

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import swiftclient
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from apus_testing.faults import Faults, is_built_with_faults
from apus_testing.s3_requests import UNSIGNED, S3Requests
from apus_testing.saio import Saio

OTHER = ("test2:tester2", "testing2")
PAGE = "https://page.example"
# Seconds for which a claim without a container excludes other accounts.
CLAIM_SECONDS = 30
numbers = itertools.count()


def fresh_name():
    return f"name-{time.time_ns()}-{next(numbers)}"


def refusal(call, **arguments):
    """Status and code of a refused call."""
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    response = failed.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def names(client):
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


@pytest.fixture
def other(cluster):
    return cluster.s3(*OTHER)


@pytest.fixture
def other_swift(cluster):
    return cluster.swift(*OTHER)


@pytest.fixture
def anonymous(cluster):
    requests_of_none = S3Requests(cluster.access["endpoint"])

    def send(method, target, headers=None):
        reply = requests_of_none(method, target, headers, how=UNSIGNED)
        return reply.status, reply.code if reply.status >= 300 else reply.body

    return send


def test_of_racing_creators_of_two_accounts_one_account_has_the_bucket(cluster):
    for _ in range(3):
        name = fresh_name()
        users = [("test:tester", "testing"), OTHER]
        clients = [(number % 2, cluster.s3(*users[number % 2])) for number in range(32)]

        def create(item):
            account, client, name = item
            try:
                client.create_bucket(Bucket=name)
                return account, "created"
            except ClientError as error:
                return account, error.response["Error"]["Code"]

        with ThreadPoolExecutor(32) as pool:
            outcomes = list(pool.map(create, [(*client, name) for client in clients]))
        winners = {account for account, outcome in outcomes if outcome == "created"}
        assert len(winners) == 1, outcomes
        (winner,) = winners
        # The other account, and who came while others of the same account were faster.
        assert {outcome for account, outcome in outcomes if account != winner} <= {"BucketAlreadyExists", "OperationAborted"}
        assert {outcome for account, outcome in outcomes if account == winner} <= {"created", "OperationAborted"}
        for number, user in enumerate(users):
            assert (name in names(cluster.s3(*user))) == (number == winner)


def test_a_bucket_of_another_account_is_known_and_denied(s3, other, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    denied = (403, "AccessDenied")
    assert refusal(other.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    assert refusal(other.head_bucket, Bucket=bucket)[0] == 403
    assert refusal(other.list_objects_v2, Bucket=bucket) == denied
    assert refusal(other.get_object, Bucket=bucket, Key="k") == denied
    assert refusal(other.put_object, Bucket=bucket, Key="k", Body=b"x") == denied
    assert refusal(other.delete_object, Bucket=bucket, Key="k") == denied
    assert refusal(other.delete_bucket, Bucket=bucket) == denied
    assert refusal(other.get_bucket_cors, Bucket=bucket) == denied
    own = fresh_name()
    other.create_bucket(Bucket=own)
    source = {"Bucket": bucket, "Key": "k"}
    assert refusal(other.copy_object, Bucket=own, Key="k", CopySource=source) == denied
    upload = other.create_multipart_upload(Bucket=own, Key="k")["UploadId"]
    part = {"Bucket": own, "Key": "k", "UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert refusal(other.upload_part_copy, **part) == denied
    assert bucket not in names(other)
    missing = fresh_name()
    assert refusal(other.list_objects_v2, Bucket=missing) == (404, "NoSuchBucket")
    assert refusal(other.copy_object, Bucket=own, Key="k", CopySource={"Bucket": missing, "Key": "k"}) == (404, "NoSuchBucket")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_a_deleted_name_is_free_for_all_accounts(s3, other, bucket):
    s3.put_object(Bucket=bucket, Key="k")
    assert refusal(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    assert refusal(other.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    assert refusal(other.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")
    other.create_bucket(Bucket=bucket)
    assert refusal(s3.list_objects_v2, Bucket=bucket) == (403, "AccessDenied")
    assert refusal(s3.create_bucket, Bucket=bucket) == (409, "BucketAlreadyExists")


def test_an_own_bucket_is_created_again_if_nothing_would_change(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    s3.create_bucket(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    assert refusal(s3.create_bucket, Bucket=bucket, ObjectLockEnabledForBucket=True) == (409, "BucketAlreadyExists")
    locked = fresh_name()
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket=locked)
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"


def test_a_container_of_the_own_account_is_found_first(s3, other, swift, other_swift, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"registered")
    assert refusal(other.get_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
    other_swift.put_container(bucket)
    other_swift.put_object(bucket, "k", b"of Swift")
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"of Swift"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"registered"
    # It is a bucket of that account, also for a creation, and the name stays that of the first.
    other.create_bucket(Bucket=bucket)
    assert bucket in names(other) and bucket in names(s3)
    for key in ("k",):
        other.delete_object(Bucket=bucket, Key=key)
    other.delete_bucket(Bucket=bucket)
    assert refusal(other.get_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
    # A container of Swift's dialect that no account registered is found by its own account alone.
    alone = fresh_name()
    swift.put_container(alone)
    s3.put_object(Bucket=alone, Key="k")
    assert refusal(other.get_object, Bucket=alone, Key="k") == (404, "NoSuchBucket")
    s3.create_bucket(Bucket=alone)
    assert refusal(other.get_object, Bucket=alone, Key="k") == (403, "AccessDenied")
    assert refusal(other.create_bucket, Bucket=alone) == (409, "BucketAlreadyExists")


def test_a_deletion_in_swifts_dialect_frees_the_name(s3, other, swift, bucket):
    swift.delete_container(bucket)
    assert refusal(s3.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")
    assert refusal(other.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")
    other.create_bucket(Bucket=bucket)
    # The account may still have a container of that name.
    swift.put_container(bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "Contents" not in other.list_objects_v2(Bucket=bucket)


def test_access_lists_grant_rights_in_the_bucket_of_another_account(s3, other, swift, bucket, anonymous):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    swift.post_container(bucket, {"X-Container-Read": ".r:*,test2", "X-Container-Write": "test2"})
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"
    listed = other.list_objects(Bucket=bucket)["Contents"]
    assert [(entry["Key"], entry["Owner"]["ID"]) for entry in listed] == [("k", "test:tester")]
    own = fresh_name()
    other.create_bucket(Bucket=own)
    other.copy_object(Bucket=own, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert other.get_object(Bucket=own, Key="copy")["Body"].read() == b"data"
    other.copy_object(Bucket=bucket, Key="back", CopySource={"Bucket": own, "Key": "copy"})
    assert s3.get_object(Bucket=bucket, Key="back")["Body"].read() == b"data"
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = other.create_multipart_upload(**upload)["UploadId"]
    etag = other.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
    other.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]})
    assert s3.get_object(Bucket=bucket, Key="parts")["Body"].read() == b"part"
    assert anonymous("GET", f"/{bucket}/k") == (200, b"data")
    assert anonymous("GET", f"/{bucket}") == (403, "AccessDenied")
    assert anonymous("PUT", f"/{bucket}/k") == (403, "AccessDenied")


def test_anonymous_requests_find_the_bucket(cluster, s3, bucket, anonymous):
    assert anonymous("GET", f"/{bucket}/k") == (403, "AccessDenied")
    assert anonymous("PUT", f"/{fresh_name()}") == (403, "AccessDenied")
    for method in ("GET", "DELETE"):
        assert anonymous(method, f"/{fresh_name()}/k") == (404, "NoSuchBucket")
    assert anonymous("GET", "/a+b/k") == (400, "InvalidBucketName")
    rules = [{"AllowedOrigins": [PAGE], "AllowedMethods": ["PUT"]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
    url = cluster.access["endpoint"]
    reply = requests.options(f"{url}/{bucket}/k", headers=asked, timeout=30)
    assert (reply.status_code, reply.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert requests.options(f"{url}/{fresh_name()}/k", headers=asked, timeout=30).status_code == 404
    form = requests.post(f"{url}/{bucket}", data={"key": "k"}, files={"file": ("a", b"x")}, timeout=30)
    assert (form.status_code, "AccessDenied" in form.text) == (403, True)


def test_the_expected_owner_is_that_of_the_bucket(s3, other, swift, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    swift.post_container(bucket, {"X-Container-Read": "test2"})
    for client, owners, wrong in (
        (s3, ("test:tester", "AUTH_test"), ("AUTH_test2", "test2:tester2", "")),
        (other, ("test:tester", "AUTH_test"), ("test2:tester2", "AUTH_test2", "")),
    ):
        for owner in owners:
            client.get_object(Bucket=bucket, Key="k", ExpectedBucketOwner=owner)
        for owner in wrong:
            assert refusal(client.get_object, Bucket=bucket, Key="k", ExpectedBucketOwner=owner) == (403, "AccessDenied"), owner
    own = fresh_name()
    other.create_bucket(Bucket=own)
    copy = {"Bucket": own, "Key": "c", "CopySource": {"Bucket": bucket, "Key": "k"}}
    other.copy_object(**copy, ExpectedBucketOwner="test2:tester2", ExpectedSourceBucketOwner="AUTH_test")
    assert refusal(other.copy_object, **copy, ExpectedSourceBucketOwner="test2:tester2") == (403, "AccessDenied")


def test_names_of_accounts_are_their_own_in_swifts_namespace(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.change("proxy", "bucket_namespace = cluster", "bucket_namespace = account")
    try:
        s3, other, name = cluster.s3(), cluster.s3(*OTHER), fresh_name()
        s3.create_bucket(Bucket=name)
        assert refusal(s3.create_bucket, Bucket=name) == (409, "BucketAlreadyOwnedByYou")
        assert refusal(other.list_objects_v2, Bucket=name) == (404, "NoSuchBucket")
        other.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="k")
        assert "Contents" not in other.list_objects_v2(Bucket=name)
        other.delete_bucket(Bucket=name)
        s3.head_bucket(Bucket=name)
    finally:
        assert cluster.stop() == 0


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A cluster with fault points, and a function that kills it at one."""
    if not is_built_with_faults():
        pytest.skip("an executable without fault points")
    folder = tmp_path_factory.mktemp("killed")
    faults = Faults(folder / "faults")
    os.environ["APUS_FAULTS"] = str(faults.file("saio"))
    cluster = Saio(folder / "data", "--dev-users").start()

    def kill_at(point, call, **arguments):
        faults.arm("saio", f"{point} kill")
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            call(**arguments)
        assert cluster.process.wait(timeout=30) == -9
        faults.disarm()
        cluster.start()

    def pass_time(seconds):
        faults.arm("saio", f"clock {seconds}")

    yield cluster, kill_at, pass_time
    faults.disarm()
    del os.environ["APUS_FAULTS"]
    assert cluster.stop() == 0


def test_a_claim_of_a_killed_creator_does_not_keep_the_name(killed):
    cluster, kill_at, pass_time = killed
    own, taken = fresh_name(), fresh_name()
    for name in (own, taken):
        kill_at("bucket.name.claimed", cluster.s3().create_bucket, Bucket=name)
    s3, other = cluster.s3(), cluster.s3(*OTHER)
    assert own not in names(s3)
    assert refusal(s3.list_objects_v2, Bucket=own) == (404, "NoSuchBucket")
    s3.create_bucket(Bucket=own)
    assert refusal(other.create_bucket, Bucket=own) == (409, "BucketAlreadyExists")
    assert refusal(other.create_bucket, Bucket=taken) == (409, "OperationAborted")
    pass_time(CLAIM_SECONDS + 1)
    other.create_bucket(Bucket=taken)
    assert refusal(s3.create_bucket, Bucket=taken) == (409, "BucketAlreadyExists")
    pass_time(0)


def test_a_container_of_a_killed_creator_keeps_the_name(killed):
    cluster, kill_at, _ = killed
    name = fresh_name()
    kill_at("bucket.container.made", cluster.s3().create_bucket, Bucket=name)
    s3, other = cluster.s3(), cluster.s3(*OTHER)
    assert name in names(s3)
    assert refusal(other.create_bucket, Bucket=name) == (409, "BucketAlreadyExists")
    s3.put_object(Bucket=name, Key="k")
    s3.create_bucket(Bucket=name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    other.create_bucket(Bucket=name)


def test_a_row_of_a_killed_deletion_does_not_keep_the_name(killed):
    cluster, kill_at, _ = killed
    name = fresh_name()
    cluster.s3().create_bucket(Bucket=name)
    kill_at("bucket.container.deleted", cluster.s3().delete_bucket, Bucket=name)
    s3, other = cluster.s3(), cluster.s3(*OTHER)
    for client in (s3, other):
        assert refusal(client.list_objects_v2, Bucket=name) == (404, "NoSuchBucket")
    other.create_bucket(Bucket=name)
    assert refusal(s3.create_bucket, Bucket=name) == (409, "BucketAlreadyExists")
    with pytest.raises(swiftclient.ClientException):
        cluster.swift().head_container(name)
