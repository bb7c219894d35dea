"""Waits for conditions."""

import time


def wait_until(condition, what, seconds=30, every=0.02):
    """Waits for a condition to give something true, and gives that; fails by name when it does not in time."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"after {seconds} s: {what}"
        time.sleep(every)
