"""The commands of the ring manager over one real server: what they write, ask, print and refuse.

How partitions move is `tests/reliability/test_join_drain.py`.
"""

import json
import urllib.error
import urllib.request

import pytest

from apus_testing.backend_signature import SignedRequest
from apus_testing.ring_manager import KEY, OTHER_KEY, RingManagerMachine, apus
from apus_testing.waiting import wait_until


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = RingManagerMachine(tmp_path_factory.mktemp("ring-manager"))
    try:
        place.start("object-server", place.etc, port=place.port)
        place.start("ring-manager", place.etc, port=place.manager_port)
        # It signs the rings of the server that answers.
        wait_until(lambda: len(list(place.etc.glob("*.ring.gz.signature"))) == 3, "rings that are signed")
        yield place
    finally:
        place.stop()


def test_facts_are_returned_to_signed_requests_only_and_without_the_key(place):
    address = ("127.0.0.1", place.port)
    status, answer = SignedRequest(KEY, "GET", "/apus/join", address).send(address)
    assert status == 200 and KEY not in answer.decode() and "cluster_key" not in answer.decode()
    assert json.loads(answer)["facts"]["sections"]["storage-policy:0"] == {"name": "gold", "aliases": "best, dear"}
    for port, path in [(place.port, "/apus/join"), (place.port, "/apus/device/sd1"), (place.manager_port, "/apus/manager/status")]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)
        assert refused.value.code == 401


def test_a_dry_run_writes_nothing(place):
    etc, disk = place.new("dry")
    output = place.join(etc, disk, "--dry-run")
    assert "Would write swift.conf" in output and "would be registered" in output
    assert not etc.exists() and place.pending()["pending"] == []


def test_what_would_harm_is_refused_by_name(place):
    etc, disk = place.new("refused")
    words = ("join", f"127.0.0.1:{place.port}", "--device", disk, "--ip", "127.0.0.7", "--swift-dir", etc)
    assert "--key-file" in apus(*words, code=2)
    assert "another cluster key" in apus(*words, "--key-file", place.key_file(OTHER_KEY), code=2)
    assert "hexadecimal" in apus(*words, "--key-file", place.key_file("12"), code=2)
    assert "as the others" in apus(*words, "--device", place.folder / "devices/sd1", code=2)
    etc.mkdir()
    (etc / "swift.conf").write_text(place.conf.replace("very%secret", "other").replace("gold", "silver"))
    output = place.join(etc, disk, code=2)
    assert "[storage-policy:0] name, [swift-hash] swift_hash_path_prefix" in output and "secret" not in output
    (etc / "swift.conf").unlink()
    (etc / "object-server.conf").write_text("[DEFAULT]\ndevices = /srv/other\n")
    assert "/srv/other" in place.join(etc, disk, code=2)
    assert sorted(path.name for path in etc.iterdir()) == ["object-server.conf"]
    assert place.pending()["pending"] == []


def test_an_open_cluster_has_no_manager(place):
    etc = place.folder / "open"
    etc.mkdir()
    (etc / "swift.conf").write_text(place.conf + "backend_auth = open\n")
    (etc / "ring-manager.conf").write_text(f"[ring-manager]\nbuilder_dir = {place.builders}\n")
    assert "signed requests only" in apus("ring-manager", etc, code=2)


def test_a_node_joins_is_approved_and_drained(place):
    etc, disk = place.new("new")
    rings = {path.name: path.read_bytes() for path in place.builders.glob("*.ring.gz")}
    output = place.join(etc, disk)
    assert "apus ring approve" in output
    assert (etc / "swift.conf").stat().st_mode & 0o777 == 0o600
    names = {"swift.conf", *(f"{kind}{end}" for kind in ("account", "container", "object") for end in ("-server.conf", ".ring.gz"))}
    assert names <= {path.name for path in etc.iterdir()}
    assert (etc / "object.ring.gz").read_bytes() == rings["object.ring.gz"]
    # The files are good: a server takes them up as they are.
    apus("object-server", etc, "--test-config")
    # Once more, by the key that is there now.
    words = ("join", f"127.0.0.1:{place.port}", "--device", f"{disk}:50", "--ip", "127.0.0.7", "--swift-dir", etc, "--json")
    again = json.loads(apus(*words))
    assert again["written"] == [] and not any(device["added"] for device in again["registered"]["devices"])

    status = place.pending()
    assert [one["ring"] for one in status["pending"]] == ["account", "container", "object"]
    assert not any(one["is_approved"] for one in status["pending"])
    assert "sdx" in apus("ring", "pending", "--swift-dir", etc)
    foreseen = apus("ring", "approve", "--dry-run", "--swift-dir", etc)
    assert "object: 5 partition replicas of 5 partitions move" in foreseen and "Nothing was approved" in foreseen
    assert not any(one["is_approved"] for one in place.pending()["pending"])
    approved = json.loads(apus("ring", "approve", "--swift-dir", etc, "--json"))
    assert approved["approved"] == ["account", "container", "object"]
    # No server answers at the new node, so nothing moves, and the reason is given.
    wait_until(lambda: any("127.0.0.7" in text for text in place.pending()["waits_for"]), "the reason")
    assert {path.name: path.read_bytes() for path in place.builders.glob("*.ring.gz")} == rings

    assert "would be drained" in apus("drain", "127.0.0.7", "--dry-run", "--swift-dir", etc)
    assert "not yet" in apus("drain", "127.0.0.7", "--swift-dir", etc, code=1)
    output = json.loads(apus("drain", "z2-127.0.0.7/sdx", "--swift-dir", etc, "--json", code=1))
    assert not output["safe_to_pull"] and any("unknown" in text for text in output["drains"][0]["not_yet"])
    assert "not known to be safe" in apus("drain", "127.0.0.7", "--remove", "--swift-dir", etc, code=2)
    assert "would be left" in apus("drain", "127.0.0.1", "--swift-dir", etc, code=2)
    assert "no matching" in apus("drain", "127.0.0.9", "--swift-dir", etc, code=2)
    assert "has its weight back" in apus("drain", "127.0.0.7", "--cancel", "--swift-dir", etc)
    weights = apus("ring-builder", place.builders / "object.builder", "search", "z2")
    assert " 50.00 " in weights
