"""The same scripts through Swift's ring builder and ours: words, exit codes and files are equal.

Swift's runs within this process, since starting it costs more than what it does. Placement is each
one's own: after a rebalance the figures that depend on it are masked, and both go on with Swift's files.
"""

import json
import pickle
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from swift.cli import ring_builder_analyzer, ringbuilder
from swift.common import utils
from swift.common.ring import RingBuilder, RingData

from apus_testing.executables import RING_BUILDER
from apus_testing.ring_scripts import in_process

# `write_builder` of Swift asks for it, though it hashes nothing.
utils.HASH_PATH_SUFFIX = utils.HASH_PATH_SUFFIX or b"suffix"

FOUR = """
create 6 3 1
add r1z1-10.0.0.1:6200/sda 100 r1z2-10.0.0.2:6200R10.1.0.2:6300/sdb_"snet: 5.6.7.8" 100
add r1z3-10.0.0.3:6200/sdc 100.5 r2z1-[2001:0DB8::1]:6200/sdd_shiny 50
"""
REBALANCED = FOUR + "rebalance --seed 1\n"

# A line is a command on o.builder, or of another file after "@file". "< text" answers questions. "!" marks what
# Swift answers by its own usage text or a traceback: there only exit code and files are compared.
SCRIPTS = {
    "create": """
        create 8 3 1
        default
        create 8 2.5 0
        default
        ! create 8 3
        create x 3 1
        create 8 x 1
        create 8 3 x
        create 33 3 1
        create -1 3 1
        create 8 0.5 1
        create 8 3 -1
        validate
    """,
    "missing and foreign files": """
        @gone.builder
        @gone.builder search d0
        @gone.builder add r1z1-10.0.0.1:6200/sda 1
        @o.ring.gz create 4 1 1
        @o.ring.gz
        @o
    """,
    "add": FOUR
    + """
        default
        add z4-10.0.0.4:6200/sde 1
        add --region 1 --zone 2 --ip 10.0.0.5 --port 6200 --device sdf --weight 1
        add -r 1 -z 2 -i Storage.Example -p 6200 -j [::1] -q 6300 -d sdg -w 0.1 -m remark
        add --region=1 --zone=0 --ip=10.0.0.7 --port=6200 --device=sdh --weight=3 --meta="two words"
        default
        search --ip storage.example
        add r1z1-10.0.0.1:6200/sda 1
        add r1z1-10.0.0.9:6200/sda 1 r1z1-10.0.0.9:6200/sda 1
        add nonsense 1
        add r1-10.0.0.9:6200/sda 1
        add rxz1-10.0.0.9:6200/sda 1
        add r1z1-10.0.0.9/sda 1
        add r1z1-10.0.0.9:x/sda 1
        add r1z1-10.0.0.999:6200/sda 1
        add r1z1-10.0.0.9:6200 1
        add r1z1-10.0.0.9:6200/ 1
        add "r1z1-10.0.0.9:6200/ sda" 1
        add r1z1-10.0.0.9:6200/sda heavy
        add r1z1-10.0.0.9:6200/sda -- -1
        ! add r1z1-10.0.0.9:6200/sda
        ! add r1z1-10.0.0.9:6200/sda 1 --zone 3
        ! add
        add --region 1 --zone 2
        add --region 1 --zone 2 --ip 10.0.0.5 --port 6200 --device sdf
        add --region 1 --zone 2 --ip no_name --port 6200 --device sdf --weight 1
        add --region 1 --zone 2 --ip [10.0.0.300] --port 6200 --device sdf --weight 1
        ! add --region one --zone 2
        ! add --no-such-option 2
        default
    """,
    "search": REBALANCED
    + """
        search d0
        search r1
        search z1
        search z1-10.0.0.1
        search 10.0.0.2
        search -- -10.0.0.2
        search z1:6200
        search :6200
        search R10.1.0.2
        search R:6300
        search 10.0.0.2R10.1.0.2
        search /sdb
        search _shiny
        search _"snet: 5.6.7.8"
        search [2001:db8::1]
        search z1-[2001:DB8:0::1]:6200
        search d1r1z2-10.0.0.2:6200R10.1.0.2:6300/sdb_snet
        search d9
        search nonsense
        search d
        search 1.2.3
        search z1x
        search --id 0
        search --id 0 --region 1 --zone 1 --ip 10.0.0.1 --port 6200 --device sda --weight 100
        search --replication-ip 10.1.0.2 --replication-port 6300 --meta snet
        search --rep 6300 -u 1
        search --weight 50
        search -z3
        search --zone 9
        search --ip [::1
        ! search
        ! search d0 --id 0
        ! search d0 d1
        list_parts d0
        list_parts d0 d1 d2
        list_parts z1 _snet
        list_parts --region 2
        list_parts --id 9
        list_parts d9
        list_parts nonsense
        ! list_parts
        ! list_parts d0 --id 1
    """,
    "list_parts too early": FOUR
    + """
        list_parts d0
        dispersion
        search d0
    """,
    "set_weight": REBALANCED
    + """
        set_weight d0 50
        set_weight d1 1e3 d2 0.00001 /sdd 1e16
        set_weight --id 3 7.25
        set_weight r1 1 < n
        set_weight r1 1 < y
        set_weight r1 1 <
        set_weight r1 2 --yes
        set_weight -y --region 1 3
        set_weight z9 1
        set_weight d0 heavy
        set_weight nonsense 1
        ! set_weight d0
        ! set_weight d0 1 d1
        ! set_weight --id 3
        ! set_weight --id 3 1 2
        default
        remove d0
        set_weight d0 1
        set_region d0 1
        set_zone d0 1
    """,
    "set_region, set_zone": REBALANCED
    + """
        set_region d0 2
        set_zone d0 5
        set_region --id 1 3
        set_zone --device sdc 8
        set_zone r1 9 --yes
        set_region z9 9 < y
        set_region z9 1 <
        set_region d0 x
        set_zone d0 1.5
        set_zone d7 1
        ! set_zone d0
        ! set_region --id 0
        default
        rebalance --seed 2
        default
    """,
    "set_info": REBALANCED
    + """
        set_info d0 10.9.9.9:6201R10.9.9.8:6301/sdz_new
        set_info d0 _"snet: 1.2.3.4"
        set_info d0 :6202
        set_info d0 R:6302
        set_info d0 /sdy
        set_info d0 [::FFFF]
        set_info d1 _one d2 _two
        set_info r1 _same --yes
        set_info r1 _other < n
        set_info r1 /same --yes
        set_info d0 10.0.0.2:6200/sdb
        set_info d0 nonsense
        set_info d0 R
        set_info d9 _x
        set_info --id 0 --change-ip 10.8.8.8 --change-port 6203 --change-replication-ip new.example --change-replication-port 1 --change-device sdx --change-meta changed
        set_info --ip 10.8.8.8 -I 10.8.8.9 -P 1 -J 10.8.8.7 -Q 2 -D sdw -M m
        set_info --id 0 --change-ip no_name
        ! set_info d0
        default
        write_ring
        default
    """,
    "remove": REBALANCED
    + """
        remove d3
        default
        remove r1 < n
        remove nonsense
        remove d9
        ! remove
        ! remove d0 --id 0
        remove --id 1
        rebalance
        remove d0 d2 --yes
        rebalance
        default
    """,
    "ids of removed devices are used again": """
        create 6 1 0
        add r1z1-10.0.0.1:6200/a 1 r1z1-10.0.0.1:6200/b 1 r1z1-10.0.0.1:6200/c 1 r1z1-10.0.0.1:6200/d 1
        rebalance
        remove d1 d3 --yes
        rebalance -f
        add r1z1-10.0.0.1:6200/e 1 r1z1-10.0.0.1:6200/f 1
        default
    """,
    "rebalance": FOUR
    + """
        rebalance --seed 1 --format-version 1
        rebalance
        pretend_min_part_hours_passed
        default
        rebalance 7
        rebalance -f -s seven --format-version=2
        version
        ! rebalance --format-version 3
        ! rebalance --no-such-option
        set_min_part_hours 0
        set_weight d0 0
        rebalance --force
        default
    """,
    "rebalance of what cannot be": """
        create 6 3 1
        rebalance
        add r1z1-10.0.0.1:6200/sda 100
        rebalance
        ! validate
        default
        write_ring
        default
        version
    """,
    "settings": REBALANCED
    + """
        set_min_part_hours 3
        set_replicas 2
        set_replicas 3.25
        set_replicas 3.2500001
        set_overload 0.1
        set_overload 10%
        set_overload 150%
        set_overload 1.5
        set_replicas 0.5
        set_overload -1
        ! set_min_part_hours
        ! set_min_part_hours x
        ! set_replicas
        ! set_replicas x
        ! set_overload
        ! set_overload x
        default
        rebalance
        default
        set_overload 0
    """,
    "fractional replicas, up and down": """
        create 6 2.5 0
        add r1z1-10.0.0.1:6200/a 1 r1z2-10.0.0.2:6200/b 1 r1z3-10.0.0.3:6200/c 1 r2z1-10.0.0.4:6200/d 1 r2z2-10.0.0.5:6200/e 2
        set_replicas 2.51
        rebalance --seed 1
        default
        list_parts d0 d1 d2 d3 d4
        dispersion -v
        write_ring
        write_ring --format-version 2
        set_replicas 3.25
        default
        rebalance --seed 2
        default
        dispersion -v
        validate
        @o.ring.gz write_builder 1
        set_replicas 3
        rebalance --seed 3
        default
        set_replicas 1.75
        rebalance --seed 4
        default
        dispersion -v
        set_replicas 1
        rebalance --seed 5
        dispersion --recalculate -v
        default
        set_replicas 5.000001
        rebalance --seed 6
        default
        remove-file o.builder
        @o.ring.gz write_builder 1
        default
        set_replicas 5.5
        rebalance
        validate
    """,
    "wide ids": REBALANCED
    + """
        widen o.builder
        default
        list_parts d0
        set_weight d0 50
        write_ring
        write_ring --format-version 2
        version
        default
        rebalance --seed 2
        rebalance --seed 2 -f --format-version 2
        version
        default
        write_ring --format-version 2 --dev-id-bytes 2
        version
        remove-file o.builder
        @o.ring.gz write_builder 5
        default
        dispersion -v
    """,
    "dispersion": REBALANCED
    + """
        dispersion
        dispersion -v
        dispersion --verbose "r\\d+z\\d+$"
        dispersion ".*\\-[^/]*$" -v
        dispersion r2 -v
        dispersion nothing -v
        dispersion --recalculate
        ! dispersion --no-such-option
        set_overload 1
        set_replicas 2
        set_weight d3 400
        pretend_min_part_hours_passed
        rebalance
        dispersion -v
        validate
    """,
    "write": REBALANCED
    + """
        write_ring
        version
        write_ring --format-version 2
        version
        write_ring --format-version 2 --dev-id-bytes 4
        version
        write_ring --format-version 1 --dev-id-bytes 4
        ! write_ring --dev-id-bytes 3
        @o.ring.gz write_builder 5
        @gone.ring.gz write_builder 5 !
        ! @gone.ring.gz write_builder x
        ! @gone.ring.gz version
    """,
    "an empty ring": """
        create 6 3 1
        write_ring
        default
    """,
    "a lost builder": REBALANCED
    + """
        remove-file o.builder
        @o.ring.gz write_builder 5
        default
        dispersion
        default
        remove-file o.builder
        @o.ring.gz write_builder
        search d0
    """,
    "part power": """
        @object.builder create 4 3 1
        @object.builder add r1z1-10.0.0.1:6200/a 1 r1z1-10.0.0.2:6200/b 1 r1z1-10.0.0.3:6200/c 1
        @object.builder rebalance --seed 1
        @object.builder increase_partition_power
        @object.builder cancel_increase_partition_power
        @object.builder finish_increase_partition_power
        @object.builder prepare_increase_partition_power
        @object.builder prepare_increase_partition_power
        @object.builder
        @object.builder add r1z1-10.0.0.4:6200/d 1
        @object.builder remove d0
        @object.builder rebalance
        @object.builder write_ring
        @object.builder
        @object.builder cancel_increase_partition_power
        @object.builder finish_increase_partition_power
        @object.builder prepare_increase_partition_power
        @object.builder increase_partition_power
        @object.builder increase_partition_power
        @object.builder
        @object.builder write_ring --format-version 2
        @object.builder
        @object.builder finish_increase_partition_power
        @object.builder finish_increase_partition_power
        @object.builder validate
        @object.builder set_weight d0 2
        @object.builder
        create 4 3 1
        prepare_increase_partition_power
    """,
    "odd words": REBALANCED
    + """
        ! rebalance --help
        ! dispersion -h
        ! write_ring --help
        ! search --help
        ! set_weight --help d0
        ! add --help
        ! rebalance --help=x
        search ""
        search d-1
        search "d0 "
        search _
        search --meta ""
        search --port 0
        list_parts d0 nonsense
        list_parts d0 d0
        set_info d0 ""
        set_info d0 :
        set_info d0 /
        set_info --id 0
        remove d1 nonsense
        remove --yes
        set_weight d2 1 d2 2
        set_weight d2 " 5 "
        set_weight d2 5 d9 5
        set_min_part_hours 300
        set_overload -0.1%
        set_overload 10%%
        set_overload 200%
        set_replicas " 3 "
        add r1z1-[host.example]:6200/sdx 1
        add r1z1-10.0.1.1:6200/sd_a_b_c 1
        add r1z1-10.0.1.4:0/sdx 1
        add r0z0-10.0.1.5:6200/sdx 0
        add r1z1-10.0.1.6:6200R:6300/sdx 1
        add r1z1-10.0.1.9:6200/sdx 1 garbage 1
        add --region 1 --zone 1 --ip 10.0.2.1 --port 6200 --device "" --weight 1
        add --zone 1 --ip 10.0.2.4 --port 6200 --device a --weight 1
        create 8.0 3 1
        create " 8" 3 1
        default
    """,
    "a pickled object": REBALANCED
    + """
        age o.builder
        default
        search r1
        list_parts d0
        validate
        write_ring
        set_weight d0 50
        default
        dispersion -v
        rebalance --seed 2
        default
    """,
    "unknown": FOUR
    + """
        no_such_command
        no_such_command d0
    """,
}

