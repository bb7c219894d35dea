"""Each server as a process of its own, over sockets, as racks run them and as Swift's proxy calls them."""

import socket

import boto3
import botocore.config
import swiftclient

from .addresses import free_port
from .machine import Machine
from .rings import make_ring

KINDS = ["account", "container", "object"]
DEVICES = 4


SWIFT_CONF = "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n"


class Servers(Machine):
    """One machine with four devices, its three storage servers and a proxy."""

    def __init__(self, folder):
        addresses = {kind: ("127.0.0.1", free_port()) for kind in [*KINDS, "proxy"]}
        names = [f"sd{number}" for number in range(1, DEVICES + 1)]
        super().__init__(
            folder / "etc", folder / "devices", folder / "cache", addresses=addresses, swift_conf=SWIFT_CONF, device_names=names
        )
        for kind in KINDS:
            devices = [f"r1z{number}-127.0.0.1:{self.ports[kind]}/{name}" for number, name in enumerate(names, 1)]
            make_ring(self.etc, kind, devices, part_power=8, min_part_hours=1)
            self.conf(kind, more="[object-updater]\ninterval = 1\n" if kind == "object" else "")
        self.conf("proxy", more="[filter:tempauth]\nuser_test_tester = testing .admin\n")

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
        return swift_client(self.address("proxy"))

    def objects(self):
        """A plain connection to the object server."""
        return socket.create_connection(self.address("object"), timeout=10)


def swift_client(address):
    """python-swiftclient for the tester, without retries."""
    url = f"http://{address[0]}:{address[1]}/auth/v1.0"
    return swiftclient.Connection(authurl=url, user="test:tester", key="testing", retries=0)


def answer(connection):
    """The head of one response, and the bytes that came after it."""
    read = b""
    while b"\r\n\r\n" not in read:
        more = connection.recv(65536)
        assert more, f"connection closed after {read!r}"
        read += more
    head, rest = read.split(b"\r\n\r\n", 1)
    return head.decode(), rest
