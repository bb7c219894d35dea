"""Parts of multipart uploads: which of them stay, and the daemon that deletes the others."""

import boto3
import pytest
import swiftclient
from botocore.client import Config
from botocore.exceptions import ClientError

from apus_testing.servers_with_daemons import ServersWithDaemons

PART = b"p" * (5 * 1024 * 1024)
BUCKET = "uploads"
HIDDEN = f"{BUCKET}+segments"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ServersWithDaemons(tmp_path_factory.mktemp("reclaimer")) as nodes:
        nodes.option("container", "container-reclaimer", "delay = 0")
        yield nodes


@pytest.fixture(scope="module")
def s3(nodes):
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{nodes.ports['proxy']}",
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture(scope="module")
def swift(nodes):
    url = f"http://127.0.0.1:{nodes.ports['proxy']}/auth/v1.0"
    return swiftclient.Connection(authurl=url, user="test:tester", key="testing", retries=0)


def upload(s3, key, bodies=(PART, b"end"), unused=()):
    """A completed upload; returns its id and the parts that Complete named."""
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    which = {"Bucket": BUCKET, "Key": key, "UploadId": begun}
    parts = []
    for number, body in enumerate([*bodies, *unused], 1):
        etag = s3.upload_part(**which, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    named = {"Parts": parts[: len(bodies)]}
    s3.complete_multipart_upload(**which, MultipartUpload=named)
    return which, named


def stored(swift, key):
    """Names of what is stored of a key's uploads, after the key."""
    rows = swift.get_container(HIDDEN, prefix=f"{key}/", full_listing=True)[1]
    return sorted(row["name"].removeprefix(f"{key}/").partition("/")[2] for row in rows)


def test_an_object_keeps_its_parts_and_loses_those_that_it_does_not_use(nodes, s3, swift):
    upload(s3, "kept", unused=(b"unused",))
    nodes.once("container-reclaimer")
    assert stored(swift, "kept") == ["1", "2"]
    assert s3.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == PART + b"end"


def test_parts_of_an_upload_in_progress_stay(nodes, s3, swift):
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="begun")["UploadId"]
    which = {"Bucket": BUCKET, "Key": "begun", "UploadId": begun}
    etag = s3.upload_part(**which, PartNumber=1, Body=b"x")["ETag"]
    nodes.once("container-reclaimer")
    assert stored(swift, "begun") == ["", "1"]
    s3.complete_multipart_upload(**which, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert s3.get_object(Bucket=BUCKET, Key="begun")["Body"].read() == b"x"


@pytest.mark.parametrize("how", ["s3", "swift", "upload", "swift-delete"])
def test_parts_of_an_overwritten_object_are_deleted(nodes, s3, swift, how):
    key = f"over-{how}"
    upload(s3, key)
    if how == "s3":
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"new")
    elif how == "swift":
        swift.put_object(BUCKET, key, b"new")
    elif how == "swift-delete":
        swift.delete_object(BUCKET, key)
    else:
        upload(s3, key, (b"new",))
    assert {"1", "2"} <= set(stored(swift, key))
    nodes.once("container-reclaimer")
    if how == "swift-delete":
        assert stored(swift, key) == []
        return
    assert stored(swift, key) == (["1"] if how == "upload" else [])
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"new"


@pytest.mark.parametrize("how", ["delete", "overwrite"])
def test_parts_that_another_manifest_names_stay(nodes, s3, swift, how):
    key = f"shared-{how}"
    upload(s3, key)
    manifest = swift.get_object(BUCKET, key, query_string="multipart-manifest=get&format=raw")[1]
    swift.put_object(BUCKET, f"copy-{how}", manifest, query_string="multipart-manifest=put")
    if how == "delete":
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"new")
    nodes.once("container-reclaimer")
    assert swift.get_object(BUCKET, f"copy-{how}")[1] == PART + b"end"
    assert s3.get_object(Bucket=BUCKET, Key=f"copy-{how}")["Body"].read() == PART + b"end"


def test_a_manifest_cannot_name_parts_without_an_object(s3, swift):
    which, _ = upload(s3, "gone", (b"only",))
    s3.put_object(Bucket=BUCKET, Key="gone", Body=b"new")
    manifest = f'[{{"path": "/{HIDDEN}/gone/{which["UploadId"]}/1"}}]'
    with pytest.raises(swiftclient.ClientException) as error:
        swift.put_object(BUCKET, "late", manifest, query_string="multipart-manifest=put")
    assert error.value.http_status == 400
    assert b"404 Not Found" in error.value.http_response_content


def test_an_aborted_upload_and_a_deleted_object_leave_no_parts(s3, swift):
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="aborted")["UploadId"]
    which = {"Bucket": BUCKET, "Key": "aborted", "UploadId": begun}
    s3.upload_part(**which, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(**which)
    assert stored(swift, "aborted") == []
    upload(s3, "deleted")
    s3.delete_object(Bucket=BUCKET, Key="deleted")
    assert stored(swift, "deleted") == []


def test_the_same_completion_can_be_repeated_and_an_unknown_one_cannot(s3):
    which, named = upload(s3, "again")
    first = s3.head_object(Bucket=BUCKET, Key="again")
    repeated = s3.complete_multipart_upload(**which, MultipartUpload=named)
    assert repeated["ETag"] == first["ETag"]
    assert s3.head_object(Bucket=BUCKET, Key="again")["LastModified"] == first["LastModified"]
    for unknown in ("0" * 32, f"u{'0' * 32}", "x"):
        with pytest.raises(ClientError) as error:
            s3.complete_multipart_upload(**{**which, "UploadId": unknown}, MultipartUpload=named)
        assert error.value.response["Error"]["Code"] == "NoSuchUpload"
