"""Archives that are unpacked to objects: formats, names, metadata, rights, failures and the report."""

import bz2
import gzip
import io
import json
import random
import socket
import tarfile
import xml.etree.ElementTree

import pytest

from apus_testing.swift_http import SwiftHttp


@pytest.fixture(scope="module")
def swift(cluster):
    return SwiftHttp(cluster)


COMPRESS = {"": lambda data: data, "gz": gzip.compress, "bz2": bz2.compress}


def archive(files, compression="", form=tarfile.DEFAULT_FORMAT):
    """A tar archive. A file is its data, or a `TarInfo` with a kind of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(data, bytes):
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                tar.addfile(info)
    return COMPRESS[compression](out.getvalue())


def of_type(kind):
    info = tarfile.TarInfo("")
    info.type = kind
    return info


def extract(swift, path, body, kind="tar", headers=()):
    """The report as JSON."""
    pairs = [("Accept", "application/json"), *dict(headers).items()]
    status, found, report = swift("PUT", f"{path}?extract-archive={kind}", pairs, body)
    assert (status, found["content-type"]) == (200, "application/json"), report
    return json.loads(report)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2"])
def test_files_of_an_archive_become_objects(swift, kind):
    own = kind.replace(".", "-")
    large = bytes(range(256)) * 4096
    files = [
        (f"{own}-a/d", of_type(tarfile.DIRTYPE)),
        (f"{own}-a/d/one", b"1"),
        (f"./{own}-a/ü b", b""),
        (f"/{own}-b/{'long/' * 60}name", large),
        (f"{own}-a/link", of_type(tarfile.SYMTYPE)),
        ("in-no-container", b"x"),
    ]
    report = extract(swift, "", archive(files, kind[4:]), kind)
    assert report == {
        "Response Status": "201 Created",
        "Response Body": "",
        "Number Files Created": 3,
        "Errors": [],
    }
    assert swift.names(f"{own}-a") == ["d/one", "ü b"]
    assert swift("GET", f"/{own}-b/{'long/' * 60}name")[2] == large


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_every_kind_of_archive_are_read(swift, form):
    path = f"kind{form}/{'d' * 90}/{'f' * 90}"
    assert extract(swift, "", archive([(path, b"x")], form=form))["Number Files Created"] == 1
    assert swift("GET", f"/{path}")[2] == b"x"


def test_the_path_of_the_request_is_before_the_names(swift):
    body = archive([("one", b"1"), ("d/two", b"2")])
    assert extract(swift, "/below/p/q", body)["Number Files Created"] == 2
    assert extract(swift, "/below", body)["Number Files Created"] == 2
    assert swift.names("below") == ["d/two", "one", "p/q/d/two", "p/q/one"]


def test_attributes_and_headers_describe_the_objects(swift):
    info = tarfile.TarInfo("")
    info.pax_headers = {
        "SCHILY.xattr.user.mime_type": "food/diet",
        "SCHILY.xattr.user.meta.lunch": "salad",
        "SCHILY.xattr.user.other": "x",
    }
    headers = {"X-Object-Meta-Colour": "blue", "X-Delete-After": "1000", "X-Robots-Tag": "none"}
    body = archive([("attributes/o", info), ("attributes/p.css", b"")], form=tarfile.PAX_FORMAT)
    assert extract(swift, "", body, headers=headers)["Number Files Created"] == 2
    found = swift("HEAD", "/attributes/o")[1]
    assert found["content-type"] == "food/diet" and found["x-object-meta-lunch"] == "salad"
    assert found["x-object-meta-colour"] == "blue" and "x-delete-at" in found
    assert "x-robots-tag" not in found and "x-object-meta-other" not in found
    assert swift("HEAD", "/attributes/p.css")[1]["content-type"] == "text/css"


def test_failures_are_reported_and_others_are_stored(swift):
    assert swift("PUT", "/full", {"X-Container-Meta-Quota-Bytes": "3"})[0] == 201
    files = [("full/large", b"1234"), ("full/small", b"123"), ("free/o", b"1"), (f"{'c' * 300}/o", b"1")]
    report = extract(swift, "", archive(files))
    assert report["Response Status"] == "400 Bad Request" and report["Number Files Created"] == 2
    assert report["Errors"] == [["full/large", "413 Request Entity Too Large"], [f"{'c' * 300}/o", "400 Bad Request"]]
    assert swift.names("full") == ["small"] and swift.names("free") == ["o"]


LONG = random.Random(1).randbytes(100_000)


@pytest.mark.parametrize(
    "kind, body",
    [
        ("tar", b""),
        ("tar", b"no archive"),
        ("tar", b"x" * 2048),
        ("tar", archive([("cut/o", b"x" * 5000)])[:3000]),
        ("tar.gz", archive([("cut/o", b"x")])),
        ("tar.gz", archive([("cut/o", LONG)], "gz")[:60_000]),
        ("tar.bz2", b"BZh9 no"),
        ("tar.bz2", archive([("cut/o", LONG)], "bz2")[:60_000]),
    ],
)
def test_damaged_archives_are_reported(swift, kind, body):
    report = extract(swift, "", body, kind)
    assert report["Response Status"] == "400 Bad Request"
    assert report["Response Body"].startswith("Invalid Tar File: "), report
    assert swift("HEAD", "/cut/o")[0] == 404


def test_a_wrong_checksum_is_reported(swift):
    body = archive([("checksum/o", b"x")], "gz")
    report = extract(swift, "", body[:-8] + b"\0" * 8, "tar.gz")
    assert report["Response Status"] == "400 Bad Request" and report["Number Files Created"] == 1


def test_a_client_may_wait_before_it_sends_the_archive(swift):
    body = archive([("waiting/o", LONG)])
    connection = socket.create_connection(("127.0.0.1", swift.port), timeout=30)
    head = f"PUT {swift.root}?extract-archive=tar HTTP/1.1\r\nHost: h\r\nX-Auth-Token: {swift.token}\r\n"
    head += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode())
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body)
    response = b""
    while piece := connection.recv(1024):
        response += piece
    connection.close()
    assert response.startswith(b"HTTP/1.1 200 ") and b"Number Files Created: 1" in response
    assert swift("GET", "/waiting/o")[2] == LONG


def test_an_archive_without_files_is_reported(swift):
    report = extract(swift, "", archive([("d", of_type(tarfile.DIRTYPE))]))
    assert report["Response Body"] == "Invalid Tar File: No Valid Files"
    assert swift("PUT", "?extract-archive=zip", body=b"x")[0] == 400


def test_only_callers_with_the_right_extract(cluster, swift):
    body = archive([("private/o", b"x"), ("shared/o", b"y")])
    other = SwiftHttp(cluster, "test2:tester2", "testing2")
    other.root = swift.root
    report = extract(other, "", body)
    assert report["Number Files Created"] == 0
    assert [status for _, status in report["Errors"]] == ["403 Forbidden"] * 4
    # Who may write objects needs no right to create the container.
    assert swift("PUT", "/shared", {"X-Container-Write": "test2:tester2"})[0] == 201
    assert extract(other, "", body)["Number Files Created"] == 1
    status, _, text = swift.raw("PUT", f"{swift.root}?extract-archive=tar", body=body)
    assert status == 200 and b"Response Status: 401 Unauthorized" in text


def test_the_report_has_three_formats(swift):
    body = archive([("formats/o", b"x")])
    text = swift("PUT", "?extract-archive=tar", body=body)[2].decode()
    assert text == "Number Files Created: 1\nResponse Body: \nResponse Status: 201 Created\nErrors:\n"
    document = swift("PUT", "?extract-archive=tar", {"Accept": "application/xml"}, body)[2]
    root = xml.etree.ElementTree.fromstring(document)
    assert (root.tag, root.findtext("number_files_created")) == ("extract", "1")


def test_manifests_send_blanks_while_they_are_checked(swift):
    assert swift("PUT", "/segments")[0] == 201
    assert swift("PUT", "/segments/s", body=b"data")[0] == 201
    put = "?multipart-manifest=put&heartbeat=on"
    accept = {"Accept": "application/json"}
    segments = json.dumps([{"path": "segments/s"}]).encode()
    status, headers, body = swift("PUT", f"/segments/m{put}", accept, segments)
    assert (status, headers["transfer-encoding"]) == (202, "chunked") and body.startswith(b" \r\n\r\n")
    report = json.loads(body)
    assert report["Response Status"] == "201 Created" and report["Errors"] == []
    assert report["Etag"] == swift("HEAD", "/segments/m")[1]["etag"] and "GMT" in report["Last Modified"]
    missing = json.dumps([{"path": "segments/none"}]).encode()
    report = json.loads(swift("PUT", f"/segments/n{put}", accept, missing)[2])
    assert report["Response Status"] == "400 Bad Request"
    assert report["Errors"] == [["segments/none", "404 Not Found"]]
    # Invalid documents are refused before anything is checked.
    assert swift("PUT", f"/segments/n{put}", accept, b"{")[0] == 400
    status, _, body = swift("PUT", "/segments/n?multipart-manifest=put", accept, missing)
    assert status == 400 and json.loads(body) == {"Errors": [["segments/none", "404 Not Found"]]}
    assert swift("HEAD", "/segments/n")[0] == 404
