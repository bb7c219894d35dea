"""Loss of directories of running servers."""

import shutil
import tempfile
from pathlib import Path


def lose(directory):
    """Takes a directory away from running processes at once.

    Removing it in place takes time, in which a process may write into it: the removal then fails, or leaves a part.
    """
    trash = Path(tempfile.mkdtemp(prefix="apus-lost-"))
    Path(directory).rename(trash / "lost")
    # A process that has it open may still write into it.
    shutil.rmtree(trash, ignore_errors=True)
