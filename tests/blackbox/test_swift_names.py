"""Names that clients give in paths, headers, queries and bodies of Swift's dialect."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from apus_testing.swift_http import SwiftHttp

TEXT = b"Invalid UTF8 or contains NULL"


@pytest.fixture(scope="module")
def swift(cluster):
    return SwiftHttp.with_object(cluster)


@pytest.mark.parametrize("name", ["c/%00o", "c/o%00", "%00c/o", "c/%00versions%00o", "c/%ff", b"c/\xff", "/%00c/o"])
def test_no_header_names_what_a_path_cannot(swift, name):
    assert swift("COPY", "/c/o", {"Destination": name})[::2] == (412, TEXT)
    assert swift("PUT", "/c/copy", {"X-Copy-From": name})[::2] == (412, TEXT)
    status, _, body = swift("PUT", "/c/link", {"X-Symlink-Target": name})
    assert status == 412 and (body == TEXT or b"must be of the form" in body)
    assert swift("PUT", "/c/dlo", {"X-Object-Manifest": name})[0] == 400
    assert swift("POST", "/c/o", {"X-Object-Manifest": name})[0] == 400
    assert swift.names("c") == ["o"]


@pytest.mark.parametrize(
    "header, method",
    [("Destination-Account", "COPY"), ("X-Copy-From-Account", "PUT"), ("X-Symlink-Target-Account", "PUT")],
)
def test_headers_that_name_accounts_are_checked_too(swift, header, method):
    objects = {"Destination": "c/x", "X-Copy-From": "c/o", "X-Symlink-Target": "c/o"}
    name = header.removesuffix("-Account")
    path = "/c/o" if method == "COPY" else "/c/x"
    for account, text in [
        ("AUTH_%00", TEXT),
        (b"\xff", TEXT),
        ("a/b", b"Account name cannot contain slashes"),
        ("a%2Fb", b"Account name cannot contain slashes"),
    ]:
        assert swift(method, path, {name: objects[name], header: account})[::2] == (412, text)
    status, _, body = swift(method, path, {name: objects[name], header: "a" * 600})
    assert (status, body) == (400, b"Account name length of 600 longer than 256")


def test_a_question_mark_in_a_header_is_part_of_the_name(swift):
    swift("PUT", "/q")
    assert swift("COPY", "/c/o", {"Destination": "q/what?.txt"})[0] == 201
    assert swift("COPY", "/c/o", {"Destination": "q/%3Fa=1"})[0] == 201
    assert swift("PUT", "/q/again", {"X-Copy-From": "q/what?.txt"})[0] == 201
    assert swift("PUT", "/q/none", {"X-Copy-From": "q/what?other"})[0] == 404
    assert swift("PUT", "/q/link", {"X-Symlink-Target": "q/what?.txt"})[0] == 201
    assert swift("GET", "/q/link")[2] == b"data"
    assert swift.names("q") == ["?a=1", "again", "link", "what?.txt"]


def test_names_are_decoded_once(swift):
    swift("PUT", "/once")
    assert swift("COPY", "/c/o", {"Destination": "once/%2541"})[0] == 201
    assert swift("PUT", "/once/%252F", body=b"x")[0] == 201
    assert swift.names("once") == ["%2F", "%41"]


def test_an_encoded_slash_is_a_slash(swift):
    assert swift("GET", "/c%2Fo")[::2] == (200, b"data")
    assert swift.raw("GET", f"/v1/{swift.root[4:]}%2Fc%2fo", {"X-Auth-Token": swift.token})[2] == b"data"
    assert swift("PUT", "/c%2Fnew", body=b"x")[0] == 201
    assert swift("DELETE", "/c/new")[0] == 204


@pytest.mark.parametrize("header", ["Destination", "X-Copy-From"])
@pytest.mark.parametrize("name", ["c", "c/", "//c/o", "/c", "/", "%2Fc"])
def test_a_header_without_an_object_says_what_it_must_be(swift, header, name):
    method, path = ("COPY", "/c/o") if header == "Destination" else ("PUT", "/c/x")
    status, _, body = swift(method, path, {header: name})
    expected = f"{header} header must be of the form <container name>/<object name>"
    assert (status, body.decode()) == (412, expected)


def test_refusals_of_long_names_contain_length_and_limit(swift):
    for path, text in [
        ("/" + "c" * 257, "Container name length of 257 longer than 256"),
        ("/" + "c" * 600, "Container name length of 600 longer than 256"),
        ("/c/" + "o" * 1025, "Object name length of 1025 longer than 1024"),
        ("/c/" + "o" * 2100, "Object name length of 2100 longer than 1024"),
        ("/c/" + "%C3%BC" * 600, "Object name length of 1200 longer than 1024"),
    ]:
        status, _, body = swift("PUT", path)
        assert (status, body.decode()) == (400, text)
    status, _, body = swift("COPY", "/c/o", {"Destination": "c/" + "o" * 1100})
    assert (status, body) == (400, b"Object name length of 1100 longer than 1024")


def test_a_copy_with_a_body_is_refused(swift):
    status, _, body = swift("PUT", "/c/x", {"X-Copy-From": "c/o"}, b"body")
    assert (status, body) == (400, b"Copy requests require a zero byte body")


def test_lists_to_delete_and_manifests_hold_no_hidden_names(swift):
    body = b"/c/%00versions%00o\n/%00c\n/c/\x00\n/c/%ff\n"
    status, _, report = swift("POST", "?bulk-delete", {"Accept": "application/json"}, body)
    report = json.loads(report)
    assert status == 200 and report["Number Deleted"] == report["Number Not Found"] == 0
    assert [why for _, why in report["Errors"]] == ["412 Precondition Failed"] * 4
    for path in ["/c/\0o", "/\0c/o", "c/o\0"]:
        manifest = json.dumps([{"path": path}]).encode()
        status, _, body = swift("PUT", "/c/slo?multipart-manifest=put", body=manifest)
        assert status == 400, body


def test_listings_hide_reserved_names_and_refuse_other_bytes(swift):
    for query in ["prefix=%00", "marker=%00", "prefix=%00versions%00&delimiter=/", "delimiter=%00"]:
        status, _, body = swift("GET", f"/c?{query}")
        assert status in (200, 204) and b"\0" not in body
    status, _, body = swift("GET", "/c?marker=%ff")
    assert (status, body) == (400, b'"marker" parameter not valid UTF-8')


def test_no_s3_request_names_what_a_path_cannot(s3):
    s3.create_bucket(Bucket="names")
    s3.put_object(Bucket="names", Key="o", Body=b"data")
    # The client percent-encodes them.
    for source in ["names/\0o", "names/o\0", "\0names/o"]:
        with pytest.raises(s3.exceptions.ClientError) as caught:
            s3.copy_object(Bucket="names", Key="copy", CopySource=source)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert [row["Key"] for row in s3.list_objects_v2(Bucket="names")["Contents"]] == ["o"]


@pytest.mark.parametrize("kind", ["text/plain;swift_bytes=99", "text/plain; swift_bytes=9", "a/b; c=d;\tswift_x=1"])
def test_content_types_cannot_change_what_listings_show(swift, kind):
    manifest = json.dumps([{"path": "/c/o"}]).encode()
    for method, path, headers, body in [
        ("PUT", "/c/kind", {}, b"12345"),
        ("PUT", "/c/kind?multipart-manifest=put", {}, manifest),
        ("PUT", "/c/kind", {"X-Symlink-Target": "c/o"}, b""),
        ("PUT", "/c/kind", {"X-Copy-From": "c/o"}, b""),
        ("COPY", "/c/o", {"Destination": "c/kind"}, b""),
        ("POST", "/c/o", {}, b""),
    ]:
        status, _, text = swift(method, path, {**headers, "Content-Type": kind}, body)
        assert (status, text) == (400, b"Invalid Content-Type, swift_* is not a valid parameter name.")
    assert swift.names("c") == ["o"]


def test_lines_of_one_header_are_one_list(swift):
    pairs = [("X-Object-Meta-Color", "red"), ("X-Object-Meta-Color", "blue"), ("Content-Type", "a/b")]
    swift("PUT", "/lines")
    assert swift("PUT", "/lines/o", pairs)[0] == 201
    assert swift("HEAD", "/lines/o")[1]["x-object-meta-color"] == "red,blue"
    assert swift("POST", "/lines", [("X-Container-Read", "a:b"), ("X-Container-Read", "c:d")])[0] == 204
    assert swift("HEAD", "/lines")[1]["x-container-read"] == "a:b,c:d"
    assert swift("GET", "/lines", [("Accept", "image/png"), ("Accept", "application/json")])[0] == 200


def test_metadata_beyond_ascii_comes_back_byte_for_byte(swift):
    value = "grün ☃".encode()
    swift("PUT", "/bytes")
    assert swift("PUT", "/bytes/o", {"X-Object-Meta-Name": value})[0] == 201
    assert swift("HEAD", "/bytes/o")[1]["x-object-meta-name"].encode("latin-1") == value
    for method, path in [("PUT", "/bytes/o"), ("POST", "/bytes/o")]:
        assert swift(method, path, {"X-Object-Meta-Name": b"gr\xfcn"})[0] == 400
    assert swift("POST", "/bytes", {"X-Container-Meta-Name": b"gr\xfcn"})[0] == 400
    assert swift("PUT", "/bytes/o", {"Content-Disposition": b"gr\xfcn"})[0] == 400
    assert swift("HEAD", "/bytes/o")[1]["x-object-meta-name"].encode("latin-1") == value


def test_xml_listings_can_be_parsed_whatever_names_hold(swift):
    swift("PUT", "/xml")
    for name in ["bell%07", "cr%0Dx", "nl%0Ay", "tab%09/z", "a%0D%0A/b", "%EF%BF%BE", "q%22%3C%26"]:
        assert swift("PUT", f"/xml/{name}")[0] == 201
    root = ElementTree.fromstring(swift("GET", "/xml?format=xml&delimiter=/")[2])
    names = {row.find("name").text for row in root}
    assert names == {"bell\ufffd", "cr\rx", "nl\ny", "tab\t/", "a\r\n/", "\ufffd", 'q"<&'}
    assert {row.get("name") for row in root.iter("subdir")} == {"tab\t/", "a\r\n/"}
    swift("PUT", "/x%09%0D%0A%07y")
    assert ElementTree.fromstring(swift("GET", "/x%09%0D%0A%07y?format=xml")[2]).get("name") == "x\t\r\n\ufffdy"


def test_accept_decides_as_in_swift(swift):
    for accept, status, kind in [
        ("", 200, "text/plain"),
        ("*/*", 200, "text/plain"),
        ("application/*", 200, "application/json"),
        ("*/*, application/xml", 200, "application/xml"),
        ("image/png", 406, None),
        ("json", 400, None),
    ]:
        answer = swift("GET", "/c", {"Accept": accept})
        assert answer[0] == status, accept
        assert kind is None or answer[1]["content-type"].startswith(kind)


def test_a_realm_is_quoted(cluster, swift):
    for path, realm in [("/v1/AUTH_%22x%22/c", "AUTH_%22x%22"), ("/v1/AUTH_a%2Cb", "AUTH_a%2Cb")]:
        status, headers, _ = swift.raw("GET", path)
        assert (status, headers["www-authenticate"]) == (401, f'Swift realm="{realm}"')
