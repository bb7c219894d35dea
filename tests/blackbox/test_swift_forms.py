"""Uploads by signed HTML forms in Swift's dialect: signatures, limits, redirects, and the objects that they store."""

import hashlib
import hmac
import json

import pytest

from apus_testing.swift_http import SwiftHttp

KEY, CONTAINER_KEY = "of account", "of container"
EXPIRES = 4_000_000_000


@pytest.fixture(scope="module")
def swift(cluster):
    swift = SwiftHttp(cluster)
    assert swift("PUT", "/up", {"X-Container-Meta-Temp-URL-Key-2": CONTAINER_KEY})[0] == 201
    assert swift("POST", "", {"X-Account-Meta-Temp-URL-Key": KEY})[0] == 204
    yield swift
    assert swift("POST", "", {"X-Remove-Account-Meta-Temp-URL-Key": "x"})[0] == 204


def signature(path, fields, key=KEY, digest="sha256"):
    names = [("redirect", ""), ("max_file_size", "0"), ("max_file_count", "0"), ("expires", "0")]
    lines = [path, *(str(fields.get(name, default)) for name, default in names)]
    return hmac.new(key.encode(), "\n".join(lines).encode(), getattr(hashlib, digest)).hexdigest()


def part(name, value, filename=None, headers=""):
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


class Forms:
    """Posts forms to paths below the account, without a token."""

    def __init__(self, swift):
        self.swift = swift

    def __call__(self, path, files, key=KEY, digest="sha256", **fields):
        fields = {"max_file_size": 100, "max_file_count": 3, "expires": EXPIRES, **fields}
        target = self.swift.root + path
        fields.setdefault("signature", signature(target, fields, key, digest))
        body = b"".join(part(name, str(value).encode()) for name, value in fields.items())
        body += b"".join(part(f"file{number}", data, name, more) for number, (name, data, more) in enumerate(files))
        return self.post(path, body + b"--x--\r\n")

    def post(self, path, body, kind="multipart/form-data; boundary=x"):
        return self.swift.raw("POST", self.swift.root + path, {"Content-Type": kind}, body)


@pytest.fixture
def form(swift):
    return Forms(swift)


def file(name, data=b"data", headers="Content-Type: text/x-test\r\n"):
    return name, data, headers


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("key", [KEY, CONTAINER_KEY])
def test_files_of_a_signed_form_are_stored(swift, form, key, digest):
    files = [file("a.txt", b"one\r\n--y"), file("b ü.txt", b"")]
    status, headers, body = form(f"/up/{digest}/", files, key, digest)
    assert (status, headers["content-type"], body) == (201, "text/plain", b"201 Created")
    assert swift("GET", f"/up/{digest}/a.txt")[2] == b"one\r\n--y"
    stored = swift("HEAD", f"/up/{digest}/b%20%C3%BC.txt")[1]
    assert (stored["content-length"], stored["content-type"]) == ("0", "text/x-test")


def test_the_path_of_a_container_needs_no_slash(swift, form):
    assert form("/up", [file("direct")])[0] == 201
    assert form("/up/p-", [file("refix")])[0] == 201
    assert {"direct", "p-refix"} <= set(swift.names("up"))


def test_fields_describe_the_objects(swift, form):
    fields = {"x_delete_after": 1000, "content-type": "text/css", "content-encoding": "gzip"}
    assert form("/up/", [file("described")], **fields)[0] == 201
    headers = swift("HEAD", "/up/described")[1]
    assert headers["content-type"] == "text/css" and headers["content-encoding"] == "gzip"
    assert "x-delete-at" in headers


