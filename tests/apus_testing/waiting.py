"""Waits for conditions and for moments."""

import time

# A container server sends the totals of a changed container to its account a second later.
CONTAINER_REPORT_SECONDS = 1


def wait_until(condition, what, seconds=30, every=0.02):
    """Waits until a condition returns something true, and returns that; after `seconds` fails with `what`."""
    until = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < until, f"after {seconds} s: {what() if callable(what) else what}"
        time.sleep(every)


def wait_past(moment):
    """Waits until the clock is past a moment, as in headers with a time."""
    time.sleep(max(0, moment + 0.1 - time.time()))


def wait_for_container_reports():
    """Waits until container servers have sent to accounts what changed before now."""
    wait_past(time.time() + CONTAINER_REPORT_SECONDS + 0.2)
