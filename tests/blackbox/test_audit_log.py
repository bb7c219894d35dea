"""The audit log: who changed what, and what was refused."""

import json
import re
import shutil

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.s3_requests import PRESIGNED, S3Requests
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until


def lines(cluster, name="audit.log"):
    path = cluster.data / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def line_of(cluster, trans_id):
    wait_until(lambda: any(line["trans_id"] == trans_id for line in lines(cluster)), "a line of the request")
    (found,) = [line for line in lines(cluster) if line["trans_id"] == trans_id]
    return found


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


def test_changes_in_s3_are_recorded(cluster, request_s3, bucket):
    reply = request_s3("PUT", f"/{bucket}/a%20key?x-id=PutObject", {"user-agent": "tester/1"}, b"data")
    line = line_of(cluster, reply.headers["x-amz-request-id"])
    expected = {
        "dialect": "s3",
        "operation": "PutObject",
        "method": "PUT",
        "user": "test:tester",
        "access_key": "test:tester",
        "account": "AUTH_test",
        "bucket": bucket,
        "key": "a key",
        "status": 200,
        "error": None,
        "rule": "rights in the account",
        "source_ip": "127.0.0.1",
        "agent": "tester/1",
    }
    assert {name: line[name] for name in expected} == expected
    assert line["request_id"] == line["trans_id"] and line["time"].endswith("Z")
    reply = request_s3("DELETE", f"/{bucket}/a%20key")
    assert line_of(cluster, reply.headers["x-amz-request-id"])["operation"] == "DeleteObject"
    reply = request_s3("PUT", f"/{bucket}-absent/k", body=b"x")
    line = line_of(cluster, reply.headers["x-amz-request-id"])
    assert (line["status"], line["error"]) == (404, "NoSuchBucket")


def test_refusals_are_recorded_with_the_claimed_key(cluster, request_s3, bucket):
    forged = S3Requests(cluster.access["endpoint"], secret_key="guess")
    other = S3Requests(cluster.access["endpoint"], "test:tester3", "testing3")
    for client, how, key, user, error in [
        (forged, "header", "test:tester", None, "SignatureDoesNotMatch"),
        (forged, PRESIGNED, "test:tester", None, "SignatureDoesNotMatch"),
        (other, "header", "test:tester3", "test:tester3", "AccessDenied"),
    ]:
        reply = client("GET", f"/{bucket}/k", how=how)
        line = line_of(cluster, reply.headers["x-amz-request-id"])
        found = line["access_key"], line["user"], line["error"], line["status"]
        assert found == (key, user, error, 403)
    assert line["rule"] == "no rule allows it"


def test_reads_and_anonymous_refusals_are_not_recorded(cluster, request_s3, bucket):
    ids = [
        request_s3("GET", f"/{bucket}").headers["x-amz-request-id"],
        request_s3("GET", f"/{bucket}/absent").headers["x-amz-request-id"],
        requests.get(f"{request_s3.endpoint}/{bucket}", timeout=30).headers["x-amz-request-id"],
        requests.put(f"{request_s3.endpoint}/{bucket}/k", data=b"x", timeout=30).headers["x-amz-request-id"],
    ]
    last = request_s3("PUT", f"/{bucket}/k", body=b"x").headers["x-amz-request-id"]
    line_of(cluster, last)
    assert not {line["trans_id"] for line in lines(cluster)} & set(ids)


