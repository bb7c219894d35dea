"""Each server as a process of its own, over sockets, as racks run them and as Swift's proxy calls them."""

import socket
import subprocess
import time

import boto3
import botocore.config
import swiftclient

from .executables import APUS
from .ports import free_port

KINDS = ["account", "container", "object"]


class Servers:
    def __init__(self, folder):
        self.etc, self.devices, self.cache = folder / "etc", folder / "devices", folder / "cache"
        self.ports = {kind: free_port() for kind in [*KINDS, "proxy"]}
        self.processes = {}
        self.etc.mkdir()
        for number in range(1, 5):
            (self.devices / f"sd{number}").mkdir(parents=True)
        (self.etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
            "[storage-policy:0]\nname = gold\ndefault = yes\n"
        )
        for kind in KINDS:
            builder = str(self.etc / f"{kind}.builder")
            def run(*words):
                return subprocess.run([APUS, "ring-builder", builder, *words], check=True, stdout=subprocess.PIPE)
            run("create", "8", "3", "1")
            for number in range(1, 5):
                run("add", f"r1z{number}-127.0.0.1:{self.ports[kind]}/sd{number}", "1")
            run("rebalance")
            self.conf(kind, f"devices = {self.devices}\nmount_check = false\n")
        with open(self.etc / "object-server.conf", "a") as conf:
            conf.write("[object-updater]\ninterval = 1\n")
        self.conf("proxy", "", "[filter:tempauth]\nuser_test_tester = testing .admin\n")

    def conf(self, kind, defaults, more=""):
        bind = f"bind_ip = 127.0.0.1\nbind_port = {self.ports[kind]}\n"
        text = f"[DEFAULT]\n{bind}{defaults}[app:{kind}-server]\nuse = egg:swift#{kind}\n{more}"
        (self.etc / f"{kind}-server.conf").write_text(text)

    def start(self, kind):
        process = subprocess.Popen([APUS, f"{kind}-server", str(self.etc)], stderr=subprocess.DEVNULL)
        self.processes[kind] = process
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.ports[kind]), timeout=1).close()
                return
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < until, f"{kind} server does not listen"
                time.sleep(0.02)

    def start_daemon(self, name):
        self.processes[name] = subprocess.Popen([APUS, name, str(self.etc)], stderr=subprocess.DEVNULL)

    def stop(self, kind, kill=False):
        process = self.processes.pop(kind)
        process.kill() if kill else process.terminate()
        return process.wait(timeout=30)

    def s3(self):
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.ports['proxy']}",
            aws_access_key_id="test:tester",
            aws_secret_access_key="testing",
            region_name="us-east-1",
            config=botocore.config.Config(retries={"max_attempts": 1}),
        )

    def swift(self):
        url = f"http://127.0.0.1:{self.ports['proxy']}/auth/v1.0"
        return swiftclient.Connection(authurl=url, user="test:tester", key="testing", retries=0)

    def objects(self):
        """A connection to the object server, spoken by hand."""
        return socket.create_connection(("127.0.0.1", self.ports["object"]), timeout=10)


def answer(connection):
    """The head of one answer, and what came after it."""
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(65536)
        assert more, f"connection closed after {read!r}"
        read += more
    head, rest = read.split(b"\r\n\r\n", 1)
    return head.decode(), rest
