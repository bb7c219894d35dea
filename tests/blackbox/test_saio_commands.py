"""Commands of operators on `apus saio` with its defaults: through a socket that only its user can open."""

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import boto3
import botocore.config
import pytest

from apus_testing.executables import APUS
from apus_testing.saio import Saio


def run(*words):
    return subprocess.run([APUS, *words, "--json"], capture_output=True, text=True, timeout=60)


def apus(*words):
    """A command that succeeds; returns the JSON that it printed."""
    done = run(*words)
    assert done.returncode == 0, (words, done.stderr)
    return json.loads(done.stdout.splitlines()[0])


def s3(saio, key):
    return boto3.client(
        "s3",
        endpoint_url=saio.access["endpoint"],
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"],
        region_name="us-east-1",
        config=botocore.config.Config(retries={"max_attempts": 1}),
    )


@pytest.fixture
def saio(tmp_path):
    saio = Saio(tmp_path / "data").start()
    yield saio
    saio.stop()


def socket_of(saio):
    return saio.data / "etc" / "servers.sock"


def test_users_and_keys_are_made_without_any_option_of_the_servers(saio):
    data = ("--data", str(saio.data))
    assert apus("user", "create", "apus:alice", "--admin", *data)["admin"]
    key = apus("key", "create", "--user", "apus:alice", *data)
    client = s3(saio, key)
    client.create_bucket(Bucket="alices")
    client.put_object(Bucket="alices", Key="k", Body=b"body")
    assert client.get_object(Bucket="alices", Key="k")["Body"].read() == b"body"
    shown = apus("user", "show", "apus:alice", "--swiftdir", str(saio.data / "etc"))
    assert [one["access_key"] for one in shown["keys"]] == [key["access_key"]]
    refused = run("user", "list", "apus", "--swiftdir", "/etc/swift", *data)
    assert refused.returncode == 2 and "cannot be used with" in refused.stderr
    assert not [port for port in (6200, 6201, 6202) if is_open(saio, port)], "its servers have no ports"


def is_open(saio, port):
    """Whether the process listens on a port; another process of the machine may."""
    folder = Path(f"/proc/{saio.process.pid}")
    rows = [line.split() for line in (folder / "net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    return any(link_of(path) in sockets for path in (folder / "fd").iterdir())


def link_of(path):
    """Where a link leads, if it still exists."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def test_only_its_user_can_open_the_socket_and_it_ends_with_the_process(saio):
    path = socket_of(saio)
    status = path.lstat()
    assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.getuid()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert saio.stop() == 0
    assert not path.exists()
    done = run("user", "list", "apus", "--data", str(saio.data))
    assert done.returncode == 2 and "--data" in done.stderr, "the text names what to do"


def test_requests_on_the_socket_are_verified_as_on_a_port(saio):
    def ask(host, path, method="GET"):
        with socket.socket(socket.AF_UNIX) as stream:
            directory = os.open(socket_of(saio).parent, os.O_RDONLY)
            try:
                stream.connect(f"/proc/self/fd/{directory}/servers.sock")
            finally:
                os.close(directory)
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            stream.sendall(head.encode())
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
        return answer

    for port in (6200, 6201, 6202):
        assert ask(f"127.0.0.1:{port}", "/healthcheck").startswith(b"HTTP/1.1 200 ")
        for method in ("GET", "PUT", "DELETE"):
            answer = ask(f"127.0.0.1:{port}", "/sd1/0/AUTH_apus/c/o", method)
            assert answer.startswith(b"HTTP/1.1 401 ") and b"not signed" in answer
    for host in ("127.0.0.1:8080", "10.0.0.1:6200", ""):
        assert ask(host, "/healthcheck").startswith(b"HTTP/1.1 421 "), host


def test_a_socket_that_a_killed_process_left_is_replaced(saio):
    path = socket_of(saio)
    before = path.lstat().st_ino
    saio.kill()
    assert stat.S_ISSOCK(path.lstat().st_mode), "it is stale"
    done = run("user", "list", "apus", "--data", str(saio.data))
    assert done.returncode == 2 and "--data" in done.stderr
    saio.start()
    assert path.lstat().st_ino != before and stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert apus("user", "create", "apus:bob", "--data", str(saio.data))["name"] == "bob"
    assert not list(path.parent.glob("*.new"))


def test_a_long_path_of_the_folder_is_no_obstacle(tmp_path):
    saio = Saio(tmp_path / ("long" * 40) / "data").start()
    try:
        assert apus("user", "create", "apus:carol", "--data", str(saio.data))["name"] == "carol"
    finally:
        saio.stop()


def test_a_file_in_the_place_of_the_socket_is_kept(tmp_path):
    saio = Saio(tmp_path / "data").start()
    assert saio.stop() == 0
    path = socket_of(saio)
    path.write_text("not a socket")
    command = [APUS, "saio", "--data", str(saio.data), "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0 and "servers.sock" in refused.stderr
    assert path.read_text() == "not a socket"
