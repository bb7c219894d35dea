"""Versions in Swift's dialect: its API, its older scheme, and the same versions seen by S3."""

import contextlib
import time

import pytest
from botocore.exceptions import ClientError
from swiftclient import ClientException

MARKER = "application/x-deleted;swift_versions_deleted=1"


def headers_of(call, *arguments, **options):
    """The headers of a response, of any status."""
    found = {}
    with contextlib.suppress(ClientException):
        call(*arguments, **options, response_dict=found)
    return found["status"], found["headers"]


def refused(call, *arguments, **options):
    with pytest.raises(ClientException) as caught:
        call(*arguments, **options)
    return caught.value.http_status


def put(swift, container, name, body, **more):
    return headers_of(swift.put_object, container, name, body, **more)[1].get("x-object-version-id")


def versions(swift, container, query=""):
    """Name, id, whether it is the latest, whether it is a delete marker."""
    listing = swift.get_container(container, query_string=f"versions&format=json{query}")[1]
    return [row.get("subdir") or (row["name"], row["version_id"], row["is_latest"], row["content_type"] == MARKER) for row in listing]


@pytest.fixture
def container(swift):
    name = f"c-{time.time_ns()}"
    swift.put_container(name, {"X-Versions-Enabled": "true"})
    return name


def test_every_write_keeps_the_versions_before_it(swift, container):
    assert swift.head_container(container)["x-versions-enabled"] == "True"
    first, second = put(swift, container, "o", b"one"), put(swift, container, "o", b"second")
    assert versions(swift, container) == [("o", second, True, False), ("o", first, False, False)]
    headers, body = swift.get_object(container, "o")
    assert (body, headers["x-object-version-id"]) == (b"second", second)
    assert headers["content-location"].endswith(f"/{container}/o?version-id={second}")
    headers, body = swift.get_object(container, "o", query_string=f"version-id={first}")
    assert (body, headers["x-object-version-id"]) == (b"one", first)
    row = swift.get_container(container)[1][0]
    assert (row["bytes"], row["hash"], row["version_symlink"]) == (6, "a9f0e61a137d86aa9db53465e0801612", True)
    assert row["symlink_path"].endswith(f"/{container}/o?version-id={second}")
    assert swift.head_container(container)["x-container-bytes-used"] == "9"
    assert swift.head_container(container)["x-container-object-count"] == "1"
    assert refused(swift.head_object, container, "o", query_string="version-id=x") == 400
    assert refused(swift.head_object, container, "o", query_string="version-id=null") == 404
    assert refused(swift.head_object, container, "o", query_string="version-id=1.00000") == 404


def test_a_delete_marker_hides_an_object(swift, container):
    kept = put(swift, container, "o", b"1")
    status, headers = headers_of(swift.delete_object, container, "o")
    marker = headers["x-object-version-id"]
    assert status == 204
    assert refused(swift.get_object, container, "o") == 404
    assert versions(swift, container) == [("o", marker, True, True), ("o", kept, False, False)]
    with pytest.raises(ClientException) as caught:
        swift.get_object(container, "o", query_string=f"version-id={marker}")
    shown = caught.value.http_response_headers
    assert (caught.value.http_status, shown["content-type"], shown["x-object-version-id"]) == (404, MARKER, marker)
    # A second deletion finds nothing, and leaves another marker.
    status, headers = headers_of(swift.delete_object, container, "o")
    assert status == 404 and headers["x-object-version-id"] > marker
    assert len(versions(swift, container)) == 3


def test_removing_the_current_version_makes_no_other_current(s3, swift, container):
    first, second = put(swift, container, "o", b"1"), put(swift, container, "o", b"2")
    status, headers = headers_of(swift.delete_object, container, "o", query_string=f"version-id={second}")
    assert (status, headers["x-object-version-id"], headers["x-object-current-version-id"]) == (204, second, "null")
    assert refused(swift.get_object, container, "o") == 404
    assert versions(swift, container) == [("o", first, False, False)]
    swift.put_object(container, "o", b"", query_string=f"version-id={first}")
    assert swift.get_object(container, "o")[1] == b"1"
    assert versions(swift, container) == [("o", first, True, False)]
    assert s3.head_object(Bucket=container, Key="o")["VersionId"] == first
    assert refused(swift.put_object, container, "o", b"x", query_string=f"version-id={first}") == 400
    assert refused(swift.put_object, container, "o", b"", query_string="version-id=null") == 400
    assert refused(swift.put_object, container, "o", b"", query_string="version-id=1.00000") == 404


