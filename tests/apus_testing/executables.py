"""Where tests find the repository and its executables."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"


def executable(name="apus"):
    """The path of an executable: next to the one named by `APUS_BIN`, or of the release build."""
    apus = Path(os.environ.get("APUS_BIN", ROOT / "target/release/apus"))
    return str(apus if name == "apus" else apus.with_name(name))


APUS = executable()
RING_BUILDER = executable("ring-builder")
