"""Builds rings of several sizes with our builder and with Swift's, side by side.

    ring_scale.py target/release/ring-builder [target/venv/bin/swift-ring-builder] [--sets A,B,C]

Each step is one whole process: user CPU, system CPU, wall time and highest memory are the kernel's figures
for it. Without Swift's program only ours is run.
"""

import argparse
import os
import tempfile

from ring_sets import SETS, Builder


def measure(tool, label, name, inputs):
    with tempfile.TemporaryDirectory() as folder:
        builder = Builder(tool, folder)
        builder.create(inputs.part_power, inputs.replicas)
        builder.add(inputs.devices(0, inputs.first))
        if inputs.overload:
            builder.run("set_overload", inputs.overload)
        steps = ["first rebalance", "after more devices" if inputs.then > inputs.first else "again"]
        for number, step in enumerate(steps):
            if number:
                builder.add(inputs.devices(inputs.first, inputs.then))
                builder.run("pretend_min_part_hours_passed")
            (moved, balance, dispersion), (user, system, wall, memory) = builder.rebalance()
            row = [name, step, label, f"{user:.2f}", f"{system:.2f}", f"{wall:.1f}", f"{memory:.0f}", moved, balance, dispersion]
            print("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |", flush=True)
        size = os.path.getsize(os.path.join(folder, "object.ring.gz"))
        print(f"  ({label}: ring file {size:,} bytes)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("swift", nargs="?")
    parser.add_argument("--sets", default="A,B,C,D0,D10,DEC")
    options = parser.parse_args()
    print("| set | step | builder | user s | system s | wall s | MiB | moved | balance | dispersion |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.sets.split(","):
        for label, tool in [("ours", options.ours), ("Swift", options.swift)]:
            if tool:
                measure(os.path.abspath(tool), label, name, SETS[name])


if __name__ == "__main__":
    main()
