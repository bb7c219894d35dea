"""What storage servers report to operators, compared with Swift's own middleware and `swift-recon`."""

import json
import logging
import os
import re
import subprocess
import sys
import urllib.request

import pytest
from swift.common.middleware.recon import ReconMiddleware
from swift.common.swob import Request

from apus_testing import databases, object_nodes
from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.losses import lose
from apus_testing.servers import KINDS, Servers
from apus_testing.waiting import wait_until

KEY = "5a" * 32


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recon")
    servers = Servers(folder)
    # Reading checks needs no signature, so that swift-recon works as it is.
    with open(servers.etc / "swift.conf", "a") as conf:
        conf.write(f"[apus]\ncluster_key = {KEY}\n")
    for kind in KINDS:
        path = servers.etc / f"{kind}-server.conf"
        path.write_text(path.read_text().replace("use =", f"recon_cache_path = {servers.cache}\nuse ="))
    (servers.devices / "sd1/quarantined/objects/a").mkdir(parents=True)
    (servers.devices / "sd2/quarantined/objects-1/b").mkdir(parents=True)
    (servers.devices / "sd2/quarantined/containers/c").mkdir(parents=True)
    servers.cache.mkdir()
    (servers.cache / "object.recon").write_text(json.dumps({"async_pending": 7, "object_updater_sweep": 0.5}))
    for kind in KINDS:
        servers.start(kind)
    yield servers
    servers.stop_all()


@pytest.fixture
def swift(servers):
    conf = {"devices": str(servers.devices), "swift_dir": str(servers.etc), "recon_cache_path": str(servers.cache)}
    logging.disable(logging.CRITICAL)
    yield ReconMiddleware(None, conf)
    logging.disable(logging.NOTSET)


