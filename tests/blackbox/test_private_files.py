"""Files of a cluster are readable by its own user only, with any umask."""

import os
import stat

import pytest

from apus_testing.saio import Saio


def open_to_others(root):
    """Files and directories below `root` that the group or others may do anything with, with their modes."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                found[os.path.join(folder, name)] = oct(stat.S_IMODE(mode))
    return found


def write_some_of_everything(cluster):
    swift = cluster.swift()
    swift.put_container("c", headers={"X-Container-Meta-Secret": "secret"})
    swift.put_object("c", "small", b"1")
    swift.put_object("c", "large", b"2" * 300_000)
    # More than the attributes of most file systems hold.
    swift.put_object("c", "described", b"3", headers={f"X-Object-Meta-M{n}": "m" * 200 for n in range(15)})
    swift.post_object("c", "small", {"X-Object-Meta-Colour": "red"})
    swift.delete_object("c", "large")
    swift.get_container("c")
    s3 = cluster.s3()
    s3.create_bucket(Bucket="bucket")
    upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"4")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload=parts)


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_nothing_in_a_data_folder_is_open_to_others(tmp_path, umask):
    data = tmp_path / "data"
    before = os.umask(umask)
    try:
        cluster = Saio(data, "--dev-users").start()
    finally:
        os.umask(before)
    try:
        write_some_of_everything(cluster)
        # Logs of databases are there as long as they are open.
        names = [name for _, _, files in os.walk(data) for name in files]
        for ending in (".db", ".db-wal", ".db-shm", ".data", ".ring.gz", "hashes.invalid"):
            assert any(name.endswith(ending) for name in names), ending
        assert open_to_others(data) == {}
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
    finally:
        assert cluster.stop() == 0
    assert open_to_others(data) == {}


def test_an_empty_directory_that_is_given_is_closed_to_others(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    cluster = Saio(data).start()
    assert cluster.stop() == 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_databases_that_are_there_keep_their_mode_and_are_served(tmp_path):
    data = tmp_path / "data"
    cluster = Saio(data, "--dev-users").start()
    cluster.swift().put_container("c")
    assert cluster.stop() == 0
    databases = [path for path in data.rglob("*.db")]
    for path in databases:
        path.chmod(0o640)
    cluster.start()
    try:
        swift = cluster.swift()
        swift.put_object("c", "o", b"1")
        assert [row["name"] for row in swift.get_container("c")[1]] == ["o"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in databases} == {0o640}
    finally:
        assert cluster.stop() == 0
