#!/usr/bin/env python3
"""The reliability suite by one command: `tests/reliability/run.py [slice|full] [--only PART …] [--seed N]`.

Builds the executable with its fault points (or takes the one named by `APUS_BIN`), runs the parts, and prints one line
per figure: `reliability: part=random-kills kills=300 lost=0 resurrected=0 torn=0 seed=17`. The exit code is not zero
when anything was lost, came back, was torn, or a test failed. `slice` is what CI runs; `full` takes hours.
Run it by the Python that has the clients of `tests/requirements.txt`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = {
    "checkers": "test_checkers.py",
    "probe": "probe",
    "kill-matrix": "test_kill_matrix.py",
    "relinker": "test_relinker.py",
    "random-kills": "test_random_kills.py",
    "consistency": "test_consistency.py",
    "ring-changes": "test_ring_changes.py",
    "join-drain": "test_join_drain.py",
    "races": "test_conditional_races.py",
    "power-cuts": "test_power_cuts.py",
    "bit-flips": "test_bit_flips.py",
    "planted": "test_planted.py",
}
SECONDS_PER_TEST = {"slice": 600, "full": 3600}


def build():
    """The executable with fault points, in a place of its own: it must never be taken for a release."""
    # With the tests: their features include the fault points, and what they have compiled is used again.
    command = ["cargo", "build", "--quiet", "--locked", "--workspace", "--bins", "--tests"]
    subprocess.run(command, cwd=ROOT, check=True)
    source, target = ROOT / "target/debug/apus", ROOT / "target/reliability/apus"
    assert b"APUS_FAULTS" in source.read_bytes(), "the executable was built without fault points"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    return target


def run_part(part, amount, environment):
    """Runs a part and prints what it printed, at once; returns its exit code."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rxX", str(HERE / PARTS[part])]
    command.append(f"--timeout={SECONDS_PER_TEST[amount]}")
    done = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds, seed = time.monotonic() - began, environment["APUS_SEED"]
    summary = f"reliability: part={part} exit={done.returncode} seconds={seconds:.0f} seed={seed}"
    print(f"{done.stdout}{summary}", flush=True)
    return done.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("amount", nargs="?", choices=["slice", "full"], default="slice")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, help="repeats a run")
    parser.add_argument("--jobs", type=int, default=2, help="parts that run at the same time (2)")
    parser.add_argument("--histories", type=Path, help="folder for what clients did and saw, as JSON lines")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    executable = os.environ.get("APUS_BIN") or str(build())
    with tempfile.NamedTemporaryFile("r", prefix="figures-") as figures:
        environment = {
            **os.environ,
            "APUS_BIN": executable,
            "APUS_RELIABILITY": options.amount,
            "APUS_SEED": str(seed),
            "APUS_FIGURES": figures.name,
        }
        if options.histories:
            options.histories.mkdir(parents=True, exist_ok=True)
            environment["APUS_HISTORIES"] = str(options.histories.resolve())
        parts = options.only or list(PARTS)
        # Each has addresses and folders of its own, and mostly waits for disks and for processes to start.
        with ThreadPoolExecutor(options.jobs) as pool:
            codes = list(pool.map(partial(run_part, amount=options.amount, environment=environment), parts))
        failed = [part for part, code in zip(parts, codes, strict=True) if code]
        print(f"\n{figures.read()}reliability: parts={len(parts)} failed={len(failed)} seed={seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
