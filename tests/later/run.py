#!/usr/bin/env python3
"""Runs parts of `./test` with a later date: `tests/later/run.py slice`, or `tests/later/run.py full [--only PART …]`.

A test that passes today and fails next month is a defect, and so is code that takes the present for the past. Processes
and tests see a wall clock that is 40 days, 400 days or 20 years ahead, and times of files that fit it (`clock.c`);
intervals and deadlines stay the machine's. `slice` runs the unit tests and the black-box tests that depend most on
dates, 20 years ahead. `full` runs every part of `./test` at each of the three distances. rclone is left out: its
runtime does not ask the C library for the time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = ROOT / "target/later/clock.so"
DAY_SECONDS = 24 * 3600
DISTANCES = {"40d": 40 * DAY_SECONDS, "400d": 400 * DAY_SECONDS, "20y": 7305 * DAY_SECONDS}
# Formats of Swift with fixed vectors, replication and reclaiming, expiry, signatures, tokens.
SLICE = [
    "test_swift_formats.py",
    "test_object_replication_with_swift.py",
    "test_db_replication.py",
    "test_expirer.py",
    "test_clients.py",
    "test_signed.py",
    "test_roles.py",
]


def pytest(*words):
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]


PARTS = {
    "unit": ["cargo", "test", "--quiet", "--locked", "--workspace"],
    "slice": pytest("--timeout=300", *(f"tests/blackbox/{name}" for name in SLICE)),
    "blackbox": pytest("--timeout=300", "--ignore=tests/blackbox/test_rclone.py", "tests/blackbox"),
    "reliability": [sys.executable, "tests/reliability/run.py", "slice"],
    "mixed": pytest("--timeout=600", "tests/mixed"),
    "swift": [sys.executable, "tests/suites/run.py", "swift"],
    "probe": [sys.executable, "tests/suites/run.py", "probe"],
    "s3-tests": [sys.executable, "tests/suites/run.py", "s3-tests"],
}


def build():
    """The library that moves a process's clock. What links Rust's executables compiles it."""
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", LIBRARY, HERE / "clock.c"], check=True)


def later(distance):
    """The environment of a process that runs that much later."""
    return {"LD_PRELOAD": str(LIBRARY), "APUS_CLOCK_SHIFT": str(DISTANCES[distance])}


def run(part, distance):
    """Runs one part; returns whether it passed."""
    environment, shifted = dict(os.environ), later(distance)
    if part == "unit":
        # Only the tests run later, not cargo, which compares the times of files.
        words = ["env", *(f"{name}={value}" for name, value in shifted.items())]
        environment["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"] = " ".join(words)
    else:
        environment.update(shifted)
    began = time.monotonic()
    done = subprocess.run(PARTS[part], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
    print(f"later: part={part} by={distance} exit={done.returncode} seconds={time.monotonic() - began:.0f}", flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("amount", nargs="?", choices=["slice", "full"], default="slice")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--by", nargs="+", choices=DISTANCES, metavar="DISTANCE", help=", ".join(DISTANCES))
    options = parser.parse_args()
    build()
    full = [part for part in PARTS if part != "slice"]
    parts = options.only or (["unit", "slice"] if options.amount == "slice" else full)
    distances = options.by or (["20y"] if options.amount == "slice" else list(DISTANCES))
    passed = [run(part, distance) for distance in distances for part in parts]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
