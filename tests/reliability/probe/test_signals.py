"""Servers that are asked to stop or are replaced, with requests in flight; daemons that hang (Swift's `test_signals`).

Here servers are one process each (`workers = 0`), so a reload is a stop and a start, and what is tested is what a client
sees of it. With workers: `test_reload.py`.
"""

import signal
import socket
import threading
import time

import pytest

from apus_testing import etc
from apus_testing.uploads import object_upload, proxy_upload
from apus_testing.waiting import wait_until


@pytest.mark.parametrize("server", ["object", "proxy"])
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_request_in_flight_finishes_while_its_server_stops(cluster, swift, container, server, by):
    process, upload = object_upload(cluster, "o") if server == "object" else proxy_upload(cluster, swift, container, "o")
    time.sleep(0.3)
    process.running.send_signal(by)
    time.sleep(0.3)
    assert process.is_alive, "it did not wait"
    assert upload.finish() == 201
    assert process.running.wait(timeout=20) == 0
    process.start()


def test_a_restarted_proxy_has_the_new_configuration(cluster, swift, container):
    process, upload = proxy_upload(cluster, swift, container, "across")
    time.sleep(0.3)
    process.running.terminate()
    assert upload.finish() == 201
    process.running.wait(timeout=20)
    conf = process.etc / "proxy-server.conf"
    before = conf.read_text()
    conf.write_text(before.replace("[filter:tempauth]", "[filter:tempauth]\nuser_later_comer = secret .admin"))
    process.start()
    try:
        cluster.swift("later:comer", "secret").put("c")
        assert swift.get(f"{container}/across").body == b"body" * 10
    finally:
        conf.write_text(before)


@pytest.mark.parametrize("kind", ["account", "container", "object"])
def test_a_rolling_restart_of_all_nodes_fails_no_request(cluster, swift, container, kind):
    stopped, failures, done = threading.Event(), [], []

    def load():
        number = 0
        while not stopped.is_set():
            number += 1
            try:
                swift.put(f"{container}/o{number % 20}", b"x" * 100)
                assert swift.get(f"{container}/o{number % 20}").body == b"x" * 100
                done.append(number)
            except Exception as error:  # counted and reported below
                failures.append(error)

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for node in cluster.nodes:
            node.stop(kind)
            node.start(kind)
            time.sleep(0.1)
    finally:
        stopped.set()
        loader.join()
    assert len(done) > 4
    assert failures == []


def test_a_killed_server_leaves_its_port_to_the_next(cluster):
    for _ in range(3):
        for node in cluster.nodes:
            node.restart()


class Silent:
    """Accepts connections and never answers."""

    def __init__(self, address):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.socket.listen(50)
        self.connections = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        try:
            while True:
                self.connections.append(self.socket.accept()[0])
        except OSError:
            return

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.connections:
            connection.close()


def test_a_daemon_that_waits_for_a_silent_server_still_stops(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    holder = placement.primaries[0]
    nodes = cluster.nodes
    with cluster.without("account", *nodes):
        swift.put(f"{container}/o", b"x")
        # Container servers report to accounts, too: only the daemon is to connect.
        with cluster.without("container", *nodes):
            silent = [Silent((node.address, etc.KINDS["account"])) for node in nodes]
            try:
                daemon = holder.daemon("container-updater").spawn()
                wait_until(lambda: any(one.connections for one in silent), "it does not connect")
                began = time.monotonic()
                daemon.running.terminate()
                assert daemon.running.wait(timeout=15) == 0
                assert time.monotonic() - began < 10
            finally:
                daemon.kill()
                for one in silent:
                    one.close()
