"""`ring-builder` against Swift's own: each reads what the other wrote, and says the same."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest
from swift.common.ring import RingBuilder, RingData

from apus_testing.executables import RING_BUILDER

SWIFTS = str(Path(sys.executable).parent / "swift-ring-builder")


def run(tool, folder, *arguments):
    done = subprocess.run([tool, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def build(tool, folder, name):
    assert run(tool, folder, name, "create", 8, 3, 1)[0] == 0
    for zone in range(1, 5):
        for disk in "ab":
            device = f"r1z{zone}-127.0.0.{zone}:6200/sd{disk}"
            code, text = run(tool, folder, name, "add", device, 100)
            assert code == 0 and "got id" in text, text
    assert run(tool, folder, name, "rebalance", "--seed", 7)[0] == 0


@pytest.mark.parametrize("maker, reader", [(RING_BUILDER, SWIFTS), (SWIFTS, RING_BUILDER)])
def test_each_validates_shows_and_changes_what_the_other_built(tmp_path, maker, reader):
    build(maker, tmp_path, "object.builder")
    assert run(reader, tmp_path, "object.builder", "validate")[0] == 0
    code, shown = run(reader, tmp_path, "object.builder")
    assert code == 0 and "256 partitions, 3.000000 replicas, 1 regions, 4 zones, 8 devices" in shown
    assert run(reader, tmp_path, "object.builder", "pretend_min_part_hours_passed")[0] == 0
    assert run(reader, tmp_path, "object.builder", "set_weight", "d0", 50)[0] == 0
    assert run(reader, tmp_path, "object.builder", "rebalance", "--seed", 7)[0] in (0, 1)
    assert run(maker, tmp_path, "object.builder", "validate")[0] == 0


def test_both_say_the_same_of_devices(tmp_path):
    texts = []
    for tool, folder in [(RING_BUILDER, tmp_path / "ours"), (SWIFTS, tmp_path / "swifts")]:
        folder.mkdir()
        run(tool, folder, "o.builder", "create", 6, 2, 1)
        said = [
            run(tool, folder, "o.builder", "add", "r1z1-10.0.0.1:6200R10.0.1.1:6300/sda_fast", 10.5),
            run(
                tool,
                folder,
                "o.builder",
                "add",
                "--region",
                1,
                "--zone",
                2,
                "--ip",
                "10.0.0.2",
                "--port",
                6200,
                "--device",
                "sdb",
                "--weight",
                1,
            ),
            run(tool, folder, "o.builder", "validate")[0],
            run(tool, folder, "o.builder", "set_min_part_hours", 3),
        ]
        texts.append(said)
    assert texts[0] == texts[1]


def test_mistakes_end_with_2_and_change_nothing(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    before = (tmp_path / "o.builder").read_bytes()
    for arguments in [
        ["add", "r1z1-127.0.0.1:6200/sda", 1],
        ["add", "nonsense", 1],
        ["set_weight", "z9", 1],
        ["set_weight", "z1", "heavy"],
        ["set_overload", "-1"],
        ["no-such-command"],
    ]:
        assert run(RING_BUILDER, tmp_path, "o.builder", *arguments)[0] == 2, arguments
    assert (tmp_path / "o.builder").read_bytes() == before
    assert run(RING_BUILDER, tmp_path, "o.builder", "rebalance")[0] == 1


def test_reports_are_there_as_json(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    shown = json.loads(run(RING_BUILDER, tmp_path, "o.builder", "--json")[1])
    assert shown["partitions"] == 256 and len(shown["devices"]) == 8
    assert sum(device["partitions"] for device in shown["devices"]) == 768
    found = json.loads(run(RING_BUILDER, tmp_path, "o.builder", "search", "z2", "--json")[1])["devices"]
    assert [device["zone"] for device in found] == [2, 2]


def test_every_command_answers_with_one_json_object(tmp_path):
    build(RING_BUILDER, tmp_path, "object.builder")
    scenario = {"part_power": 4, "replicas": 1, "overload": 0, "random_seed": 1, "rounds": [[["add", "z1-10.0.0.1:1/a", 1]]]}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario))

    def sub(command, *facts):
        return (["object.builder", *command.split()], facts)

    for words, facts in [
        sub("", "devices", "balance"),
        sub("search d0", "devices"),
        sub("list_parts d0", "partitions"),
        sub("validate"),
        sub("version", "version", "format_version"),
        sub("add r1z5-127.0.0.5:6200/sda 100", "added"),
        sub("set_weight d8 50", "changed"),
        sub("set_region d8 1", "changed"),
        sub("set_zone d8 5", "changed"),
        sub("set_info d8 _x", "changed"),
        sub("set_min_part_hours 0", "min_part_hours"),
        sub("set_replicas 3", "replicas"),
        sub("set_overload 0.1", "overload"),
        sub("pretend_min_part_hours_passed"),
        sub("rebalance", "moved", "balance", "dispersion", "saved"),
        sub("remove d8", "changed"),
        sub("rebalance", "removed_devices"),
        sub("dispersion -v", "dispersion", "tiers"),
        sub("write_ring --format-version 2", "format_version", "dev_id_bytes"),
        sub("prepare_increase_partition_power"),
        sub("cancel_increase_partition_power"),
        sub("finish_increase_partition_power"),
        (["diff", "object.ring.gz", "object.builder"], ["moves"]),
        (["analyze", "scenario.json"], ["rounds"]),
        (["lost.ring.gz", "write_builder"], ["error"]),
        sub("no_such_command", "error"),
        (["gone.builder"], ["error"]),
    ]:
        code, text = run(RING_BUILDER, tmp_path, *words, "--json")
        output = json.loads(text)
        assert output["exit"] == code == (2 if "error" in facts else 0), (words, text)
        assert set(facts) <= set(output), (words, text)


def test_long_work_shows_how_far_it_is_on_terminals_only(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    words = ["o.builder", "rebalance", "--force", "--format-version", "1"]
    main, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    done = subprocess.run([RING_BUILDER, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal, env=environment, timeout=60)
    os.close(terminal)
    assert done.returncode == 0 and b"placing" not in done.stdout
    shown = os.read(main, 65536)
    assert b"0/4 placing partitions" in shown
    os.close(main)
    done = subprocess.run([RING_BUILDER, *words], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == b""


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_prints_what_moves_and_writes_nothing(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    run(RING_BUILDER, tmp_path, "o.builder", "pretend_min_part_hours_passed")
    before = contents(tmp_path)
    add = ["o.builder", "add", "r1z1-127.0.0.1:6200/sdc", 100]
    code, text = run(RING_BUILDER, tmp_path, *add, "--dry-run", "--used", "768GB", "--rate", "1GB", "--json")
    assert code == 0 and contents(tmp_path) == before
    output = json.loads(text)
    moves, devices = output["moves"], [tier for tier in output["moves"]["tiers"] if tier["tier"] == "device"]
    assert 60 <= moves["replicas"] <= 86 and moves["bytes"] == moves["replicas"] * 1e9
    assert moves["partitions"] == moves["replicas"] and moves["partitions_with_several"] == 0
    assert sum(device["in"] for device in devices) == sum(device["out"] for device in devices) == moves["replicas"]
    new = next(device for device in devices if device["name"].endswith("/sdc"))
    assert new["before"] == 0 and new["in"] == new["after"] == moves["seconds"]
    # Another may move, so that zones stay apart.
    assert new["in"] <= moves["replicas"] <= new["in"] + 2
    for change in [
        ["set_weight", "d0", "0"],
        ["set_region", "d0", "2"],
        ["set_zone", "d0", "9"],
        ["remove", "d0"],
        ["set_replicas", "2"],
        ["set_overload", "10%"],
        ["set_min_part_hours", "3"],
        ["rebalance"],
        ["set_info", "d0", "_x"],
        ["write_ring"],
        ["pretend_min_part_hours_passed"],
        ["dispersion", "--recalculate"],
    ]:
        code, text = run(RING_BUILDER, tmp_path, "o.builder", *change, "--dry-run", "--used", "768GB", "--rate", "1GB", "--json")
        output = json.loads(text)
        assert code in (0, 1) and output["dry_run"] and contents(tmp_path) == before, change
        assert output["moves"]["bytes"] == output["moves"]["replicas"] * 1e9 and output["moves"]["seconds"] is not None, change
        assert output["moves"]["replicas"] > 0 or change[0] not in ("set_weight", "remove"), change
    for change in [["o.builder", "create", "8", "3", "1"], ["new.builder", "create", "8", "3", "1"]]:
        assert run(RING_BUILDER, tmp_path, *change, "--dry-run") == (0, "Dry run: nothing was written.\n")
        assert contents(tmp_path) == before, change
    assert run(RING_BUILDER, tmp_path, "o.builder", "search", "d0", "--dry-run")[0] == 2
    assert run(RING_BUILDER, tmp_path, *add, "--dry-run", "--used", "much")[0] == 2


def test_a_dry_run_of_doubled_partitions_and_of_a_lost_builder(tmp_path):
    build(RING_BUILDER, tmp_path, "object.builder")
    steps = ["prepare_increase_partition_power", "cancel_increase_partition_power", "finish_increase_partition_power"]
    for step in [*steps, "prepare_increase_partition_power", "increase_partition_power", "finish_increase_partition_power"]:
        before = contents(tmp_path)
        code, text = run(RING_BUILDER, tmp_path, "object.builder", step, "--dry-run", "--json")
        assert code == 0 and json.loads(text)["moves"]["replicas"] == 0 and contents(tmp_path) == before, step
        assert run(RING_BUILDER, tmp_path, "object.builder", step)[0] == 0, step
    (tmp_path / "object.builder").unlink()
    before = contents(tmp_path)
    assert run(RING_BUILDER, tmp_path, "object.ring.gz", "write_builder", 1, "--dry-run") == (0, "Dry run: nothing was written.\n")
    assert contents(tmp_path) == before


def test_two_rings_are_compared_by_what_moves(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    (tmp_path / "old.ring.gz").write_bytes((tmp_path / "o.ring.gz").read_bytes())
    same = json.loads(run(RING_BUILDER, tmp_path, "diff", "old.ring.gz", "o.builder", "--json")[1])
    assert same["moves"]["replicas"] == 0
    run(RING_BUILDER, tmp_path, "o.builder", "remove", "d7")
    assert run(RING_BUILDER, tmp_path, "o.builder", "rebalance", "--seed", 1)[0] in (0, 1)
    old, new = (RingData.load(str(tmp_path / name))._replica2part2dev_id for name in ("old.ring.gz", "o.ring.gz"))
    moved = sum(len(set(after) - set(before)) for before, after in zip(zip(*old, strict=False), zip(*new, strict=False), strict=True))
    output = json.loads(run(RING_BUILDER, tmp_path, "diff", "old.ring.gz", "o.ring.gz", "--used", "1TB", "--json")[1])
    assert output["moves"]["replicas"] == moved > 0
    gone = [tier for tier in output["moves"]["tiers"] if tier["name"] == "r1z4-127.0.0.4/sdb"]
    assert [(tier["after"], tier["out"]) for tier in gone] == [(0, 96)]
    code, text = run(RING_BUILDER, tmp_path, "diff", "old.ring.gz", "o.ring.gz", "-v")
    assert code == 0 and "r1z4-127.0.0.4/sdb" in text
    assert run(RING_BUILDER, tmp_path, "diff", "old.ring.gz", "gone.ring.gz")[0] == 2


def test_fill_and_dispersion_are_drawn(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    run(RING_BUILDER, tmp_path, "o.builder", "set_weight", "d0", 300)
    code, text = run(RING_BUILDER, tmp_path, "o.builder", "plot", "o.svg", "--json")
    assert code == 0, text
    words = "".join(ElementTree.parse(tmp_path / "o.svg").getroot().itertext())
    for level in ("region", "zone", "node", "device"):
        assert f"by {level}" in words
    devices = json.loads(text)["levels"][3]["tiers"]
    assert len(devices) == 8 and devices[0]["before"]["fill"] == 100 > devices[0]["after"]["fill"]
    assert run(RING_BUILDER, tmp_path, "o.builder", "plot", "o.png")[0] == 0
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")
    assert run(RING_BUILDER, tmp_path, "o.builder", "plot", "o.gif")[0] == 2


def test_a_second_operator_waits_and_learns_who_is_first(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    before = (tmp_path / "o.builder").read_bytes()
    # The lock of `swift-ring-builder-safe`.
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(RING_BUILDER, tmp_path, "o.builder", "search", "d0")[0] == 0
        code, text = run(RING_BUILDER, tmp_path, "o.builder", "set_weight", "d0", 1)
        assert code == 2 and "Ring/builder dir currently locked." in text and f"process {os.getpid()} " in text
    assert (tmp_path / "o.builder").read_bytes() == before
    assert run(RING_BUILDER, tmp_path, "o.builder", "set_weight", "d0", 1)[0] == 0


def test_servers_of_other_users_may_read_rings_and_a_file_keeps_its_mode(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")

    def mode(name):
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("o.ring.gz") == 0o644
    (tmp_path / "o.builder").chmod(0o600)
    run(RING_BUILDER, tmp_path, "o.builder", "set_weight", "d0", 1)
    assert mode("o.builder") == 0o600


def test_builders_with_wide_ids_are_read_and_written(tmp_path):
    build(RING_BUILDER, tmp_path, "o.builder")
    builder = RingBuilder.load(str(tmp_path / "o.builder"))
    builder.set_dev_id_bytes(4)
    builder.save(str(tmp_path / "o.builder"))
    rows = [list(row) for row in builder._replica2part2dev]
    assert "4-byte IDs" in run(RING_BUILDER, tmp_path, "o.builder")[1]
    assert run(RING_BUILDER, tmp_path, "o.builder", "set_weight", "d0", 1)[0] == 0
    builder = RingBuilder.load(str(tmp_path / "o.builder"))
    assert builder.dev_id_bytes == 4 and [list(row) for row in builder._replica2part2dev] == rows
    assert run(RING_BUILDER, tmp_path, "o.builder", "write_ring", "--format-version", 1)[0] == 2
    assert run(RING_BUILDER, tmp_path, "o.builder", "write_ring", "--format-version", 2)[0] == 0
    ring = RingData.load(str(tmp_path / "o.ring.gz"))
    assert ring.dev_id_bytes == 4 and [list(row) for row in ring._replica2part2dev_id] == rows


class Recon(BaseHTTPRequestHandler):
    """A server that reports two disks, one of them three times as large."""

    def do_GET(self):
        assert self.path == "/recon/diskusage"

        def disk(name, size):
            return {"device": name, "mounted": True, "size": size, "used": size // 2, "avail": size - size // 2}

        body = json.dumps([disk("sda", 1000), disk("sdb", 3000)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_weights_follow_the_disks_that_servers_report(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recon)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    run(RING_BUILDER, tmp_path, "o.builder", "create", 6, 1, 1)
    for disk in ("sda", "sdb"):
        assert run(RING_BUILDER, tmp_path, "o.builder", "add", f"r1z1-127.0.0.1:{port}/{disk}", 100)[0] == 0
    assert run(RING_BUILDER, tmp_path, "o.builder", "rebalance")[0] == 0
    before = (tmp_path / "o.builder").read_bytes()
    code, text = run(RING_BUILDER, tmp_path, "o.builder", "weigh", "--json")
    assert code == 0 and [device["proposed"] for device in json.loads(text)["devices"]] == [50.0, 150.0]
    assert (tmp_path / "o.builder").read_bytes() == before
    output = json.loads(run(RING_BUILDER, tmp_path, "o.builder", "weigh", "--apply", "--dry-run", "--used", "recon", "--json")[1])
    assert output["moves"]["bytes"] == pytest.approx(2000 * output["moves"]["replicas"] / 64)
    assert (tmp_path / "o.builder").read_bytes() == before
    assert run(RING_BUILDER, tmp_path, "o.builder", "weigh", "--apply", "--unit", "10")[0] == 0
    assert [device["weight"] for device in RingBuilder.load(str(tmp_path / "o.builder")).devs] == [100.0, 300.0]
    server.shutdown()
    server.server_close()
    assert run(RING_BUILDER, tmp_path, "o.builder", "weigh")[0] == 2
