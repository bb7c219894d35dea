"""Rings, built by our ring builder."""

import subprocess

from .executables import APUS


def build(folder, ring, *words):
    """Runs a command of the ring builder on a ring's builder file."""
    builder = str(folder / f"{ring}.builder")
    done = subprocess.run([APUS, "ring-builder", builder, *map(str, words)], capture_output=True, text=True)
    # 1 is a warning, such as that nothing had to be moved.
    assert done.returncode in (0, 1), done.stdout + done.stderr


def make_ring(folder, ring, devices, *, part_power, replicas=3, min_part_hours=0, weight=1):
    """Builds `<ring>.ring.gz`; devices are written as `r1z1-127.0.0.1:6200/sd1`."""
    build(folder, ring, "create", part_power, replicas, min_part_hours)
    for device in devices:
        build(folder, ring, "add", device, weight)
    build(folder, ring, "rebalance", "--seed", 7)
    return folder / f"{ring}.ring.gz"
