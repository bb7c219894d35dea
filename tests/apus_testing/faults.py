"""Arms the fault points of the executable: one file per process, read at each point (see `lib/fault`)."""

import re
import subprocess
from pathlib import Path

from .executables import APUS, ROOT

# The macros and functions of lib/fault with a name in them.
POINT = re.compile(r'apus_fault::(?:point|fallible)\(\s*"([^"]+)"')
PLANTED = re.compile(r'apus_fault::planted\(\s*"(bug\.[^"]+)"')


class Faults:
    """Arms and disarms points of running processes by the processes' names."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, process):
        return self.folder / process

    def arm(self, process, *lines):
        """Each line as lib/fault reads it: `object.put.linked kill@2`. Replaces what was armed."""
        temporary = self.folder / f".{process}.new"
        temporary.write_text("".join(f"{line}\n" for line in lines))
        temporary.rename(self.file(process))

    def add(self, process, line):
        """Adds a line to what is armed. Of two lines for one point the earlier one counts."""
        path = self.file(process)
        self.arm(process, *(path.read_text().splitlines() if path.exists() else []), line)

    def disarm(self, *processes):
        for process in processes or [path.name for path in self.folder.iterdir()]:
            self.file(process).unlink(missing_ok=True)


def _names(pattern):
    found = set()
    listed = subprocess.run(["git", "ls-files", "*.rs"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in listed.stdout.split():
        if not path.startswith(("lib/fault/", "tests/")):
            found.update(pattern.findall((ROOT / path).read_text()))
    return sorted(found)


def points():
    """All fault points in the sources."""
    return _names(POINT)


def planted_bugs():
    """All planted bugs in the sources."""
    return _names(PLANTED)


def is_built_with_faults():
    """Whether the executable was built with fault points: it then contains the name of their environment variable."""
    return b"APUS_FAULTS" in Path(APUS).read_bytes()
