"""Programs that keep their data in a bucket, at their own settings: backups, tables, state files."""

import concurrent.futures
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import deltalake
import minio
import minio.commonconfig
import minio.deleteobjects
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pytest
from botocore.exceptions import ClientError

from apus_testing.executables import ROOT

RESTIC = shutil.which("restic") or shutil.which(str(ROOT / "target/tools/usr/bin/restic"))
TERRAFORM = shutil.which("terraform")
# Processes that commit to one table at the same time.
COMMITTERS = 8
COMMITS_EACH = 5


def environment(**more):
    """The variables of this process without those of AWS, and the keys of the test user."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    return {**inherited, **keys, **more}


def run(words, timeout=300, folder=None, **more):
    done = subprocess.run(
        [str(word) for word in words], env=environment(**more), capture_output=True, text=True, timeout=timeout, cwd=folder
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def restic(cluster, bucket, tmp_path):
    if RESTIC is None and os.environ.get("CI"):
        pytest.fail("restic is missing")
    if RESTIC is None:
        pytest.skip("restic is missing, and ./test could not fetch it")
    repository = f"s3:{cluster.access['endpoint']}/{bucket}/backups"
    more = {"RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}

    def restic(*words):
        return run([RESTIC, *words], **more)

    return restic


def test_restic_backs_up_checks_every_byte_prunes_and_restores(restic, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for name, size in [("empty", 0), ("small", 100), ("deep/large", 30_000_000)]:
        (source / name).write_bytes(os.urandom(size))
    restic("init")
    restic("backup", source)
    first = files(source)
    (source / "small").write_bytes(b"changed")
    (source / "deep/large").write_bytes(os.urandom(9_000_000))
    restic("backup", source)
    restic("check", "--read-data")
    snapshots = json.loads(restic("snapshots", "--json"))
    assert len(snapshots) == 2
    restic("restore", snapshots[0]["id"], "--target", tmp_path / "first")
    assert files(tmp_path / "first" / source.relative_to("/")) == first
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "last")
    assert files(tmp_path / "last" / source.relative_to("/")) == files(source)


def test_minio_py_uploads_lists_copies_and_removes(cluster, bucket):
    host = cluster.access["endpoint"].removeprefix("http://")
    client = minio.Minio(host, access_key="test:tester", secret_key="testing", secure=False)
    data = os.urandom(12_000_000)
    client.put_object(bucket, "dir/large", io.BytesIO(data), len(data), part_size=5 << 20, metadata={"colour": "blue"})
    client.put_object(bucket, "dir/streamed", io.BytesIO(data), -1, part_size=5 << 20)
    client.put_object(bucket, "small", io.BytesIO(b"abc"), 3)
    for name in ("dir/large", "dir/streamed"):
        assert client.get_object(bucket, name).read() == data
    assert client.get_object(bucket, "dir/large", offset=5_000_000, length=1000).read() == data[5_000_000:5_001_000]
    assert client.stat_object(bucket, "dir/large").metadata["x-amz-meta-colour"] == "blue"
    client.copy_object(bucket, "copy", minio.commonconfig.CopySource(bucket, "dir/large"))
    client.compose_object(bucket, "composed", [minio.commonconfig.ComposeSource(bucket, "dir/large")] * 2)
    assert client.get_object(bucket, "composed").read() == data + data
    assert [entry.object_name for entry in client.list_objects(bucket)] == ["composed", "copy", "small", "dir/"]
    names = [entry.object_name for entry in client.list_objects(bucket, recursive=True)]
    assert sorted(names) == ["composed", "copy", "dir/large", "dir/streamed", "small"]
    removed = client.remove_objects(bucket, (minio.deleteobjects.DeleteObject(name) for name in names))
    assert list(removed) == []
    client.remove_bucket(bucket)
    assert not client.bucket_exists(bucket)


def test_s3cmd_puts_gets_syncs_and_deletes(cluster, tmp_path):
    host = cluster.access["endpoint"].removeprefix("http://")
    config = tmp_path / "s3cfg"
    config.write_text(
        f"[default]\naccess_key = test:tester\nsecret_key = testing\nhost_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
    )

    def s3cmd(*words):
        return run([sys.executable, Path(sys.executable).parent / "s3cmd", "-c", config, "--quiet", *words])

    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for name, size in [("empty", 0), ("a b", 10), ("deep/ü", 1000), ("deep/large", 20_000_000)]:
        (source / name).write_bytes(os.urandom(size))
    s3cmd("mb", "s3://s3cmd-bucket")
    s3cmd("sync", f"{source}/", "s3://s3cmd-bucket/x/")
    (tmp_path / "back").mkdir()
    s3cmd("sync", "s3://s3cmd-bucket/x/", f"{tmp_path}/back/")
    assert files(tmp_path / "back") == files(source)
    s3cmd("cp", "s3://s3cmd-bucket/x/deep/large", "s3://s3cmd-bucket/copy")
    s3cmd("get", "s3://s3cmd-bucket/copy", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (source / "deep/large").read_bytes()
    s3cmd("del", "--recursive", "--force", "s3://s3cmd-bucket/")
    s3cmd("rb", "s3://s3cmd-bucket")


def test_arrow_writes_and_filters_a_partitioned_parquet_dataset(cluster, bucket):
    store = pyarrow.fs.S3FileSystem(
        access_key="test:tester",
        secret_key="testing",
        endpoint_override=cluster.access["endpoint"].removeprefix("http://"),
        scheme="http",
        region="us-east-1",
    )
    rows = 200_000
    table = pyarrow.table({"day": [number % 7 for number in range(rows)], "value": list(range(rows))})
    dataset = pyarrow.dataset
    dataset.write_dataset(table, f"{bucket}/table", filesystem=store, format="parquet", partitioning=["day"], basename_template="p{i}")
    read = dataset.dataset(f"{bucket}/table", filesystem=store, format="parquet", partitioning=["day"])
    assert read.count_rows() == rows
    chosen = read.to_table(filter=(dataset.field("day") == 3) & (dataset.field("value") < 100)).column("value").to_pylist()
    assert sorted(chosen) == [number for number in range(100) if number % 7 == 3]
    store.delete_dir(f"{bucket}/table")
    assert store.get_file_info(pyarrow.fs.FileSelector(bucket, recursive=True)) == []


def commit(endpoint, bucket, committer):
    """Appends rows to the table in commits of their own; each is tried again when another was first."""
    options = table_options(endpoint)
    for number in range(COMMITS_EACH):
        rows = pyarrow.table({"committer": [committer], "number": [number]})
        properties = deltalake.CommitProperties(max_commit_retries=1000)
        deltalake.write_deltalake(f"s3://{bucket}/t", rows, mode="append", storage_options=options, commit_properties=properties)


def table_options(endpoint):
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test:tester",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }


def test_of_eight_committers_to_a_delta_table_none_is_lost(cluster, bucket):
    endpoint = cluster.access["endpoint"]
    first = pyarrow.table({"committer": [-1], "number": [0]})
    deltalake.write_deltalake(f"s3://{bucket}/t", first, storage_options=table_options(endpoint))
    processes = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(COMMITTERS, mp_context=processes) as pool:
        for done in [pool.submit(commit, endpoint, bucket, committer) for committer in range(COMMITTERS)]:
            done.result(timeout=300)
    table = deltalake.DeltaTable(f"s3://{bucket}/t", storage_options=table_options(endpoint))
    rows = table.to_pyarrow_table().to_pylist()
    found = sorted((row["committer"], row["number"]) for row in rows)
    assert found == [(-1, 0)] + [(committer, number) for committer in range(COMMITTERS) for number in range(COMMITS_EACH)]
    assert table.version() == COMMITTERS * COMMITS_EACH


def test_of_sixteen_that_take_a_lock_file_one_has_it(s3, bucket):
    def take(owner):
        try:
            s3.put_object(Bucket=bucket, Key="state.tflock", Body=owner.encode(), IfNoneMatch="*")
            return owner
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")
            return None

    for turn in range(5):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            taken = [owner for owner in pool.map(take, [f"{turn}-{number}" for number in range(16)]) if owner]
        # In a race that all lose, a client tries again. Never do two of them hold the lock.
        assert len(taken) <= 1
        owner = taken[0] if taken else take(f"{turn}-again")
        lock = s3.get_object(Bucket=bucket, Key="state.tflock")
        assert lock["Body"].read().decode() == owner
        s3.delete_object(Bucket=bucket, Key="state.tflock", IfMatch=lock["ETag"])


@pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed")
def test_terraform_keeps_its_state_and_lock_in_a_bucket(cluster, s3, bucket, tmp_path):
    (tmp_path / "main.tf").write_text(
        f"""
