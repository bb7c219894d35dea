"""Responses that are sent before the body is read, and requests that are not plain HTTP."""

import pytest

from apus_testing.raw_http import Connection, chunked

LONG = 3_000_000


@pytest.fixture
def connection(cluster):
    with Connection(cluster.access["endpoint"]) as connection:
        yield connection


def token(connection):
    headers = {"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}
    return {"X-Auth-Token": connection.request("GET", "/auth/v1.0", headers).headers["x-auth-token"]}


REFUSED = [
    ("PUT", "/v1/AUTH_test/c/o", 401),
    ("POST", "/v1/AUTH_test", 401),
    ("PUT", "/bucket/key", 404),
    ("POST", "/bucket?delete", 404),
    ("PUT", "/info", None),
]


@pytest.mark.parametrize("method, target, status", REFUSED)
def test_a_body_that_comes_after_its_refusal_does_not_harm_the_next_request(connection, method, target, status):
    for _ in range(2):
        connection.send_head(method, target, {"Content-Length": 300})
        answer = connection.response()
        assert answer.status >= 400 and status in (None, answer.status)
        assert not answer.closes()
        connection.send(b"x" * 300)
        assert connection.request("GET", "/healthcheck").body == b"OK"


@pytest.mark.parametrize("method, target, status", REFUSED)
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_the_refusal_of_a_long_body_arrives_and_says_that_the_connection_ends(connection, method, target, status, coding):
    if coding == "length":
        connection.send_head(method, target, {"Content-Length": LONG})
        connection.send(b"x" * LONG)
    else:
        connection.send_head(method, target, {"Transfer-Encoding": "chunked"})
        connection.send(chunked(*[b"x" * (LONG // 10)] * 10))
    answer = connection.response()
    assert answer.status >= 400 and status in (None, answer.status)
    assert answer.closes() and connection.rest() == b""


def test_a_client_that_waits_for_100_is_refused_without_it(connection):
    connection.send_head("PUT", "/v1/AUTH_test/c/o", {"Content-Length": 5, "Expect": "100-continue"})
    answer = connection.head()
    assert answer.status == 401 and answer.closes()


def test_a_body_that_was_announced_with_100_is_read(cluster, connection):
    headers = token(connection)
    assert connection.request("PUT", "/v1/AUTH_test/expecting", headers, b"").status in (201, 202)
    expecting = {**headers, "Content-Length": 5, "Expect": "100-continue"}
    connection.send_head("PUT", "/v1/AUTH_test/expecting/o", expecting)
    assert connection.head().status == 100
    connection.send(b"12345")
    assert connection.response().status == 201
    assert connection.request("GET", "/v1/AUTH_test/expecting/o", headers).body == b"12345"


@pytest.mark.parametrize("hosts", [[], [("Host", "a"), ("Host", "a")], [("Host", "a"), ("host", "b")]])
@pytest.mark.parametrize("target", ["/info", "/v1/AUTH_test", "/bucket"])
def test_http_1_1_needs_exactly_one_host(connection, hosts, target):
    answer = connection.request("GET", target, hosts, host=False)
    assert answer.status == 400 and answer.closes() and b"Host" in answer.body
    assert (b"<Code>" in answer.body) == (target == "/bucket")


def test_http_1_0_needs_no_host(connection):
    assert connection.request("GET", "/info", host=False, version="HTTP/1.0").status == 200


LENGTHS = [
    ([("Content-Length", "5"), ("Transfer-Encoding", "chunked")], 400),
    ([("Transfer-Encoding", "chunked"), ("content-length", "5")], 400),
    ([("Content-Length", "5"), ("Content-Length", "6")], 400),
    ([("Content-Length", "+5")], 400),
    ([("Content-Length", "5, 5")], 400),
    ([("Transfer-Encoding", "gzip, chunked")], 501),
    ([("Transfer-Encoding", "chunked, gzip")], 400),
    ([("Transfer-Encoding", "identity")], 400),
]


@pytest.mark.parametrize("target", ["/v1/AUTH_test/lengths/o", "/bucket/key"])
@pytest.mark.parametrize("headers, status", LENGTHS)
def test_a_body_without_a_plain_length_is_refused_and_the_connection_ends(connection, target, headers, status):
    connection.send_head("PUT", target, [*token(connection).items(), *headers] if "v1" in target else headers)
    connection.send(b"5\r\nhello\r\n0\r\n\r\nGET /healthcheck HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = connection.response()
    assert answer.status == status and answer.closes() and answer.body
    assert (b"<Code>" in answer.body) == ("v1" not in target)
    assert connection.rest() == b"", "what followed was not taken for a request"


@pytest.mark.parametrize(
    "target, headers, statuses",
    [
        ("/{}/a`b", {}, (400,)),
        ("/{}/a<b", {}, (400,)),
        ("/{}/" + "x" * 9000, {}, (414,)),
        ("/{}/" + "x" * 70000, {}, (414,)),
        ("/{}/o", {"X-Long": "x" * 9000}, (400,)),
        ("/{}/o", {"X-Long": "x" * 200_000}, (431,)),
    ],
)
def test_what_is_no_request_is_refused_in_the_words_of_the_dialect(cluster, target, headers, statuses):
    for name, is_s3 in [("v1/AUTH_test/c", False), ("bucket", True)]:
        with Connection(cluster.access["endpoint"]) as connection:
            answer = connection.request("GET", target.format(name), headers)
            assert answer.status in statuses and answer.closes(), answer
            assert answer.body and int(answer.headers["content-length"]) == len(answer.body)
            assert (b"<Message>" in answer.body) == is_s3
            kind = "application/xml" if is_s3 else "text/plain"
            assert answer.headers["content-type"].startswith(kind)
