"""A year of a cluster whose devices fail, are replaced and are added to, with weekly rebalances.

    ring_year.py target/release/ring-builder --devices 10000 --part-power 20
    ring_year.py target/release/ring-builder target/venv/bin/swift-ring-builder --devices 500 --part-power 14

Every week, by the seed and so the same for both builders: each device fails by the yearly rate (default 1.5 %)
at some hour; servers of ten disks are added so that the number of devices grows by 30 % in the year, in turn to
every zone, with sizes from 12,000 at its start to 24,000 at its end. At the end of the week failed devices are removed,
replaced by devices of today's size, new servers are added, and the ring is rebalanced once (min_part_hours is
far shorter than a week). What the rebalance moved is copied within 24 hours.

A replica lives when its device works and it has been copied there; what a former device still holds is not counted. Printed
are the worst and the last balance and dispersion, replicas moved next to the least that weights ask for,
bytes moved when devices are 60 % full, and partitions that had fewer than two living replicas at any moment.
"""

import argparse
import array
import gzip
import json
import os
import random
import shutil
import struct
import tempfile

from ring_sets import Builder, Grid

DISKS = 10
COPY_HOURS = 24
WEEK_HOURS = 168


def rows_of(path):
    with gzip.open(path) as file:
        data = file.read()
    assert data[:6] == b"R1NG\0\1", "a version 1 ring"
    (length,) = struct.unpack(">I", data[6:10])
    head = json.loads(data[10 : 10 + length])
    ids = array.array("H", data[10 + length :])
    parts = 1 << (32 - head["part_shift"])
    return [ids[start : start + parts] for start in range(0, len(ids), parts)]


