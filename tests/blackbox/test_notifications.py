"""Events of buckets: which are recorded, and what webhooks receive of them."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.config
import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.faults import is_built_with_faults
from apus_testing.servers_with_daemons import ServersWithDaemons
from apus_testing.waiting import wait_past, wait_until
from apus_testing.webhooks import Receiver, key_of

ARN = "arn:apus:sqs::hook:webhook"
EVENTS = ".apus_events"
ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*", "s3:LifecycleExpiration:*"]
PART = b"p" * (5 * 1024 * 1024)


class NotifyingServers(ServersWithDaemons):
    """Servers with webhooks: one that works, one with TLS, one that fails, and two that must not be reached."""

    def __init__(self, folder):
        super().__init__(folder)
        certificate = folder / "receiver.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
            + ["-keyout", certificate, "-out", folder / "authority.pem"],
            check=True,
            capture_output=True,
        )
        certificate.write_text(certificate.read_text() + (folder / "authority.pem").read_text())
        self.hook, self.tls, self.dead = Receiver(), Receiver(certificate=certificate), Receiver()
        self.dead.status = 503
        self.inner = Receiver()
        lines = [
            "[notify]",
            "allowed_networks = 127.0.0.0/8",
            f"ca_file = {folder / 'authority.pem'}",
            f"webhook_hook = http://127.0.0.1:{self.hook.port}/events?from=apus",
            "token_hook = s3cret",
            f"webhook_tls = https://localhost:{self.tls.port}/",
            f"webhook_name = https://127.0.0.1:{self.tls.port}/",
            f"webhook_dead = http://127.0.0.1:{self.dead.port}/",
            f"webhook_inner = http://[::1]:{self.inner.port}/",
        ]
        path = self.etc / "swift.conf"
        path.write_text(path.read_text() + "\n".join(lines) + "\n")
        self.option("container", "container-notifier", "interval = 0.2\nbackoff_max = 1\ntimeout = 2")

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        for receiver in (self.hook, self.tls, self.dead, self.inner):
            receiver.stop()

    def waiting(self, webhook):
        """Number of events in the queues of a webhook, as the replica with most has them."""
        return sum(max((len(rows) for rows in self.rows(EVENTS, f"{webhook}-{number:02x}")), default=0) for number in range(16))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with NotifyingServers(tmp_path_factory.mktemp("notifications")) as nodes:
        nodes.start_daemon("container-notifier")
        yield nodes


@pytest.fixture
def s3(nodes):
    return nodes.s3()


@pytest.fixture
def bucket(s3):
    name = f"events-{time.time_ns()}"
    s3.create_bucket(Bucket=name)
    return name


def signing_v4(nodes):
    """boto3 signs forms with version 2 unless it is asked not to."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{nodes.ports['proxy']}",
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=botocore.config.Config(signature_version="s3v4"),
    )


def rule(events=ALL, arn=ARN, **more):
    return {"QueueArn": arn, "Events": events, **more}


def filtered(prefix=None, suffix=None):
    rules = [{"Name": name, "Value": value} for name, value in (("prefix", prefix), ("suffix", suffix)) if value is not None]
    return {"Key": {"FilterRules": rules}}


def notify(s3, bucket, *rules, **more):
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": list(rules) or [rule()], **more}
    )


