"""Large objects that are nested, repeated, cyclic, too long, or made of segments of other accounts."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import pytest
import requests

PUT, DELETE = "multipart-manifest=put", "multipart-manifest=delete"
CHAIN = 300
MIB = 1 << 20


class Account:
    """Swift's dialect without a client's ideas of it."""

    def __init__(self, connection):
        self.url, self.token = connection.get_auth()
        self.http = requests.Session()
        self.http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=16))

    def send(self, method, path, query="", data=None, **headers):
        headers = {"X-Auth-Token": self.token, **headers}
        return self.http.request(method, f"{self.url}/{path}?{query}", data=data, headers=headers, timeout=60)

    def manifest(self, path, segments):
        return self.send("PUT", path, PUT, json.dumps(segments))

    def report(self, path):
        answer = self.send("DELETE", path, DELETE, Accept="application/json")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def names(self, container):
        return self.send("GET", container).text.split()


@pytest.fixture
def account(swift):
    return Account(swift)


def is_alive(cluster):
    health = f"http://127.0.0.1:{cluster.port}/healthcheck"
    return cluster.process.poll() is None and requests.get(health, timeout=10).text == "OK"


def delete_with_swift(account, s3, bucket, key):
    return account.report(f"{bucket}/{key}")


def delete_with_s3(account, s3, bucket, key):
    s3.delete_object(Bucket=bucket, Key=key)


def delete_several(account, s3, bucket, key):
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [row["Key"] for row in answer["Deleted"]] == [key]


WAYS = [delete_with_swift, delete_with_s3, delete_several]


def test_a_manifest_cannot_name_itself(account, bucket):
    assert account.send("PUT", f"{bucket}/a", data=b"x").status_code == 201
    refused = account.manifest(f"{bucket}/a", [{"path": f"/{bucket}/a"}])
    assert (refused.status_code, refused.text) == (
        400,
        "Index 0: manifest must not include itself as a segment\n",
    )


@pytest.mark.parametrize("delete", WAYS)
@pytest.mark.parametrize("length", [2, 3])
def test_manifests_that_name_one_another_end_no_proxy(cluster, account, s3, bucket, length, delete):
    account.send("PUT", f"{bucket}/x", data=b"x")

    def path(number):
        return f"/{bucket}/m{number % length}"

    for number in range(length):
        assert account.manifest(path(number)[1:], [{"path": f"/{bucket}/x"}]).status_code == 201
    for number in range(length):
        assert account.manifest(path(number)[1:], [{"path": path(number + 1)}]).status_code == 201
    assert account.send("GET", f"{bucket}/m0").status_code == 409
    report = delete(account, s3, bucket, "m0")
    left = account.names(bucket)
    if delete is delete_with_swift:
        assert (report["Number Deleted"], report["Errors"], left) == (length, [], ["x"])
    else:
        assert left == [f"m{number}" for number in range(1, length)] + ["x"], "only the manifest goes"
    assert is_alive(cluster)


def test_a_chain_of_manifests_ends_no_proxy(cluster, account, s3, bucket):
    account.send("PUT", f"{bucket}/x", data=b"x")

    def name(number, below):
        assert account.manifest(f"{bucket}/{number:05}", [{"path": f"/{bucket}/{below}"}]).status_code == 201

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: name(number, "x"), range(CHAIN)))
    # From the top down, so that none knows how deep it will be.
    for number in reversed(range(1, CHAIN)):
        name(number, f"{number - 1:05}")
    top = f"{CHAIN - 1:05}"
    assert account.send("GET", f"{bucket}/{top}").status_code == 409
    report = account.report(f"{bucket}/{top}")
    assert report["Response Status"] == "400 Bad Request"
    assert (report["Number Deleted"], len(report["Errors"])) == (0, 1)
    delete_several(account, s3, bucket, top)
    delete_with_s3(account, s3, bucket, f"{CHAIN - 2:05}")
    assert len(account.names(bucket)) == CHAIN - 1
    assert account.send("GET", f"{bucket}/00009").text == "x", "ten levels are served"
    assert is_alive(cluster)


def test_what_is_known_to_be_nested_too_deep_is_refused(account, bucket):
    account.send("PUT", f"{bucket}/0", data=b"x")

    def put(level):
        return account.manifest(f"{bucket}/{level}", [{"path": f"/{bucket}/{level - 1}"}])

    # Swift takes one level more than can be read.
    assert [put(level).status_code for level in range(1, 12)] == [201] * 11
    assert account.send("GET", f"{bucket}/11").status_code == 409
    refused = put(12)
    assert refused.status_code == 400
    assert "nested more than 10 deep" in refused.text


def test_a_byte_of_repeated_manifests_is_answered(account, bucket):
    account.send("PUT", f"{bucket}/m0", data=b"xyz")
    for level in range(1, 4):
        entry = {"path": f"/{bucket}/m{level - 1}", "range": "0-0"}
        assert account.manifest(f"{bucket}/m{level}", [entry] * 1000).status_code == 201
    for wanted in ["0-0", "999-", "-1"]:
        answer = account.send("GET", f"{bucket}/m3", Range=f"bytes={wanted}")
        assert (answer.status_code, answer.content) == (206, b"x")
    assert account.send("GET", f"{bucket}/m3", Range="bytes=0-1,998-999").content.count(b"xx") == 2
    part = account.send("GET", f"{bucket}/m3", "part-number=7")
    assert (part.status_code, part.content, part.headers["X-Parts-Count"]) == (206, b"x", "1000")
    assert account.send("GET", f"{bucket}/m2").content == b"x" * 1000
    copied = account.send("COPY", f"{bucket}/m3", "multipart-manifest=get", Destination=f"{bucket}/copy")
    assert copied.status_code == 201
    assert account.send("GET", f"{bucket}/copy", Range="bytes=5-6").content == b"xx"


def test_sizes_do_not_wrap(cluster, account, bucket):
    account.send("PUT", f"{bucket}/m0", data=bytes(MIB))

    def put(level):
        return account.manifest(f"{bucket}/m{level}", [{"path": f"/{bucket}/m{level - 1}"}] * 1000)

    assert [put(level).status_code for level in range(1, 5)] == [201] * 4
    assert put(5).status_code == 413
    head = account.send("HEAD", f"{bucket}/m4")
    assert int(head.headers["Content-Length"]) == 1000**4 * MIB
    assert account.send("GET", f"{bucket}/m4", Range="bytes=-1").content == b"\0"
    rows = account.send("GET", bucket, "format=json").json()
    assert {row["name"]: row["bytes"] for row in rows}["m4"] == 1000**4 * MIB
    assert is_alive(cluster)


@pytest.mark.parametrize("delete", [delete_with_s3, delete_several])
def test_s3_deletes_no_segments_of_others(cluster, account, s3, bucket, delete):
    account.send("PUT", f"{bucket}-r")
    account.send("PUT", f"{bucket}-r/victim", data=b"kept")
    account.send("POST", f"{bucket}-r", **{"X-Container-Read": "test:tester3"})
    account.send("POST", bucket, **{"X-Container-Write": "test:tester3"})
    other = Account(cluster.swift("test:tester3", "testing3"))
    assert other.manifest(f"{bucket}/bait", [{"path": f"/{bucket}-r/victim"}]).status_code == 201
    delete(account, s3, bucket, "bait")
    assert account.names(bucket) == []
    assert account.send("GET", f"{bucket}-r/victim").text == "kept"


@pytest.mark.parametrize("delete", [delete_with_s3, delete_several])
def test_s3_deletes_the_parts_of_an_upload(account, s3, bucket, delete):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    names = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    bodies = [bytes(5 * MIB), b"end"]
    etags = [s3.upload_part(**names, PartNumber=n + 1, Body=body)["ETag"] for n, body in enumerate(bodies)]
    parts = [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]
    s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    assert account.names(f"{bucket}+segments") == [f"k/{upload}/1", f"k/{upload}/2"]
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "ObjectSize"])
    assert (attributes["ObjectSize"], attributes["ObjectParts"]["TotalPartsCount"]) == (5 * MIB + 3, 2)
    assert s3.get_object(Bucket=bucket, Key="k", PartNumber=2)["Body"].read() == b"end"
    delete(account, s3, bucket, "k")
    assert account.names(f"{bucket}+segments") == []


def test_a_deletion_reports_what_stays(cluster, account, bucket):
    for container, right in [(f"{bucket}-r", "X-Container-Read"), (f"{bucket}-w", "X-Container-Write")]:
        account.send("PUT", container)
        account.send("POST", container, **{right: "test:tester3", "X-Container-Read": "test:tester3"})
        account.send("PUT", f"{container}/s", data=b"x")
    paths = [{"path": f"/{bucket}-{which}/s"} for which in "rw"]
    other = Account(cluster.swift("test:tester3", "testing3"))
    assert other.manifest(f"{bucket}-w/m", paths).status_code == 201
    report = other.report(f"{bucket}-w/m")
    assert report["Errors"] == [[f"/{bucket}-r/s", "403 Forbidden"]]
    assert (report["Number Deleted"], report["Response Status"]) == (1, "400 Bad Request")
    assert account.names(f"{bucket}-w") == ["m"], "the manifest stays while something stays that it names"
    report = account.report(f"{bucket}-w/m")
    assert (report["Number Deleted"], report["Number Not Found"], report["Errors"]) == (2, 1, [])


def refused_early(cluster, account, path, token):
    """The status of a PUT whose manifest never comes."""
    url = urlparse(account.url)
    with socket.create_connection(("127.0.0.1", cluster.port), timeout=20) as client:
        head = f"PUT {url.path}/{path}?{PUT} HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n"
        client.sendall((head + "".join(f"X-Auth-Token: {text}\r\n" for text in token) + "\r\n[").encode())
        return int(client.recv(12).split()[1])


def test_rights_come_before_a_manifest_is_read(cluster, account, bucket):
    other = Account(cluster.swift("test2:tester2", "testing2"))
    assert refused_early(cluster, account, f"{bucket}/o", []) == 401
    assert refused_early(cluster, account, f"{bucket}/o", [other.token]) == 403
    assert refused_early(cluster, account, f"{bucket}-missing/o", [account.token]) == 404


def test_a_manifest_is_read_with_swifts_texts(account, bucket):
    account.send("PUT", f"{bucket}/o", data=b"xyz")
    path = f"/{bucket}/o"
    for size in [3, 3.0, "3"]:
        assert account.manifest(f"{bucket}/m", [{"path": path, "size_bytes": size}]).status_code == 201
    for document, status, text in [
        ("[", 400, "Manifest must be valid JSON.\n"),
        ("{}", 400, "Manifest must be a list.\n"),
        ('[{"path":"/c/o","size_bytes":"3.0"},0]', 400, "Index 0: invalid size_bytes\nIndex 1: not a JSON object\n"),
        (json.dumps([{"path": path, "size_bytes": 4}]), 400, f"Errors:\n{path}, Size Mismatch\n"),
        (json.dumps([{"path": path}] * 1001), 413, "Number of object-backed segments must be <= 1000"),
        ("[" + "0," * 100_000 + "0]", 413, "Number of segments must be <= 10000"),
        (" " * (8 * MIB + 1), 413, "Manifest File > 8388608 bytes"),
    ]:
        answer = account.send("PUT", f"{bucket}/m", PUT, document)
        assert (answer.status_code, answer.text) == (status, text)


def test_a_dynamic_object_is_joined_from_its_listing(account, bucket):
    for number in range(3):
        account.send("PUT", f"{bucket}/p/{number}", data=b"%d" % number * 4)
    account.send("PUT", f"{bucket}/m", data=b"", **{"X-Object-Manifest": f"{bucket}/p/"})
    assert account.send("GET", f"{bucket}/m").text == "000011112222"
    answer = account.send("GET", f"{bucket}/m", Range="bytes=3-8")
    assert (answer.status_code, answer.text, answer.headers["Content-Range"]) == (206, "011112", "bytes 3-8/12")
    assert account.send("HEAD", f"{bucket}/m").headers["Content-Length"] == "12"


def test_uploads_are_listed_in_pages(s3, bucket):
    for key in ["a", "a-b", "a/b", "b", "c/d"]:
        for _ in range(2):
            upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, MaxUploads=3))
    assert [len(page["Uploads"]) for page in pages] == [3, 3, 3, 1]
    keys = sorted(upload["Key"] for page in pages for upload in page["Uploads"])
    assert keys == sorted(2 * ["a", "a-b", "a/b", "b", "c/d"])


def test_buckets_are_listed_in_pages(s3, account):
    names = [f"paged-{number}" for number in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
        account.send("PUT", f"{name}+segments")
    found, token = [], {}
    while True:
        page = s3.list_buckets(MaxBuckets=2, Prefix="paged-", **token)
        found.append([bucket["Name"] for bucket in page["Buckets"]])
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    assert found == [names[:2], names[2:4], names[4:]]