def ask(servers, kind, check):
    with urllib.request.urlopen(f"http://127.0.0.1:{servers.ports[kind]}/recon/{check}", timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        return json.load(answer)


EXACT = [
    *["devices", "quarantined", "ringmd5", "async", "driveaudit", "sharding", "reconstruction/object"],
    *["replication", "replication/account", "replication/container", "replication/object"],
    *["auditor/account", "auditor/container", "auditor/object", "expirer/object"],
    *["updater/container", "updater/object"],
]


@pytest.mark.parametrize("check", EXACT)
def test_a_check_answers_what_swifts_middleware_answers(servers, swift, check):
    expected = json.loads(Request.blank(f"/recon/{check}").get_response(swift).body)
    got = ask(servers, "object", check)
    if check == "devices":
        expected, got = ({path: sorted(names) for path, names in each.items()} for each in (expected, got))
    assert got == expected


@pytest.mark.parametrize("check", ["mem", "load", "sockstat"])
def test_a_check_of_the_host_has_the_keys_and_types_of_swifts(servers, swift, check):
    expected = json.loads(Request.blank(f"/recon/{check}").get_response(swift).body)
    got = ask(servers, "account", check)
    assert {key: type(value) for key, value in got.items()} == {key: type(value) for key, value in expected.items()}


def test_an_unknown_check_is_404(servers):
    for path in ["recon/nonsense", "recon/updater/account"]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{servers.ports['object']}/{path}", timeout=10)
        assert refused.value.code == 404


def swift_recon(servers, *options):
    command = [os.path.join(os.path.dirname(sys.executable), "swift-recon"), "--swiftdir", str(servers.etc), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_swift_recon_reads_every_check_of_ours(servers):
    for kind in KINDS:
        output = swift_recon(servers, kind, "--unmounted", "--diskusage", "--load", "--quarantined", "--sockstat", "--time")
        assert "1/1 hosts matched, 0 error[s] while checking hosts." in output, output
        assert "[quarantined_objects] low: 2, high: 2" in output, output
        assert "Disk usage: space used:" in output and "not mounted" not in output, output
    output = swift_recon(servers, "object", "--async", "--updater", "--auditor", "--expirer", "--replication")
    assert "[async_pending] low: 7, high: 7" in output, output


def apus_recon(servers, *options, code=None):
    command = [APUS, "recon", "--swiftdir", str(servers.etc), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in ([code] if code is not None else [0, 1]), (done.returncode, done.stdout, done.stderr)
    return done.stdout if code != 2 else done.stderr


def without_moments(output):
    """Without what is different from one moment to the next."""
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "NOW", output)
    output = re.sub(r"\(\d+ \w+ ago\)", "(AGO)", output)
    # Of disks: the largest and the smallest, and a bar for each percentage.
    output = re.sub(r"^\d+\.\d\d%|^ *\d+%(?= +\d+ \*)", "PERCENT", output, flags=re.M)
    moving = r"^(\[(?:\w+_load_avg|tcp\w*|time_wait|orphan)\]).*$|^(Disk usage: ).*$"
    return [re.sub(moving, r"\1\2", line).rstrip() for line in output.splitlines()]


SAME = {
    "account": ["--auditor", "-r", "-u", "-l", "-d", "-q", "--sockstat", "--validate-servers", "--driveaudit", "-T", "--swift-versions"],
    "container": ["--auditor", "--updater", "--sharding", "-r", "-u", "-l", "-d", "-q", "--sockstat", "--validate-servers", "-T"],
    "object": [
        "-a",
        "--auditor",
        "--updater",
        "--expirer",
        "-r",
        "-u",
        "-l",
        "-d",
        "--top=1",
        "--lowest=1",
        "-q",
        "--sockstat",
        "--swift-versions",
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_run", [False, True])
def test_our_recon_prints_what_swift_recon_prints(servers, kind, has_run):
    if has_run:
        for daemon in ["auditor", "replicator", *([] if kind == "account" else ["updater"])]:
            subprocess.run([APUS, f"{kind}-{daemon}", str(servers.etc), "--once"], check=True, timeout=60, stderr=subprocess.DEVNULL)
    # A jitter, since Python rounds the time that it gets.
    options = [kind, "--jitter", "1", *SAME[kind]]

    def compared():
        """Both outputs, when the disks did not become fuller between two of ours: that changes their order and the bars."""
        before = without_moments(apus_recon(servers, *options))
        swifts = without_moments(swift_recon(servers, *options))
        return (before, swifts) if before == without_moments(apus_recon(servers, *options)) else None

    ours, swifts = wait_until(compared, "the disks do not change for a moment")
    assert ours == swifts


def test_all_checks_are_in_one_document(servers):
    output = json.loads(apus_recon(servers, "object", "container", "account", "--all", "--jitter=5", "--json"))
    host = f"127.0.0.1:{servers.ports['object']}"
    assert output["object"]["hosts"] == [host]
    assert output["object"]["ring_md5"]["matched"] == 1 and output["object"]["swift_conf_md5"]["matched"] == 1
    assert output["account"]["validate_servers"]["ok"] == 1 and output["container"]["time"]["matched"] == 1
    assert output["object"]["quarantined"]["stats"]["quarantined_objects"]["total"] == 2
    assert "expirer" not in output["account"] and "sharding" in output["container"]
    assert all("errors" not in check for of in output.values() for check in of.values() if isinstance(check, dict))


def test_a_ring_or_swift_conf_that_differs_is_reported(servers, tmp_path):
    for path in [*servers.etc.glob("*.ring.gz"), servers.etc / "swift.conf"]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert "!!" not in apus_recon(servers, "object", "--md5", code=0)
    with open(tmp_path / "swift.conf", "a") as conf:
        conf.write("# changed\n")
    (tmp_path / "object.ring.gz").write_bytes((tmp_path / "account.ring.gz").read_bytes())
    # Servers of the other ring are asked, as that is what is here.
    output = apus_recon(servers, "object", "--md5", "--swiftdir", str(tmp_path), code=1)
    assert output.count("doesn't match on disk md5sum") == 2 and output.count("0/1 hosts matched") == 2, output


def test_what_cannot_be_asked_is_an_error(servers):
    assert "no check was selected" in apus_recon(servers, "object", code=2)
    assert "Invalid Storage Policy: lead" in apus_recon(servers, "-a", "-p", "lead", code=2)
    assert "Can't check asyncs on non object servers." in apus_recon(servers, "account", "-a", code=1)
    assert "erasure_coding" in apus_recon(servers, "-R", code=1)
    assert "none.ring" in apus_recon(servers, "-a", "--swiftdir", "/none.ring", code=2)
    assert "on 0 hosts" in apus_recon(servers, "-a", "--region", "7", code=0)


def samples(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_a_storage_server_has_metrics_and_what_daemons_in_other_processes_reported(servers):
    before = samples(servers.ports["object"])
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{servers.ports['object']}/sd1/0/a/c/o", timeout=10)
    after = samples(servers.ports["object"])
    refused = 'apus_requests_total{server="object",method="GET",status="401"}'
    assert after[refused] == before.get(refused, 0) + 1
    assert after['apus_request_seconds_count{server="object",method="GET"}'] > 0
    subprocess.run([APUS, "object-updater", str(servers.etc), "--once"], check=True, timeout=60)
    after = samples(servers.ports["object"])
    assert after['apus_daemon_pass_end_seconds{daemon="object-updater"}'] > 1_700_000_000
    assert any(name.startswith('apus_daemon_report{daemon="object-updater"') for name in after)


def test_a_proxy_has_metrics_at_an_address_of_their_own(servers):
    port = free_port()
    path = servers.etc / "proxy-server.conf"
    path.write_text(path.read_text().replace("use =", f"metrics_bind = 127.0.0.1:{port}\nuse ="))
    servers.start("proxy")
    servers.s3().create_bucket(Bucket="metrics")
    # On the port for clients it is a bucket.
    servers.s3().put_object(Bucket="metrics", Key="a", Body=b"x")
    output = samples(port)
    assert output['apus_requests_total{server="proxy",method="PUT",status="200"}'] == 2
    assert output["apus_backend_requests_total"] > 0
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{servers.ports['proxy']}/metrics", timeout=10)


def redundancy(node, server, code=None):
    """The reports of all servers, added up."""
    output = json.loads(apus_recon(node, server, "--redundancy", "--json", code=code))[server]["redundancy"]
    return output["policies"]["0"] if server == "object" else output


@pytest.fixture
def nodes(tmp_path):
    nodes = object_nodes.ObjectNodes(tmp_path)
    nodes.start()
    yield nodes
    nodes.stop()


def spread(nodes, count, only=None):
    """Objects on all of their primaries; returns each one's primaries."""
    placed, number = [], 0
    while len(placed) < count:
        name, number = f"/a/c/o{number}", number + 1
        part, primaries, _ = nodes.place(name)
        if only is None or part == only:
            for node in primaries:
                node.put(part, name, object_nodes.timestamp(1_700_000_000), b"body")
            placed.append(primaries)
    return placed


def test_objects_that_a_wiped_device_lacks_are_counted_once_until_it_has_them(nodes):
    first, *_ = nodes
    part, (one, two, three), _ = nodes.place("/a/c/o0")
    spread(nodes, 30, only=part)
    nodes.sweep()
    output = redundancy(first, "object", code=0)
    assert (output["below"], output["unknown"], output["reported"]) == (0, 0, 4)
    for wiped, counts in [(one, two), (three, one)]:
        wiped.wipe()
        # The first that has them counts and repairs; the others have nothing left to count.
        counts.replicate()
        for node in nodes:
            if node != counts:
                node.replicate()
        output = redundancy(first, "object", code=1)
        assert (output["below"], output["unknown"]) == (30, 0)
        nodes.sweep()
        assert redundancy(first, "object", code=0)["below"] == 0
    assert len({frozenset(node.hashes(part).items()) for node in (one, two, three)}) == 1


def test_objects_of_a_device_that_is_not_mounted_are_below_and_those_of_a_silent_node_unknown(nodes):
    first, second, *others = nodes
    placed = spread(nodes, 40)
    nodes.sweep()
    expected = sum(second in primaries for primaries in placed)
    assert 0 < expected < 40
    away = second.devices / "away"
    second.device.rename(away)
    for node in [first, *others]:
        node.replicate()
    output = redundancy(first, "object", code=1)
    assert (output["below"], output["unknown"]) == (expected, 0)
    away.rename(second.device)
    for _ in range(2):
        nodes.sweep()
    assert redundancy(first, "object", code=0)["below"] == 0
    second.stop_server()
    for node in [first, *others]:
        node.replicate()
    output = redundancy(first, "object", code=1)
    assert (output["below"], output["unknown"], output["reported"]) == (0, expected, 3)
    words = apus_recon(first, "object", "--redundancy", "--suppress", code=1)
    assert f"[objects gold] below full redundancy: 0, unknown: {expected}" in words
    assert "!! 1/4 hosts reported nothing: the real numbers are larger" in words
    second.start_server()
    nodes.sweep()
    assert redundancy(first, "object", code=0)["unknown"] == 0
    output = samples(first.port)
    assert output['apus_below_redundancy{kind="objects",policy="0"}'] == 0


def test_an_object_that_only_a_handoff_has_is_counted_by_it_and_a_part_of_a_sweep_changes_nothing(nodes):
    first, *_ = nodes
    part, primaries, (handoff,) = nodes.place("/a/c/o")
    nodes.sweep()
    handoff.put(part, "/a/c/o", object_nodes.timestamp(1_700_000_000), b"body")
    handoff.put(part, "/a/c/o", object_nodes.timestamp(1_700_000_001), b"newer")
    primaries[1].put(part, "/a/c/o", object_nodes.timestamp(1_700_000_000), b"body")
    primaries[1].stop_server()
    handoff.replicate()
    primaries[1].start_server()
    assert redundancy(first, "object")["below"] == 1
    # The primaries have it from here; the last one gets it from any of them.
    nodes.sweep()
    output = redundancy(first, "object")
    assert output["below"] <= 1 and output["unknown"] == 0
    nodes.sweep()
    assert redundancy(first, "object", code=0)["below"] == 0
    primaries[2].wipe()
    before = first.cache.joinpath("object.recon").read_text()
    first.replicate("--partitions", str(part))
    after = first.cache.joinpath("object.recon").read_text()

    def last(text):
        return json.loads(text)["object_redundancy_last"]

    assert last(before) == last(after)


def test_a_node_of_a_far_region_to_which_nothing_is_sent_is_compared_too(tmp_path):
    nodes = object_nodes.ObjectNodes(tmp_path, regions=(1, 1, 2, 2))
    region = {node: 1 if node.number < 3 else 2 for node in nodes}
    number = 0
    while True:
        name, number = f"/a/c/o{number}", number + 1
        part, (first, second, third), _ = nodes.place(name)
        if region[first] != region[second] == region[third]:
            break
    nodes.start()
    try:
        first.put(part, name, object_nodes.timestamp(1_700_000_000), b"body")
        # Which of the two in the far region is sent to is chosen by chance.
        for _ in range(4):
            second.wipe()
            third.wipe()
            second.put(part, name, object_nodes.timestamp(1_700_000_000), b"body")
            first.replicate()
            counts = json.loads((first.cache / "object.recon").read_text())["object_redundancy"]["0"]
            assert counts == {"below": 1, "unknown": 0}
    finally:
        nodes.stop()


@pytest.fixture(scope="module")
def database_nodes(tmp_path_factory):
    nodes = databases.DatabaseNodes(tmp_path_factory.mktemp("databases"))
    yield nodes
    nodes.stop()


@pytest.mark.parametrize("kind", ["account", "container"])
def test_rows_that_a_replica_lacks_are_counted_once_until_it_has_them(database_nodes, kind):
    name = f"r-{kind}"
    names = (name,) if kind == "account" else ("a", name)
    (a, b, c), handoff = database_nodes.of(*names)

    def put(node, *rows):
        for row in rows:
            done = node.account_row(name, row, 10) if kind == "account" else node.row(name, row, 10)
            assert done == 201

    def output(*nodes):
        for node in nodes:
            node.replicate(kind)
        found = redundancy(a, kind)
        return [found[what][state] for what in ["rows", "databases"] for state in ["below", "unknown"]]

    everybody = [a, b, c, handoff]
    for node in (a, b, c):
        assert (node.put_account(name) if kind == "account" else node.put_container(name)) == 201
        put(node, *(f"o{number}" for number in range(20)))
    assert output(*everybody) == [0, 0, 0, 0]
    # One of many rows that came since the last pass is missing on one replica.
    put(a, *(f"p{number}" for number in range(20)))
    put(b, *(f"p{number}" for number in range(20)))
    put(c, *(f"p{number}" for number in range(19)))
    assert output(*everybody) == [1, 0, 0, 0]
    assert output(*everybody) == [0, 0, 0, 0]
    # One that the first lacks.
    put(b, "q")
    put(c, "q")
    assert output(b, a, c, handoff) == [1, 0, 0, 0]
    assert output(*everybody) == [0, 0, 0, 0]
    c.stop(kind)
    a.replicate(kind)
    b.replicate(kind)
    assert output(handoff) == [0, 41, 0, 1]
    lose(c.file(*names).parent)
    c.start(kind)
    assert output(*everybody) == [41, 0, 1, 0]
    assert output(*everybody) == [0, 0, 0, 0]
    assert samples(a.ports[kind])[f'apus_unknown_redundancy{{kind="{kind}_rows"}}'] == 0
    words = apus_recon(a, kind, "--redundancy", code=0)
    assert f"[{kind} rows] below full redundancy: 0, unknown: 0" in words
