"""Signed requests between servers: any other request to their ports changes nothing."""

import configparser
import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import suppress

import botocore.exceptions
import pytest
import swiftclient

from apus_testing.addresses import free_port
from apus_testing.backend_signature import SignedRequest, chunk, exchange
from apus_testing.executables import APUS
from apus_testing.saio import Saio
from apus_testing.servers import KINDS, answer
from apus_testing.signed_servers import KEY, OTHER_KEY, SignedServers, apus_section
from apus_testing.waiting import wait_until

ACCOUNT, CONTAINER = "/AUTH_victim", "/AUTH_victim/c"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    servers = SignedServers(tmp_path_factory.mktemp("signed"))
    for kind in [*KINDS, "proxy"]:
        servers.start_with(kind, cluster_key=KEY)
    yield servers
    servers.stop_all()


def headers(timestamp="1700000000.00000", **more):
    return {"X-Timestamp": timestamp, **{name.replace("_", "-"): value for name, value in more.items()}}


LATER = "1800000000.00000"
# Server, method, path, headers, body; the first ones make what the others would change.
MAKE = [
    ("account", "PUT", f"/sd1/0{ACCOUNT}", headers(), None),
    ("container", "PUT", f"/sd1/0{CONTAINER}", headers(), None),
    ("object", "PUT", f"/sd1/0{CONTAINER}/o", headers(Content_Type="a/b"), b"the secret body" * 10),
]
ROUTES = MAKE + [
    ("account", "PUT", f"/sd1/0{ACCOUNT}", headers(LATER, X_Account_Meta_A="b"), None),
    (
        "account",
        "PUT",
        f"/sd1/0{CONTAINER}",
        headers(LATER, X_Put_Timestamp=LATER, X_Delete_Timestamp="0", X_Object_Count="1", X_Bytes_Used="1"),
        None,
    ),
    ("account", "POST", f"/sd1/0{ACCOUNT}", headers(LATER, X_Account_Meta_A="b"), None),
    ("account", "DELETE", f"/sd1/0{ACCOUNT}", headers(LATER), None),
    ("account", "GET", f"/sd1/0{ACCOUNT}?format=json", {}, None),
    ("account", "REPLICATE", "/sd1/0/0123456789abcdef0123456789abcdef", {}, b'["sync", 1]'),
    ("container", "PUT", f"/sd1/0{CONTAINER}", headers(LATER, X_Container_Meta_A="b"), None),
    ("container", "PUT", f"/sd1/0{CONTAINER}/row", headers(LATER, X_Size="1", X_Etag="e", X_Content_Type="a/b"), None),
    ("container", "DELETE", f"/sd1/0{CONTAINER}/row", headers(LATER), None),
    ("container", "POST", f"/sd1/0{CONTAINER}", headers(LATER, X_Container_Read=".r:*"), None),
    ("container", "DELETE", f"/sd1/0{CONTAINER}", headers(LATER), None),
    ("container", "GET", f"/sd1/0{CONTAINER}?format=json", {}, None),
    ("container", "REPLICATE", "/sd1/0/0123456789abcdef0123456789abcdef", {}, b'["sync", 1]'),
    ("object", "PUT", f"/sd1/0{CONTAINER}/o", headers(LATER, Content_Type="a/b"), b"another body" * 10),
    ("object", "POST", f"/sd1/0{CONTAINER}/o", headers(LATER, X_Object_Meta_A="b"), None),
    ("object", "DELETE", f"/sd1/0{CONTAINER}/o", headers(LATER), None),
    ("object", "GET", f"/sd1/0{CONTAINER}/o", {}, None),
    ("object", "HEAD", f"/sd1/0{CONTAINER}/o", {}, None),
    ("object", "RESERVE", f"/sd1/0{CONTAINER}/o", headers(LATER), None),
    ("object", "RELEASE", f"/sd1/0{CONTAINER}/o", headers(LATER), None),
    ("object", "REPLICATE", "/sd1/0/abc-def", {}, None),
    ("object", "SSYNC", "/sd1/0", {}, b":MISSING_CHECK: START\r\n"),
]


