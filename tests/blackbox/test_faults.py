"""The right bytes after a crash, and with a device gone."""

import http.client
import os
import random
import threading
import time

import pytest
import swiftclient
from botocore.exceptions import BotoCoreError, ClientError

from apus_testing.losses import lose
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

KILLS = int(os.environ.get("APUS_KILLS", "100"))
CLIENTS = 6
KEYS = 8
BUCKET = "crash"


class Client(threading.Thread):
    """Writes its own keys through one dialect until it is stopped, and knows what may be read.

    `allowed[key]` holds every state that may be found: the last acknowledged one, and those of
    writes whose answer never came. An acknowledged write leaves exactly its own.
    """

    def __init__(self, cluster, number, allowed, seed):
        super().__init__()
        self.cluster, self.number, self.allowed = cluster, number, allowed
        self.random = random.Random(seed)
        self.stopped = threading.Event()
        self.acknowledged = 0
        self.unexpected = None

    def run(self):
        try:
            write = self.s3_writer() if self.number % 2 else self.swift_writer()
            while not self.stopped.is_set():
                key = f"{self.number}/{self.random.randrange(KEYS)}"
                kind = self.random.choice(["put", "put", "put", "delete", "post"])
                size = self.random.choice([0, 10, 5000, 100_000, 700_000])
                self.step(write, key, kind, size)
        except (OSError, BotoCoreError, swiftclient.ClientException):
            pass
        except Exception as error:  # raised by the main thread
            self.unexpected = error

    def step(self, write, key, kind, size):
        before = self.allowed.setdefault(key, {None})
        tag = f"{time.time_ns()}"
        after: set
        if kind == "delete":
            after = {None}
        elif kind == "put":
            after = {(size, tag, tag)}
        else:
            # Metadata can only be changed of what is there.
            if None in before or self.number % 2:
                return
            after = {(length, body, tag) for length, body, _ in before}
        self.allowed[key] = before | after
        write(key, kind, size, tag)
        self.allowed[key] = after
        self.acknowledged += 1

    def s3_writer(self):
        s3 = self.cluster.s3()

        def write(key, kind, size, tag):
            try:
                if kind == "delete":
                    s3.delete_object(Bucket=BUCKET, Key=key)
                else:
                    s3.put_object(Bucket=BUCKET, Key=key, Body=body(size, tag), Metadata={"tag": tag})
            except ClientError as error:
                raise OSError(str(error)) from error

        return write

    def swift_writer(self):
        swift = self.cluster.swift()

        def write(key, kind, size, tag):
            headers = {"X-Object-Meta-Tag": tag}
            if kind == "put":
                swift.put_object(BUCKET, key, body(size, tag), headers=headers)
            elif kind == "post":
                swift.post_object(BUCKET, key, headers)
            else:
                try:
                    swift.delete_object(BUCKET, key)
                except swiftclient.ClientException as error:
                    if error.http_status != 404:
                        raise

        return write


