"""Inputs for ring builders (rules: docs/internals/ring.md), and one step of a builder as a measured process."""

import os
import re
import subprocess
import time

WEIGHTS = [4000, 6000, 8000, 12000]


class Grid:
    """Devices i = START .. END-1 dealt over regions, zones and servers; a weight belongs to a server."""

    def __init__(self, part_power, first, then, regions, zones, disks, equal=False):
        self.part_power, self.first, self.then = part_power, first, then
        self.regions, self.zones, self.disks, self.equal = regions, zones, disks, equal
        self.replicas, self.overload = 3, 0

    def devices(self, start, end):
        for i in range(start, end):
            r, z = i % self.regions + 1, i // self.regions % self.zones + 1
            k = i // (self.regions * self.zones)
            weight = 100 if self.equal else WEIGHTS[(k // self.disks + r + z) % 4]
            yield f"r{r}z{z}-10.{r}.{z}.{k // self.disks + 1}:6200/d{k % self.disks}", weight


class Uneven:
    """280 devices in regions of 160, 80 and 40."""

    def __init__(self, part_power, replicas, overload):
        self.part_power, self.replicas, self.overload = part_power, replicas, overload
        self.first = self.then = 280

    def devices(self, start, end):
        if start:
            return
        for region, devices, zones in [(1, 160, 4), (2, 80, 2), (3, 40, 1)]:
            for zone in range(1, zones + 1):
                for i in range(devices // zones):
                    server = i // 10 + 1
                    weight = WEIGHTS[(server + zone) % 4]
                    yield f"r{region}z{zone}-10.{region}.{zone}.{server}:6200/d{i % 10}", weight


SETS = {
    "A": Grid(16, 256, 269, 1, 4, 8, equal=True),
    "B": Grid(18, 1000, 1050, 4, 5, 10),
    "C": Grid(20, 2000, 2100, 4, 5, 10),
    "F": Grid(23, 10000, 10500, 6, 5, 10),
    "D0": Uneven(16, 3, 0),
    "D10": Uneven(16, 3, 0.1),
    "DEC": Uneven(14, 6, 0),
}


class Builder:
    """A builder file in a folder, worked on by one of the two programs."""

    def __init__(self, tool, folder, name="object.builder"):
        self.tool, self.folder, self.name = str(tool), str(folder), name

    def run(self, *arguments):
        """Runs one step; returns its output, user and system seconds, wall seconds and highest MiB."""
        command = [self.tool, self.name, *map(str, arguments)]
        with open(os.path.join(self.folder, "said"), "w+b") as said:
            start = time.monotonic()
            child = subprocess.Popen(command, cwd=self.folder, stdout=said, stderr=said)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            wall = time.monotonic() - start
            said.seek(0)
            text = said.read().decode()
        if child.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command[:4])}: exit {child.returncode}\n{text[-2000:]}")
        return text, usage.ru_utime, usage.ru_stime, wall, usage.ru_maxrss / 1024

    def create(self, part_power, replicas):
        self.run("create", part_power, replicas, 1)

    def add(self, devices):
        words = [str(word) for pair in devices for word in pair]
        if words:
            self.run("add", *words)

    def rebalance(self, seed=1):
        """Rebalances; returns moved replicas, balance, dispersion, and what the step cost."""
        text, *cost = self.run("rebalance", "--seed", seed)
        said = re.search(r"Reassigned (\d+) .*Balance is now ([\d.]+)\. +Dispersion is now ([\d.]+)", text)
        if not said:
            return (0, None, None), cost
        return (int(said[1]), float(said[2]), float(said[3])), cost
