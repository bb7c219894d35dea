"""Temporary URLs of Swift's dialect: signatures, scopes, expiry, and what a browser makes of the response."""

import base64
import hashlib
import hmac
import time
import urllib.parse

import pytest

from apus_testing.saio import Saio
from apus_testing.swift_http import SwiftHttp

EXPIRES = 4_000_000_000


def signed(method, path, key, expires=EXPIRES, digest="sha256", address=None, **more):
    """The query of a temporary URL."""
    lines = [*([f"ip={address}"] if address else []), method, str(expires), path]
    code = hmac.new(key.encode(), "\n".join(lines).encode(), getattr(hashlib, digest))
    query = {"temp_url_sig": code.hexdigest(), "temp_url_expires": str(expires), **more}
    if address:
        query["temp_url_ip_range"] = address
    return urllib.parse.urlencode(query)


@pytest.fixture(scope="module")
def swift(cluster):
    swift = SwiftHttp(cluster)
    assert swift("PUT", "/c", {"X-Container-Meta-Temp-URL-Key-2": "of c"})[0] == 201
    assert swift("PUT", "/other")[0] == 201
    assert swift("POST", "", {"X-Account-Meta-Temp-URL-Key": "of account"})[0] == 204
    metadata = {"X-Object-Meta-Secret": "1", "X-Object-Meta-Public-Colour": "blue"}
    assert swift("PUT", "/c/d/o%20%C3%BC", metadata, b"data")[0] == 201
    return swift


class TokenlessClient:
    """Requests without a token, for paths below the account."""

    def __init__(self, swift):
        self.swift = swift
        self.root = urllib.parse.unquote(urllib.parse.urlparse(swift.root).path)

    def __call__(self, method, path, query, headers=None, body=b""):
        return self.swift.raw(method, f"{self.swift.root}{urllib.parse.quote(path)}?{query}", headers or {}, body)


@pytest.fixture
def ask(swift):
    return TokenlessClient(swift)


PATH = "/c/d/o ü"


@pytest.mark.parametrize("key", ["of account", "of c"])
def test_a_url_opens_one_object_for_one_method(ask, key):
    query = signed("GET", ask.root + PATH, key)
    status, headers, body = ask("GET", PATH, query)
    assert (status, body) == (200, b"data")
    assert headers["content-disposition"] == "attachment; filename=\"o %C3%BC\"; filename*=UTF-8''o%20%C3%BC"
    assert headers["expires"] == "Tue, 02 Oct 2096 07:06:40 GMT"
    assert headers["x-object-meta-public-colour"] == "blue" and "x-object-meta-secret" not in headers
    assert ask("HEAD", PATH, query)[0] == 200
    for method, path in [("PUT", PATH), ("DELETE", PATH), ("POST", PATH), ("COPY", PATH), ("GET", "/c/x"), ("GET", "/c")]:
        status, headers, body = ask(method, path, query)
        assert (status, body) == (401, b"401 Unauthorized: Temp URL invalid\n"), method
        assert headers["www-authenticate"].startswith("Swift realm=")


def test_a_url_for_a_write_allows_a_head_alone_in_addition(ask):
    query = signed("PUT", ask.root + "/c/new", "of c")
    assert ask("PUT", "/c/new", query, {"Content-Length": "3"}, b"new")[0] == 201
    assert ask("HEAD", "/c/new", query)[0] == 200
    assert ask("GET", "/c/new", query)[0] == 401
    for name, value in [("X-Object-Manifest", "other/p"), ("X-Symlink-Target", "other/o")]:
        status, _, body = ask("PUT", "/c/new", query, {name: value, "Content-Length": "0"})
        assert status == 400 and name.encode() in body


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_every_digest_in_hexadecimal_and_base64(ask, digest):
    query = signed("GET", ask.root + PATH, "of c", digest=digest)
    assert ask("GET", PATH, query)[0] == 200
    code = dict(urllib.parse.parse_qsl(query))["temp_url_sig"]
    encoded = base64.urlsafe_b64encode(bytes.fromhex(code)).decode().strip("=")
    assert ask("GET", PATH, query.replace(code, urllib.parse.quote(f"{digest}:{encoded}")))[0] == 200
    wrong = "0" + code[1:] if code[0] != "0" else "1" + code[1:]
    assert ask("GET", PATH, query.replace(code, wrong))[0] == 401


