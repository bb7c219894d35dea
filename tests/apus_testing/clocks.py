"""Clocks of single processes that are off (the line `clock` of lib/fault)."""

from contextlib import contextmanager


@contextmanager
def shifted(cluster, shifts):
    """`shifts`: seconds by process name; clocks are right again afterwards."""
    for process, seconds in shifts.items():
        cluster.faults.arm(process, f"clock {seconds}")
    try:
        yield
    finally:
        cluster.faults.disarm(*shifts)
