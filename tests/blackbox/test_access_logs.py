"""Server access logs of buckets, delivered as objects of another bucket."""

import re

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.s3_requests import S3Requests
from apus_testing.saio import Saio
from apus_testing.waiting import wait_until

PARTS = re.compile(r'"[^"]*"|\[[^\]]*\]|\S+')


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("logs") / "data", "--dev-users").start()
    cluster.stop()
    conf = cluster.data / "etc/proxy-server.conf"
    section = "[app:proxy-server]\n"
    conf.write_text(conf.read_text().replace(section, f"{section}access_log_interval = 1\n"))
    yield cluster.start()
    assert cluster.stop() == 0


@pytest.fixture
def request_s3(cluster):
    return S3Requests(cluster.access["endpoint"])


@pytest.fixture
def logs(s3, bucket):
    s3.create_bucket(Bucket=f"{bucket}-logs")
    return f"{bucket}-logs"


def enable(s3, bucket, **target):
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": target})


def objects(s3, logs):
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=logs).get("Contents", [])]


def lines(s3, logs):
    texts = [s3.get_object(Bucket=logs, Key=key)["Body"].read().decode() for key in objects(s3, logs)]
    return [PARTS.findall(line) for text in texts for line in text.splitlines()]


def code(call, **arguments):
    with pytest.raises(ClientError) as failed:
        call(**arguments)
    return failed.value.response["Error"]["Code"]


def test_the_configuration_is_kept_and_removed(s3, bucket, logs):
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    event = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    for target in (
        {"TargetBucket": logs, "TargetPrefix": ""},
        {"TargetBucket": logs, "TargetPrefix": "a <b>/"},
        {"TargetBucket": bucket, "TargetPrefix": "p", "TargetObjectKeyFormat": event},
    ):
        enable(s3, bucket, **target)
        assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == target
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_a_target_that_cannot_receive_logs_is_refused(cluster, s3, bucket, logs):
    other = cluster.s3("test2:tester2", "testing2")
    other.create_bucket(Bucket=f"{bucket}-other")
    for name in (f"{bucket}-absent", f"{bucket}-other", "x"):
        target = {"TargetBucket": name, "TargetPrefix": ""}
        status = {"LoggingEnabled": target}
        refused = code(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=status)
        assert refused == "InvalidTargetBucketForLogging", name
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": "x"}, "Permission": "READ"}
    granting = {"LoggingEnabled": {"TargetBucket": logs, "TargetPrefix": "", "TargetGrants": [grant]}}
    assert code(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=granting) == "InvalidArgument"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_requests_are_logged_as_awss_are(cluster, s3, request_s3, bucket, logs):
    enable(s3, bucket, TargetBucket=logs, TargetPrefix="access/")
    request_s3("PUT", f"/{bucket}/a%20key", {"user-agent": 'tester "1"'}, b"12345")
    reply = request_s3("GET", f"/{bucket}/a%20key", {"referer": "http://page", "range": "bytes=0-1"})
    request_s3("GET", f"/{bucket}/absent")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a key"})
    requests.get(url, timeout=30)
    denied = S3Requests(cluster.access["endpoint"], "test:tester3", "testing3")("GET", f"/{bucket}/a%20key")
    assert denied.status in (403, 404)
    s3.list_objects_v2(Bucket=bucket)

    def found():
        return {line[6] for line in lines(s3, logs)} >= {"REST.PUT.OBJECT", "REST.GET.OBJECT", "REST.GET.BUCKET"}

    wait_until(found, "lines of all operations")
    every = lines(s3, logs)
    assert all(len(line) == 26 for line in every)
    assert all(re.fullmatch(r"access/\d{4}(-\d\d){5}-[0-9A-F]{16}", key) for key in objects(s3, logs))
    (line,) = [line for line in every if line[5] == reply.headers["x-amz-request-id"]]
    assert line[:2] == ["AUTH_test", bucket]
    assert re.fullmatch(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]", line[2])
    assert line[3:5] == ["127.0.0.1", "test:tester"]
    assert line[6:12] == ["REST.GET.OBJECT", "a%20key", f'"GET /{bucket}/a%20key HTTP/1.1"', "206", "-", "2"]
    assert line[12] == "5" and line[15] == '"http://page"'
    assert line[19] == "SigV4" and line[21:23] == ["AuthHeader", request_s3.host]
    absent = next(line for line in every if line[7] == "absent")
    assert absent[9:11] == ["404", "NoSuchKey"]
    put = next(line for line in every if line[6] == "REST.PUT.OBJECT")
    assert put[16] == '"tester %221%22"'
    signature = re.search("Signature=([^&]+)", url)[1]
    text = "".join(" ".join(line) for line in every)
    assert "QueryString" in text and signature not in text


def test_partitioned_keys_have_the_day_of_the_requests(s3, request_s3, bucket, logs):
    event = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    enable(s3, bucket, TargetBucket=logs, TargetPrefix="", TargetObjectKeyFormat=event)
    request_s3("GET", f"/{bucket}/k")
    wait_until(lambda: objects(s3, logs), "a log object")
    pattern = rf"AUTH_test/us-east-1/{bucket}/\d{{4}}/\d\d/\d\d/\d{{4}}-\d\d-\d\d-00-00-00-[0-9A-F]{{16}}"
    assert all(re.fullmatch(pattern, key) for key in objects(s3, logs))


def test_a_target_that_is_gone_stops_no_request(s3, request_s3, bucket, logs):
    enable(s3, bucket, TargetBucket=logs, TargetPrefix="")
    s3.delete_bucket(Bucket=logs)
    for number in range(3):
        assert request_s3("PUT", f"/{bucket}/{number}", body=b"x").status == 200
    s3.create_bucket(Bucket=logs)
    request_s3("PUT", f"/{bucket}/again", body=b"x")
    wait_until(lambda: any(line[7] == "again" for line in lines(s3, logs)), "a line after the repair")