@pytest.fixture(scope="module")
def victim(servers):
    for kind, method, path, head, body in MAKE:
        address = servers.address(kind)
        status, text = SignedRequest(KEY, method, path, address, head, body).send(address)
        assert status == 201, (kind, text)
    return servers.settled()


def make(servers, route, key=KEY, **options):
    kind, method, path, head, body = route
    return SignedRequest(key, method, path, servers.address(kind), dict(head), body, **options)


def no_signature(servers, route):
    request = make(servers, route)
    del request.headers["X-Apus-Signature"]
    request.sent = None if request.body is None else [request.body]
    return request


def another_path(servers, route):
    request = make(servers, route)
    request.path = request.path.replace("/sd1/", "/sd2/")
    return request


def another_query(servers, route):
    request = make(servers, route)
    request.path += "&x=y" if "?" in request.path else "?x=y"
    return request


def another_method(servers, route):
    request = make(servers, route)
    request.method = "DELETE" if request.method != "DELETE" else "POST"
    return request


def another_header(servers, route):
    request = make(servers, route)
    request.headers["X-Timestamp"] = "1900000000.00000"
    return request


def one_header_more(servers, route):
    request = make(servers, route)
    request.headers["X-Backend-Replication"] = "True"
    return request


def another_server(servers, route):
    """What was captured on its way to one server, sent to another."""
    kind, method, path, head, body = route
    elsewhere = ("127.0.0.1", servers.ports["object" if kind != "object" else "container"])
    return SignedRequest(KEY, method, path, elsewhere, dict(head), body)


def flipped(at):
    def change(servers, route):
        request = make(servers, route)
        if request.sent:
            data = bytearray(b"".join(request.sent))
            data[at] ^= 1
            request.sent = [bytes(data)]
        else:
            request.sent = [b"a body that was not there"]
        return request

    return change


def truncated(servers, route):
    request = make(servers, route)
    request.sent = [b"".join(request.sent or [b"xx"])[:-1]]
    return request


def without_end(servers, route):
    """All frames but the last, each with a good MAC."""
    request = make(servers, route)
    request.number = 0
    request.sent = [request.frame(request.body or b"x", last=False)]
    return request


def another_body(servers, route):
    """The frames of another request with the same key."""
    request = make(servers, route)
    request.sent = make(servers, route).sent or [b"x"]
    return request


def plain_body(servers, route):
    request = make(servers, route, guard="plain")
    request.sent = [request.body or b"x"]
    return request


