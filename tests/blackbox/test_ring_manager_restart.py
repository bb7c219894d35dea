"""Requests to the ring manager that were recorded on the network, sent again after it was restarted."""

import time

import pytest

from apus_testing.backend_signature import SignedRequest
from apus_testing.ring_manager import KEY, RingManagerMachine, apus
from apus_testing.waiting import wait_until

APPROVE = "/apus/manager/approve"


@pytest.fixture
def place(tmp_path):
    place = RingManagerMachine(tmp_path)
    try:
        place.start("object-server", place.etc, port=place.port)
        place.start("ring-manager", place.etc, port=place.manager_port)
        wait_until(lambda: len(list(place.etc.glob("*.ring.gz.signature"))) == 3, "rings that are signed")
        yield place
    finally:
        place.stop()


def restart_manager(place):
    manager = place.processes.pop()
    assert manager.stop() == 0
    place.start("ring-manager", place.etc, port=place.manager_port)


def test_a_recorded_request_is_refused_after_a_restart(place):
    address = ("127.0.0.1", place.manager_port)
    taken = SignedRequest(KEY, "POST", APPROVE, address)
    assert taken.send(address)[0] == 200
    assert taken.send(address)[0] == 401
    held_back = [
        SignedRequest(KEY, "POST", APPROVE, address),
        SignedRequest(KEY, "POST", "/apus/manager/drain", address, body=b'{"search": "127.0.0.7"}'),
    ]
    # Something that an approval would change.
    place.join(*place.new("new"))
    restart_manager(place)

    for recorded in [taken, *held_back]:
        status, answer = recorded.send(address)
        assert status == 401 and b"before this ring manager was started" in answer, answer
    pending = place.pending()
    assert [one["is_approved"] for one in pending["pending"]] == [False] * 3 and pending["drains"] == []
    assert "Approved: account, container, object" in apus("ring", "approve", "--swift-dir", place.etc)
    assert all(one["is_approved"] for one in place.pending()["pending"])


def test_a_recorded_request_of_a_clock_that_is_ahead_is_refused_after_a_restart(place):
    address = ("127.0.0.1", place.manager_port)
    # Less than the minute by which clocks may differ, and more than the restart takes.
    ahead = SignedRequest(KEY, "POST", APPROVE, address, date=time.time() + 50)
    assert ahead.send(address)[0] == 200
    place.join(*place.new("new"))
    restart_manager(place)
    assert ahead.send(address)[0] == 401
    assert [one["is_approved"] for one in place.pending()["pending"]] == [False] * 3
