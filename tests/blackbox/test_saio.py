"""First steps of a new user: start, stop, start again, and clear errors."""

import os
import socket
import subprocess
import time

from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.saio import Saio


def refused(*options):
    done = subprocess.run([APUS, "saio", *options], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_the_second_start_is_the_same_cluster(tmp_path):
    cluster = Saio(tmp_path / "data").start()
    first = dict(cluster.access)
    s3 = cluster.s3(first["access_key"], first["secret_key"])
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"1")
    assert cluster.stop() == 0
    began = time.monotonic()
    cluster.start()
    assert time.monotonic() - began < 10
    assert cluster.access == first
    assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"1"
    assert cluster.stop() == 0


def test_a_clean_stop_leaves_no_journal_next_to_a_database(tmp_path):
    cluster = Saio(tmp_path / "data").start()
    access = cluster.access
    cluster.s3(access["access_key"], access["secret_key"]).create_bucket(Bucket="some")
    assert cluster.stop() == 0
    names = [name for _, _, files in os.walk(tmp_path) for name in files]
    assert any(name.endswith(".db") for name in names)
    assert not [name for name in names if name.endswith(("-wal", "-shm", "-journal"))]


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = str(sock.getsockname()[1])
        assert port in refused("--data", str(tmp_path / "data"), "--port", port)


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "precious").write_text("x")
    assert str(tmp_path) in refused("--data", str(tmp_path), "--port", str(free_port()))
    assert os.listdir(tmp_path) == ["precious"]
    (tmp_path / "precious").unlink()
    (tmp_path / "FORMAT").write_text("apus saio data, format 99\n")
    assert "format 99" in refused("--data", str(tmp_path), "--port", str(free_port()))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "file" in refused("--data", str(tmp_path / "file" / "data"), "--port", str(free_port()))


def test_keys_are_readable_by_their_owner_alone(tmp_path):
    cluster = Saio(tmp_path / "data").start()
    assert (tmp_path / "data/etc").stat().st_mode & 0o077 == 0
    cluster.stop()
