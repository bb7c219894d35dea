"""Servers that receive requests directly, as from other servers, and daemons that run once."""

import json
import pickle
import time
from urllib.parse import quote

from swift.common import utils
from swift.common.ring import Ring

from .servers import KINDS, Servers

QUEUE = ".expiring_objects"
# As `Servers` writes swift.conf; Swift keeps these in globals.
utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = b"a", b"b"

USERS = {
    "test_tester": "testing .admin",
    "admin_admin": "admin .admin .reseller_admin",
    "gone_tester": "testing .admin",
}


class ServersWithDaemons(Servers):
    """Servers that receive requests directly, and their daemons, each as a process that runs once."""

    def __init__(self, folder, app=""):
        super().__init__(folder)
        self.folder = folder
        users = "".join(f"user_{name} = {value}\n" for name, value in USERS.items())
        self.conf("proxy", more=f"{app}[filter:tempauth]\ntoken_key = {'k' * 32}\n{users}")

    def __enter__(self):
        for kind in [*KINDS, "proxy"]:
            self.start(kind)
        return self

    def __exit__(self, *_):
        for kind in list(self.processes):
            self.stop(kind)

    def option(self, kind, section, text):
        """Replaces a section of a server's configuration."""
        path = self.etc / f"{kind}-server.conf"
        path.write_text(path.read_text().split(f"[{section}]")[0] + f"[{section}]\n{text}\n")

    def once(self, daemon, environment=None, expect=0):
        for kind in KINDS:
            path = self.etc / f"{kind}-server.conf"
            if "recon_cache_path" not in path.read_text():
                path.write_text(path.read_text().replace("[DEFAULT]\n", f"[DEFAULT]\nrecon_cache_path = {self.cache}\n"))
        done = self.run_once(daemon, environment=environment)
        if expect is not None:
            assert done.returncode == expect, done.stderr
        return done

    def recon(self, server):
        return json.loads((self.cache / f"{server}.recon").read_text())

    def nodes_of(self, kind, *names):
        """Partition and primary devices."""
        return Ring(str(self.etc), ring_name=kind).get_nodes(*names)

    def ask(self, kind, device, partition, method, names, headers=None, query=""):
        """One request to a server."""
        path = "/" + "/".join(quote(str(part), safe="") for part in [device, partition, *names[:2]])
        path += "".join(f"/{quote(name)}" for name in names[2:])
        sent = {"X-Timestamp": f"{time.time():016.5f}", "X-Backend-Storage-Policy-Index": "0", **(headers or {})}
        return self.request(kind, method, path + query, sent, b"" if method in ("PUT", "POST") else None)

    def ask_all(self, kind, method, names, headers=None, query=""):
        """The same request to every primary."""
        partition, devices = self.nodes_of(kind, *names[: KINDS.index(kind) + 1])
        return [self.ask(kind, device["device"], partition, method, names, headers, query) for device in devices]

    def rows(self, account, container):
        """The rows of each replica that has the container."""
        partition, devices = self.nodes_of("container", account, container)
        found = []
        for device in devices:
            status, _, body = self.ask("container", device["device"], partition, "GET", [account, container], query="?format=json")
            if status // 100 == 2:
                found.append(json.loads(body or b"[]"))
        return found

    def pending(self):
        """All undelivered updates, unpickled."""
        return [pickle.loads(path.read_bytes()) for path in self.devices.glob("*/async_pending*/*/*-*")]
