"""Devices that are unmounted, lose power and come back."""

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

# _IOR('X', 125, __u32) of linux/fs/ext4/ext4.h (EXT4_IOC_SHUTDOWN) and xfs_fs.h (XFS_IOC_GOINGDOWN).
SHUTDOWN = 0x8004587D
# Without the log: what was not synced is lost, as in a power cut.
WITHOUT_LOG = (2).to_bytes(4, "little")


def away(node):
    return node.disk.with_name(f"{node.device}X")


def take_away(node):
    """Unmounts a device, so that its server answers 507 (Swift's `kill_drive`)."""
    node.disk.rename(away(node))


def bring_back(node):
    away(node).rename(node.disk)


@contextmanager
def gone(*nodes):
    """Unmounts the devices of nodes for the time of the block."""
    for node in nodes:
        take_away(node)
    try:
        yield
    finally:
        for node in nodes:
            bring_back(node)


def wipe(node):
    """Replaces the disk by an empty one."""
    for path in node.disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def can_mount():
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


def ensure_images(kind):
    """Fails in CI, and skips elsewhere, when images of a file system cannot be made and mounted."""
    if kind == "xfs" and not shutil.which("mkfs.xfs") and os.geteuid() == 0:
        subprocess.run("apt-get update -qq && apt-get install -y -qq xfsprogs", shell=True, capture_output=True)
    if not can_mount() or not shutil.which(f"mkfs.{kind}"):
        message = f"power cuts need root, loop devices and mkfs.{kind}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


class Image:
    """A file system in a file, mounted as a device."""

    def __init__(self, file, mount_point, kind="ext4", megabytes=None):
        self.file, self.mount_point, self.kind = Path(file), Path(mount_point), kind
        # XFS does not go below 300 MiB; the file is sparse.
        size = megabytes or (320 if kind == "xfs" else 96)
        with open(self.file, "wb") as made:
            made.truncate(size << 20)
        options = ["-q", "-f"] if kind == "xfs" else ["-q", "-F", "-I", "512", "-E", "lazy_itable_init=0"]
        run(f"mkfs.{kind}", *options, self.file)
        self.mount_point.mkdir(parents=True, exist_ok=True)

    def mount(self):
        run("mount", "-t", self.kind, "-o", "loop", self.file, self.mount_point)

    def cut_power(self):
        """Drops all that was not synced; the file system fails every call from now on."""
        directory = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, WITHOUT_LOG)
        finally:
            os.close(directory)

    def unmount(self):
        run("umount", self.mount_point)

    def end(self):
        """Unmounts it in any state."""
        subprocess.run(["umount", "-l", str(self.mount_point)], capture_output=True)


@contextmanager
def images(cluster, kind, megabytes=None):
    """Puts every device of a cluster that is not started yet on an image; returns the images by node."""
    ensure_images(kind)
    made = {}
    try:
        for node in cluster.nodes:
            file = cluster.folder / f"{node.device}.{kind}"
            made[node] = image = Image(file, node.disk, kind, megabytes)
            cluster.endings.append(image.end)
            image.mount()
        yield made
    finally:
        for process in cluster.processes:
            process.kill()
        for image in made.values():
            image.end()
