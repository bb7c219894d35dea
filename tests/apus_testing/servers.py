"""Each server as a process of its own, over sockets, as racks run them and as Swift's proxy calls them."""

import socket

import boto3
import botocore.config
import swiftclient

from .addresses import free_port
from .process import Process
from .rings import make_ring

KINDS = ["account", "container", "object"]
DEVICES = 4


class Servers:
    """One machine with four devices, its three storage servers and a proxy, all with one folder of configuration."""

    # Of each server process.
    environment: dict[str, str] = {}

    def __init__(self, folder):
        self.etc, self.devices, self.cache = folder / "etc", folder / "devices", folder / "cache"
        self.ports = {kind: free_port() for kind in [*KINDS, "proxy"]}
        self.processes = {}
        self.etc.mkdir()
        for number in range(1, DEVICES + 1):
            (self.devices / f"sd{number}").mkdir(parents=True)
        (self.etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n"
        )
        for kind in KINDS:
            devices = [f"r1z{number}-127.0.0.1:{self.ports[kind]}/sd{number}" for number in range(1, DEVICES + 1)]
            make_ring(self.etc, kind, devices, part_power=8, min_part_hours=1)
            self.conf(kind, f"devices = {self.devices}\nmount_check = false\n")
        with open(self.etc / "object-server.conf", "a") as conf:
            conf.write("[object-updater]\ninterval = 1\n")
        self.conf("proxy", "", "[filter:tempauth]\nuser_test_tester = testing .admin\n")

    def conf(self, kind, defaults, more=""):
        bind = f"bind_ip = 127.0.0.1\nbind_port = {self.ports[kind]}\n"
        text = f"[DEFAULT]\n{bind}{defaults}[app:{kind}-server]\nuse = egg:swift#{kind}\n{more}"
        (self.etc / f"{kind}-server.conf").write_text(text)

    def address(self, kind):
        return "127.0.0.1", self.ports[kind]

    def log(self, name):
        return self.etc / f"{name}.log"

    def start(self, kind):
        words = [f"{kind}-server", self.etc]
        process = Process(f"{kind} server", words, self.log(kind), address=self.address(kind), environment=self.environment)
        self.processes[kind] = process.start()

    def start_daemon(self, name):
        self.processes[name] = Process(name, [name, self.etc], self.log(name)).spawn()

    def stop(self, kind, kill=False):
        """Stops a server or a daemon; returns its exit code."""
        process = self.processes.pop(kind)
        return process.kill() if kill else process.stop()

    def stop_all(self):
        for kind in list(self.processes):
            assert self.stop(kind) == 0, kind

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
        """A plain connection to the object server."""
        return socket.create_connection(self.address("object"), timeout=10)


def answer(connection):
    """The head of one response, and the bytes that came after it."""
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(65536)
        assert more, f"connection closed after {read!r}"
        read += more
    head, rest = read.split(b"\r\n\r\n", 1)
    return head.decode(), rest
