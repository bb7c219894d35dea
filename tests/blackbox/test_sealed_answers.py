"""Responses that daemons act on are sealed for the one request that was signed, and for no other."""

import hashlib
import hmac
import http.client
import struct

import pytest

from apus_testing.backend_signature import SignedRequest, mac
from apus_testing.signed_servers import KEY, OTHER_KEY, SignedServers

PATHS = ["/recon/redundancy/object", "/recon/replication/object", "/recon/mem", "/recon/ringmd5?x=1", "/apus/device/sd1"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = SignedServers(tmp_path_factory.mktemp("sealed"))
    for kind in ["object", "container"]:
        servers.start_with(kind, cluster_key=KEY)
    yield servers
    servers.stop_all()


def send(address, method, path, headers):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers.get("X-Apus-Seal"), body


def ask_signed(address, path, nonce, key=KEY, method="GET"):
    request = SignedRequest(key, method, path, address, {"X-Apus-Nonce": nonce})
    return send(address, method, path, request.headers)


def seal(method, address, path, nonce, status, body):
    """Written a second time from its description (lib/wire/src/signed/seal.rs)."""
    key = bytes.fromhex(KEY)
    fields = ["apus v2 answer", nonce, method, f"{address[0]}:{address[1]}", path]
    covered = b"".join(struct.pack(">Q", len(field)) + field.encode() for field in fields)
    covered += struct.pack(">H", status) + body
    digest = hmac.new(mac(key, b"apus v1 sealed answers"), covered, hashlib.sha256).hexdigest()
    return f"{mac(key, b'apus v1 key id')[:4].hex()} {digest}"


@pytest.mark.parametrize("path", PATHS)
def test_a_signed_question_has_an_answer_that_fits_it_alone(servers, path):
    here, there = servers.address("object"), servers.address("container")
    status, given, body = ask_signed(here, path, "n1")
    assert given == seal("GET", here, path, "n1", status, body)
    others = [
        seal("HEAD", here, path, "n1", status, body),
        seal("GET", there, path, "n1", status, body),
        seal("GET", here, "/recon/diskusage", "n1", status, body),
        seal("GET", here, path + "&y=2", "n1", status, body),
        seal("GET", here, path, "n2", status, body),
    ]
    assert given not in others


@pytest.mark.parametrize("path", PATHS[:4])
def test_an_unsigned_question_gets_its_answer_without_a_seal(servers, path):
    address = servers.address("object")
    for method in ["GET", "HEAD"]:
        status, given, _ = send(address, method, path, {"Host": "x", "X-Apus-Nonce": "n"})
        assert given is None and status != 401, (method, status)


def test_a_question_that_was_altered_or_signed_otherwise_gets_none(servers):
    here, there = servers.address("object"), servers.address("container")
    path, other = PATHS[:2]
    assert ask_signed(here, path, "n", key=OTHER_KEY)[:2] == (401, None)
    request = SignedRequest(KEY, "GET", path, here, {"X-Apus-Nonce": "n"})
    # Taken on the way and put to another path, to another server, as another method, with another nonce.
    assert send(here, "GET", other, request.headers)[:2] == (401, None)
    assert send(there, "GET", path, request.headers)[:2] == (401, None)
    assert send(here, "HEAD", path, request.headers)[:2] == (401, None)
    assert send(here, "GET", path, {**request.headers, "X-Apus-Nonce": "m"})[:2] == (401, None)
    assert send(here, "GET", path, request.headers)[1] is not None
    # Once.
    assert send(here, "GET", path, request.headers)[:2] == (401, None)


def test_an_unsigned_question_outside_recon_is_refused(servers):
    assert send(servers.address("object"), "GET", PATHS[-1], {"Host": "x", "X-Apus-Nonce": "n"})[:2] == (401, None)
