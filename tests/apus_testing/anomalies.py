"""Checks histories: regular registers (read-after-write) and sets (list-after-write).

A regular register: a read gives a value that was not overwritten before the read began, or one whose write was
concurrent with it. A write that was never answered is concurrent with everything after it. Deletions are not unique:
a read of "absent" is right when some deletion, or the beginning, can explain it.
"""

from bisect import bisect_left
from collections import defaultdict

NEVER = float("inf")


def returned(record):
    return NEVER if record["return_ns"] is None else record["return_ns"]


def check_registers(records):
    """Anomalies as sentences; none for a good history."""
    by_key = defaultdict(list)
    for record in records:
        if record["f"] in ("write", "delete", "read"):
            by_key[record["key"]].append(record)
    found = []
    for key, own in by_key.items():
        found += check_register(key, own)
    return found


def check_register(key, records):
    beginning = {"value": None, "invoke_ns": -1, "return_ns": 0, "f": "delete", "ok": "ok"}
    writes = [beginning, *(r for r in records if r["f"] in ("write", "delete") and r["ok"] != "fail")]
    refused = {r["value"] for r in records if r["f"] == "write" and r["ok"] == "fail"}
    by_value = {r["value"]: r for r in writes if r["f"] == "write"}
    removals = sorted((r for r in writes if r["f"] == "delete"), key=lambda r: r["invoke_ns"])
    # What overwrites is acknowledged. For each moment: when did the latest write that had ended by then begin?
    ended = sorted((r["return_ns"], r["invoke_ns"]) for r in writes if r["ok"] == "ok")
    ends = [end for end, _ in ended]
    latest_begin, newest = [], -1
    for _, begin in ended:
        newest = max(newest, begin)
        latest_begin.append(newest)

    def overwritten(write, moment):
        """Whether some write began after this one ended, and ended before the moment."""
        at = bisect_left(ends, moment) - 1
        return at >= 0 and latest_begin[at] > returned(write)

    found = []
    for read in (r for r in records if r["f"] == "read" and r["ok"] == "ok"):
        value, began, ended_at = read["value"], read["invoke_ns"], read["return_ns"]
        if value is None:
            candidates = [r for r in removals if r["invoke_ns"] < ended_at]
        elif value in by_value:
            candidates = [by_value[value]]
        else:
            what = "refused" if value in refused else "never written"
            found.append(f"{key}: read {value!r}, which was {what}")
            continue
        if all(r["invoke_ns"] >= ended_at for r in candidates):
            found.append(f"{key}: read {value!r} before its write began")
        elif all(overwritten(r, began) for r in candidates):
            what = "a deletion that" if value is None else "a value that"
            found.append(f"{key}: read {value!r}, {what} was overwritten before the read began ({read['process']})")
    return found


def check_sets(records):
    """Missing: acknowledged before the list began and not removed. Unexpected: never added, or removed before it began."""
    added = {r["key"]: r for r in records if r["f"] == "add"}
    removed = {r["key"]: r for r in records if r["f"] == "remove" and r["ok"] != "fail"}
    found = []
    for listing in (r for r in records if r["f"] == "list" and r["ok"] == "ok"):
        began, ended, shown = listing["invoke_ns"], listing["return_ns"], set(listing["value"])
        for key, add in added.items():
            remove = removed.get(key)
            if add["ok"] == "ok" and add["return_ns"] < began and key not in shown:
                if remove is None or remove["invoke_ns"] >= ended:
                    found.append(f"{key}: added before the list began and not in it")
            elif key in shown:
                if add["ok"] == "fail" or add["invoke_ns"] >= ended:
                    found.append(f"{key}: listed and not added")
                elif remove is not None and remove["ok"] == "ok" and remove["return_ns"] < began:
                    found.append(f"{key}: removed before the list began and in it")
        found += [f"{key}: listed and never added" for key in shown - added.keys()]
    return found
