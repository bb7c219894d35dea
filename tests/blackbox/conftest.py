"""Starts the real executable on loopback, with its data on a real disk."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import boto3
import botocore.config
import pytest
import swiftclient

ROOT = Path(__file__).resolve().parents[2]
APUS = os.environ.get("APUS_BIN", str(ROOT / "target/release/apus"))
VECTORS = ROOT.parent / "shared/vectors"
LINKS = Path(tempfile.mkdtemp(prefix="apus-links-"))
atexit.register(shutil.rmtree, LINKS, ignore_errors=True)


def link_named(name):
    """A link to the executable, which runs the program of that name."""
    link = LINKS / name
    if not link.is_symlink():
        link.symlink_to(Path(APUS).resolve())
    return str(link)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Cluster:
    """`apus saio` as a process of its own."""

    def __init__(self, folder, *options):
        self.data = Path(folder)
        self.port = free_port()
        self.options = options
        self.process = None
        self.access = None

    def start(self):
        command = [APUS, "saio", "--data", str(self.data), "--port", str(self.port), "--json"]
        self.process = subprocess.Popen([*command, *self.options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line, f"{command} ended with {self.process.wait()}"
        self.access = json.loads(line)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ctrl-C; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)

    def s3(self, access_key="test:tester", secret_key="testing", **options):
        config = botocore.config.Config(
            retries={"max_attempts": 1}, connect_timeout=5, read_timeout=30, **options
        )
        return boto3.client(
            "s3",
            endpoint_url=self.access["endpoint"],
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=config,
        )

    def swift(self, user="test:tester", key="testing"):
        return swiftclient.Connection(authurl=self.access["auth_url"], user=user, key=key, retries=0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("saio") / "data", "--dev-users").start()
    yield cluster
    assert cluster.stop() == 0


@pytest.fixture
def s3(cluster):
    return cluster.s3()


@pytest.fixture
def swift(cluster):
    return cluster.swift()


@pytest.fixture
def bucket(cluster, s3):
    name = f"b-{time.time_ns()}"
    s3.create_bucket(Bucket=name)
    return name