MASKS = [
    (r"id [0-9a-f]{32}", "id ID"),
    (r"\((\d+ days?, )?\d+:\d\d:\d\d remaining\)", "(TIME remaining)"),
]
# What a rebalance says of its own placement.
PLACED = [
    (r"Reassigned \d+ \(\d+\.\d+%\)", "Reassigned N"),
    (r"(Balance|Dispersion) (is now|of) \d+\.\d+", r"\1 \2 N"),
]


def ours(folder, arguments, answer=""):
    done = subprocess.run([RING_BUILDER, *arguments], cwd=folder, input=answer, capture_output=True, text=True, timeout=60)
    assert "panicked" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def masked(text, masks):
    for pattern, replacement in masks:
        text = re.sub(pattern, replacement, text)
    return text


def builder_facts(path, placement):
    """A builder file as Swift reads it; without its random id and, unless asked for, its placement."""
    builder = RingBuilder.load(str(path))
    facts = builder.to_dict()
    facts.pop("id")
    facts.pop("_last_part_moves_epoch")
    facts["_last_part_moves"] = list(facts["_last_part_moves"])
    facts["_replica2part2dev"] = [list(row) for row in facts["_replica2part2dev"] or []]
    for device in filter(None, facts["devs"] + facts["_remove_devs"]):
        device.setdefault("parts_wanted", 0)
    if not placement:
        facts["_replica2part2dev"] = [len(row) for row in facts["_replica2part2dev"]]
        for key in ("dispersion", "_dispersion_graph", "_last_part_moves", "_last_part_gather_start"):
            facts.pop(key)
        facts["devs"] = [dev and {k: v for k, v in dev.items() if not k.startswith("parts")} for dev in facts["devs"]]
    return facts


