"""Ring files of many devices, short and wide ids, in both formats: what one writes the other reads."""

import json
import subprocess

import pytest
from swift.cli import ringbuilder
from swift.common.ring import RingBuilder, RingData
from swift.common.ring.io import RingReader

from apus_testing.executables import RING_BUILDER
from apus_testing.ring_scripts import in_process

SECTIONS = ["swift/ring/metadata", "swift/ring/devices", "swift/ring/assignments"]
# Devices, part power, replicas, bytes of an id. Ids of more than 1,000 devices are not compressed.
SHAPES = [(1000, 9, 3, 2), (1001, 9, 3, 4), (1100, 9, 2.5, 2), (1100, 9, 2.5, 4), (65_600, 15, 3, 4)]


def ours(folder, *words):
    done = subprocess.run([RING_BUILDER, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done
    return done.stdout


def build(folder, devices, part_power, replicas, width):
    """A builder whose devices Swift made and that we rebalanced."""
    builder = RingBuilder(part_power, replicas, 1)
    for number in range(devices):
        ip = f"10.{number % 4}.{number // 250}.{number % 250}"
        device = {"id": number, "region": 1, "zone": number % 4, "ip": ip, "port": 6200, "device": f"d{number}", "weight": 100.0}
        builder.devs.append({**device, "replication_ip": ip, "replication_port": 6200, "meta": "", "parts": 0, "parts_wanted": 0})
    # Holes, which no row may name.
    builder.devs[7] = builder.devs[devices // 2] = None
    builder.devs_changed = True
    builder.save(str(folder / "o.builder"))
    ours(folder, "o.builder", "rebalance", "--seed", 1, "--format-version", 2)
    builder = RingBuilder.load(str(folder / "o.builder"))
    if builder.dev_id_bytes != width:
        builder.set_dev_id_bytes(width)
        builder.save(str(folder / "o.builder"))
    return builder


def facts(ring):
    """What a ring says, as Swift loads it."""
    devices = [dev and {key: value for key, value in dev.items() if not key.startswith("parts")} for dev in ring.devs]
    rows = [list(row) for row in ring._replica2part2dev_id]
    return devices, rows, ring._part_shift, ring.next_part_power, ring.version, ring.dev_id_bytes


@pytest.mark.parametrize("devices, part_power, replicas, width", SHAPES)
def test_rings_of_many_devices_are_read_by_swift_and_by_us(tmp_path, devices, part_power, replicas, width):
    builder = build(tmp_path, devices, part_power, replicas, width)
    expected = facts(builder.get_ring())
    assert len({id_ for row in expected[1] for id_ in row}) > min(devices, len(expected[1]) << part_power) * 0.9
    path = str(tmp_path / "o.ring.gz")
    for version in [1, 2] if width == 2 else [2]:
        # With so many devices the rebalance has written this one.
        if devices < 60_000:
            ours(tmp_path, "o.builder", "write_ring", "--format-version", version)
        assert facts(RingData.load(path)) == expected
        assert RingData.load(path, metadata_only=True).version == builder.version
        # And we read Swift's file of the same ring.
        builder.get_ring().save(str(tmp_path / "swifts.ring.gz"), format_version=version)
        ours(tmp_path, "swifts.ring.gz", "write_builder", 1)
        assert facts(RingBuilder.load(str(tmp_path / "swifts.builder")).get_ring()) == expected
        (tmp_path / "swifts.builder").unlink()
    with RingReader.open(path) as reader:
        assert sorted(reader.index) == ["swift/index", *sorted(SECTIONS)]
        # In any order, and each against its digest.
        for section in [*reversed(SECTIONS), *SECTIONS]:
            entry = reader.index[section]
            assert len(reader.read_section(section)) + 8 == entry.uncompressed_length
        entry = reader.index[SECTIONS[2]]
        assert (entry.compressed_length >= entry.uncompressed_length) == (devices > 1000)


def test_swifts_builder_goes_on_with_a_ring_of_wide_ids(tmp_path):
    build(tmp_path, 1100, 9, 3, 4)
    for step in [["set_weight", "d3", "0"], ["pretend_min_part_hours_passed"], ["rebalance", "--seed", "1", "--format-version", "2"]]:
        assert in_process(ringbuilder.main, tmp_path, ["swift-ring-builder", "o.builder", *step])[0] in (0, 1)
    ours(tmp_path, "o.builder", "validate")
    assert json.loads(ours(tmp_path, "o.builder", "search", "d3", "--json"))["devices"][0]["partitions"] == 0
    moves = json.loads(ours(tmp_path, "diff", "o.ring.gz", "o.builder", "--json"))["moves"]
    assert moves["replicas"] == 0
