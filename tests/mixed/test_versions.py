"""Versions that one proxy writes are the other's: Swift's object_versioning, and ours."""

import time

import pytest

from apus_testing.workload import ok

# For Swift, which caches containers in memcached for longer than this test runs, versioning is on from the beginning.
ENABLED = {"X-Versions-Enabled": "true"}


@pytest.fixture(scope="module")
def testbed(mixed):
    return mixed(lambda node, kind: "apus")


def swift_versions(proxy, container):
    """Name, id, whether it is the latest and whether it is a delete marker, as Swift's middleware lists them."""
    rows = ok(proxy.swift("GET", container, "?format=json&versions")).json()
    return [(row["name"], row["version_id"], row["is_latest"], "versions_deleted" in row["content_type"]) for row in rows]


def s3_versions(s3, bucket):
    listing = s3.list_object_versions(Bucket=bucket)
    found = [(v["Key"], v["VersionId"], v["IsLatest"], False) for v in listing.get("Versions", [])]
    found += [(v["Key"], v["VersionId"], v["IsLatest"], True) for v in listing.get("DeleteMarkers", [])]
    # By key, and of a key the newest first, as in Swift.
    return sorted(sorted(found, key=lambda version: version[1], reverse=True), key=lambda version: version[0])


@pytest.mark.parametrize(("writer", "reader"), [("apus", "swift"), ("swift", "apus")])
def test_both_proxies_have_the_same_versions(testbed, writer, reader):
    bucket = f"versions-{writer}"
    swift = testbed.proxies["swift"]
    ok(swift.swift("PUT", bucket, headers=ENABLED))
    first, second = testbed.proxies[writer].s3(), testbed.proxies[reader].s3()
    assert [s3.get_bucket_versioning(Bucket=bucket)["Status"] for s3 in (first, second)] == ["Enabled"] * 2
    ids = [first.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"one", b"second")]
    other = first.put_object(Bucket=bucket, Key="other", Body=b"x")["VersionId"]
    marker = first.delete_object(Bucket=bucket, Key="other")
    expected = [
        ("k", ids[1], True, False),
        ("k", ids[0], False, False),
        ("other", s3_versions(first, bucket)[2][1], True, True),
        ("other", other, False, False),
    ]
    assert marker.get("VersionId", expected[2][1]) == expected[2][1]
    assert s3_versions(second, bucket) == s3_versions(first, bucket) == swift_versions(swift, bucket) == expected
    for s3 in (first, second):
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"second"
        assert s3.get_object(Bucket=bucket, Key="k", VersionId=ids[0])["Body"].read() == b"one"
        assert [(row["Key"], row["Size"]) for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [("k", 6)]
    answer = ok(swift.swift("GET", f"{bucket}/k", f"?version-id={ids[0]}"))
    assert (answer.content, answer.headers["X-Object-Version-Id"]) == (b"one", ids[0])
    # The reader removes what the writer wrote, and both see the version before it.
    second.delete_object(Bucket=bucket, Key="k", VersionId=ids[1])
    for s3 in (first, second):
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"one"
    third = second.put_object(Bucket=bucket, Key="k", Body=b"third")["VersionId"]
    assert swift_versions(swift, bucket)[:2] == [("k", third, True, False), ("k", ids[0], False, False)]
    for key, version, _, _ in s3_versions(first, bucket):
        first.delete_object(Bucket=bucket, Key=key, VersionId=version)
    first.delete_bucket(Bucket=bucket)


def test_an_object_from_before_is_a_version_for_swift(testbed):
    swift, s3 = testbed.proxies["swift"], testbed.proxies["apus"].s3()
    bucket = f"null-{time.time_ns()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"null")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    newer = s3.put_object(Bucket=bucket, Key="k", Body=b"newer")["VersionId"]
    assert [version[1] for version in s3_versions(s3, bucket)] == ["null", newer]
    found = swift_versions(swift, bucket)
    assert [version[2] for version in found] == [True, False] and found[0][1] == newer
    answer = ok(swift.swift("GET", f"{bucket}/k", f"?version-id={found[1][1]}"))
    assert answer.content == b"null"
