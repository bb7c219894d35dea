"""Each server as a process of its own, over sockets, as racks run them and as Swift's proxy calls them."""

import os
import re
import shutil
import subprocess

import pytest
import requests

from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.servers import KINDS, Servers, answer
from apus_testing.waiting import wait_until

BUCKET = "roles"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = Servers(tmp_path_factory.mktemp("roles"))
    for kind in [*KINDS, "proxy"]:
        servers.start(kind)
    servers.start_daemon("object-updater")
    yield servers
    servers.stop_all()


def test_both_dialects_work_over_sockets_between_four_processes(servers):
    s3, swift = servers.s3(), servers.swift()
    s3.create_bucket(Bucket=BUCKET)
    for size in [0, 10, 70_000, 3_000_000]:
        body = os.urandom(size)
        s3.put_object(Bucket=BUCKET, Key=f"{size}", Body=body)
        assert swift.get_object(BUCKET, f"{size}")[1] == body
        swift.put_object(BUCKET, f"{size}-swift", body)
        assert s3.get_object(Bucket=BUCKET, Key=f"{size}-swift")["Body"].read() == body
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 8
    swift.post_object(BUCKET, "10", {"X-Object-Meta-Colour": "blue"})
    assert s3.head_object(Bucket=BUCKET, Key="10")["Metadata"] == {"colour": "blue"}
    s3.delete_object(Bucket=BUCKET, Key="10")
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 7


def test_options_without_effect_are_logged_at_start(servers, tmp_path):
    etc = tmp_path / "etc"
    shutil.copytree(servers.etc, etc)
    with open(etc / "proxy-server.conf", "a") as conf:
        conf.write("[pipeline:main]\npipeline = catch_errors cname_lookup ratelimit proxy-server\n[filter:ratelimit]\nrate_buffer = 5\n")
    text = (etc / "proxy-server.conf").read_text().replace(str(servers.ports["proxy"]), str(free_port()))
    (etc / "proxy-server.conf").write_text(text)
    output_path = tmp_path / "stderr"
    with open(output_path, "w") as output_file:
        process = subprocess.Popen([APUS, "proxy-server", str(etc)], stderr=output_file)
    wait_until(lambda: "ready" in output_path.read_text(), output_path.read_text, 10)
    process.terminate()
    assert process.wait(timeout=30) == 0
    output = output_path.read_text()
    assert "pipeline: cname_lookup is not done" in output and "[filter:ratelimit] rate_buffer" in output, output


def test_a_server_that_was_killed_and_came_back_is_used_again(servers):
    s3 = servers.s3()
    s3.create_bucket(Bucket="comes-back")
    s3.put_object(Bucket="comes-back", Key="before", Body=b"before")
    for kind in KINDS:
        servers.stop(kind, kill=True)
        servers.start(kind)
        s3.put_object(Bucket="comes-back", Key=kind, Body=kind.encode())
        assert s3.get_object(Bucket="comes-back", Key="before")["Body"].read() == b"before"
    assert s3.list_objects_v2(Bucket="comes-back")["KeyCount"] == 1 + len(KINDS)


def test_rows_that_could_not_be_delivered_arrive_when_the_container_server_is_back(servers):
    s3, swift = servers.s3(), servers.swift()
    s3.create_bucket(Bucket="late-rows")
    s3.put_object(Bucket="late-rows", Key="early", Body=b"x")
    servers.stop("container", kill=True)
    swift.put_object("late-rows", "late", b"late")
    swift.delete_object("late-rows", "early")

    def pending():
        found = list(servers.devices.glob("*/async_pending/*/*"))
        assert len(found) >= 2 * 2, "a row that is nowhere was acknowledged"
        return found if len(found) == 2 * 3 else None

    def listed():
        return {row["Key"] for row in s3.list_objects_v2(Bucket="late-rows").get("Contents", [])}

    updates = wait_until(pending, "the third replica keeps its updates", 10)
    servers.start("container")
    wait_until(lambda: listed() == {"late"}, "rows are delivered", 60, 0.2)
    wait_until(lambda: not any(path.exists() for path in updates), "delivered updates are removed", 60, 0.2)


