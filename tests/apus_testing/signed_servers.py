"""Servers that sign the requests that they send each other, and their complete logs."""

import hashlib
import os
import socket
import sqlite3
import subprocess
import time

from .executables import APUS
from .servers import Servers

KEY, OTHER_KEY = "5a" * 32, "c3" * 40


def apus_section(**options):
    return "[apus]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


class SignedServers(Servers):
    def __init__(self, folder):
        super().__init__(folder)
        self.plain_conf = (self.etc / "swift.conf").read_text()

    def start_with(self, kind, **options):
        (self.etc / "swift.conf").write_text(self.plain_conf + (apus_section(**options) if options else ""))
        self.start(kind)

    def start(self, kind):
        """As its parent does, with everything it has to say kept."""
        with open(self.log(kind), "a") as log:
            environment = {**os.environ, "RUST_LOG": "trace"}
            process = subprocess.Popen([APUS, f"{kind}-server", str(self.etc)], stderr=log, env=environment)
        self.processes[kind] = process
        until = time.monotonic() + 10
        while True:
            try:
                return socket.create_connection(self.address(kind), timeout=1).close()
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < until, self.log(kind).read_text()
                time.sleep(0.02)

    def log(self, kind):
        return self.etc / f"{kind}.log"

    def address(self, kind):
        return ("127.0.0.1", self.ports[kind])

    def snapshot(self):
        """What is on the disks: files by content, databases by their rows."""
        found: dict[str, object] = {}
        for path in self.devices.rglob("*"):
            name = str(path.relative_to(self.devices))
            locks = path.name.startswith(".lock") or name.endswith((".db-wal", ".db-shm", ".lock"))
            if path.is_dir() or locks or "/tmp/" in name:
                continue
            if path.suffix == ".db":
                with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                    found[name] = list(connection.iterdump())
                connection.close()
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def settled(self):
        before = self.snapshot()
        while True:
            time.sleep(1.5)
            now = self.snapshot()
            if now == before:
                return now
            before = now


def stop_all(servers):
    for kind in list(servers.processes):
        assert servers.stop(kind) == 0, kind
