"""Bit rot: single flipped bits in files on the disks, as a disk would leave them; times of files stay as they were.

Per round at most one copy of any one thing is touched, so that it can be repaired: each kind of file says what the
thing is. A flip also knows whether it is visible, which means that what the file says has changed.
"""

import io
import os
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

from swift.common.ring import RingData

from . import etc, replicas

# Where the row about a database begins, and how much of it is looked for.
ABOUT = re.compile(rb"AUTH_\w+?\d{10}\.\d{5}")
ABOUT_BYTES = 300


@dataclass
class Flip:
    kind: str
    node: object
    path: Path
    # What at most one copy is touched of.
    thing: tuple
    where: str = ""
    visible: bool = True
    # How the file was before, and after.
    before: object = field(default=None, repr=False)
    after: object = field(default=None, repr=False)
    detected: bool = False
    healed: bool = False


def flip_bit(path, bit):
    """In the content of a file."""
    times = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << (bit % 8))]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def flip_attribute(path, name, bit):
    value = bytearray(os.getxattr(path, name))
    value[bit // 8] ^= 1 << (bit % 8)
    os.setxattr(path, name, bytes(value))


def attributes(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}


def meaning(path):
    """What a file of an object says, with the values that the checksums of its metadata stand for."""
    own = {name: value for name, value in attributes(path).items() if name.startswith("user.apus")}
    if (crc := own.get("user.apus.crc64nvme")) is not None:
        own["user.apus.crc64nvme"] = int(crc, 16) if all(byte in b"0123456789abcdefABCDEF" for byte in crc) else crc
    return replicas.read_file(path), own


class Rot:
    """Draws files and bits by a seed; one for each round."""

    def __init__(self, cluster, draw):
        self.cluster, self.draw = cluster, draw
        self.taken = set()
        self.flips = []

    def some(self, candidates, count, work, *, prefer=()):
        """Flips a bit in `count` of the candidates (node, path, thing), of each thing once; those of preferred things
        first."""
        candidates = sorted(candidates, key=lambda candidate: str(candidate[1]))
        self.draw.shuffle(candidates)
        candidates.sort(key=lambda candidate: candidate[2] not in prefer)
        made = 0
        for node, path, thing in candidates:
            if made == count:
                break
            if thing in self.taken:
                continue
            if (flip := work(node, path, thing)) is not None:
                self.taken.add(thing)
                self.flips.append(flip)
                made += 1
        return made

    def object_files(self, attributes_too):
        for node, folder, _, path in replicas.object_directories(self.cluster):
            for file in path.iterdir():
                if file.suffix in (".data", ".meta", ".ts") and (attributes_too or file.stat().st_size):
                    yield node, file, ("object", folder, path.name)

    def data(self, count):
        """Bodies: the beginning, the end, the edges of blocks, anywhere."""

        def flip(node, path, thing):
            size = path.stat().st_size
            place = self.draw.choice([0, size - 1, 65_535, 65_536, self.draw.randrange(size), self.draw.randrange(size)])
            bit = min(place, size - 1) * 8 + self.draw.randrange(8)
            before = meaning(path)
            flip_bit(path, bit)
            return Flip("data", node, path, thing, f"bit {bit}", True, before)

        return self.some(self.object_files(False), count, flip)

    def xattrs(self, count):
        """Metadata in attributes, their checksums, and the files for metadata that does not fit into attributes."""

        def flip(node, path, thing):
            before = meaning(path)
            overflowing = list((node.disk / "apus-metadata").glob(f"*/{path.parent.name}-{path.name}"))
            if overflowing and self.draw.random() < 0.5:
                bit = self.draw.randrange(overflowing[0].stat().st_size * 8)
                flip_bit(overflowing[0], bit)
                where = f"overflow, bit {bit}"
            else:
                name, value = self.draw.choice(sorted(attributes(path).items()))
                bit = self.draw.randrange(len(value) * 8)
                flip_attribute(path, name, bit)
                where = f"{name}, bit {bit}"
            after = meaning(path)
            return Flip("xattrs", node, path, thing, where, after != before, before, after)

        return self.some(self.object_files(True), count, flip)

    def databases(self, count, stopped):
        """`stopped`: no process has them open, and one may have a WAL; otherwise their servers run."""

        def candidates():
            for (kind, hashed), by_node in replicas.databases(self.cluster).items():
                for node, path in by_node.items():
                    yield node, path, (kind, hashed)

        def flip(node, path, thing):
            wal = path.with_name(path.name + "-wal")
            file = wal if wal.exists() and wal.stat().st_size and self.draw.random() < 0.4 else path
            before = replicas.everything(path)
            bit = self.bit_of_database(file)
            flip_bit(file, bit)
            after = replicas.everything(path)
            where = f"{file.name[-8:]}, bit {bit}, {'stopped' if stopped else 'running'}"
            return Flip("databases", node, path, thing, where, after != before, before, after)

        return self.some(candidates(), count, flip)

    def bit_of_database(self, file):
        """Most of a small database is empty pages: some of the bits are drawn from all, some from bytes that are not
        zero, and some from the row about the database."""
        content = file.read_bytes()
        bit = self.draw.randrange(len(content) * 8)
        kind = self.draw.random()
        if kind < 0.3 and (rows := [match.start() for match in ABOUT.finditer(content)]):
            return min(self.draw.choice(rows) * 8 + self.draw.randrange(ABOUT_BYTES * 8), len(content) * 8 - 1)
        if kind < 0.7:
            while not content[bit // 8]:
                bit = self.draw.randrange(len(content) * 8)
        return bit

    def hash_files(self, count, prefer=()):
        """`hashes.pkl` and `hashes.invalid` of partitions."""

        def candidates():
            for node, folder, path in replicas.partitions(self.cluster):
                for name in ("hashes.pkl", "hashes.invalid"):
                    if (path / name).exists() and (path / name).stat().st_size:
                        yield node, path / name, ("partition", folder, path.name)

        def flip(node, path, thing):
            before = replicas.believed(path.parent)
            bit = self.draw.randrange(path.stat().st_size * 8)
            flip_bit(path, bit)
            after = replicas.believed(path.parent)
            return Flip("hashes", node, path, thing, f"{path.name}, bit {bit}", after != before, before, after)

        return self.some(candidates(), count, flip, prefer=prefer)

    def async_files(self, count):
        """Row updates that wait, and their checksums."""

        def candidates():
            for node in self.cluster.nodes:
                for path in node.disk.glob("async_pending*/*/*-*"):
                    # The three copies of a write leave one note each.
                    yield node, path, ("async", path.name)

        def flip(node, path, thing):
            before = note(path)
            name = "user.apus.crc64nvme"
            if name in os.listxattr(path) and self.draw.random() < 0.1:
                bit = self.draw.randrange(len(os.getxattr(path, name)) * 8)
                flip_attribute(path, name, bit)
                return Flip("async", node, path, thing, f"{name}, bit {bit}", False, before, before)
            bit = self.draw.randrange(path.stat().st_size * 8)
            flip_bit(path, bit)
            after = note(path)
            return Flip("async", node, path, thing, f"bit {bit}", after != before, before, after)

        return self.some(candidates(), count, flip)

    def count(self, kind):
        return sum(flip.kind == kind for flip in self.flips)

    def rings(self, count):
        """Each node's and each proxy's own files, one of each; returns these flips."""
        wave = self.count("rings")

        def candidates():
            for holder in [*self.cluster.nodes, *self.cluster.proxies]:
                for ring in etc.RINGS:
                    yield holder, holder.etc / f"{ring}.ring.gz", ("ring", holder.name, wave)

        def flip(holder, path, thing):
            before = ring_content(path)
            bit = self.draw.randrange(path.stat().st_size * 8)
            flip_bit(path, bit)
            after = ring_content(path)
            return Flip("rings", holder, path, thing, f"bit {bit}", after != before, before, after)

        made = self.some(candidates(), count, flip)
        return self.flips[-made:]


class Plain(pickle.Unpickler):
    """Of a damaged pickle nothing is called."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


def note(path):
    """An update that waits, as Swift reads it."""
    try:
        return Plain(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged pickle may raise anything
        return f"{type(error).__name__}"


def ring_content(path):
    """What a ring says, read by Swift; or that it cannot be read."""
    try:
        ring = RingData.load(str(path)).to_dict()
        return ring["devs"], ring["part_shift"], [list(row) for row in ring["replica2part2dev_id"]], ring["version"]
    except Exception as error:  # damage may raise anything
        return f"{type(error).__name__}: {error}"