def refusal(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def received(receiver, bucket, expected, seconds=30):
    """Waits for these events, in any order of keys, and returns the records."""
    wait_until(lambda: len(receiver.names(bucket)) >= len(expected), lambda: f"{receiver.names(bucket)}, expected {expected}", seconds)
    assert sorted(receiver.names(bucket)) == sorted(expected)
    return receiver.events(bucket)


def test_a_configuration_is_stored_returned_and_removed(nodes, s3, bucket):
    def stored():
        answer = s3.get_bucket_notification_configuration(Bucket=bucket)
        del answer["ResponseMetadata"]
        return answer

    assert stored() == {}
    queue = rule(Id="q", Filter=filtered("a/", ".jpg"), Events=["s3:ObjectCreated:*"])
    topic = {"Id": "t", "TopicArn": "arn:aws:sns:us-east-1:123456789012:hook", "Events": ["s3:ObjectRemoved:Delete"]}
    nodes.hook.clear()
    notify(s3, bucket, queue, TopicConfigurations=[topic])
    found = stored()
    assert found["TopicConfigurations"] == [topic]
    assert found["QueueConfigurations"][0]["Events"] == ["s3:ObjectCreated:*"]
    rules = found["QueueConfigurations"][0]["Filter"]["Key"]["FilterRules"]
    assert [(one["Name"].lower(), one["Value"]) for one in rules] == [("prefix", "a/"), ("suffix", ".jpg")]
    sent = wait_until(lambda: [test for test in nodes.hook.tests() if test["Bucket"] == bucket], "no test event")[0]
    assert sent["Service"] == "Amazon S3" and sent["RequestId"] and sent["Time"].endswith("Z")
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert stored() == {}
    s3.put_object(Bucket=bucket, Key="a/b.jpg", Body=b"x")
    assert nodes.hook.names(bucket) == []


def test_what_would_not_be_delivered_is_refused(s3, bucket):
    def put(**configuration):
        return refusal(s3.put_bucket_notification_configuration, Bucket=bucket, NotificationConfiguration=configuration)

    for arn in ("arn:apus:sqs::other:webhook", "arn:aws:sqs:us-east-1:123456789012:other", "arn:apus:sqs::hook:kafka", "hook"):
        status, code, message = put(QueueConfigurations=[rule(arn=arn)])
        assert (status, code) == (400, "InvalidArgument") and arn in message, message
    function = {"LambdaFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f", "Events": ["s3:ObjectCreated:*"]}
    assert put(LambdaFunctionConfigurations=[function])[:2] == (501, "NotImplemented")
    assert put(EventBridgeConfiguration={})[:2] == (501, "NotImplemented")
    assert put(QueueConfigurations=[rule(["s3:Replication:*"])])[:2] == (501, "NotImplemented")
    assert put(QueueConfigurations=[rule(["s3:ObjectEaten:*"])])[:2] == (400, "InvalidArgument")
    assert put(QueueConfigurations=[rule(), rule(["s3:ObjectCreated:Put"])])[:2] == (400, "InvalidArgument")
    assert put(QueueConfigurations=[rule(Filter=filtered("a")), rule(Filter=filtered("ab"))])[:2] == (400, "InvalidArgument")
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    missing = refusal(s3.get_bucket_notification_configuration, Bucket=f"{bucket}-x")
    assert missing[:2] == (404, "NoSuchBucket")


def test_each_change_has_its_event(nodes, s3, bucket):
    notify(s3, bucket, rule(Id="all"))
    key = "a b/ü+&=%41.txt"
    etag = s3.put_object(Bucket=bucket, Key=key, Body=b"12345")["ETag"].strip('"')
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in ((1, PART), (2, b"end"))
    ]
    whole = s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_object_tagging(Bucket=bucket, Key=key)
    form = signing_v4(nodes).generate_presigned_post(bucket, "form")
    assert requests.post(form["url"], data=form["fields"], files={"file": b"form"}, timeout=10).status_code == 204
    s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}, {"Key": "form"}]})
    records = received(
        nodes.hook,
        bucket,
        [
            ("ObjectCreated:Put", key),
            ("ObjectCreated:Copy", "copy"),
            ("ObjectCreated:CompleteMultipartUpload", "parts"),
            ("ObjectTagging:Put", key),
            ("ObjectTagging:Delete", key),
            ("ObjectCreated:Post", "form"),
            ("ObjectRemoved:Delete", key),
            ("ObjectRemoved:Delete", "copy"),
            ("ObjectRemoved:Delete", "form"),
        ],
    )
    by_name = {record["eventName"]: record for record in records if key_of(record) != "form"}
    put = by_name["ObjectCreated:Put"]
    assert (put["eventVersion"], put["eventSource"], put["awsRegion"]) == ("2.3", "aws:s3", "us-east-1")
    assert put["s3"]["configurationId"] == "all"
    assert put["s3"]["object"]["key"] == "a+b/%C3%BC%2B%26%3D%2541.txt"
    assert (put["s3"]["object"]["size"], put["s3"]["object"]["eTag"]) == (5, etag)
    assert put["userIdentity"]["principalId"] == "test:tester"
    assert put["responseElements"]["x-amz-request-id"].startswith("tx")
    completed = by_name["ObjectCreated:CompleteMultipartUpload"]["s3"]["object"]
    assert (completed["size"], completed["eTag"]) == (len(PART) + 3, whole["ETag"].strip('"'))
    assert "size" not in by_name["ObjectRemoved:Delete"]["s3"]["object"]
    of_key = [record for record in records if key_of(record) == key]
    assert [record["eventName"].split(":")[-1] for record in of_key] == ["Put", "Put", "Delete", "Delete"]
    sequencers = [record["s3"]["object"]["sequencer"] for record in of_key]
    assert sequencers == sorted(sequencers) and len(set(sequencers)) == 4
    headers, path = nodes.hook.requests[-1][2], nodes.hook.requests[-1][1]
    assert headers["authorization"] == "Bearer s3cret" and path == "/events?from=apus"
    assert headers["content-type"] == "application/json"


