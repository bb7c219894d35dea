"""Clients that disconnect, stall or do not read: what they held is released."""

import pytest

from apus_testing.raw_http import Connection, open_sockets
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A cluster that waits a second for clients."""
    folder = tmp_path_factory.mktemp("impatient") / "data"
    cluster = Saio(folder, "--dev-users").start()
    assert cluster.stop() == 0
    conf = folder / "etc/proxy-server.conf"
    conf.write_text(conf.read_text().replace("client_timeout = 60", "client_timeout = 1"))
    cluster.start()
    yield cluster
    assert cluster.stop() == 0


@pytest.fixture(scope="module")
def big(impatient):
    """The target of a large object, the headers for it and its size."""
    size = 48_000_000
    headers = {"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}
    with Connection(impatient.access["endpoint"]) as connection:
        token = connection.request("GET", "/auth/v1.0", headers).headers["x-auth-token"]
        headers = {"X-Auth-Token": token}
        assert connection.request("PUT", "/v1/AUTH_test/big", headers, b"").status == 201
        assert connection.request("PUT", "/v1/AUTH_test/big/o", headers, b"x" * size).status == 201
    return "/v1/AUTH_test/big/o", headers, size


def idle(cluster):
    """The number of sockets of a cluster without clients."""
    with Connection(cluster.access["endpoint"]) as connection:
        connection.request("GET", "/healthcheck")
        return open_sockets(cluster.process.pid) - 1


def test_a_client_that_does_not_read_is_given_up(impatient, big):
    target, headers, size = big
    before = idle(impatient)
    clients = [Connection(impatient.access["endpoint"], receive_buffer=4096) for _ in range(5)]
    for client in clients:
        client.send_head("GET", target, headers)
    wait_until(lambda: open_sockets(impatient.process.pid) >= before + 5, "they are connected")
    wait_until(lambda: open_sockets(impatient.process.pid) <= before, "they are given up")
    for client in clients:
        assert len(client.rest()) < size
        client.close()


def test_a_client_that_reads_gets_everything(impatient, big):
    target, headers, size = big
    with Connection(impatient.access["endpoint"]) as client:
        assert len(client.request("GET", target, headers).body) == size


@pytest.mark.parametrize(
    "target, fields",
    [
        ("/v1/AUTH_test/big/new", {"Content-Length": 1_000_000}),
        ("/v1/AUTH_test/big/new", {"Transfer-Encoding": "chunked"}),
        ("/v1/AUTH_test/big/new?multipart-manifest=put", {"Content-Length": 1_000_000}),
        ("/v1/AUTH_test/?bulk-delete", {"Content-Length": 1_000_000, "Content-Type": "text/plain"}),
    ],
)
def test_a_body_that_stalls_ends_the_request(impatient, big, target, fields):
    _, headers, _ = big
    with Connection(impatient.access["endpoint"]) as client:
        client.send_head("POST" if "bulk" in target else "PUT", target, {**headers, **fields})
        client.send(b"1\r\n")
        answer = client.response()
        assert answer.status in (408, 499) and answer.closes()
        assert client.rest() == b""


@pytest.mark.parametrize("text", ["", "G", "GET / HTTP/1.1\r\nHost: a\r\nX-Half: "])
def test_a_head_that_stalls_ends_the_connection(impatient, text):
    with Connection(impatient.access["endpoint"]) as client:
        client.send(text)
        assert client.rest() == b""


@pytest.mark.parametrize("leave", [Connection.close, Connection.reset])
def test_a_client_that_leaves_while_it_is_answered_leaves_nothing_behind(impatient, big, leave):
    target, headers, _ = big
    before = idle(impatient)
    for _ in range(5):
        client = Connection(impatient.access["endpoint"], receive_buffer=4096)
        client.send_head("GET", target, headers)
        assert client.head().status == 200
        leave(client)
    wait_until(lambda: open_sockets(impatient.process.pid) <= before, "all is given back")


def test_a_client_that_only_finished_sending_is_answered(impatient, big):
    target, headers, size = big
    for version in ["HTTP/1.0", "HTTP/1.1"]:
        with Connection(impatient.access["endpoint"]) as client:
            client.send_head("GET", target, headers, version=version).finish_sending()
            assert len(client.response().body) == size


def test_an_upload_whose_client_left_before_the_answer_is_whole_or_not_there(impatient, big):
    _, headers, _ = big
    endpoint = impatient.access["endpoint"]
    body = b"y" * 200_000
    names = [f"/v1/AUTH_test/big/left{number}" for number in range(10)]
    for name in names:
        client = Connection(endpoint)
        client.send_head("PUT", name, {**headers, "Content-Length": len(body)}).send(body)
        client.close()
    for name in names:
        with Connection(endpoint) as client:
            answer = client.request("GET", name, headers)
            assert answer.status in (200, 404)
            if answer.status == 200:
                assert answer.body == body

            def is_listed():
                listed = client.request("GET", "/v1/AUTH_test/big", headers).body.decode().split()
                there = client.request("HEAD", name, headers).status == 200
                return (name.rsplit("/", 1)[1] in listed) == there

            wait_until(is_listed, "the listing and the object agree")