def mime_put(connection, path, timestamp, body, *, commit):
    """Swift's two-phase PUT (`MIMEPutter` in swift/proxy/controllers/obj.py); returns all heads."""
    boundary = "a" * 32
    connection.sendall(
        (
            f"PUT {path} HTTP/1.1\r\nHost: x\r\nX-Timestamp: {timestamp}\r\nContent-Type: a/b\r\n"
            f"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\nX-Backend-Obj-Content-Length: {len(body)}\r\n"
            "X-Backend-Obj-Metadata-Footer: yes\r\nX-Backend-Obj-Multiphase-Commit: yes\r\n"
            f"X-Backend-Obj-Multipart-Mime-Boundary: {boundary}\r\n\r\n"
        ).encode()
    )
    heads = [answer(connection)[0]]

    def send(data):
        connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    import hashlib
    import json

    footers = json.dumps({"Etag": hashlib.md5(body).hexdigest(), "X-Object-Meta-Late": "yes"}).encode()
    send(f"--{boundary}\r\nX-Document: object body\r\n\r\n".encode())
    send(body)
    send(
        f"\r\n--{boundary}\r\nX-Document: object metadata\r\nContent-MD5: {hashlib.md5(footers).hexdigest()}\r\n\r\n".encode()
        + footers
        + f"\r\n--{boundary}\r\n".encode()
    )
    heads.append(answer(connection)[0])
    if commit:
        send(f"X-Document: put commit\r\n\r\nput_commit_confirmation\r\n--{boundary}--\r\n".encode())
        connection.sendall(b"0\r\n\r\n")
        heads.append(answer(connection)[0])
    return heads