def ring_facts(path, placement):
    facts = RingData.load(str(path)).to_dict()
    rows = [list(row) for row in facts["replica2part2dev_id"]]
    facts["replica2part2dev_id"] = rows if placement else [len(row) for row in rows]
    return facts


def compare_files(swifts, mine, placement):
    for path in sorted(swifts.iterdir()):
        if path.suffix == ".builder":
            assert builder_facts(mine / path.name, placement) == builder_facts(path, placement)
        elif path.name.endswith(".ring.gz"):
            assert ring_facts(mine / path.name, placement) == ring_facts(path, placement)

    def kept(folder):
        return sorted(re.sub(r"^\d+\.", "", path.name) for path in folder.glob("backups/*"))

    assert set(kept(mine)) == set(kept(swifts))


def widen(path):
    builder = RingBuilder.load(str(path))
    builder.set_dev_id_bytes(4)
    builder.save(str(path))


def age(path):
    """A builder as Swift pickled it in its first years: the object itself."""
    builder = RingBuilder.load(str(path))
    del builder.logger
    path.write_bytes(pickle.dumps(builder, protocol=2))


# What scripts do to a file, in both folders.
FILE_CHANGES = {"remove-file": Path.unlink, "widen": widen, "age": age}


def run_step(line, swifts, mine):
    loose = line.startswith("! ")
    line, _, answer = line.removeprefix("! ").partition(" <")
    answer = answer.strip() and answer.strip() + "\n"
    words = shlex.split(line)
    if words[0] in FILE_CHANGES:
        for folder in (swifts, mine):
            FILE_CHANGES[words[0]](folder / words[1])
        return
    name = words.pop(0)[1:] if words[0].startswith("@") else "o.builder"
    words = [word for word in words if word != "default"]
    theirs = in_process(ringbuilder.main, swifts, ["swift-ring-builder", name, *words], answer)
    found = ours(mine, [name, *words], answer)
    rebalanced = words[:1] == ["rebalance"]
    masks = MASKS + (PLACED if rebalanced else [])
    if rebalanced and "Reassigned" in found[1] and "Reassigned" in theirs[1]:
        # Whether partitions are well placed now is each one's own, and so is the note on it.
        found, theirs = ((min(code, 1), text.split("\n---")[0].rstrip()) for code, text in (found, theirs))
        assert {found[0], theirs[0]} <= {0, 1}
    else:
        assert found[0] == theirs[0], found
    if not loose:
        assert masked(found[1], masks) == masked(theirs[1], masks)
    compare_files(swifts, mine, placement=not rebalanced)
    if rebalanced and theirs[0] < 2:
        for path in swifts.iterdir():
            if path.is_file():
                if path.suffix == ".builder":
                    RingBuilder.load(str(mine / path.name)).validate()
                shutil.copy(path, mine / path.name)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_script_gives_the_same_words_codes_and_files(tmp_path, script):
    swifts, mine = tmp_path / "swifts", tmp_path / "ours"
    swifts.mkdir()
    mine.mkdir()
    for number, line in enumerate(filter(None, map(str.strip, script.splitlines()))):
        try:
            run_step(line, swifts, mine)
        except AssertionError as error:
            raise AssertionError(f"step {number}: {line}\n{error}") from error