def test_versions_and_delete_markers_have_events(nodes, s3, bucket):
    notify(s3, bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    wait_until(lambda: len(nodes.hook.events(bucket)) == 4, lambda: nodes.hook.names(bucket))
    assert [(record["eventName"], record["s3"]["object"]["versionId"]) for record in nodes.hook.events(bucket)] == [
        ("ObjectCreated:Put", version),
        ("ObjectRemoved:DeleteMarkerCreated", marker),
        ("ObjectRemoved:Delete", marker),
        ("ObjectRemoved:Delete", version),
    ]


def test_swift_requests_have_events(nodes, s3, bucket):
    notify(s3, bucket)
    swift = nodes.swift()
    swift.put_object(bucket, "o", b"123")
    swift.put_object(bucket, "to", b"", headers={"X-Copy-From": f"{bucket}/o"})
    for number in range(2):
        swift.put_object(bucket, f"segment{number}", b"s" * 10)
    manifest = json.dumps([{"path": f"{bucket}/segment{number}"} for number in range(2)])
    swift.put_object(bucket, "slo", manifest, query_string="multipart-manifest=put")
    swift.delete_object(bucket, "slo", query_string="multipart-manifest=delete")
    swift.post_account({"Content-Type": "text/plain"}, query_string="bulk-delete", data=f"{bucket}/to\n")
    swift.delete_object(bucket, "o")
    records = received(
        nodes.hook,
        bucket,
        [
            ("ObjectCreated:Put", "o"),
            ("ObjectCreated:Copy", "to"),
            ("ObjectCreated:Put", "segment0"),
            ("ObjectCreated:Put", "segment1"),
            ("ObjectCreated:Put", "slo"),
            ("ObjectRemoved:Delete", "segment0"),
            ("ObjectRemoved:Delete", "segment1"),
            ("ObjectRemoved:Delete", "slo"),
            ("ObjectRemoved:Delete", "to"),
            ("ObjectRemoved:Delete", "o"),
        ],
    )
    sizes = {key_of(record): record["s3"]["object"].get("size") for record in records if record["eventName"] == "ObjectCreated:Put"}
    assert sizes == {"o": 3, "segment0": 10, "segment1": 10, "slo": 20}


def test_expirations_have_events(nodes, s3, bucket):
    notify(s3, bucket)
    nodes.option("container", "container-lifecycle", "seconds_per_day = 1\ndeletions_per_second = 0")
    nodes.swift().put_object(bucket, "expires", b"1", headers={"X-Delete-After": "1"})
    s3.put_object(Bucket=bucket, Key="old", Body=b"1")
    rules = {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "old"}, "Expiration": {"Days": 1}}]}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    wait_past(time.time() + 2.5)
    nodes.once("container-lifecycle")
    nodes.once("container-updater")
    nodes.once("object-expirer")
    records = received(
        nodes.hook,
        bucket,
        [
            ("ObjectCreated:Put", "expires"),
            ("ObjectCreated:Put", "old"),
            ("LifecycleExpiration:Delete", "old"),
            ("LifecycleExpiration:Delete", "expires"),
        ],
    )
    principals = {key_of(record): record["userIdentity"]["principalId"] for record in records if "Expiration" in record["eventName"]}
    assert principals == {"old": "lifecycle", "expires": "expirer"}


