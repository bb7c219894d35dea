"""Where tests find the repository and its executable."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
_LINKS = Path(tempfile.mkdtemp(prefix="apus-links-"))
atexit.register(shutil.rmtree, _LINKS, ignore_errors=True)


def executable(name="apus"):
    """The executable named by `APUS_BIN`, or of the release build; under another name, by which it runs that program."""
    apus = Path(os.environ.get("APUS_BIN", ROOT / "target/release/apus"))
    if name == "apus":
        return str(apus)
    link = _LINKS / name
    if not link.is_symlink():
        link.symlink_to(apus.resolve())
    return str(link)


APUS = executable()
RING_BUILDER = executable("ring-builder")
