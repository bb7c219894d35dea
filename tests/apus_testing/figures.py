"""Seeds and the lines that the suite prints: `reliability: kills=312 lost=0 resurrected=0 torn=0 seed=17`.

`APUS_RELIABILITY` says how much is done: `slice` (as in CI) or `full`. `APUS_SEED` repeats a run. The lines go to the
file named by `APUS_FIGURES` as well, from which the runner prints them.
"""

import os
import time

IS_FULL = os.environ.get("APUS_RELIABILITY", "slice") == "full"


def amount(slice, full):
    """How much of something to do."""
    return full if IS_FULL else slice


def seed():
    """The seed of this run, printed with its figures."""
    return int(os.environ.get("APUS_SEED", time.time_ns() % 1_000_000))


def report(**figures):
    """Prints a line of figures, in their order."""
    line = "reliability: " + " ".join(f"{name}={value}" for name, value in figures.items())
    print(line)
    if path := os.environ.get("APUS_FIGURES"):
        with open(path, "a") as file:
            file.write(line + "\n")