def test_a_url_expires(ask):
    now = int(time.time())
    assert ask("GET", PATH, signed("GET", ask.root + PATH, "of c", expires=now - 1))[0] == 401
    assert ask("GET", PATH, signed("GET", ask.root + PATH, "of c", expires=now + 60))[0] == 200
    query = signed("GET", ask.root + PATH, "of c")
    assert ask("GET", PATH, query.replace(str(EXPIRES), "2096-10-02T07:06:40Z"))[0] == 200
    assert ask("GET", PATH, query.replace(str(EXPIRES), str(EXPIRES + 1)))[0] == 401
    assert ask("GET", PATH, query.split("&")[0])[0] == 401


def test_a_prefix_opens_all_objects_below_it(ask):
    query = signed("GET", f"prefix:{ask.root}/c/d/", "of c", temp_url_prefix="d/")
    assert ask("GET", PATH, query)[0] == 200
    assert ask("GET", "/c/d/missing", query)[0] == 404
    assert ask("GET", "/c/new", query)[0] == 401
    assert ask("GET", "/other/d/o", query)[0] == 401


def test_a_url_is_for_some_addresses(ask):
    for address, status in [("127.0.0.1", 200), ("127.0.0.0/8", 200), ("10.0.0.0/8", 401), ("127.0.0.1/8", 401)]:
        assert ask("GET", PATH, signed("GET", ask.root + PATH, "of c", address=address))[0] == status, address
    query = signed("GET", ask.root + PATH, "of c", address="127.0.0.0/8")
    assert ask("GET", PATH, query.replace("temp_url_ip_range", "x"))[0] == 401


def test_the_url_names_the_file(ask):
    query = signed("GET", ask.root + PATH, "of c")
    shown = ask("GET", PATH, f"{query}&filename=a%22b")[1]["content-disposition"]
    assert shown == "attachment; filename=\"a%22b\"; filename*=UTF-8''a%22b"
    assert ask("GET", PATH, f"{query}&inline")[1]["content-disposition"] == "inline"


def test_a_key_of_a_container_opens_no_other_one(swift, ask):
    assert swift("PUT", "/other/p1", body=b"joined")[0] == 201
    assert swift("PUT", "/c/large", {"X-Object-Manifest": "other/p"})[0] == 201
    assert ask("GET", "/c/large", signed("GET", ask.root + "/c/large", "of account"))[2] == b"joined"
    assert ask("GET", "/c/large", signed("GET", ask.root + "/c/large", "of c"))[0] == 401
    copied = {"X-Copy-From": "other/p1", "Content-Length": "0"}
    assert ask("PUT", "/c/copy", signed("PUT", ask.root + "/c/copy", "of c"), copied)[0] == 401


def test_a_url_does_not_name_versions(swift, ask):
    assert swift("PUT", "/v", {"X-Versions-Enabled": "true"})[0] == 201
    first = swift("PUT", "/v/o", body=b"one")[1]["x-object-version-id"]
    swift("PUT", "/v/o", body=b"two")
    query = signed("GET", ask.root + "/v/o", "of account")
    assert ask("GET", "/v/o", f"{query}&version-id={first}")[2] == b"two"


def test_an_operator_limits_methods_and_digests(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.configure("proxy", "[filter:tempurl]\nmethods = GET\nallowed_digests = sha512\n")
    swift = SwiftHttp(cluster)
    assert swift("PUT", "/c", {"X-Container-Meta-Temp-URL-Key": "k"})[0] == 201
    assert swift("PUT", "/c/o", body=b"data")[0] == 201
    url, path = f"{swift.root}/c/o", urllib.parse.urlparse(swift.root).path + "/c/o"
    assert swift.raw("GET", f"{url}?{signed('GET', path, 'k', digest='sha512')}")[0] == 200
    assert swift.raw("GET", f"{url}?{signed('GET', path, 'k')}")[0] == 401
    assert swift.raw("PUT", f"{url}?{signed('PUT', path, 'k', digest='sha512')}")[0] == 401
    assert cluster.stop() == 0
