"""A ring manager with builders of three rings, and one object server."""

import json
import shutil
import subprocess

from .addresses import free_port
from .executables import APUS
from .process import Process
from .rings import make_ring

KEY, OTHER_KEY = "5a" * 32, "c3" * 32
PORTS = {"account": 1, "container": 2}


def apus(*words, code=0):
    done = subprocess.run([APUS, *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class RingManagerMachine:
    """An object server, and the ring manager (`rebalance = ask`) with builders of three rings."""

    def __init__(self, folder):
        self.folder, self.port, self.manager_port = folder, free_port(), free_port()
        self.etc, self.builders = folder / "etc", folder / "builders"
        for path in (self.etc, self.builders, folder / "devices/sd1"):
            path.mkdir(parents=True)
        self.conf = (
            "[swift-hash]\nswift_hash_path_prefix = very%secret\n[storage-policy:0]\nname = gold\naliases = best, dear\n"
            f"[apus]\ncluster_key = {KEY}\nring_manager = 127.0.0.1:{self.manager_port}\nring_overlap = 5\n"
        )
        (self.etc / "swift.conf").write_text(self.conf)
        (self.etc / "object-server.conf").write_text(
            f"[DEFAULT]\nbind_port = {self.port}\ndevices = {folder}/devices\nmount_check = false\nrecon_cache_path = {folder}/cache\n"
        )
        (self.etc / "ring-manager.conf").write_text(
            f"[ring-manager]\nbind_port = {self.manager_port}\nbuilder_dir = {self.builders}\ninterval = 0.2\n"
        )
        for ring, port in {**PORTS, "object": self.port}.items():
            made = make_ring(self.builders, ring, [f"r1z1-127.0.0.1:{port}/sd1"], part_power=4, replicas=1, weight=100)
            shutil.copy(made, self.etc)
        self.processes = []

    def start(self, *words, port):
        log = self.folder / f"{words[0]}.log"
        self.processes.append(Process(words[0], words, log, address=("127.0.0.1", port)).start())

    def stop(self):
        for process in self.processes:
            assert process.stop() == 0

    def new(self, name):
        """A directory for the configuration of a new machine, and its disk."""
        disk = self.folder / name / "node" / "sdx"
        disk.mkdir(parents=True)
        return self.folder / name / "etc", disk

    def join(self, etc, disk, *more, code=0):
        host = f"127.0.0.1:{self.port}"
        words = ("join", host, "--device", f"{disk}:50", "--ip", "127.0.0.7", "--swift-dir", etc)
        return apus(*words, "--key-file", self.key_file(KEY), *more, code=code)

    def key_file(self, key):
        path = self.folder / f"key-{key[:2]}"
        path.write_text(key + "\n")
        return path

    def pending(self):
        return json.loads(apus("ring", "pending", "--swift-dir", self.etc, "--json"))
