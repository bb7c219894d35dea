"""Versions of S3 objects: what clients see of them, in both dialects."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from botocore.exceptions import ClientError

from apus_testing.faults import Faults, is_built_with_faults
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

PART = b"p" * (5 * 1024 * 1024)


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPHeaders"]


def set_versioning(s3, bucket, status):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status


@pytest.fixture
def versioned(s3, bucket):
    set_versioning(s3, bucket, "Enabled")
    return bucket


def put(s3, bucket, key, body, **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")


def read(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def versions(s3, bucket, **more):
    """Key, id, whether it is the latest, whether it is a delete marker: in the order of the listing."""
    listing = s3.list_object_versions(Bucket=bucket, **more)
    found = [(v["Key"], v["VersionId"], v["IsLatest"], False) for v in listing.get("Versions", [])]
    found += [(v["Key"], v["VersionId"], v["IsLatest"], True) for v in listing.get("DeleteMarkers", [])]
    return sorted(found, key=lambda version: version[0]), listing


def test_a_bucket_is_versioned_once_its_owner_decides(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert put(s3, bucket, "k", b"1") is None
    set_versioning(s3, bucket, "Enabled")
    set_versioning(s3, bucket, "Suspended")
    for mfa, code in (("Enabled", "NotImplemented"), ("x", "MalformedXML")):
        configuration = {"Status": "Enabled", "MFADelete": mfa}
        assert refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=configuration)[1] == code
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"


def test_every_write_keeps_the_versions_before_it(s3, versioned):
    first, second = put(s3, versioned, "k", b"one"), put(s3, versioned, "k", b"second")
    assert first < second
    assert read(s3, versioned, "k") == b"second"
    assert read(s3, versioned, "k", VersionId=first) == b"one"
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == second
    assert versions(s3, versioned)[0] == [("k", second, True, False), ("k", first, False, False)]
    listed = s3.list_objects_v2(Bucket=versioned)["Contents"]
    assert [(entry["Size"], entry["ETag"]) for entry in listed] == [(6, '"a9f0e61a137d86aa9db53465e0801612"')]
    assert read(s3, versioned, "k", Range="bytes=1-3") == b"eco"
    assert refused(s3.get_object, Bucket=versioned, Key="k", VersionId="1700000000.00000")[:2] == (404, "NoSuchVersion")
    assert refused(s3.get_object, Bucket=versioned, Key="k", VersionId="x")[:2] == (400, "InvalidArgument")


def test_a_delete_marker_hides_an_object_until_it_is_removed(s3, versioned):
    version = put(s3, versioned, "k", b"1")
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"]
    status, code, headers = refused(s3.get_object, Bucket=versioned, Key="k")
    assert (status, code, headers["x-amz-delete-marker"]) == (404, "NoSuchKey", "true")
    assert headers["x-amz-version-id"] == marker["VersionId"]
    status, code, headers = refused(s3.get_object, Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert (status, code, headers["allow"]) == (405, "MethodNotAllowed", "DELETE")
    assert refused(s3.head_object, Bucket=versioned, Key="k", VersionId=marker["VersionId"])[0] == 405
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)
    assert versions(s3, versioned)[0] == [("k", version, False, False), ("k", marker["VersionId"], True, True)]
    removed = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert removed["DeleteMarker"] and removed["VersionId"] == marker["VersionId"]
    assert read(s3, versioned, "k") == b"1"
    # An object that never existed gets one as well.
    assert s3.delete_object(Bucket=versioned, Key="never")["DeleteMarker"]


def test_the_version_before_a_removed_one_becomes_current(s3, versioned):
    ids = [put(s3, versioned, "k", body) for body in (b"1", b"2", b"3", b"4")]
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[1])
    assert read(s3, versioned, "k") == b"4"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[3])
    assert read(s3, versioned, "k") == b"3"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[2])
    assert read(s3, versioned, "k") == b"1"
    assert versions(s3, versioned)[0] == [("k", ids[0], True, False)]
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[0])
    assert refused(s3.get_object, Bucket=versioned, Key="k")[:2] == (404, "NoSuchKey")
    # Removing it again succeeds.
    assert s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[0])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert versions(s3, versioned)[0] == []


def test_the_null_version_is_kept_and_found_by_its_name(s3, bucket):
    put(s3, bucket, "k", b"null", Metadata={"colour": "blue"})
    set_versioning(s3, bucket, "Enabled")
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    newer = put(s3, bucket, "k", b"newer")
    old = s3.get_object(Bucket=bucket, Key="k", VersionId="null")
    assert (old["Body"].read(), old["VersionId"], old["Metadata"]) == (b"null", "null", {"colour": "blue"})
    assert versions(s3, bucket)[0] == [("k", newer, True, False), ("k", "null", False, False)]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=newer)
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert versions(s3, bucket)[0] == []
    assert refused(s3.get_object, Bucket=bucket, Key="k", VersionId="null")[:2] == (404, "NoSuchVersion")


def test_while_suspended_there_is_one_null_version(s3, versioned):
    kept = put(s3, versioned, "k", b"kept")
    set_versioning(s3, versioned, "Suspended")
    put(s3, versioned, "k", b"a")
    put(s3, versioned, "k", b"b")
    assert versions(s3, versioned)[0] == [("k", "null", True, False), ("k", kept, False, False)]
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert (marker["DeleteMarker"], marker["VersionId"]) == (True, "null")
    assert versions(s3, versioned)[0] == [("k", kept, False, False), ("k", "null", True, True)]
    s3.delete_object(Bucket=versioned, Key="k")
    put(s3, versioned, "k", b"c")
    assert versions(s3, versioned)[0] == [("k", "null", True, False), ("k", kept, False, False)]
    set_versioning(s3, versioned, "Enabled")
    newest = put(s3, versioned, "k", b"d")
    set_versioning(s3, versioned, "Suspended")
    # The null version is among the others now, and is still the one that is replaced.
    put(s3, versioned, "k", b"e")
    expected = [("k", "null", True, False), ("k", newest, False, False), ("k", kept, False, False)]
    assert versions(s3, versioned)[0] == expected
    s3.delete_object(Bucket=versioned, Key="k", VersionId="null")
    assert read(s3, versioned, "k") == b"d"


def upload(s3, bucket, key, **conditions):
    begun = {"Bucket": bucket, "Key": key}
    begun["UploadId"] = s3.create_multipart_upload(**begun)["UploadId"]
    parts = []
    for number, body in ((1, PART), (2, key.encode())):
        etag = s3.upload_part(**begun, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    return s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts}, **conditions)


def test_uploads_are_versions_and_each_keeps_its_parts(s3, swift, versioned):
    first, second = upload(s3, versioned, "k"), upload(s3, versioned, "k")
    assert first["VersionId"] < second["VersionId"]
    s3.delete_object(Bucket=versioned, Key="k")
    for done in (first, second):
        assert read(s3, versioned, "k", VersionId=done["VersionId"]) == PART + b"k"
        head = s3.head_object(Bucket=versioned, Key="k", VersionId=done["VersionId"])
        assert (head["ETag"], head["ContentLength"]) == (done["ETag"], len(PART) + 1)
    listing = versions(s3, versioned)[1]["Versions"]
    assert [(v["ETag"], v["Size"]) for v in listing] == [(first["ETag"], len(PART) + 1)] * 2
    part = s3.get_object(Bucket=versioned, Key="k", VersionId=first["VersionId"], PartNumber=2)
    assert part["Body"].read() == b"k"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=first["VersionId"])
    assert read(s3, versioned, "k", VersionId=second["VersionId"]) == PART + b"k"
    assert len(swift.get_container(f"{versioned}+segments")[1]) == 2
    s3.delete_object(Bucket=versioned, Key="k", VersionId=second["VersionId"])
    assert swift.get_container(f"{versioned}+segments")[1] == []


def test_a_copy_may_name_a_version(s3, versioned):
    old, new = put(s3, versioned, "k", b"old"), put(s3, versioned, "k", b"new")
    source = {"Bucket": versioned, "Key": "k", "VersionId": old}
    copy = s3.copy_object(Bucket=versioned, Key="copy", CopySource=source)
    assert (copy["CopySourceVersionId"], read(s3, versioned, "copy", VersionId=copy["VersionId"])) == (old, b"old")
    # An old version becomes the current one again.
    restored = s3.copy_object(Bucket=versioned, Key="k", CopySource=source)["VersionId"]
    assert read(s3, versioned, "k") == b"old" and restored > new
    begun = {"Bucket": versioned, "Key": "parts"}
    begun["UploadId"] = s3.create_multipart_upload(**begun)["UploadId"]
    part = s3.upload_part_copy(**begun, PartNumber=1, CopySource={**source, "VersionId": new}, CopySourceRange="bytes=0-1")
    parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
    s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts})
    assert read(s3, versioned, "parts") == b"ne"
    missing = {**source, "VersionId": "1700000000.00000"}
    assert refused(s3.copy_object, Bucket=versioned, Key="x", CopySource=missing)[1] == "NoSuchVersion"


def test_of_conditional_writes_one_wins_and_the_others_leave_no_version(s3, cluster, versioned):
    def attempt(index):
        try:
            return put(cluster.s3(), versioned, "k", b"%d" % index, IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [version for version in pool.map(attempt, range(8)) if version]
    assert len(winners) == 1
    assert versions(s3, versioned)[0] == [("k", winners[0], True, False)]
    etag = s3.head_object(Bucket=versioned, Key="k")["ETag"]
    assert refused(s3.put_object, Bucket=versioned, Key="k", Body=b"x", IfMatch='"other"')[0] == 412
    second = put(s3, versioned, "k", b"x", IfMatch=etag)
    assert refused(s3.delete_object, Bucket=versioned, Key="k", IfMatch=etag)[0] == 412
    assert refused(s3.delete_object, Bucket=versioned, Key="k", VersionId=second, IfMatch=etag)[0] == 412
    assert [version[1] for version in versions(s3, versioned)[0]] == [second, winners[0]]
    # A condition is about the current version: a delete marker is none.
    s3.delete_object(Bucket=versioned, Key="k")
    assert put(s3, versioned, "k", b"y", IfNoneMatch="*")
    large = upload(s3, versioned, "large", IfNoneMatch="*")
    assert refused(upload, s3=s3, bucket=versioned, key="large", IfNoneMatch="*")[0] == 412
    assert put(s3, versioned, "large", b"z", IfMatch=large["ETag"])


def test_many_versions_are_deleted_at_once(s3, versioned):
    ids = [put(s3, versioned, "k", b"%d" % index) for index in range(5)]
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": [{"Key": "k"}, {"Key": "other"}]})
    markers = {entry["Key"]: entry["DeleteMarkerVersionId"] for entry in answer["Deleted"] if entry["DeleteMarker"]}
    objects = [{"Key": "k", "VersionId": version} for version in [*ids, markers["k"]]]
    objects.append({"Key": "other", "VersionId": markers["other"]})
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": objects})
    assert len(answer["Deleted"]) == 7 and "Errors" not in answer
    assert versions(s3, versioned)[0] == [] and "Contents" not in s3.list_objects_v2(Bucket=versioned)


def pages(s3, bucket, size, **more):
    """The entries of a listing that is read page by page, in order."""
    markers, found = {}, []
    while True:
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=size, **markers, **more)
        entries = [(v["Key"], v["VersionId"], v["IsLatest"]) for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        entries += [(p["Prefix"],) for p in page.get("CommonPrefixes", [])]
        assert len(entries) <= size
        found += entries
        if not page["IsTruncated"]:
            return found
        markers = {"KeyMarker": page["NextKeyMarker"]}
        if "NextVersionIdMarker" in page:
            markers["VersionIdMarker"] = page["NextVersionIdMarker"]


def test_pages_of_versions_have_each_entry_once(s3, bucket):
    put(s3, bucket, "a", b"null")
    put(s3, bucket, "a/null", b"null")
    set_versioning(s3, bucket, "Enabled")
    for key in ("a", "a", "a/1", "a/1", "a/2.5", "b", "b.0/c", "b.0/d", "c"):
        put(s3, bucket, key, b"x")
    for key in ("a", "b"):
        s3.delete_object(Bucket=bucket, Key=key)
    put(s3, bucket, "b", b"x")
    everything = pages(s3, bucket, 1000)
    assert len(everything) == 14 and sum(latest for _, _, latest in everything) == 8
    for size in (1, 2, 3, 5):
        assert sorted(pages(s3, bucket, size)) == sorted(everything), size
    for delimiter, prefixes in (("/", {("a/",), ("b.0/",)}), (".", {("a/2.",), ("b.",)}), ("0", {("b.0",)})):
        whole = pages(s3, bucket, 1000, Delimiter=delimiter)
        assert {entry for entry in whole if len(entry) == 1} == prefixes, delimiter
        for size in (1, 2, 4):
            assert sorted(pages(s3, bucket, size, Delimiter=delimiter)) == sorted(whole), (delimiter, size)
    assert {entry[0] for entry in pages(s3, bucket, 2, Prefix="a/")} == {"a/1", "a/2.5", "a/null"}
    assert pages(s3, bucket, 2, Prefix="b", Delimiter="/")[-1] == ("b.0/",)
    encoded = s3.list_object_versions(Bucket=bucket, Prefix="a/", EncodingType="url")
    assert [version["Key"] for version in encoded["Versions"]][0] == "a/1"
    assert refused(s3.list_object_versions, Bucket=bucket, VersionIdMarker="null")[1] == "InvalidArgument"


def test_a_bucket_is_deleted_once_it_has_no_versions(s3, versioned):
    version = put(s3, versioned, "k", b"1")
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    assert refused(s3.delete_bucket, Bucket=versioned)[:2] == (409, "BucketNotEmpty")
    for id in (version, marker):
        assert refused(s3.delete_bucket, Bucket=versioned)[0] == 409
        s3.delete_object(Bucket=versioned, Key="k", VersionId=id)
    s3.delete_bucket(Bucket=versioned)
    s3.create_bucket(Bucket=versioned)
    assert "Status" not in s3.get_bucket_versioning(Bucket=versioned)


def test_swift_clients_see_the_current_versions_and_not_where_versions_are(s3, swift, versioned):
    old = put(s3, versioned, "k", b"old")
    put(s3, versioned, "k", b"newer", Metadata={"colour": "blue"})
    headers, body = swift.get_object(versioned, "k")
    assert (body, headers["x-object-meta-colour"]) == (b"newer", "blue")
    assert "%00" not in headers.get("content-location", "")
    rows = swift.get_container(versioned)[1]
    assert [(row["name"], row["bytes"]) for row in rows] == [("k", 5)]
    names = [row["name"] for row in swift.get_account(full_listing=True)[1]]
    assert versioned in names and not [name for name in names if "versions" in name or "\0" in name]
    # What a Swift client writes and deletes is kept as well.
    swift.put_object(versioned, "k", b"by swift")
    swift.delete_object(versioned, "k")
    found = versions(s3, versioned)[0]
    assert len(found) == 4 and found[-1][2:] == (True, True)
    assert {read(s3, versioned, "k", VersionId=version[1]) for version in found[:-1]} == {b"old", b"newer", b"by swift"}
    assert read(s3, versioned, "k", VersionId=old) == b"old"


def test_a_post_changes_the_current_version(s3, swift, versioned):
    old = put(s3, versioned, "k", b"old", Metadata={"colour": "red"})
    put(s3, versioned, "k", b"new")
    swift.post_object(versioned, "k", {"X-Object-Meta-Colour": "green"})
    assert s3.head_object(Bucket=versioned, Key="k")["Metadata"] == {"colour": "green"}
    assert s3.head_object(Bucket=versioned, Key="k", VersionId=old)["Metadata"] == {"colour": "red"}


def test_writes_at_the_same_time_are_all_versions(s3, cluster, versioned):
    def write(index):
        return put(cluster.s3(), versioned, "k", b"%d" % index)

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(write, range(24)))
    found = versions(s3, versioned)[0]
    assert sorted(version[1] for version in found) == sorted(ids)
    assert [version[1] for version in found if version[2]] == [max(ids)]
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == max(ids)
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: cluster.s3().delete_object(Bucket=versioned, Key="k", VersionId=version), ids))
    assert time.monotonic() < deadline
    assert versions(s3, versioned)[0] == [] and "Contents" not in s3.list_objects_v2(Bucket=versioned)


def check_versions(s3, bucket):
    """Listings, counts and reads must agree. Returns the versions that the bucket has."""
    found, listing = versions(s3, bucket)
    assert not listing["IsTruncated"]
    current = {}
    for key in {version[0] for version in found}:
        of_key = [version for version in found if version[0] == key]
        latest = [version for version in of_key if version[2]]
        assert len(latest) == 1, of_key
        assert len([version for version in of_key if version[1] == "null"]) <= 1, of_key
        if latest[0][3]:
            assert refused(s3.get_object, Bucket=bucket, Key=key)[:2] == (404, "NoSuchKey")
        else:
            current[key] = s3.get_object(Bucket=bucket, Key=key)["VersionId"]
            assert current[key] == latest[0][1], of_key
    for key, version, _, is_marker in found:
        if is_marker:
            assert refused(s3.head_object, Bucket=bucket, Key=key, VersionId=version)[0] == 405
        else:
            s3.head_object(Bucket=bucket, Key=key, VersionId=version)
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    assert [entry["Key"] for entry in listed] == sorted(current)
    return found


def remove_all(s3, bucket):
    """Removes every version that is listed, and then the bucket."""
    for key, version, _, _ in check_versions(s3, bucket):
        s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
    assert check_versions(s3, bucket) == []
    s3.delete_bucket(Bucket=bucket)


def run_at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


@pytest.mark.parametrize("attempt", range(4))
def test_versions_that_several_clients_delete_at_once_are_gone_and_so_is_the_bucket(s3, cluster, versioned, attempt):
    keys = [f"key{number}" for number in range(5)]
    objects = [{"Key": key, "VersionId": put(s3, versioned, key, b"x")} for _ in range(3) for key in keys]
    # Every other time from the oldest to the newest.
    objects = objects if attempt % 2 else objects[::-1]

    def delete(client):
        answer = client.delete_objects(Bucket=versioned, Delete={"Objects": objects})
        assert len(answer["Deleted"]) == len(objects) and "Errors" not in answer

    run_at_once(*(partial(delete, cluster.s3()) for _ in range(5)))
    assert versions(s3, versioned)[0] == [] and "Contents" not in s3.list_objects_v2(Bucket=versioned)
    s3.delete_bucket(Bucket=versioned)


def write_at_once(cluster, bucket, kinds, steps, seed):
    """Several clients write and remove versions of the same keys: one client for each of `kinds`."""

    def work(index, kinds):
        s3, chance = cluster.s3(), random.Random(f"{seed}/{index}")
        for step in range(steps):
            kind, key = chance.choice(kinds), chance.choice("ab")
            if kind == "put":
                put(s3, bucket, key, b"%d %d" % (index, step))
            elif kind == "mark":
                s3.delete_object(Bucket=bucket, Key=key)
            elif kind == "null":
                try:
                    s3.delete_object(Bucket=bucket, Key=key, VersionId="null")
                except ClientError as error:
                    assert error.response["Error"]["Code"] == "NoSuchVersion"
            else:
                found = versions(s3, bucket, Prefix=key)[0]
                found = found if kind == "any" else [version for version in found if version[2]]
                if found:
                    s3.delete_object(Bucket=bucket, Key=key, VersionId=chance.choice(found)[1])

    run_at_once(*(partial(work, index, kinds) for index, kinds in enumerate(kinds)))


@pytest.mark.parametrize("attempt", range(3))
def test_versions_that_are_removed_while_others_are_written_leave_no_trace(s3, cluster, bucket, attempt):
    set_versioning(s3, bucket, "Enabled")
    write_at_once(cluster, bucket, [["put"], ["put"], ["any"], ["any"], ["latest"]], 25, attempt)
    remove_all(s3, bucket)


@pytest.mark.parametrize("attempt", range(3))
def test_delete_markers_that_are_removed_while_others_are_written_leave_no_trace(s3, cluster, bucket, attempt):
    for key in "ab":
        put(s3, bucket, key, b"null")
    set_versioning(s3, bucket, "Enabled")
    kinds = [["put", "mark"], ["mark", "latest"], ["any"], ["latest", "null"], ["put", "mark", "any", "latest"]]
    write_at_once(cluster, bucket, kinds, 25, attempt)
    remove_all(s3, bucket)


@pytest.mark.parametrize("attempt", range(3))
def test_null_versions_that_are_removed_while_others_are_written_leave_no_trace(s3, cluster, bucket, attempt):
    set_versioning(s3, bucket, "Enabled")
    for key in "aabb":
        put(s3, bucket, key, b"kept")
    set_versioning(s3, bucket, "Suspended")
    kinds = [["put"], ["put", "mark"], ["mark", "null"], ["latest", "any"], ["put", "null"]]
    write_at_once(cluster, bucket, kinds, 25, attempt)
    remove_all(s3, bucket)


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """A cluster with fault points at which tests let it pause."""
    if not is_built_with_faults():
        pytest.skip("the executable was built without fault points")
    faults = Faults(tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("APUS_FAULTS", str(faults.file("saio")))
        cluster = Saio(tmp_path_factory.mktemp("saio") / "data", "--dev-users").start()
    yield cluster, faults
    assert cluster.stop() == 0


def put_next(s3, bucket):
    put(s3, bucket, "k", b"x")


def mark(s3, bucket):
    s3.delete_object(Bucket=bucket, Key="k")


def remove_newest(s3, bucket):
    newest = max(version for _, version, _, _ in versions(s3, bucket)[0] if version != "null")
    s3.delete_object(Bucket=bucket, Key="k", VersionId=newest)


def remove_listed(s3, bucket):
    for _, version, _, _ in versions(s3, bucket)[0]:
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)


def remove_null(s3, bucket):
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")


def listed_and_current(s3, bucket):
    """What clients see of a bucket."""
    answer = s3.list_object_versions(Bucket=bucket)
    found = [version["VersionId"] for version in answer.get("Versions", []) + answer.get("DeleteMarkers", [])]
    try:
        return found, s3.head_object(Bucket=bucket, Key="k")["VersionId"]
    except ClientError:
        return found, None


@pytest.mark.parametrize(
    ("null", "before", "begun", "point", "meanwhile", "left"),
    [
        (False, 0, put_next, "versions.version.stored", remove_listed, 0),
        (False, 1, put_next, "versions.version.stored", remove_newest, 1),
        (False, 1, put_next, "versions.version.stored", remove_listed, 0),
        (False, 1, put_next, "versions.version.stored", put_next, 3),
        (False, 1, put_next, "versions.version.stored", mark, 3),
        (False, 1, mark, "versions.marker.stored", remove_newest, 1),
        (False, 1, mark, "versions.marker.stored", remove_listed, 0),
        (False, 1, mark, "versions.marker.stored", put_next, 3),
        (False, 3, remove_newest, "versions.removed.uncovered", remove_newest, 2),
        (False, 3, remove_newest, "versions.removed.uncovered", remove_listed, 0),
        (False, 3, remove_newest, "versions.version.removed", remove_listed, 0),
        (False, 2, remove_newest, "versions.removed.uncovered", put_next, 2),
        (True, 0, put_next, "versions.version.stored", remove_null, 1),
        (True, 0, mark, "versions.marker.stored", remove_null, 1),
        (True, 1, remove_newest, "versions.removed.uncovered", remove_null, 0),
    ],
)
def test_an_operation_between_the_steps_of_another_leaves_no_trace(paused, null, before, begun, point, meanwhile, left):
    cluster, faults = paused
    s3, bucket = cluster.s3(), f"w-{time.time_ns()}"
    s3.create_bucket(Bucket=bucket)
    if null:
        put(s3, bucket, "k", b"null")
    set_versioning(s3, bucket, "Enabled")
    for _ in range(before):
        put_next(s3, bucket)
    seen = listed_and_current(s3, bucket)
    faults.arm("saio", f"{point} pause:1000")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(begun, cluster.s3(), bucket)
        wait_until(lambda: listed_and_current(s3, bucket) != seen, f"nothing changed before {point}", every=0.01)
        faults.disarm("saio")
        meanwhile(s3, bucket)
        done.result()
    assert len(check_versions(s3, bucket)) == left
    remove_all(s3, bucket)


def test_an_object_from_before_a_crash_stays_as_the_null_version(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    s3 = cluster.s3()
    s3.create_bucket(Bucket="crashed")
    put(s3, "crashed", "key", b"first")
    # A lease that the servers must assume to have forgotten, at a time after the object's.
    put(s3, "crashed", "other", b"x", IfNoneMatch="*")
    cluster.kill()
    cluster.start()
    s3 = cluster.s3()
    set_versioning(s3, "crashed", "Enabled")
    put(s3, "crashed", "key", b"second")
    assert read(s3, "crashed", "key", VersionId="null") == b"first"
    assert read(s3, "crashed", "key") == b"second"
    assert cluster.stop() == 0