terraform {{
  backend "s3" {{
    bucket = "{bucket}"
    key = "state"
    region = "us-east-1"
    endpoints = {{ s3 = "{cluster.access["endpoint"]}" }}
    use_path_style = true
    use_lockfile = true
    skip_credentials_validation = true
    skip_requesting_account_id = true
    skip_metadata_api_check = true
  }}
}}
resource "terraform_data" "one" {{ input = "first" }}
"""
    )
    terraform = [TERRAFORM, f"-chdir={tmp_path}"]
    run([*terraform, "init", "-input=false", "-no-color"])
    run([*terraform, "apply", "-auto-approve", "-input=false", "-no-color"])
    state = json.loads(s3.get_object(Bucket=bucket, Key="state")["Body"].read())
    assert [resource["name"] for resource in state["resources"]] == ["one"]
    # Another holder of the lock keeps it out.
    s3.put_object(Bucket=bucket, Key="state.tflock", Body=json.dumps({"ID": "other", "Operation": "x"}).encode())
    refused = subprocess.run(
        [*terraform, "apply", "-auto-approve", "-input=false", "-no-color"], env=environment(), capture_output=True, text=True
    )
    assert refused.returncode != 0 and "state lock" in refused.stderr
    s3.delete_object(Bucket=bucket, Key="state.tflock")
    run([*terraform, "destroy", "-auto-approve", "-input=false", "-no-color"])
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["state"]