def test_every_command_of_swift_is_in_a_script():
    commands = {name for name in vars(ringbuilder.Commands) if not name.startswith("_")} - {"unknown"}
    covered = set()
    for script in SCRIPTS.values():
        for line in script.splitlines():
            covered.update(line.removeprefix("! ").split()[:2] if "@" in line else line.split()[:2])
    assert commands <= covered, commands - covered


SCENARIO = {
    "part_power": 6,
    "replicas": 3,
    "overload": 0.1,
    "random_seed": 203488,
    "rounds": [
        [["add", f"r1z{zone}-10.0.0.{zone}:6200/sd{disk}", 8000] for zone in range(1, 5) for disk in "ab"],
        [["add", "z1-10.0.0.1:6200/sdc", "4000"]],
        [["set_weight", 1, 4000], ["remove", 2], ["save", "saved.builder"]],
    ],
}


@pytest.mark.parametrize(
    "change, code",
    [
        ({}, 0),
        ({"part_power": 0}, 1),
        ({"part_power": None}, 1),
        ({"replicas": 0.5}, 1),
        ({"overload": -1}, 1),
        ({"random_seed": "x"}, 1),
        ({"rounds": 3}, 1),
        ({"rounds": [3]}, 1),
        ({"rounds": [[["remove"]]]}, 1),
        ({"rounds": [[["add", "nonsense", 1]]]}, 1),
        ({"rounds": [[["add", "z1-10.0.0.1:6200/a", -1]]]}, 1),
        ({"rounds": [[["no_such_change", 1]]]}, 1),
    ],
)
def test_scenarios_are_analyzed_and_refused_alike(tmp_path, change, code):
    scenario = {key: value for key, value in {**SCENARIO, **change}.items() if value is not None}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario))
    shapes = []
    theirs = in_process(ring_builder_analyzer.main, tmp_path, ["scenario.json"])
    mine = ours(tmp_path, ["analyze", "scenario.json"])
    for found, text in (theirs, mine):
        assert found == code
        shapes.append([line for line in text.splitlines() if not line.startswith("\tRebalance")])
        first = re.findall(r"\tRebalance 1: moved (\d+) parts, balance is \d+\.\d{6}, (\d) removed devs\n", text)
        assert not first or (first[0] == ("192", "0") and [removed for _, removed in first] == ["0", "0", "1"])
    assert shapes[0] == shapes[1]
    assert ours(tmp_path, ["analyze", "--check", "scenario.json"]) == (code, "")
