"""`apus bench` against the real executable: its figures, its checks and its refusals."""

import json
import subprocess
import time

import pytest

from apus_testing.executables import APUS

PHASES = ["put", "get", "head", "list", "delete"]
CREDENTIALS = {
    "s3": ["--dialect", "s3", "--access-key", "test:tester", "--secret-key", "testing"],
    "swift": ["--dialect", "swift", "--user", "test:tester", "--key", "testing"],
}


def run(*options):
    return subprocess.run([APUS, "bench", *options], capture_output=True, text=True, timeout=120)


def bench(cluster, dialect, bucket, operations, *options):
    """The phases and the exit code."""
    done = run(
        *["--endpoint", cluster.access["endpoint"], *CREDENTIALS[dialect], "--bucket", bucket],
        *["--op", operations, "--concurrency", "4", "--json", *options],
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done


@pytest.fixture
def name():
    return f"bench-{time.time_ns()}"


@pytest.mark.parametrize("dialect", ["s3", "swift"])
@pytest.mark.parametrize("size", ["0", "4KiB", "300kB"])
def test_every_phase_succeeds_and_counts_its_requests(cluster, name, dialect, size):
    server = ["--server-pid", str(cluster.process.pid)]
    phases, done = bench(cluster, dialect, name, ",".join(PHASES), "--size", size, "--count", "30", *server)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [phase["op"] for phase in phases] == PHASES
    size_bytes = {"0": 0, "4KiB": 4096, "300kB": 300_000}[size]
    for phase in phases:
        assert phase["dialect"] == dialect
        assert (phase["requests"], phase["succeeded"]) == (30, 30), phase
        assert (phase["errors"], phase["corrupt"], phase["statuses"]) == (0, 0, {}), phase
        assert phase["bytes"] == 30 * size_bytes or phase["op"] not in ("put", "get")
        assert 0 < phase["p50_us"] <= phase["p99_us"] <= phase["max_us"]
        assert phase["rate_per_s"] > 0
        assert phase["server_rss_peak_bytes"] >= phase["server_rss_end_bytes"] // 2 > 0
        assert phase["server_cpu_ms_per_op"] >= 0


@pytest.mark.parametrize("dialect", ["s3", "swift"])
def test_an_object_with_other_bytes_is_corrupt(cluster, name, s3, dialect):
    options = ["--size", "70kB", "--count", "12"]
    _, done = bench(cluster, dialect, name, "put", *options)
    assert done.returncode == 0, done.stderr
    key = "bench/70000/00000007"
    body = bytearray(s3.get_object(Bucket=name, Key=key)["Body"].read())
    body[69_999] ^= 1
    s3.put_object(Bucket=name, Key=key, Body=bytes(body))
    (phase,), done = bench(cluster, dialect, name, "get", *options)
    assert done.returncode == 1
    assert (phase["corrupt"], phase["errors"], phase["succeeded"]) == (1, 1, 11)
    assert key in phase["first_error"]
    (phase,), done = bench(cluster, dialect, name, "get", "--no-verify", *options)
    assert (done.returncode, phase["errors"]) == (0, 0)


def test_what_the_dialects_write_is_the_same(cluster, name):
    for writer, reader in [("s3", "swift"), ("swift", "s3")]:
        _, done = bench(cluster, writer, name, "put", "--count", "5")
        assert done.returncode == 0, done.stderr
        _, done = bench(cluster, reader, name, "get,list,delete", "--count", "5")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("payload", ["signed", "unsigned"])
def test_multipart_uploads_are_read_back(cluster, name, s3, payload):
    options = ["--size", "12MiB", "--multipart", "5MiB", "--payload", payload, "--count", "3"]
    phases, done = bench(cluster, "s3", name, "put,get,head,delete", *options)
    assert done.returncode == 0, phases
    assert phases[0]["part_size_bytes"] == 5 << 20
    _, done = bench(cluster, "s3", name, "put", *options)
    etag = s3.head_object(Bucket=name, Key=f"bench/{12 << 20}/00000002")["ETag"]
    assert etag.endswith('-3"')


def test_listings_are_counted_before_and_after_deletes(cluster, name):
    phases, done = bench(cluster, "s3", name, "put,list", "--count", "25", "--list-rows", "10")
    assert done.returncode == 0, phases
    phases, done = bench(cluster, "s3", name, "put,list,delete,list", "--count", "25")
    assert done.returncode == 0, phases


def test_the_open_loop_keeps_its_rate_and_reuses_objects(cluster, name):
    _, done = bench(cluster, "s3", name, "put", "--count", "20")
    assert done.returncode == 0, done.stderr
    options = ["--count", "20", "--rate", "100", "--duration", "1s"]
    (phase,), done = bench(cluster, "s3", name, "get", *options)
    assert done.returncode == 0, phase
    assert phase["target_rate_per_s"] == 100
    assert phase["requests"] + phase["unsent"] == 100
    assert phase["requests"] > 20


def test_objects_that_are_missing_are_asked_for(cluster, name):
    for dialect in CREDENTIALS:
        phases, done = bench(cluster, dialect, name, "get", "--count", "5")
        assert (phases, done.returncode) == ([], 2)
        assert len(done.stderr.splitlines()) == 1
        assert "run --op put first" in done.stderr


def test_refusals_are_one_clear_line(cluster):
    endpoint = ["--endpoint", cluster.access["endpoint"]]
    s3 = CREDENTIALS["s3"]
    for options, word in [
        ([*endpoint, "--op", "put", *s3[:4], "--secret-key", "wrong"], "403"),
        ([*endpoint, "--op", "put", "--dialect", "swift", "--user", "a:b", "--key", "c"], "401"),
        (["--endpoint", "http://127.0.0.1:1", "--op", "put", *s3], "127.0.0.1:1"),
        ([*endpoint, "--op", "list", "--list-rows", "5000", *s3], "--list-rows 5000"),
    ]:
        done = run(*options)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert word in done.stderr


def test_options_that_cannot_be_read_are_named():
    for option, value in [
        ("--size", "4K"),
        ("--duration", "10"),
        ("--op", "pat"),
        ("--endpoint", "https://127.0.0.1"),
    ]:
        done = run("--op", "put", option, value)
        assert done.returncode == 2
        assert option in done.stderr and value in done.stderr