CHANGES = {
    "no signature": no_signature,
    "another key": lambda servers, route: make(servers, route, key=OTHER_KEY),
    "a path": another_path,
    "a query": another_query,
    "a method": another_method,
    "a header": another_header,
    "one header more": one_header_more,
    "another server": another_server,
    "two minutes old": lambda servers, route: make(servers, route, date=time.time() - 120),
    "two minutes early": lambda servers, route: make(servers, route, date=time.time() + 120),
    "a body's first byte": flipped(0),
    "a body's MAC": flipped(10),
    "a body's last byte": flipped(-1),
    "a body cut off": truncated,
    "a body without its end": without_end,
    "the body of another request": another_body,
    "a body that is not covered": plain_body,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_request_that_is_not_as_it_was_signed_is_refused_on_every_route(servers, victim, what):
    for route in ROUTES:
        request = CHANGES[what](servers, route)
        status, body = request.send(servers.address(route[0]))
        # A server may hang up on a body that it will not read, or refuse the request before it would:
        # as a verb that it does not know, or as one older than what is there.
        refused = status == 401 or (request.sent and (status == 0 or 400 <= status < 500))
        # The one answer that begins before the body is read: it must end there.
        refused |= request.method == "SSYNC" and request.sent and status == 200 and b"START" not in body
        assert refused, (what, route[:3], status, body)
        assert b"secret" not in body
    assert servers.snapshot() == victim, what


def test_what_is_signed_well_is_not_refused(servers, victim):
    for route in ROUTES:
        if route[1] in {"GET", "HEAD", "REPLICATE", "SSYNC"}:
            status, _ = make(servers, route).send(servers.address(route[0]))
            assert status not in {0, 401}, route


def test_a_request_is_taken_once(servers, victim):
    path = "/sd1/0/AUTH_twice"
    for route in [
        ("account", "PUT", path, headers(), None),
        ("container", "PUT", f"{path}/c", headers(), None),
        ("object", "PUT", f"{path}/c/o", headers(Content_Type="a/b"), b"x" * 1000),
        ("object", "GET", f"{path}/c/o", {}, None),
        ("object", "POST", f"{path}/c/o", headers(LATER), None),
        ("object", "DELETE", f"{path}/c/o", headers("1900000000.00000"), None),
        ("container", "DELETE", f"{path}/c", headers(LATER), None),
        ("account", "REPLICATE", "/sd1/0/0123456789abcdef0123456789abcdef", {}, b'["sync", 1]'),
    ]:
        request, address = make(servers, route), servers.address(route[0])
        first, _ = request.send(address)
        assert first not in {0, 401}, route
        settled = servers.settled()
        for _ in range(2):
            status, text = request.send(address)
            assert status == 401 or (status == 0 and request.sent), (route, status)
            assert status == 0 or b"came before" in text
        assert servers.snapshot() == settled, route


def test_the_refusal_names_both_clocks(servers):
    request = make(servers, ROUTES[0], date=1_700_000_000)
    status, text = request.send(servers.address("account"))
    assert status == 401 and b"Tue, 14 Nov 2023 22:13:20 GMT" in text and b"the clock of this server says" in text


def test_both_dialects_work_over_signed_sockets(servers):
    s3, swift = servers.s3(), servers.swift()
    s3.create_bucket(Bucket="signed")
    for size in [0, 10, 65_536, 70_000, 3_000_000]:
        body = os.urandom(size)
        s3.put_object(Bucket="signed", Key=f"{size}", Body=body)
        assert swift.get_object("signed", f"{size}")[1] == body
        swift.put_object("signed", f"{size}-swift", body)
        assert s3.get_object(Bucket="signed", Key=f"{size}-swift")["Body"].read() == body
    assert s3.list_objects_v2(Bucket="signed")["KeyCount"] == 10
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="signed", Key="10", Body=b"x", IfNoneMatch="*")
    s3.put_object(Bucket="signed", Key="once", Body=b"x", IfNoneMatch="*")
    s3.delete_object(Bucket="signed", Key="once")
    swift.post_object("signed", "10", {"X-Object-Meta-Colour": "blue  sky"})
    assert s3.head_object(Bucket="signed", Key="10")["Metadata"] == {"colour": "blue  sky"}
    odd = "ä b%2F//c?d&e=f+g"
    s3.put_object(Bucket="signed", Key=odd, Body=b"odd", Metadata={"a": "x" * 2000})
    assert swift.get_object("signed", odd)[1] == b"odd"
    s3.delete_object(Bucket="signed", Key=odd)
    wait_until(lambda: int(swift.head_account()["x-account-object-count"]) >= 10, "the account was not updated", 20, 0.2)


