"""The committed devices that OpenStack Swift 2.38 wrote (`tests/fixtures/make_swift_disk.py`)."""

import json
import shutil
import subprocess

import zstandard

from .executables import FIXTURES

FOLDER = FIXTURES / "swift_disk"
# Where the rings say that the servers are.
IP = "127.79.1.1"
PORTS = {"object": 6200, "container": 6201, "account": 6202, "proxy": 8080}


def unpack(folder):
    """Copies the devices to `srv` below a folder, and rings and `swift.conf` to `etc`."""
    plain = folder / "srv.tar"
    with open(FOLDER / "srv.tar.zst", "rb") as source, open(plain, "wb") as target:
        zstandard.ZstdDecompressor(max_window_size=1 << 27).copy_stream(source, target)
    subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "-xf", plain, "-C", folder], check=True)
    plain.unlink()
    shutil.copytree(FOLDER / "etc", folder / "etc")
    subprocess.run(["chmod", "-R", "u+w", folder / "srv", folder / "etc"], check=True)


def expected():
    """What a client saw through Swift."""
    return json.loads((FOLDER / "expected.json").read_text())