def test_changes_and_refusals_in_swift_are_recorded(cluster, swift):
    swift.put_container("recorded", {"X-Container-Read": "test:tester3"})
    swift.put_object("recorded", "an ö", b"data")
    wait_until(lambda: any(line["key"] == "an ö" for line in lines(cluster)), "a line of the object")
    line = next(line for line in lines(cluster) if line["key"] == "an ö")
    found = line["dialect"], line["operation"], line["user"], line["account"], line["bucket"], line["status"]
    assert found == ("swift", "PUT object", "test:tester", "AUTH_test", "recorded", 201)
    url = f"{cluster.access['endpoint']}/v1/AUTH_test/recorded/o"
    reply = requests.get(url, headers={"X-Auth-Token": "AUTH_tkforged"}, timeout=30)
    line = line_of(cluster, reply.headers["x-trans-id"])
    assert (line["status"], line["user"]) == (401, None)
    guess = {"X-Auth-User": "test:tester", "X-Auth-Key": "guess"}
    reply = requests.get(cluster.access["auth_url"], headers=guess, timeout=30)
    line = line_of(cluster, reply.headers["x-trans-id"])
    assert (line["operation"], line["access_key"], line["status"]) == ("SignIn", "test:tester", 401)


def test_no_secret_is_in_the_log(cluster, request_s3, s3, bucket):
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    requests.put(url, data=b"the body", timeout=30)
    form = s3.generate_presigned_post(bucket, "form")
    reply = requests.post(form["url"], data=form["fields"], files={"file": b"the body"}, timeout=30)
    assert reply.status_code == 204
    line = line_of(cluster, reply.headers["x-amz-request-id"])
    assert (line["operation"], line["key"], line["user"]) == ("PostObject", "form", "test:tester")
    token = cluster.swift().get_auth()[1]
    reply = requests.put(
        f"{cluster.access['endpoint']}/v1/AUTH_test/c?signature=canary",
        headers={"X-Auth-Token": token, "X-Container-Meta-Secret": "canary"},
        timeout=30,
    )
    line_of(cluster, reply.headers["x-trans-id"])
    text = (cluster.data / "audit.log").read_text()
    signature = re.search("Signature=([^&]+)", url)[1]
    for secret in (token, signature, "canary", "the body", form["fields"]["policy"], "testing\n"):
        assert secret not in text, secret
    for line in lines(cluster):
        assert "testing" not in line.values()


def test_the_file_is_rotated_and_a_disk_that_fails_stops_no_request(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.stop()
    conf = cluster.data / "etc/proxy-server.conf"
    folder = cluster.data / "log"
    folder.mkdir()
    text = conf.read_text()
    assert f"log = {cluster.data}/audit.log" in text
    options = f"log = {folder}/audit.log\nrotate_bytes = 4096\nrotate_count = 2"
    conf.write_text(text.replace(f"log = {cluster.data}/audit.log", options))
    cluster.start()
    s3 = cluster.s3()
    s3.create_bucket(Bucket="bucket")
    for number in range(60):
        s3.put_object(Bucket="bucket", Key=f"k{number}", Body=b"x")

    def last_line():
        every = [line for name in ("", ".1") for line in lines(cluster, f"log/audit.log{name}")]
        return any(line["key"] == "k59" for line in every)

    wait_until(last_line, "the last line")
    names = {path.name for path in folder.iterdir()} - {"audit.log.lock", "audit.log"}
    assert names == {"audit.log.1", "audit.log.2"}
    assert len(lines(cluster, "log/audit.log.1")) > 5
    shutil.rmtree(folder)
    s3.put_object(Bucket="bucket", Key="kept", Body=b"x")
    with pytest.raises(ClientError):
        cluster.s3(secret_key="guess").list_buckets()
    assert s3.get_object(Bucket="bucket", Key="kept")["Body"].read() == b"x"
    folder.mkdir()
    s3.put_object(Bucket="bucket", Key="again", Body=b"x")
    wait_until(lambda: any(line["key"] == "again" for line in lines(cluster, "log/audit.log")), "a line of the repaired log")
    assert cluster.stop() == 0


def test_without_a_file_there_is_no_log(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.stop()
    conf = cluster.data / "etc/proxy-server.conf"
    text = conf.read_text()
    conf.write_text(text[: text.index("[audit]")])
    (cluster.data / "audit.log").unlink(missing_ok=True)
    cluster.start()
    cluster.s3().create_bucket(Bucket="bucket")
    assert not (cluster.data / "audit.log").exists()
    assert cluster.stop() == 0