def two_phase(servers, path, change=lambda name, data: data):
    """Swift's two-phase PUT, signed; `change` may alter each piece as it goes out."""
    body, boundary = b"y" * 100_000, "a" * 32
    address = servers.address("object")
    head = {
        **headers(Content_Type="a/b"),
        "Expect": "100-continue",
        "X-Backend-Obj-Content-Length": str(len(body)),
        "X-Backend-Obj-Metadata-Footer": "yes",
        "X-Backend-Obj-Multiphase-Commit": "yes",
        "X-Backend-Obj-Multipart-Mime-Boundary": boundary,
    }
    request = SignedRequest(KEY, "PUT", path, address, head, b"")
    request.number = 0
    footers = json.dumps({"Etag": hashlib.md5(body).hexdigest(), "X-Object-Meta-Late": "yes"}).encode()
    digest = hashlib.md5(footers).hexdigest()
    end = f"\r\n--{boundary}\r\nX-Document: object metadata\r\nContent-MD5: {digest}\r\n\r\n".encode() + footers
    statuses = []
    with socket.create_connection(address, timeout=10) as connection:

        def send(name, data, last=False):
            connection.sendall(chunk(change(name, request.frame(data, last))))

        try:
            connection.sendall(request.head())
            statuses.append(int(answer(connection)[0].split()[1]))
            send("head", f"--{boundary}\r\nX-Document: object body\r\n\r\n".encode())
            for at in range(0, len(body), 50_000):
                send("body", body[at : at + 50_000])
            send("footers", end + f"\r\n--{boundary}\r\n".encode())
            statuses.append(int(answer(connection)[0].split()[1]))
            send("commit", f"X-Document: put commit\r\n\r\nput_commit_confirmation\r\n--{boundary}--\r\n".encode(), last=True)
            connection.sendall(b"0\r\n\r\n")
            statuses.append(int(answer(connection)[0].split()[1]))
        except (ConnectionError, AssertionError):
            statuses.append(0)
    return statuses


def test_a_signed_two_phase_put_publishes_on_its_commit(servers):
    path = f"/sd1/0{CONTAINER}/two-phase"
    assert two_phase(servers, path) == [100, 100, 201]
    address = servers.address("object")
    assert SignedRequest(KEY, "GET", path, address).send(address) == (200, b"y" * 100_000)


@pytest.mark.parametrize("piece", ["head", "body", "footers", "commit"])
def test_a_two_phase_put_of_which_a_piece_was_altered_publishes_nothing(servers, piece):
    def change(name, data):
        return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:] if name == piece else data

    path = f"/sd1/0{CONTAINER}/altered-{piece}"
    statuses = two_phase(servers, path, change)
    # The first 100 comes before anything was read, the second when the footers were good.
    assert statuses[:2] == [100, 100] if piece == "commit" else statuses[1] in {0, 401}, statuses
    assert statuses[-1] in {0, 401}, statuses
    address = servers.address("object")
    assert SignedRequest(KEY, "GET", path, address).send(address)[0] == 404


class Tap:
    """A proxy in the middle: forwards bytes from one port to another, keeps them, and changes some."""

    def __init__(self, port, to):
        self.to, self.sent, self.change = to, [], None
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            for source, target, forth in [(near, far, True), (far, near, False)]:
                threading.Thread(target=self.pump, args=(source, target, forth), daemon=True).start()

    def pump(self, source, target, forth):
        sent = bytearray()
        if forth:
            self.sent.append(sent)
        try:
            while data := source.recv(1 << 16):
                if forth and self.change:
                    data = self.change(data)
                    if data is None:
                        break
                sent.extend(data)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def tapped(tmp_path_factory):
    """Servers whose objects go over a tapped wire: rings name its end, not the server's own port."""
    servers = SignedServers(tmp_path_factory.mktemp("tapped"))
    hidden = free_port()
    conf = servers.etc / "object-server.conf"
    text = conf.read_text().replace(f"bind_port = {servers.ports['object']}", f"bind_port = {hidden}")
    conf.write_text(text.replace("use =", f"reached_as = 127.0.0.1:{servers.ports['object']}\nuse ="))
    ring_port = servers.ports["object"]
    servers.addresses["object"] = ("127.0.0.1", hidden)
    for kind in [*KINDS, "proxy"]:
        servers.start_with(kind, cluster_key=KEY)
    tap = Tap(ring_port, hidden)
    servers.s3().create_bucket(Bucket="tapped")
    yield servers, tap
    servers.stop_all()
    tap.listener.close()


MARK = b"here it is: "