def test_a_filter_chooses_keys_and_events(nodes, s3, bucket):
    notify(
        s3,
        bucket,
        rule(["s3:ObjectCreated:Put"], Filter=filtered("a/", ".jpg")),
        rule(["s3:ObjectRemoved:*"], Filter=filtered(suffix=".txt")),
    )
    for key in ("a/1.jpg", "a/1.txt", "b/1.jpg", "a/.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.copy_object(Bucket=bucket, Key="a/2.jpg", CopySource={"Bucket": bucket, "Key": "b/1.jpg"})
    for key in ("a/1.jpg", "a/1.txt"):
        s3.delete_object(Bucket=bucket, Key=key)
    expected = [("ObjectCreated:Put", "a/1.jpg"), ("ObjectCreated:Put", "a/.jpg"), ("ObjectRemoved:Delete", "a/1.txt")]
    received(nodes.hook, bucket, expected)


def test_events_of_a_key_are_in_order_while_the_receiver_fails(nodes, s3, bucket):
    notify(s3, bucket)
    nodes.hook.statuses = [500, 200, 500, 500, 200, 503, 200, 200, 500] * 3

    def work(key):
        for number in range(8):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x" * number)
            s3.delete_object(Bucket=bucket, Key=key)

    keys = [f"key{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, keys))
    wait_until(lambda: len(nodes.hook.events(bucket)) == 64, lambda: len(nodes.hook.events(bucket)), 60)
    for key in keys:
        records = [record for record in nodes.hook.events(bucket) if key_of(record) == key]
        assert [record["eventName"] for record in records] == ["ObjectCreated:Put", "ObjectRemoved:Delete"] * 8
        assert [record["s3"]["object"]["size"] for record in records[::2]] == list(range(8))
        sequencers = [record["s3"]["object"]["sequencer"] for record in records]
        assert sequencers == sorted(sequencers)


def test_a_receiver_that_was_down_gets_all_and_another_does_not_wait_for_it(nodes, s3, bucket):
    other = f"{bucket}-tls"
    s3.create_bucket(Bucket=other)
    notify(s3, bucket)
    notify(s3, other, rule(arn="arn:apus:sqs::tls:webhook"))
    nodes.hook.stop()
    keys = [f"key{number}" for number in range(20)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        s3.put_object(Bucket=other, Key=key, Body=b"x")
    expected = [("ObjectCreated:Put", key) for key in keys]
    received(nodes.tls, other, expected)
    assert nodes.hook.names(bucket) == [] and nodes.waiting("hook") >= 20
    nodes.hook.start()
    received(nodes.hook, bucket, expected)
    wait_until(lambda: nodes.waiting("hook") == 0, lambda: nodes.waiting("hook"))


def test_a_certificate_must_be_of_the_name(nodes, s3, bucket):
    notify(s3, bucket, rule(arn="arn:apus:sqs::name:webhook"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    log = nodes.log("container-notifier")
    wait_until(lambda: "invalid peer certificate" in log.read_text(), "no refusal of the certificate")
    assert nodes.tls.names(bucket) == [] and nodes.waiting("name") > 0


def test_networks_that_are_not_allowed_are_not_reached(nodes, s3, bucket):
    notify(s3, bucket, rule(arn="arn:apus:sqs::inner:webhook"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    log = nodes.log("container-notifier")
    wait_until(lambda: "::1 is a loopback address" in log.read_text(), "no refusal of the address")
    assert nodes.inner.requests == [] and nodes.waiting("inner") > 0


def test_redirects_are_not_followed(nodes, s3, bucket):
    nodes.dead.status, nodes.dead.location = 307, f"http://127.0.0.1:{nodes.inner.port}/"
    notify(s3, bucket, rule(arn="arn:apus:sqs::dead:webhook"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    wait_until(lambda: len(nodes.dead.requests) >= 2, "no request")
    assert nodes.inner.requests == []
    assert nodes.dead.names(bucket) == []


def test_too_old_events_are_dropped_and_counted(nodes, s3, bucket):
    nodes.stop("container-notifier")
    nodes.dead.status, nodes.dead.location = 503, None
    notify(s3, bucket, rule(arn="arn:apus:sqs::dead:webhook"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert nodes.waiting("dead") > 0
    nodes.option("container", "container-notifier", "max_age = 0.1\nbackoff_max = 0")
    wait_past(time.time() + 0.2)
    # Each pass may end at the first queue with a failure.
    wait_until(lambda: nodes.once("container-notifier") and nodes.waiting("dead") == 0, lambda: nodes.waiting("dead"))
    assert nodes.recon("container")["container_notifier_dropped"] >= 0
    nodes.option("container", "container-notifier", "interval = 0.2\nbackoff_max = 1\ntimeout = 2")
    nodes.start_daemon("container-notifier")


@pytest.mark.skipif(not is_built_with_faults(), reason="needs fault points")
@pytest.mark.parametrize("point", ["notifier.event.delivered", "notifier.rows.removed"])
def test_a_killed_notifier_loses_nothing(nodes, s3, bucket, tmp_path, point):
    notify(s3, bucket)
    nodes.stop("container-notifier")
    keys = [f"key{number}" for number in range(10)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    armed = tmp_path / "armed"
    armed.write_text(f"{point} kill@2\n")
    assert nodes.run_once("container-notifier", armed=armed).returncode == -9
    nodes.start_daemon("container-notifier")
    received(nodes.hook, bucket, [("ObjectCreated:Put", key) for key in keys])


@pytest.mark.skipif(not is_built_with_faults(), reason="needs fault points")
@pytest.mark.parametrize("point", ["notify.event.begun", "notify.event.recorded"])
def test_a_killed_proxy_acknowledged_nothing_without_an_event(nodes, s3, bucket, tmp_path, point):
    notify(s3, bucket)
    nodes.stop("proxy")
    armed = tmp_path / "armed"
    armed.write_text(f"{point} kill@3\n")
    nodes.start("proxy", armed=armed)
    acknowledged = []
    for number in range(5):
        try:
            s3.put_object(Bucket=bucket, Key=f"key{number}", Body=b"x")
            acknowledged.append(("ObjectCreated:Put", f"key{number}"))
        except Exception:
            break
    assert len(acknowledged) == 2
    nodes.stop("proxy", kill=True)
    nodes.start("proxy")
    wait_until(lambda: set(acknowledged) <= set(nodes.hook.names(bucket)), lambda: nodes.hook.names(bucket))
    s3.put_object(Bucket=bucket, Key="after", Body=b"x")
    wait_until(lambda: ("ObjectCreated:Put", "after") in nodes.hook.names(bucket), "no event after the start")
