"""Connections are limited, and those over the limits do not keep others from being served."""

import json
import resource
import subprocess
from contextlib import suppress

import pytest

from apus_testing.executables import APUS
from apus_testing.raw_http import Closed, Connection, open_sockets
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

FILES = 256
SILENT = 1000


class Small(Saio):
    """A cluster whose process may open few files."""

    def start(self):
        command = [APUS, "saio", "--data", str(self.data), "--port", str(self.port), "--json", *self.options]

        def limit():
            return resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
        self.access = json.loads(self.process.stdout.readline())
        return self


def sign_in(connection):
    headers = {"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}
    answer = connection.request("GET", "/auth/v1.0", headers)
    return {"X-Auth-Token": answer.headers["x-auth-token"]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    cluster = Small(tmp_path_factory.mktemp("small") / "data", "--dev-users").start()
    yield cluster
    assert cluster.stop() == 0


def test_silent_connections_leave_room_for_those_that_are_served_and_for_new_ones(small):
    endpoint = small.access["endpoint"]
    served = Connection(endpoint)
    token = sign_in(served)
    assert served.request("PUT", "/v1/AUTH_test/c", token, b"").status == 201
    silent = []
    for _ in range(SILENT):
        connection = Connection(endpoint, source="127.0.0.3")
        with suppress(OSError):
            connection.send("G")
        silent.append(connection)
    assert open_sockets(small.process.pid) < FILES
    for number in range(10):
        body = b"%d" % number * 1000
        path = f"/v1/AUTH_test/c/o{number}"
        assert served.request("PUT", path, token, body).status == 201
        assert served.request("GET", path, token).body == body
        # Another address has its own share.
        with Connection(endpoint) as new:
            assert new.request("GET", path, token).body == body

    # Of the address that is silent, the oldest connections make room.
    def comes_in():
        with Connection(endpoint, source="127.0.0.3") as new:
            try:
                return new.request("GET", "/healthcheck").status == 200
            except (Closed, OSError):
                return False

    wait_until(comes_in, "an address whose connections are all silent gets a new one")
    for connection in silent:
        connection.close()
    served.close()


def test_a_connection_over_the_limit_is_refused_with_a_text_and_can_come_back(small):
    endpoint = small.access["endpoint"]
    kept, refused = [], None
    while refused is None:
        assert len(kept) < FILES
        connection = Connection(endpoint, source="127.0.0.4")
        connection.send_head("GET", "/healthcheck")
        answer = connection.response()
        if answer.status == 200:
            kept.append(connection)
        else:
            refused = answer
            assert connection.rest() == b""
    assert refused.status == 503 and refused.closes()
    assert refused.headers["retry-after"] == "1" and b"connections" in refused.body
    assert kept[0].request("GET", "/healthcheck").status == 200
    for connection in kept:
        connection.close()

    def comes_back():
        with Connection(endpoint, source="127.0.0.4") as again:
            return again.request("GET", "/healthcheck").status == 200

    wait_until(comes_back, "a place that was given back is used")


def test_limits_of_clients_are_read_from_the_configuration(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    assert cluster.stop() == 0
    conf = tmp_path / "data/etc/proxy-server.conf"
    text = conf.read_text()
    assert "client_timeout = 60" in text
    wanted = "client_timeout = 1\nmax_clients = 3\nmax_clients_per_address = 2"
    conf.write_text(text.replace("client_timeout = 60", wanted))
    cluster.start()
    try:
        endpoint = cluster.access["endpoint"]
        two = [Connection(endpoint, source="127.0.0.5") for _ in range(2)]
        for connection in two:
            assert connection.request("GET", "/healthcheck").status == 200
        with Connection(endpoint, source="127.0.0.5") as third:
            assert third.response().status == 503
        with Connection(endpoint, source="127.0.0.6") as other:
            assert other.request("GET", "/healthcheck").status == 200
        # Idle ones are closed.
        wait_until(lambda: all(connection.is_closed() for connection in two), "idle connections are closed")
    finally:
        cluster.stop()
    conf.write_text(text.replace("client_timeout = 60", "max_clients = 0"))
    command = [APUS, "saio", "--data", str(cluster.data), "--port", str(cluster.port)]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert failed.returncode != 0 and "max_clients" in failed.stderr