def objects_of(servers):
    return {path: path.read_bytes() for path in servers.devices.glob("*/objects/**/*") if path.suffix in {".data", ".meta", ".ts"}}


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_byte_that_changes_on_the_wire_stores_nothing(tapped, size):
    servers, tap = tapped
    s3, before = servers.s3(), objects_of(servers)
    body = b"x" * (size // 2) + MARK + b"x" * size
    tap.change = lambda data: data.replace(MARK, MARK[:-1] + b"!")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        s3.put_object(Bucket="tapped", Key=f"changed-{size}", Body=body)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    tap.change = None
    assert objects_of(servers) == before


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_body_that_is_cut_on_the_wire_stores_nothing(tapped, size):
    servers, tap = tapped
    s3, before = servers.s3(), objects_of(servers)
    tap.change = lambda data: None if MARK in data else data
    with pytest.raises(botocore.exceptions.ClientError):
        s3.put_object(Bucket="tapped", Key=f"cut-{size}", Body=b"x" * size + MARK + b"x" * size)
    tap.change = None
    assert objects_of(servers) == before


def test_an_altered_header_on_the_wire_changes_nothing(tapped):
    servers, tap = tapped
    swift = servers.swift()
    swift.put_object("tapped", "posted", b"body")
    before = objects_of(servers)
    tap.change = lambda data: data.replace(b"x-object-meta-colour: blue", b"x-object-meta-colour: pink")
    with pytest.raises(swiftclient.ClientException):
        swift.post_object("tapped", "posted", {"X-Object-Meta-Colour": "blue"})
    tap.change = None
    assert objects_of(servers) == before


def test_captured_requests_are_of_no_use(tapped):
    servers, tap = tapped
    s3 = servers.s3()
    # Idle connections go with the server, so that what is recorded begins with a request.
    servers.stop("object")
    tap.sent.clear()
    servers.start_with("object", cluster_key=KEY)
    s3.put_object(Bucket="tapped", Key="captured", Body=b"c" * 1000)
    assert s3.get_object(Bucket="tapped", Key="captured")["Body"].read() == b"c" * 1000
    s3.delete_object(Bucket="tapped", Key="captured")
    before, captured = objects_of(servers), [bytes(sent) for sent in tap.sent]
    methods = b"".join(captured)
    for method in [b"PUT", b"GET", b"DELETE"]:
        at = methods.index(method + b" /sd")
        request = methods[at:]
        for port in servers.ports.values():
            if port != servers.ports["proxy"]:
                status, text = exchange(("127.0.0.1", port), request)
                assert status in {0, 401} and b"ccc" not in text, (method, port, status, text)
        assert objects_of(servers) == before


@pytest.fixture
def mixed(tmp_path):
    """Servers that are not started."""
    servers = SignedServers(tmp_path)
    yield servers
    servers.stop_all()


def works(servers, bucket):
    s3 = servers.s3()
    s3.create_bucket(Bucket=bucket)
    for size in [0, 1000, 200_000]:
        body = os.urandom(size)
        s3.put_object(Bucket=bucket, Key=f"{size}", Body=body)
        assert s3.get_object(Bucket=bucket, Key=f"{size}")["Body"].read() == body
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 3


def test_a_cluster_is_moved_over_node_by_node(mixed):
    opened = {"cluster_key": KEY, "backend_auth": "open"}
    for kind in [*KINDS, "proxy"]:
        mixed.start_with(kind)
    works(mixed, "no-key")
    for number, (options, order) in enumerate([(opened, ["proxy", *KINDS]), ({"cluster_key": KEY}, [*KINDS, "proxy"])]):
        for kind in order:
            mixed.stop(kind)
            mixed.start_with(kind, **options)
            works(mixed, f"step-{number}-{kind}")
    status, _ = exchange(mixed.address("account"), b"GET /sd1/0/AUTH_x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 401


def test_an_open_server_believes_the_unsigned_but_no_wrong_signature(mixed):
    mixed.start_with("account", cluster_key=KEY, backend_auth="open")
    address = mixed.address("account")
    unsigned = b"PUT /sd1/0/AUTH_a HTTP/1.1\r\nHost: x\r\nX-Timestamp: 1700000000.00000\r\n\r\n"
    assert exchange(address, unsigned)[0] == 201
    before = mixed.settled()
    for key in [KEY, OTHER_KEY]:
        request = SignedRequest(key, "PUT", "/sd1/0/AUTH_b", address, headers())
        request.headers["X-Timestamp"] = LATER
        assert request.send(address)[0] == 401
    assert mixed.snapshot() == before


def test_a_key_is_rotated_without_a_pause(mixed):
    for kind in [*KINDS, "proxy"]:
        mixed.start_with(kind, cluster_key=KEY)
    steps = [
        {"cluster_key": KEY, "cluster_key_previous": OTHER_KEY},
        {"cluster_key": OTHER_KEY, "cluster_key_previous": KEY},
        {"cluster_key": OTHER_KEY},
    ]
    for number, options in enumerate(steps):
        for kind in ["object", "proxy", "container", "account"]:
            mixed.stop(kind)
            mixed.start_with(kind, **options)
            works(mixed, f"rotate-{number}-{kind}")
    address = mixed.address("account")
    assert SignedRequest(KEY, "GET", "/sd1/0/AUTH_x", address).send(address)[0] == 401


def test_a_proxy_with_another_key_writes_nothing_and_both_sides_say_so(mixed):
    for kind in KINDS:
        mixed.start_with(kind, cluster_key=KEY)
    mixed.start_with("proxy", cluster_key=OTHER_KEY)
    with pytest.raises(botocore.exceptions.ClientError):
        mixed.s3().create_bucket(Bucket="refused")
    assert not list(mixed.devices.glob("*/*/**/*.db"))
    assert "does not accept this node's signature" in mixed.log("proxy").read_text()
    assert "request refused: signed with another cluster key" in "".join(mixed.log(kind).read_text() for kind in KINDS)


def test_an_open_cluster_says_so_at_start_and_a_signed_one_does_not(mixed):
    warning = "BACKEND REQUESTS ARE NOT AUTHENTICATED"
    mixed.start_with("account")
    mixed.start_with("container", cluster_key=KEY, backend_auth="open")
    mixed.start_with("object", cluster_key=KEY)
    mixed.start_with("proxy")
    for kind, warns in [("account", True), ("container", True), ("object", False), ("proxy", True)]:
        wait_until(lambda: " ready" in mixed.log(kind).read_text(), kind, 10)
        assert (warning in mixed.log(kind).read_text()) == warns, kind
    assert "swift.conf: every user of this machine can read" in mixed.log("object").read_text()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cluster_key": "5a" * 31}, "cluster_key: expected at least 64 hexadecimal digits"),
        ({"clusterkey": KEY}, "clusterkey: expected one of"),
        ({"backend_auth": "signed"}, "expected a cluster_key"),
    ],
)
def test_a_section_with_a_mistake_stops_the_start(mixed, options, word):
    (mixed.etc / "swift.conf").write_text(mixed.plain_conf + apus_section(**options))
    ended = subprocess.run([APUS, "object-server", str(mixed.etc)], capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0 and word in ended.stderr and "5a5a" not in ended.stderr, ended.stderr


def test_a_new_one_box_cluster_has_a_key_of_its_own(tmp_path):
    keys = set()
    for name in ["one", "two"]:
        Saio(tmp_path / name).start().kill()
        etc = tmp_path / name / "etc"
        conf = configparser.ConfigParser()
        conf.read(etc / "swift.conf")
        assert conf.options("apus") == ["cluster_key"] and etc.stat().st_mode & 0o077 == 0
        keys.add(conf["apus"]["cluster_key"])
    assert len(keys) == 2 and all(len(key) == 64 for key in keys)


def test_no_key_is_in_any_log(servers, tapped):
    logs = [*servers.etc.glob("*.log"), *tapped[0].etc.glob("*.log")]
    assert len(logs) == 8
    for log in logs:
        text = log.read_text().lower()
        assert text and KEY[:16] not in text and OTHER_KEY[:16] not in text and "[90, 90, 90" not in text, log
