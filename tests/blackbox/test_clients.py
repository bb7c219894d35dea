"""Common clients at their default settings; each dialect reads what the other wrote."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError


def aws(cluster, *arguments):
    environment = dict(
        os.environ,
        AWS_ACCESS_KEY_ID="test:tester",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_CONFIG_FILE="/nonexistent",
    )
    tool = Path(sys.executable).parent / "aws"
    command = [tool, "--endpoint-url", cluster.access["endpoint"], *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_000, 40_000_000])
def test_aws_cp_brings_files_of_any_size_there_and_back(cluster, bucket, tmp_path, size):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    aws(cluster, "s3", "cp", source, f"s3://{bucket}/dir/file")
    aws(cluster, "s3", "cp", f"s3://{bucket}/dir/file", back)
    assert back.read_bytes() == source.read_bytes()
    assert f" {size} dir/file" in aws(cluster, "s3", "ls", "--recursive", f"s3://{bucket}")


def test_aws_sync_mv_presign_rm_and_rb(cluster, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ["a", "b c", "ü"]:
        (folder / name).write_text(name)
    aws(cluster, "s3", "mb", "s3://moving")
    aws(cluster, "s3", "sync", folder, "s3://moving/x")
    assert aws(cluster, "s3", "sync", folder, "s3://moving/x") == ""
    aws(cluster, "s3", "mv", "s3://moving/x/a", "s3://moving/y")
    url = aws(cluster, "s3", "presign", "s3://moving/y").strip()
    assert requests.get(url, timeout=10).text == "a"
    assert requests.get(url.replace("moving/y", "moving/x/b%20c"), timeout=10).status_code == 403
    aws(cluster, "s3", "rm", "--recursive", "s3://moving")
    aws(cluster, "s3", "rb", "s3://moving")


def test_swift_upload_in_segments_and_download(cluster, tmp_path):
    tool = Path(sys.executable).parent / "swift"
    base = [tool, "-A", cluster.access["auth_url"], "-U", "test:tester", "-K", "testing"]

    def swift(*arguments):
        done = subprocess.run([*base, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "big").write_bytes(os.urandom(1_000_000))
    swift("upload", "segmented", "-S", "300000", "--use-slo", "big")
    swift("download", "segmented", "big", "-o", "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    swift("delete", "segmented", "big")
    assert swift("list", "segmented") == ""


def test_one_dialect_reads_what_the_other_wrote(swift, s3, bucket):
    swift.put_object(bucket, "from swift/ü", b"1", headers={"X-Object-Meta-Color": "red"})
    got = s3.get_object(Bucket=bucket, Key="from swift/ü")
    assert got["Body"].read() == b"1" and got["Metadata"] == {"color": "red"}
    s3.put_object(Bucket=bucket, Key="from s3", Body=b"22", Metadata={"size": "2"})
    headers, body = swift.get_object(bucket, "from s3")
    assert body == b"22" and headers["x-object-meta-size"] == "2"
    assert [row["name"] for row in swift.get_container(bucket)[1]] == ["from s3", "from swift/ü"]


def test_a_multipart_object_has_s3s_etag_and_swifts_listing(swift, s3, bucket):
    parts = [os.urandom(5 << 20), os.urandom(1234)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="mpu")["UploadId"]
    done = [
        {"PartNumber": n, "ETag": s3.upload_part(Bucket=bucket, Key="mpu", UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(parts, 1)
    ]
    answer = s3.complete_multipart_upload(Bucket=bucket, Key="mpu", UploadId=upload, MultipartUpload={"Parts": done})
    binary = b"".join(hashlib.md5(part).digest() for part in parts)
    expected = f'"{hashlib.md5(binary).hexdigest()}-2"'
    assert answer["ETag"] == expected
    assert s3.head_object(Bucket=bucket, Key="mpu")["ETag"] == expected
    assert s3.get_object(Bucket=bucket, Key="mpu")["Body"].read() == b"".join(parts)
    ranged = s3.get_object(Bucket=bucket, Key="mpu", Range="bytes=5242870-5242889")["Body"].read()
    assert ranged == b"".join(parts)[5242870:5242890]
    assert s3.get_object(Bucket=bucket, Key="mpu", PartNumber=2)["Body"].read() == parts[1]
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == expected
    assert swift.get_container(bucket)[1][0]["bytes"] == sum(map(len, parts))


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_wrong_checksum_stores_nothing_and_a_right_one_is_kept(s3, bucket, algorithm):
    import base64

    widths = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
    wrong = base64.b64encode(b"x" * widths[algorithm]).decode()
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"data", **{f"Checksum{algorithm}": wrong})
    assert error.value.response["Error"]["Code"] == "BadDigest"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    if algorithm in ("SHA1", "SHA256", "CRC32"):
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
        got = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_a_changed_or_unsigned_request_is_refused(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert requests.get(url, timeout=10).content == b"data"
    assert requests.get(url, headers={"x-amz-meta-a": "1"}, timeout=10).status_code == 403
    assert requests.get(url.replace("/k?", "/j?"), timeout=10).status_code == 403
    assert requests.put(url, data=b"x", timeout=10).status_code == 403
    assert requests.get(f"{cluster.access['endpoint']}/{bucket}/k", timeout=10).status_code == 403
    with pytest.raises(ClientError) as error:
        cluster.s3(secret_key="wrong").list_buckets()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_what_is_not_done_answers_not_implemented(s3, bucket):
    for call in [
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="aws-exec-read"),
    ]:
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == "NotImplemented"
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_virtual_host_style_reaches_the_same_bucket(cluster, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"host")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    hosted = cluster.s3(s3={"addressing_style": "virtual"})
    hosted_url = hosted.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert url.split("?")[0].endswith(f"/{bucket}/k")
    port = cluster.port
    signed = boto_for(cluster, f"http://localhost:{port}").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    host = signed.split("/")[2]
    assert host == f"{bucket}.localhost:{port}", (signed, hosted_url)
    direct = signed.replace(host, f"127.0.0.1:{port}")
    assert requests.get(direct, headers={"Host": host}, timeout=10).content == b"host"


def boto_for(cluster, endpoint):
    import boto3
    import botocore.config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="test:tester",
        aws_secret_access_key="testing",
        region_name="us-east-1",
        config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )


def test_metadata_up_to_swifts_limits_is_kept_on_any_file_system(swift, bucket):
    headers = {f"X-Object-Meta-{index:02d}": "v" * 250 for index in range(16)}
    swift.put_object(bucket, "n" * 1000, b"x", headers=headers)
    got = swift.head_object(bucket, "n" * 1000)
    assert all(got[name.lower()] == value for name, value in headers.items())
    swift.post_object(bucket, "n" * 1000, {**headers, "X-Object-Meta-00": "w" * 250})
    assert swift.head_object(bucket, "n" * 1000)["x-object-meta-00"] == "w" * 250
    assert swift.get_object(bucket, "n" * 1000)[1] == b"x"


def test_of_two_overlapping_uploads_the_one_that_ends_later_wins(s3, bucket):
    class Meanwhile:
        """A body during which another client writes the same key."""

        def __init__(self):
            self.sent = 0

        def __len__(self):
            return 3_000_000

        def tell(self):
            return self.sent

        def seek(self, offset, whence=0):
            self.sent = len(self) + offset if whence == 2 else offset

        def read(self, size=-1):
            size = min(size if size >= 0 else len(self), len(self) - self.sent)
            if self.sent < 2_000_000 <= self.sent + size:
                s3.put_object(Bucket=bucket, Key="k", Body=b"B" * 2_000_000)
            self.sent += size
            return b"A" * size

    body = Meanwhile()
    s3.put_object(Bucket=bucket, Key="k", Body=body, ContentLength=3_000_000)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"A" * 3_000_000
    assert [row["Size"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [3_000_000]


def test_bulk_delete_takes_encoded_paths_and_never_another_name(cluster, swift, bucket):
    for name in ["a b", "c/d", "kept", "\ufffd"]:
        swift.put_object(bucket, name, b"x")
    url, token = swift.get_auth()
    document = f"{bucket}/a%20b\n/{bucket}%2Fc%2Fd\n{bucket}/gone\n".encode() + bucket.encode() + b"/\xff\n" + bucket.encode() + b"\n"

    def bulk(**headers):
        return requests.post(f"{url}?bulk-delete", data=document, headers={"Accept": "application/json", **headers}, timeout=30)

    assert bulk().status_code == 401
    answer = bulk(**{"X-Auth-Token": token, "Content-Type": "text/plain"}).json()
    assert (answer["Number Deleted"], answer["Number Not Found"]) == (2, 1)
    assert answer["Response Status"] == "400 Bad Request"
    assert sorted(why for _, why in answer["Errors"]) == ["409 Conflict", "412 Precondition Failed"]
    assert {row["name"] for row in swift.get_container(bucket)[1]} == {"kept", "\ufffd"}
