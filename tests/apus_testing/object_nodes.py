"""Object servers as processes of their own, each with its own devices and port, in one ring."""

import hashlib
import os
import pickle
import shutil
import urllib.parse

from swift.common.ring.ring import RingData

from .addresses import free_port
from .machine import Machine
from .rings import make_ring

PREFIX, SUFFIX = b"pre", b"suf"
PART_POWER = 3
SWIFT_CONF = (
    f"[swift-hash]\nswift_hash_path_prefix = {PREFIX.decode()}\nswift_hash_path_suffix = {SUFFIX.decode()}\n"
    "[storage-policy:0]\nname = gold\ndefault = yes\n"
)


def timestamp(seconds, offset=0):
    return f"{seconds:016.5f}" + (f"_{offset:016x}" if offset else "")


class ObjectNode(Machine):
    """One object server with one device, `sd<number>`."""

    def __init__(self, folder, number):
        self.number, self.name = number, f"sd{number}"
        super().__init__(
            folder / f"etc{number}",
            folder / f"devices{number}",
            folder / f"cache{number}",
            addresses={"object": ("127.0.0.1", free_port())},
            swift_conf=SWIFT_CONF,
            device_names=[self.name],
        )
        self.configure()

    @property
    def device(self):
        return self.devices / self.name

    @property
    def port(self):
        return self.ports["object"]

    def configure(self, replicator="", server=""):
        more = f"replication_lock_timeout = 2\n{server}\n[object-replicator]\nsync_method = ssync\n{replicator}\n"
        more += "[pipeline:main]\npipeline = object-server\n"
        self.conf("object", f"recon_cache_path = {self.cache}\n", more)

    def start_server(self, **options):
        self.start("object", **options)

    def stop_server(self):
        if "object" in self.processes:
            self.stop("object", kill=True)

    def replicate(self, *options, check=True, armed=None):
        """One pass of the replicator; returns its log."""
        done = self.run_once("object-replicator", *options, armed=armed)
        assert not check or done.returncode == 0, done.stderr
        return done.stderr

    def object(self, method, part, name, headers=(), body=None):
        return self.request("object", method, f"/{self.name}/{part}{urllib.parse.quote(name)}", headers, body)

    def put(self, part, name, time, body=b"", more=None, **headers):
        """Writes an object; `more` are headers that are sent as they are."""
        given = {key.replace("_", "-"): value for key, value in headers.items()} | (more or {})
        given = {"X-Timestamp": time, "Content-Type": "text/plain", "Content-Length": str(len(body)), **given}
        status, _, _ = self.object("PUT", part, name, given, body)
        assert status == 201, status

    def post(self, part, name, time, **headers):
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        status, _, _ = self.object("POST", part, name, {"X-Timestamp": time, **given})
        assert status == 202, status

    def delete(self, part, name, time):
        status, _, _ = self.object("DELETE", part, name, {"X-Timestamp": time})
        assert status in (204, 404), status

    def hashes(self, part):
        status, _, body = self.request("object", "REPLICATE", f"/{self.name}/{part}")
        assert status == 200, status
        return pickle.loads(body)

    def files(self):
        """All files of objects on the device: path below `objects` to body and attributes."""
        found = {}
        for path in self.device.glob("objects/*/*/*/*"):
            attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)}
            found[str(path.relative_to(self.device / "objects"))] = (path.read_bytes(), attributes)
        return found

    def wipe(self):
        for path in self.device.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class ObjectNodes:
    def __init__(self, folder, count=4, replicas=3, regions=(1, 1, 1, 1)):
        self.nodes = [ObjectNode(folder, number) for number in range(1, count + 1)]
        zones = zip(self.nodes, regions, strict=False)
        devices = [f"r{region}z{node.number}-127.0.0.1:{node.port}/{node.name}" for node, region in zones]
        for kind in ["object", "container", "account"]:
            ring = make_ring(folder, kind, devices, part_power=PART_POWER, replicas=replicas)
            for node in self.nodes:
                shutil.copy(ring, node.etc)
        self.ring = RingData.load(str(folder / "object.ring.gz"))

    def __iter__(self):
        return iter(self.nodes)

    def start(self):
        for node in self.nodes:
            node.start_server()

    def stop(self):
        for node in self.nodes:
            node.stop_server()

    def primaries(self, part):
        by_name = {node.name: node for node in self.nodes}
        return [by_name[self.ring.devs[row[part]]["device"]] for row in self.ring._replica2part2dev_id]

    def place(self, name):
        """Partition, the three primaries in order, and the handoffs."""
        digest = hashlib.md5(PREFIX + name.encode() + SUFFIX).digest()
        part = int.from_bytes(digest[:4], "big") >> (32 - PART_POWER)
        primaries = self.primaries(part)
        return part, primaries, [node for node in self.nodes if node not in primaries]

    def name_with(self, *, handoff=None, number=0):
        """An object's name; with `handoff`, one whose only handoff is that node."""
        while True:
            name = f"/a/c/o{number}"
            if handoff is None or self.place(name)[2] == [handoff]:
                return name
            number += 1

    def sweep(self):
        for node in self.nodes:
            node.replicate()