def get(connection, path, *headers):
    lines = "".join(f"{line}\r\n" for line in headers)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    head, body = answer(connection)
    length = int(re.search(r"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        more = connection.recv(65536)
        assert more, f"{len(body)} of {length} bytes"
        body += more
    return head, body


def test_a_two_phase_put_answers_100_twice_and_publishes_on_commit(servers):
    path = "/sd1/0/AUTH_test/c/two-phase"
    with servers.objects() as connection:
        first, second, last = mime_put(connection, path, "1700000000.00000", b"x" * 100_000, commit=True)
        assert first.startswith("HTTP/1.1 100 ")
        assert "X-Obj-Metadata-Footer: yes" in first and "X-Obj-Multiphase-Commit: yes" in first
        assert second == "HTTP/1.1 100 Continue"
        assert last.startswith("HTTP/1.1 201 ")
        head, body = get(connection, path)
        assert body == b"x" * 100_000 and "x-object-meta-late: yes" in head.lower()


def test_a_two_phase_put_without_commit_leaves_nothing(servers):
    path = "/sd1/0/AUTH_test/c/no-commit"
    with servers.objects() as connection:
        heads = mime_put(connection, path, "1700000000.00000", b"x" * 10, commit=False)
        assert [head.split()[1] for head in heads] == ["100", "100"]
        with servers.objects() as other:
            assert get(other, path)[0].startswith("HTTP/1.1 404 ")
    with servers.objects() as other:
        assert get(other, path)[0].startswith("HTTP/1.1 404 ")


def backend(servers, kind, method, path, **headers):
    """A request to a storage server as Swift's proxy makes them."""
    url = f"http://127.0.0.1:{servers.ports[kind]}/sd1/0/{path}"
    answer = requests.request(method, url, headers={key.replace("_", "-"): value for key, value in headers.items()}, timeout=10)
    assert answer.ok, (method, path, answer.status_code)
    return answer


def test_a_post_with_an_empty_content_type_keeps_the_old_one(servers):
    # Swift's proxy sends the header always.
    path = "AUTH_test/c/posted"
    backend(servers, "object", "PUT", path, X_Timestamp="1700000000.00000", Content_Type="a/b", Content_Length="0")
    backend(servers, "object", "POST", path, X_Timestamp="1700000001.00000", Content_Type="", X_Object_Meta_New="1")
    head = backend(servers, "object", "HEAD", path).headers
    assert head["Content-Type"] == "a/b" and head["X-Object-Meta-New"] == "1"


def test_reserved_names_are_listed_only_for_those_who_may_see_them(servers):
    account, container = "AUTH_reserved", "AUTH_reserved/c"
    backend(servers, "account", "PUT", account, X_Timestamp="1700000000.00000")
    times = {"X_Put_Timestamp": "1700000000.00000", "X_Delete_Timestamp": "0", "X_Timestamp": "1700000000.00000"}
    backend(servers, "container", "PUT", container, X_Timestamp="1700000000.00000")
    row = {"X_Timestamp": "1700000000.00000", "X_Size": "0", "X_Content_Type": "a/b", "X_Etag": "0" * 32}
    for name in ["plain", "%00hidden"]:
        backend(servers, "account", "PUT", f"{account}/{name}", X_Object_Count="0", X_Bytes_Used="0", **times)
        backend(servers, "container", "PUT", f"{container}/{name}", **row)
    for kind, path in [("account", account), ("container", container)]:
        for query in ["", "&reverse=on", "&delimiter=/"]:
            names = [row["name"] for row in backend(servers, kind, "GET", f"{path}?format=json{query}").json()]
            assert names == ["plain"], (kind, query)
        allowed = backend(servers, kind, "GET", f"{path}?format=json", X_Backend_Allow_Reserved_Names="true")
        assert [row["name"] for row in allowed.json()] == ["\0hidden", "plain"], kind


def test_as_much_metadata_as_is_allowed_comes_back_over_sockets(servers):
    swift = servers.swift()
    swift.put_container("metadata")
    items = {f"{number:02}": "x" * 40 for number in range(90)}
    swift.post_account({f"X-Account-Meta-{key}": value for key, value in items.items()})
    swift.post_container("metadata", {f"X-Container-Meta-{key}": value for key, value in items.items()})
    swift.put_object("metadata", "o", b"1", headers={f"X-Object-Meta-{key}": value for key, value in items.items()})
    for prefix, head in [
        ("x-account-meta-", swift.head_account()),
        ("x-container-meta-", swift.head_container("metadata")),
        ("x-object-meta-", swift.head_object("metadata", "o")),
    ]:
        assert {key[len(prefix) :]: value for key, value in head.items() if key.startswith(prefix)} == items
    swift.post_account({f"X-Account-Meta-{key}": "" for key in items})


def test_a_container_returns_the_type_of_its_records_to_swifts_proxy(servers):
    path = "AUTH_records/c"
    backend(servers, "container", "PUT", path, X_Timestamp="1700000000.50000")
    answer = backend(servers, "container", "GET", f"{path}?format=json", X_Backend_Record_Type="auto")
    assert answer.headers["X-Backend-Record-Type"] == "object"
    assert answer.headers["X-Backend-Record-Storage-Policy-Index"] == "0"
    assert answer.headers["Last-Modified"] == "Tue, 14 Nov 2023 22:13:21 GMT"
    head = backend(servers, "container", "HEAD", f"{path}?format=json")
    assert head.headers["Content-Type"] == "application/json; charset=utf-8"
    asked = {"X_Backend_Record_Type": "shard", "X_Backend_Record_Shard_Format": "namespace"}
    answer = backend(servers, "container", "GET", f"{path}?format=json", **asked)
    assert answer.headers["X-Backend-Record-Type"] == "shard" and answer.json() == []
    assert answer.headers["X-Backend-Record-Shard-Format"] == "namespace"


def test_several_ranges_come_as_one_multipart_answer(servers):
    path = "/sd1/0/AUTH_test/c/ranges"
    body = bytes(range(256)) * 4
    with servers.objects() as connection:
        mime_put(connection, path, "1700000000.00000", body, commit=True)
        head, multipart = get(connection, path, "Range: bytes=0-9,100-109,-5")
        boundary = re.search(r"(?i)content-type: multipart/byteranges;boundary=(\w+)", head)[1]
        parts = multipart.split(f"--{boundary}".encode())
        assert parts[0] == b"" and parts[-1] == b"--"
        got = [part.split(b"\r\n\r\n", 1) for part in parts[1:-1]]
        assert [data[:-2] for _, data in got] == [body[:10], body[100:110], body[-5:]]
        assert b"Content-Range: bytes 100-109/1024" in got[1][0] and b"Content-Type: a/b" in got[1][0]


@pytest.mark.parametrize("role", ["object-auditor", "rest"])
def test_a_daemon_is_where_its_own_section_says(servers, tmp_path, role):
    swift = servers.swift()
    swift.put_container("sections")
    swift.put_object("sections", role, b"bytes of " + role.encode())

    def copies():
        found = [file for file in servers.devices.glob("*/objects/*/*/*/*.data") if role.encode() in file.read_bytes()]
        return found if len(found) == 3 else None

    # The third copy may come after the answer.
    damaged = wait_until(copies, "three copies", 10)
    etc, devices = tmp_path / "etc", tmp_path / "devices"
    shutil.copytree(servers.etc, etc)
    shutil.copytree(servers.devices, devices)
    for file in damaged:
        copy = devices / file.relative_to(servers.devices)
        copy.write_bytes(b"damage" + copy.read_bytes()[6:])
    for kind in KINDS:
        text = (etc / f"{kind}-server.conf").read_text()
        there = f"devices = {servers.devices}\nmount_check = false\n"
        text = text.replace(there, f"devices = /nowhere\nrecon_cache_path = {tmp_path}/others\n")
        (etc / f"{kind}-server.conf").write_text(text)
    with open(etc / "object-server.conf", "a") as conf:
        conf.write(f"[object-auditor]\ndevices = {devices}\nmount_check = no\nrecon_cache_path = {tmp_path}/own\n")
    with open(tmp_path / "stderr", "w") as output:
        done = subprocess.run([APUS, role, str(etc), "--once"], stderr=output, timeout=120)
    output = (tmp_path / "stderr").read_text()
    assert done.returncode == 0, output
    assert "has no effect" not in output
    assert len(list(devices.glob("*/quarantined/objects/*"))) == 3, output
    assert "object_auditor" in (tmp_path / "own" / "object.recon").read_text()
    if role == "rest":
        assert "object_auditor" not in (tmp_path / "others" / "object.recon").read_text()
