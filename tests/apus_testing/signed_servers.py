"""Servers that sign the requests that they send each other, and their complete logs."""

import hashlib
import sqlite3

from .servers import Servers
from .waiting import wait_until

# Longer than a write takes that the client does not wait for.
QUIET_SECONDS = 1.5
KEY, OTHER_KEY = "5a" * 32, "c3" * 40


def apus_section(**options):
    return "[apus]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


class SignedServers(Servers):
    """With everything that they log."""

    environment = {"RUST_LOG": "trace"}

    def __init__(self, folder):
        super().__init__(folder)
        self.plain_conf = (self.etc / "swift.conf").read_text()

    def start_with(self, kind, **options):
        (self.etc / "swift.conf").write_text(self.plain_conf + (apus_section(**options) if options else ""))
        self.start(kind)

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
        """What is on the disks when nothing has changed for a while."""
        snapshots = [self.snapshot()]

        def is_quiet():
            snapshots.append(self.snapshot())
            return snapshots[-1] == snapshots[-2]

        wait_until(is_quiet, "the disks do not change any longer", every=QUIET_SECONDS)
        return snapshots[-1]