def test_a_version_is_copied_to_become_current(swift, container):
    first = put(swift, container, "o", b"one", headers={"X-Object-Meta-Colour": "blue"})
    put(swift, container, "o", b"two")
    source = {"X-Copy-From": f"{container}/o"}
    swift.put_object(container, "o", b"", headers=source, query_string=f"version-id={first}")
    headers, body = swift.get_object(container, "o")
    assert (body, headers["x-object-meta-colour"]) == (b"one", "blue")
    assert headers["x-object-version-id"] != first
    assert len(versions(swift, container)) == 3


def test_while_disabled_only_the_visible_object_changes(s3, swift, container):
    kept = put(swift, container, "o", b"kept")
    swift.post_container(container, {"X-Versions-Enabled": "false"})
    assert swift.head_container(container)["x-versions-enabled"] == "False"
    assert put(swift, container, "o", b"a") is None
    assert put(swift, container, "o", b"b") is None
    assert versions(swift, container) == [("o", "null", True, False), ("o", kept, False, False)]
    assert swift.get_object(container, "o", query_string="version-id=null")[1] == b"b"
    assert swift.head_object(container, "o")["x-object-version-id"] == "null"
    swift.delete_object(container, "o")
    assert versions(swift, container) == [("o", kept, False, False)]
    put(swift, container, "o", b"null")
    swift.post_container(container, {"X-Versions-Enabled": "true"})
    newest = put(swift, container, "o", b"newest")
    # The null version is one with a time now; for S3 it is still the null version.
    found = versions(swift, container)
    assert [version[1] for version in found[::2]] == [newest, kept]
    assert swift.get_object(container, "o", query_string=f"version-id={found[1][1]}")[1] == b"null"
    assert s3.get_object(Bucket=container, Key="o", VersionId="null")["Body"].read() == b"null"


def test_s3_and_swift_see_the_same_versions(s3, swift, container):
    by_swift = put(swift, container, "o", b"swift")
    by_s3 = s3.put_object(Bucket=container, Key="o", Body=b"s3")["VersionId"]
    marker = s3.delete_object(Bucket=container, Key="o")["VersionId"]
    expected = [("o", marker, True, True), ("o", by_s3, False, False), ("o", by_swift, False, False)]
    assert versions(swift, container) == expected
    listing = s3.list_object_versions(Bucket=container)
    assert [version["VersionId"] for version in listing["Versions"]] == [by_s3, by_swift]
    assert s3.get_bucket_versioning(Bucket=container)["Status"] == "Enabled"
    assert swift.get_object(container, "o", query_string=f"version-id={by_s3}")[1] == b"s3"
    swift.delete_object(container, "o", query_string=f"version-id={marker}")
    # Swift makes no other version current.
    assert refused(swift.get_object, container, "o") == 404
    s3.delete_object(Bucket=container, Key="o", VersionId=by_s3)
    swift.put_object(container, "o", b"", query_string=f"version-id={by_swift}")
    assert s3.get_object(Bucket=container, Key="o")["Body"].read() == b"swift"


def test_versions_are_listed_page_by_page_in_both_directions(swift, container):
    expected = []
    for name in ("a", "b/1", "b/2", "c"):
        ids = [put(swift, container, name, str(number).encode()) for number in range(3)]
        expected += [(name, id, id == ids[-1], False) for id in reversed(ids)]
    for reverse in ("", "&reverse=true"):
        found, marker = [], ""
        while page := versions(swift, container, f"&limit=5{reverse}{marker}"):
            found += page
            marker = f"&marker={page[-1][0]}&version_marker={page[-1][1]}"
        wanted = expected[::-1] if reverse else expected
        # A page that begins within an object does not know which version is current, as in Swift.
        assert [version[:2] for version in found] == [version[:2] for version in wanted]
    assert versions(swift, container, "&delimiter=/") == [*expected[:3], "b/", *expected[9:]]
    assert versions(swift, container, "&prefix=b/&end_marker=b/2") == expected[3:6]
    assert versions(swift, container, "&marker=b/2") == expected[9:]
    assert refused(versions, swift, container, "&delimiter=1") == 400
    assert refused(versions, swift, container, "&version_marker=null") == 400
    assert refused(swift.get_container, container, query_string="versions&format=xml") == 406


def test_only_owners_name_versions(cluster, swift, container):
    version = put(swift, container, "o", b"1")
    swift.post_container(container, {"X-Container-Read": "test2", "X-Container-Write": "test2"})
    other = cluster.swift("test2:tester2", "testing2")
    other.get_auth()
    other.url = swift.get_auth()[0]
    assert other.get_object(container, "o")[1] == b"1"
    for call in (other.get_object, other.delete_object):
        assert refused(call, container, "o", query_string=f"version-id={version}") == 403
    assert put(other, container, "o", b"2") > version


