"""Tests of the checkers of histories: they find every planted anomaly, and accept every good history."""

import random

import pytest

from apus_testing.anomalies import check_registers, check_sets


class Store:
    """A correct store in one thread of time: an operation takes effect at a moment between its ends."""

    def __init__(self, seed):
        self.random, self.now, self.records, self.values = random.Random(seed), 0, [], {}
        self.count = 0

    def span(self):
        """Begin, effect, end; operations overlap, since the clock only goes on by a part of each."""
        begin = self.now + self.random.randrange(1, 20)
        effect = begin + self.random.randrange(1, 20)
        end = effect + self.random.randrange(1, 20)
        self.now += self.random.randrange(1, 12)
        return begin, effect, end


def good_registers(seed, operations=200, keys=3):
    """Operations with overlapping spans, ordered by the moment they took effect."""
    store = Store(seed)
    spans = sorted((store.span() for _ in range(operations)), key=lambda span: span[1])
    values, records = {}, []
    for number, (begin, _, end) in enumerate(spans):
        key, process = f"k{store.random.randrange(keys)}", f"p{number}"
        kind = store.random.choices(["write", "delete", "read"], [4, 2, 8])[0]
        record = {"process": process, "f": kind, "key": key, "value": None, "invoke_ns": begin, "return_ns": end, "ok": "ok"}
        if kind == "write":
            record["value"] = f"v{number}"
            outcome = store.random.random()
            if outcome < 0.1:
                # Refused, without effect.
                record["ok"] = "fail"
            elif outcome < 0.2:
                # Unknown; it may have taken effect.
                record.update(ok="info", return_ns=None)
            if record["ok"] == "ok" or (record["ok"] == "info" and store.random.random() < 0.5):
                values[key] = record["value"]
        elif kind == "delete":
            values[key] = None
        else:
            record["value"] = values.get(key)
        records.append(record)
    return records


@pytest.mark.parametrize("part", range(10))
def test_good_register_histories_are_not_accused(part):
    for seed in range(part * 100, part * 100 + 100):
        assert check_registers(good_registers(seed)) == [], seed


def sequential(seed, operations=60):
    """One client's history: nothing overlaps, so every change of what was read is an anomaly."""
    store, value, records, now = random.Random(seed), None, [], 10
    for number in range(operations):
        kind = store.choices(["write", "delete", "read"], [4, 1, 5])[0]
        if kind == "write":
            value = f"v{number}"
        elif kind == "delete":
            value = None
        records.append({"process": "p", "f": kind, "key": "k", "value": value, "invoke_ns": now, "return_ns": now + 5, "ok": "ok"})
        now += 10
    return records


@pytest.mark.parametrize("plant", ["stale", "lost", "resurrected", "reordered", "invented", "torn"])
def test_every_planted_anomaly_of_a_register_is_found(plant):
    planted = found = 0
    for seed in range(200):
        records, store = sequential(seed), random.Random(seed)
        assert check_registers(records) == []
        reads = [at for at, record in enumerate(records) if record["f"] == "read"]
        store.shuffle(reads)
        for at in reads:
            before = [record for record in records[:at] if record["f"] == "write"]
            current, changed = records[at]["value"], None
            older = [record["value"] for record in before if record["value"] != current]
            if plant == "stale" and older and current is not None:
                changed = store.choice(older)
            elif plant == "lost" and current is not None and not any(r["f"] == "delete" for r in records[:at]):
                changed = None
                if not before:
                    continue
            elif plant == "resurrected" and current is None and older:
                changed = older[-1]
            elif plant == "reordered":
                later = [record["value"] for record in records[at:] if record["f"] == "write"]
                changed = later[0] if later else None
            elif plant == "invented":
                changed = "never"
            elif plant == "torn":
                changed = "torn: metadata v1, body v2"
            if (plant == "lost" and current is not None) or changed is not None:
                records[at] = {**records[at], "value": changed}
                planted += 1
                found += bool(check_registers(records))
                break
    assert planted > 50 and found == planted


def test_an_unknown_write_may_show_at_any_later_time_and_a_refused_one_never():
    write = {"process": "a", "f": "write", "key": "k", "value": "v", "invoke_ns": 0, "return_ns": None, "ok": "info"}
    read = {"process": "b", "f": "read", "key": "k", "value": "v", "invoke_ns": 1000, "return_ns": 1001, "ok": "ok"}
    assert check_registers([write, read]) == []
    assert check_registers([{**write, "ok": "fail", "return_ns": 5}, read])
    assert check_registers([{**write, "invoke_ns": 2000}, read])


def good_sets(seed, operations=150):
    store = Store(seed)
    spans = sorted((store.span() for _ in range(operations)), key=lambda span: span[1])
    present, records, removable = set(), [], []
    for number, (begin, _, end) in enumerate(spans):
        kind = store.random.choices(["add", "remove", "list"], [5, 2 if removable else 0, 4])[0]
        if kind == "remove":
            ready = [(key, done) for key, done in removable if done < begin]
            if not ready:
                kind = "add"
        record = {"process": f"p{number}", "f": kind, "invoke_ns": begin, "return_ns": end, "ok": "ok"}
        if kind == "add":
            key = f"s{number}"
            present.add(key)
            removable.append((key, end))
            record.update(key=key, value=key)
        elif kind == "remove":
            key, _ = chosen = store.random.choice(ready)
            removable.remove(chosen)
            present.discard(key)
            record.update(key=key, value=key)
        else:
            record.update(key="set/", value=sorted(present))
        records.append(record)
    return records


@pytest.mark.parametrize("part", range(10))
def test_good_set_histories_are_not_accused(part):
    for seed in range(part * 100, part * 100 + 100):
        assert check_sets(good_sets(seed)) == [], seed


@pytest.mark.parametrize("plant", ["missing", "resurrected", "invented"])
def test_every_planted_anomaly_of_a_set_is_found(plant):
    planted = found = 0
    for seed in range(200):
        records, store = good_sets(seed), random.Random(seed)
        lists = [record for record in records if record["f"] == "list"]
        store.shuffle(lists)
        for listing in lists:
            began = listing["invoke_ns"]
            gone = {r["key"] for r in records if r["f"] == "remove" and r["return_ns"] < began}
            going = {r["key"] for r in records if r["f"] == "remove"}
            settled = {r["key"] for r in records if r["f"] == "add" and r["return_ns"] < began} - going
            candidates = {"missing": sorted(settled), "resurrected": sorted(gone), "invented": ["never"]}[plant]
            if candidates:
                chosen = store.choice(candidates)
                shown = set(listing["value"])
                listing["value"] = sorted(shown - {chosen} if plant == "missing" else shown | {chosen})
                planted += 1
                found += bool(check_sets(records))
                break
    assert planted > 100 and found == planted