@pytest.mark.parametrize(
    "fields, status, text",
    [
        ({"signature": "0" * 64}, 401, b"FormPost: Invalid Signature"),
        ({"signature": ""}, 401, b"FormPost: Invalid Signature"),
        ({"signature": "md5"}, 401, b"FormPost: Invalid Signature"),
        ({"expires": 1000}, 401, b"FormPost: Form Expired"),
        ({"expires": "soon"}, 400, b"FormPost: expired not an integer"),
        ({"max_file_size": "big"}, 400, b"FormPost: max_file_size not an integer"),
        ({"max_file_count": "all"}, 400, b"FormPost: max_file_count not an integer"),
        ({"x_delete_at": "x"}, 400, b"FormPost: x_delete_at not an integer: Unix timestamp required."),
        ({"x_delete_after": "x"}, 400, b"FormPost: x_delete_after not an integer: Number of seconds required."),
        ({"max_file_size": 3}, 400, b"FormPost: max_file_size exceeded"),
        ({"max_file_count": 0}, 400, b"400 Bad Request\r\nFormPost: Max File Count Exceeded"),
    ],
)
def test_a_form_is_held_to_its_fields(swift, form, fields, status, text):
    found = form("/up/", [file("refused")], **fields)
    assert (found[0], found[2]) == (status, text)
    assert swift("HEAD", "/up/refused")[0] == 404


def test_only_keys_of_the_path_sign(swift, form):
    assert swift("PUT", "/elsewhere")[0] in (201, 202)
    assert form("/elsewhere/", [file("o")], CONTAINER_KEY)[0] == 401
    assert form("/elsewhere/", [file("o")], KEY)[0] == 201
    signed = signature(f"{swift.root}/up/", {"max_file_size": 100, "max_file_count": 3, "expires": EXPIRES})
    assert form("/elsewhere/", [file("o")], signature=signed)[0] == 401
    assert form("", [file("o")])[0] == 401
    assert form("/absent/", [file("o")], KEY)[0] in (401, 404)


def test_files_before_the_first_that_fails_are_stored(swift, form):
    files = [file("first"), file("long", b"x" * 101), file("third")]
    assert form("/up/", files)[0] == 400
    assert swift("HEAD", "/up/first")[0] == 200
    assert swift("HEAD", "/up/long")[0] == swift("HEAD", "/up/third")[0] == 404
    status, _, body = form("/up/", [file(f"n{number}") for number in range(4)])
    assert status == 400 and b"Max File Count Exceeded" in body
    assert swift("HEAD", "/up/n2")[0] == 200 and swift("HEAD", "/up/n3")[0] == 404


def test_the_outcome_is_sent_to_the_page_of_the_form(form):
    status, headers, _ = form("/up/", [file("o")], redirect="https://h/done")
    assert (status, headers["location"]) == (303, "https://h/done?status=201&message=")
    status, headers, _ = form("/up/", [], redirect="https://h/done?a=b")
    assert (status, headers["location"]) == (303, "https://h/done?a=b&status=400&message=no%20files%20to%20process")
    # A page that no key signed is not followed.
    assert form("/up/", [], redirect="https://evil/", signature="0" * 64)[0] == 400


def test_bodies_that_are_not_forms_are_refused(swift, form):
    assert form.post("/up/", b"--y\r\n")[0] == 400
    assert form.post("/up/", b"")[0] == 400
    cut = part("max_file_count", b"1") + part("file", b"data", "cut")[:-10]
    assert form.post("/up/", cut)[0] in (400, 401)
    long = part("a", b"v" * 100_000)
    assert form.post("/up/", long + b"--x--\r\n")[0] == 400
    assert swift("HEAD", "/up/cut")[0] == 404
    # Without a boundary it is a POST like others.
    assert form.post("/up/o", b"", "multipart/form-data")[0] == 401


def test_quotas_hold_for_forms(swift, form):
    assert swift("PUT", "/small", {"X-Container-Meta-Quota-Bytes": "5"})[0] == 201
    assert form("/small/", [file("o", b"123456")])[0] == 413
    assert form("/small/", [file("o", b"12345")])[0] == 201


def test_info_names_the_digests(swift):
    info = json.loads(swift.raw("GET", "/info")[2])["formpost"]
    assert info == {"allowed_digests": ["sha1", "sha256", "sha512"], "deprecated_digests": ["sha1"]}