def test_a_container_is_deleted_after_its_versions(swift, container):
    version = put(swift, container, "o", b"1")
    marker = headers_of(swift.delete_object, container, "o")[1]["x-object-version-id"]
    assert refused(swift.delete_container, container) == 409
    for id in (version, marker):
        swift.delete_object(container, "o", query_string=f"version-id={id}")
    swift.delete_container(container)
    assert all(row["name"] != container for row in swift.get_account()[1])


def test_a_locked_version_stays_whatever_swift_asks(s3, swift):
    bucket = f"locked-{time.time_ns()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    version = s3.put_object(Bucket=bucket, Key="o", Body=b"1", ObjectLockLegalHoldStatus="ON")["VersionId"]
    assert refused(swift.delete_object, bucket, "o", query_string=f"version-id={version}") == 403
    assert refused(swift.post_container, bucket, {"X-Versions-Enabled": "false"}) == 409
    swift.delete_object(bucket, "o", query_string="version-id=null")
    assert swift.get_object(bucket, "o", query_string=f"version-id={version}")[1] == b"1"
    with pytest.raises(ClientError):
        s3.delete_object(Bucket=bucket, Key="o", VersionId=version)


def test_versions_and_copies_exclude_each_other(swift, container):
    assert refused(swift.post_container, container, {"X-Versions-Location": "copies"}) == 400
    other = f"{container}-other"
    swift.put_container(other, {"X-History-Location": "copies"})
    assert refused(swift.post_container, other, {"X-Versions-Enabled": "true"}) == 400
    assert refused(swift.put_container, other, {"X-Versions-Enabled": "true"}) == 400
    assert swift.head_container(other)["x-history-location"] == "copies"
    assert refused(swift.head_object, other, "o", query_string="version-id=1.00000") == 400
    both = {"X-History-Location": "a", "X-Versions-Location": "b"}
    assert refused(swift.post_container, other, both) == 400


@pytest.fixture
def archive(swift):
    name = f"archive-{time.time_ns()}"
    swift.put_container(name)
    return name


def test_a_stack_of_copies_is_moved_back_by_deletions(s3, swift, archive):
    name = f"{archive}-of"
    swift.put_container(name, {"X-Versions-Location": archive})
    for body in (b"one", b"two", b"three"):
        swift.put_object(name, "o/ü", body, headers={"X-Object-Meta-Body": body.decode()})
    rows = [row["name"] for row in swift.get_container(archive)[1]]
    assert [row.rsplit("/", 1)[0] for row in rows] == ["004o/ü"] * 2
    assert swift.get_object(archive, rows[0])[1] == b"one"
    # The S3 dialect keeps copies as well.
    s3.put_object(Bucket=name, Key="o/ü", Body=b"four")
    for body in (b"four", b"three", b"two", b"one"):
        headers, found = swift.get_object(name, "o/ü")
        assert found == body and headers.get("x-object-meta-body", "four") == body.decode()
        swift.delete_object(name, "o/ü")
    assert refused(swift.get_object, name, "o/ü") == 404
    assert swift.get_container(archive)[1] == []
    swift.post_container(name, {"X-Remove-Versions-Location": "x"})
    assert "x-versions-location" not in swift.head_container(name)


def test_a_history_of_copies_has_delete_markers(swift, archive):
    name = f"{archive}-of"
    swift.put_container(name, {"X-History-Location": archive})
    swift.put_object(name, "o", b"one")
    swift.put_object(name, "o", b"two")
    swift.delete_object(name, "o")
    assert refused(swift.get_object, name, "o") == 404
    rows = swift.get_container(archive)[1]
    assert [row["content_type"] == MARKER for row in rows] == [False, False, True]
    # In the other mode a deletion where nothing is moves the object before the marker back.
    swift.post_container(name, {"X-Versions-Location": archive})
    swift.delete_object(name, "o")
    assert swift.get_object(name, "o")[1] == b"two"
    assert len(swift.get_container(archive)[1]) == 1


def test_nothing_is_replaced_where_the_archive_is_missing(swift, archive):
    name = f"{archive}-of"
    swift.put_container(name, {"X-Versions-Location": f"{archive}-missing"})
    swift.put_object(name, "o", b"one")
    assert refused(swift.put_object, name, "o", b"two") == 412
    assert swift.get_object(name, "o")[1] == b"one"