def body(size, tag):
    return (tag.encode() * (size // len(tag) + 1))[:size]


def observe(s3, key):
    try:
        got = s3.get_object(Bucket=BUCKET, Key=key)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey", error
        return None
    return got["Body"].read(), got["Metadata"]["tag"]


def check(cluster, allowed):
    s3 = cluster.s3()
    listed = {row["Key"]: row["Size"] for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}
    assert set(listed) <= set(allowed), "a row that was never written"
    for key, states in allowed.items():
        found = observe(s3, key)
        expected = {None if state is None else (body(state[0], state[1]), state[2]) for state in states}
        assert found in expected, (key, found and (len(found[0]), found[1]), states)
        sizes = {state and state[0] for state in states}
        assert (listed.get(key) in sizes) or (key not in listed and None in states), (key, listed.get(key), states)


@pytest.mark.timeout(900)
def test_every_acknowledged_write_survives_a_hundred_kills(tmp_path):
    seed = int(os.environ.get("APUS_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}")
    pace = random.Random(seed)
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.s3().create_bucket(Bucket=BUCKET)
    allowed = {}
    acknowledged = 0
    for kill in range(KILLS):
        clients = [Client(cluster, n, allowed, seed + kill * 100 + n) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(pace.uniform(0.1, 0.6))
        cluster.kill()
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join()
            assert client.unexpected is None, client.unexpected
            acknowledged += client.acknowledged
        cluster.start()
        check(cluster, allowed)
    cluster.stop()
    print(f"reliability: kills={KILLS} acknowledged={acknowledged} lost=0")
    assert acknowledged > KILLS * 5


def test_reads_writes_and_listings_go_on_without_one_device(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    s3, swift = cluster.s3(), cluster.swift()
    s3.create_bucket(Bucket=BUCKET)
    before = {f"before/{n}": os.urandom(n * 7000) for n in range(20)}
    for key, data in before.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    # Pulled under running daemons.
    (cluster.data / "devices/sd2").rename(cluster.data / "pulled")
    after = {f"after/{n}": os.urandom(n * 7000) for n in range(20)}
    for number, (key, data) in enumerate(after.items()):
        if number % 2:
            s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        else:
            swift.put_object(BUCKET, key, data)
    everything = {**before, **after}
    for key, data in everything.items():
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
        assert swift.get_object(BUCKET, key)[1] == data
    assert {row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]} == set(everything)
    for key in everything:
        s3.delete_object(Bucket=BUCKET, Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    s3.create_bucket(Bucket="made-without-a-device")
    assert not (cluster.data / "devices/sd2").exists(), "a missing device was filled"
    cluster.stop()


def test_deleting_what_is_gone_already_removes_its_row(tmp_path):
    # A deletion that was cut off between its tombstones and its rows looks like this.
    cluster = Saio(tmp_path / "data", "--dev-users", "--no-daemons").start()
    s3, swift = cluster.s3(), cluster.swift()
    s3.create_bucket(Bucket=BUCKET)
    for key in ["through-s3", "through-swift"]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    for objects in cluster.data.glob("devices/*/objects"):
        lose(objects)
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 2
    s3.delete_object(Bucket=BUCKET, Key="through-s3")
    with pytest.raises(swiftclient.ClientException) as gone:
        swift.delete_object(BUCKET, "through-swift")
    assert gone.value.http_status == 404
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    cluster.stop()


def test_a_body_that_finds_no_memory_is_refused_before_it_is_read(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.s3().create_bucket(Bucket=BUCKET)
    assert cluster.stop() == 0
    conf = cluster.data / "etc/proxy-server.conf"
    conf.write_text(conf.read_text().replace("[app:proxy-server]", "[app:proxy-server]\nupload_memory = 1"))
    cluster.start()
    token = cluster.swift().get_auth()[1]
    slow = http.client.HTTPConnection("127.0.0.1", cluster.port)
    slow.putrequest("PUT", f"/v1/AUTH_test/{BUCKET}/slow")
    slow.putheader("X-Auth-Token", token)
    slow.putheader("Content-Length", str(4 << 20))
    slow.putheader("Expect", "100-continue")
    slow.endheaders()
    assert b" 100 " in slow.sock.recv(1000), "the body is let in"
    slow.send(b"x" * (2 << 20))
    with pytest.raises(ClientError) as refused:
        cluster.s3().put_object(Bucket=BUCKET, Key="other", Body=b"x")
    assert refused.value.response["Error"]["Code"] == "SlowDown"
    with pytest.raises(swiftclient.ClientException) as refused:
        cluster.swift().put_object(BUCKET, "other", b"x")
    assert refused.value.http_status == 503 and refused.value.http_response_headers["retry-after"] == "1"
    slow.send(b"x" * (2 << 20))
    assert slow.getresponse().status == 201
    cluster.s3().put_object(Bucket=BUCKET, Key="other", Body=b"x")
    assert {row["Size"] for row in cluster.s3().list_objects_v2(Bucket=BUCKET)["Contents"]} == {1, 4 << 20}
    cluster.stop()


def test_an_account_has_the_totals_of_its_containers_after_a_kill(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    s3 = cluster.s3()
    for bucket in ["one-bucket", "other-bucket"]:
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    cluster.kill()
    cluster.start()

    def rows():
        return {(row["name"], row["count"], row["bytes"]) for row in cluster.swift().get_account()[1]}

    wait_until(lambda: rows() == {("one-bucket", 1, 5), ("other-bucket", 1, 5)}, rows, 30, 0.2)
    cluster.stop()


def test_a_short_file_is_quarantined_and_its_copies_are_served(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    s3, swift = cluster.s3(), cluster.swift()
    s3.create_bucket(Bucket=BUCKET)
    for key in ["emptied", "cut", "longer"]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 500)
    for key, damage in [("emptied", b""), ("cut", b"cut" * 100), ("longer", b"longer" * 501)]:
        files = [path for path in cluster.data.glob("devices/*/objects/**/*.data") if path.read_bytes() == key.encode() * 500]
        assert len(files) == 3
        for path in files[:2]:
            path.write_bytes(damage)
    for _ in range(10):
        for key in ["emptied", "cut", "longer"]:
            assert swift.get_object(BUCKET, key)[1] == key.encode() * 500

    def quarantined():
        # A replicator may have put a good copy in the place of one that was quarantined early.
        for key in ["emptied", "cut", "longer"]:
            assert swift.get_object(BUCKET, key)[1] == key.encode() * 500
        return list(cluster.data.glob("devices/*/quarantined/objects/*"))

    wait_until(lambda: len(quarantined()) == 6, lambda: f"quarantined are {quarantined()}", 120)
    cluster.stop()
