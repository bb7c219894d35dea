#!/usr/bin/env python3
"""Runs the tests that CI runs: `./test [PART…]`. Without parts, all of them.

What a part needs runs before it, also when it is not named. Parts that measure time or start clusters run alone; the
others run two at a time. After a failure no further part starts. What is missing is installed into target/.

parts:
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "target"
VENV = TARGET / "venv"
LOGS = TARGET / "test-logs"
PYTHON = str(VENV / "bin/python")
PYTEST = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
CARGO_DENY = "0.20.2"
LANES = 2


def run(*words, folder=ROOT):
    subprocess.run([str(word) for word in words], cwd=folder, check=True)


def cargo_deny():
    program = TARGET / "tools/bin/cargo-deny"
    if not program.exists():
        # It runs for some seconds: optimizing it takes longer than it saves.
        run("cargo", "install", "--debug", "--quiet", "--locked", "--root", TARGET / "tools", f"cargo-deny@{CARGO_DENY}")
    run(program, "--log-level", "error", "check", "licenses", "bans", "sources")


def apt_install(*packages):
    if os.getuid() == 0:
        command = f"apt-get update -qq && apt-get install -y -qq {' '.join(packages)}"
        subprocess.run(command, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def environment():
    """Python packages, rclone, restic and the programs of the system that tests use."""
    if not (VENV / "bin/pip").exists():
        shutil.rmtree(VENV, ignore_errors=True)
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            # Debian has the module that makes environments in a package of its own.
            apt_install("python3-venv")
            shutil.rmtree(VENV, ignore_errors=True)
            run(sys.executable, "-m", "venv", VENV)
    # Nothing is asked of the package index again when all that is wanted is there.
    wanted = (ROOT / "tests/requirements.txt").read_text() + (ROOT / "tests/pyproject.toml").read_text() + str(ROOT)
    installed = VENV / "installed"
    if not installed.exists() or installed.read_text() != wanted:
        run(VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "tests/requirements.txt", "-e", "tests")
        installed.write_text(wanted)
    run(PYTHON, "-c", "from apus_testing.suites import swift_source; swift_source()")
    for program in ("rclone", "restic"):
        if not shutil.which(program) and not (TARGET / "tools/usr/bin" / program).exists():
            (TARGET / "tools").mkdir(exist_ok=True)
            command = f"apt-get download -qq {program} && dpkg -x {program}_*.deb ."
            if subprocess.run(command, shell=True, cwd=TARGET / "tools").returncode:
                print(f"{program} could not be fetched from Debian: its tests are skipped")
    # For partitions, failing disks and Swift's database replicators. In CI, tests fail when one is missing.
    programs = ("rsync", "iptables", "mkfs.xfs")
    if not all(map(shutil.which, programs)):
        apt_install("rsync", "iptables", "xfsprogs")
        if not all(map(shutil.which, programs)):
            print(f"not all of {', '.join(programs)} could be installed")


def release_build():
    run("cargo", "build", "--quiet", "--locked", "--release")
    # The ring builder is the same program under another name.
    link = TARGET / "release/ring-builder"
    link.unlink(missing_ok=True)
    link.symlink_to("apus")


def python_lints():
    run(VENV / "bin/ruff", "check", "--quiet", "--no-cache", "tests")
    run(VENV / "bin/ruff", "format", "--check", "--quiet", "--no-cache", "tests")
    run(PYTHON, "-m", "mypy", "--no-error-summary", "--cache-dir", TARGET / "mypy", ".", folder=ROOT / "tests")


@dataclass
class Part:
    """A part of the tests: a command or a function, and what must have passed before it."""

    name: str
    about: str
    work: Callable[[], None] | list[str]
    needs: tuple = ()
    # Whether no other part may run at the same time.
    alone: bool = False
    # Cargo holds a lock for each profile, so two parts that use one would only wait for each other.
    lock: str = ""
    seconds: float | None = field(default=None, init=False)
    passed: bool | None = field(default=None, init=False)

    @property
    def log(self):
        return LOGS / f"{self.name}.log"


# In the order in which they start.
PARTS = [
    Part("format", "cargo fmt", ["cargo", "fmt", "--check"]),
    Part("environment", "Python packages and programs that tests use, installed when missing", environment),
    Part(
        "lints",
        "clippy",
        ["cargo", "clippy", "--quiet", "--locked", "--all-targets", "--", "-D", "warnings"],
        lock="debug",
    ),
    Part("python-lints", "ruff and mypy", python_lints, needs=("environment",)),
    Part("build", "the release executable", release_build, lock="release"),
    Part(
        "unit-build",
        "compiles the unit tests and the executable with fault points",
        ["cargo", "build", "--quiet", "--locked", "--workspace", "--bins", "--tests"],
        lock="debug",
    ),
    Part("licences", "licences, bans and sources of dependencies", cargo_deny),
    Part(
        "unit",
        "unit tests, crash states and rules of the sources",
        ["cargo", "test", "--quiet", "--locked", "--workspace"],
        needs=("unit-build",),
        lock="debug",
        alone=True,
    ),
    Part(
        "blackbox",
        "the executable as clients and other servers see it",
        [*PYTEST, "--timeout=300", "tests/blackbox"],
        needs=("build", "environment"),
        alone=True,
    ),
    Part(
        "reliability",
        "faults, kills, power cuts, consistency",
        [PYTHON, "tests/reliability/run.py", "slice"],
        needs=("unit-build", "environment"),
        lock="debug",
        alone=True,
    ),
    Part(
        "later",
        "the unit tests and some black-box tests twenty years later",
        [PYTHON, "tests/later/run.py", "slice"],
        needs=("unit-build", "build", "environment"),
        lock="debug",
        alone=True,
    ),
    Part(
        "probe",
        "Swift's own probe tests",
        [PYTHON, "tests/suites/run.py", "probe"],
        needs=("build", "environment"),
        # They expect that one pass of each daemon is enough, which a busy machine makes less likely.
        alone=True,
    ),
    Part("s3-tests", "ceph/s3-tests", [PYTHON, "tests/suites/run.py", "s3-tests"], needs=("build", "environment")),
    Part(
        "mixed",
        "clusters of our servers and Swift's",
        [*PYTEST, "--timeout=600", "tests/mixed"],
        needs=("build", "environment"),
    ),
    Part("swift", "Swift's own functional tests", [PYTHON, "tests/suites/run.py", "swift"], needs=("build", "environment")),
]
BY_NAME = {part.name: part for part in PARTS}


def with_needs(names):
    """The named parts and what they need, in order."""
    chosen = set()

    def choose(name):
        chosen.add(name)
        for need in BY_NAME[name].needs:
            choose(need)

    for name in names:
        choose(name)
    return [part for part in PARTS if part.name in chosen]


def perform(part):
    """Runs one part into its log; sets its time and its outcome."""
    began = time.monotonic()
    with open(part.log, "w") as log:
        # A function runs in a process of its own, so that all of its output is kept.
        words = [sys.executable, __file__, "--work", part.name] if callable(part.work) else part.work
        code = subprocess.run(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT).returncode
    part.seconds, part.passed = time.monotonic() - began, code == 0


def can_start(part, running, parts):
    if part.alone and running or any(other.alone for other in running) or len(running) == LANES:
        return False
    if part.lock and any(other.lock == part.lock for other in running):
        return False
    return all(need.passed for need in parts if need.name in part.needs)


def run_all(parts):
    """Starts parts in their order as soon as they may start; returns whether all passed."""
    waiting, running, changed = list(parts), [], threading.Condition()
    began = time.monotonic()

    def finish(part):
        perform(part)
        with changed:
            running.remove(part)
            outcome = "passed" if part.passed else "FAILED"
            print(f"== {part.name}: {outcome} in {part.seconds:.0f} s (after {time.monotonic() - began:.0f} s)")
            print(part.log.read_text(errors="replace"), end="", flush=True)
            changed.notify()

    with changed:
        while waiting or running:
            failed = any(part.passed is False for part in parts)
            part = next((part for part in waiting if can_start(part, running, parts)), None)
            # A part that runs alone is not passed over by later ones, so that it does not wait for all of them.
            barrier = next((waits for waits in waiting if waits.alone), None)
            if part and barrier and waiting.index(part) > waiting.index(barrier) and running:
                part = None
            if failed or part is None:
                if not running:
                    break
                changed.wait()
                continue
            waiting.remove(part)
            running.append(part)
            print(f"== {part.name} starts: {part.about} (output in {part.log.relative_to(ROOT)})", flush=True)
            threading.Thread(target=finish, args=(part,), daemon=True).start()
    print_times(parts, time.monotonic() - began)
    return all(part.passed for part in parts)


def print_times(parts, total):
    print("\nseconds  part")
    for part in parts:
        outcome = {True: "", False: "  FAILED", None: "  not run"}[part.passed]
        print(f"{part.seconds or 0:7.0f}  {part.name}{outcome}")
    print(f"{total:7.0f}  in all", flush=True)


def main():
    listed = "\n".join(f"  {part.name:13} {part.about}" for part in PARTS)
    parser = argparse.ArgumentParser(prog="./test", description=__doc__ + listed, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="part to run, with what it needs")
    parser.add_argument("--work", choices=BY_NAME, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in BY_NAME]:
        parser.error(f"unknown parts: {' '.join(unknown)}; there are {' '.join(BY_NAME)}")
    if options.work:
        work = BY_NAME[options.work].work
        assert callable(work)
        work()
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    return 0 if run_all(with_needs(options.parts or BY_NAME)) else 1


if __name__ == "__main__":
    sys.exit(main())