class Year:
    def __init__(self, tool, folder, options):
        self.random = random.Random(options.seed)
        self.builder = Builder(os.path.abspath(tool), folder)
        self.ring = os.path.join(folder, "object.ring.gz")
        self.backups = os.path.join(folder, "backups")
        self.options = options
        self.weights = {}
        self.places = {}
        self.user = 0.0
        self.shape = Grid(options.part_power, options.devices, 0, options.regions, 5, DISKS)
        self.builder.create(options.part_power, 3)
        self.add(self.shape.devices(0, options.devices))
        self.serial = options.devices
        self.below_two = set()
        self.figures = []

    def add(self, devices):
        """Adds devices and learns their ids from what the builder says."""
        devices = list(devices)
        if not devices:
            return
        text, user, *_ = self.builder.run("add", *[word for pair in devices for word in map(str, pair)])
        self.user += user
        ids = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "got id" in line]
        assert len(ids) == len(devices), text[-500:]
        for id_, (place, weight) in zip(ids, devices, strict=True):
            self.weights[id_], self.places[id_] = weight, place

    def week(self, week, rows, copying):
        """Fails, removes, adds, rebalances; returns the new rows and the replicas under copy."""
        options = self.options
        rate = 1 - (1 - options.afr) ** (1 / options.weeks)
        failed = {}
        # In the order in which they were added, which no builder can change.
        for id_ in list(self.weights):
            if self.random.random() < rate:
                failed[id_] = self.random.uniform(0, WEEK_HOURS)
        self.count_living(rows, failed, copying)
        size = round(12000 + 12000 * week / options.weeks)
        new = []
        for id_ in failed:
            del self.weights[id_]
            # The disk in its place has another name, so that the old one cannot be meant.
            self.serial += 1
            new.append((f"{self.places.pop(id_).rsplit('/', 1)[0]}/n{self.serial}", size))
        servers = (len(self.weights) * options.growth / options.weeks + self.random.random() * DISKS) // DISKS
        for _ in range(int(servers)):
            self.serial += 1
            r, z = self.serial % options.regions + 1, self.serial // options.regions % 5 + 1
            address = f"11.{self.serial >> 16}.{self.serial >> 8 & 255}.{self.serial & 255}"
            new += [(f"r{r}z{z}-{address}:6200/d{disk}", size) for disk in range(DISKS)]
        if failed:
            self.user += self.builder.run("remove", "--yes", *[f"d{id_}" for id_ in failed])[1]
        self.add(new)
        self.user += self.builder.run("pretend_min_part_hours_passed")[1]
        (moved, balance, dispersion), cost = self.builder.rebalance(week)
        self.user += cost[0]
        shutil.rmtree(self.backups, ignore_errors=True)
        now = rows_of(self.ring)
        changed = {}
        for old, row in zip(rows, now, strict=True):
            for part, (before, after) in enumerate(zip(old, row, strict=False)):
                if before != after:
                    changed.setdefault(part, []).append(after)
        assert moved == sum(len(devices) for devices in changed.values()), (moved, len(changed))
        self.figures.append((moved, self.least(rows, failed), balance, dispersion))
        return now, changed

    def least(self, rows, failed):
        """Replicas that must move for every device to hold its share."""
        held = dict.fromkeys(self.weights, 0)
        for row in rows:
            for id_ in row:
                # An id may have been given again to a new device, which holds nothing.
                if id_ in held and id_ not in failed:
                    held[id_] += 1
        total = sum(map(len, rows)) / sum(self.weights.values())
        return sum(max(0.0, weight * total - held[id_]) for id_, weight in self.weights.items())

    def count_living(self, rows, failed, copying):
        """Partitions with fewer than two living replicas at some moment of the week."""
        dead = {}
        for row in rows:
            for part, id_ in enumerate(row):
                if id_ in failed:
                    dead.setdefault(part, []).append((id_, failed[id_]))
        for part, lost in dead.items():
            early = {id_ for id_, hour in lost if hour < COPY_HOURS}
            missing = early | set(copying.get(part, []))
            if len(lost) >= 2 or len(missing) >= 2:
                self.below_two.add(part)
        for part, ids in copying.items():
            if len(ids) >= 2:
                self.below_two.add(part)

    def run(self):
        (_, balance, dispersion), cost = self.builder.rebalance(1)
        self.user += cost[0]
        rows, copying = rows_of(self.ring), {}
        for week in range(1, self.options.weeks + 1):
            rows, copying = self.week(week, rows, copying)
            if self.options.verbose:
                print(week, len(self.weights), *self.figures[-1], len(self.below_two), flush=True)
        return rows

    def report(self, label):
        moved, least = (sum(figure[at] for figure in self.figures) for at in (0, 1))
        known = [figure for figure in self.figures if figure[2] is not None]
        stored = sum(self.weights.values()) * 0.6 / 1000
        share = moved / (3 << self.options.part_power)
        print(
            f"| {label} | {self.options.devices:,} to {len(self.weights):,} | 2^{self.options.part_power} "
            f"| {max(figure[2] for figure in known):.2f} / {known[-1][2]:.2f} "
            f"| {max(figure[3] for figure in known):.2f} / {known[-1][3]:.2f} "
            f"| {moved:,} | {moved / least:.3f} | {share * stored:,.0f} TB | {len(self.below_two)} | {self.user:.0f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("swift", nargs="?")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--part-power", type=int, default=14)
    parser.add_argument("--regions", type=int, default=4)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--afr", type=float, default=0.015, help="share of devices that fail in a year")
    parser.add_argument("--growth", type=float, default=0.3, help="share by which devices grow in a year")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print every week")
    options = parser.parse_args()
    columns = ["builder", "devices", "partitions", "balance worst / last", "dispersion worst / last", "replicas moved"]
    columns += ["to the least", "bytes moved", "ever below two", "user s"]
    print(f"| {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for label, tool in [("ours", options.ours), ("Swift", options.swift)]:
        if tool:
            with tempfile.TemporaryDirectory() as folder:
                year = Year(tool, folder, options)
                year.run()
                year.report(label)


if __name__ == "__main__":
    main()
