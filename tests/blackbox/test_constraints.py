"""`[swift-constraints]` of `swift.conf`: shown in `/info` and enforced in both dialects."""

import subprocess

import pytest
import requests
from botocore.exceptions import ClientError

from apus_testing.executables import APUS
from apus_testing.saio import Saio

OPTIONS = {
    "max_file_size": 1000,
    "max_meta_name_length": 10,
    "max_meta_value_length": 20,
    "max_meta_count": 3,
    "max_meta_overall_size": 40,
    "max_header_size": 4096,
    "max_request_line": 2000,
    "max_object_name_length": 30,
    "container_listing_limit": 4,
    "account_listing_limit": 2,
    "max_account_name_length": 40,
    "max_container_name_length": 12,
    "extra_header_count": 5,
}


def constrain(cluster, options):
    path = cluster.data / "etc" / "swift.conf"
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    path.write_text(path.read_text().partition("\n[swift-constraints]")[0] + "\n[swift-constraints]\n" + lines)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Saio(tmp_path_factory.mktemp("constraints"), "--dev-users").start()
    cluster.stop()
    constrain(cluster, {**OPTIONS, "valid_api_versions": "v1, v2"})
    yield cluster.start()
    assert cluster.stop() == 0


class Client:
    """Swift's dialect in the raw."""

    def __init__(self, cluster):
        self.endpoint = cluster.access["endpoint"]
        login = {"X-Auth-User": "test:tester", "X-Auth-Key": "testing"}
        answer = requests.get(f"{self.endpoint}/auth/v1.0", headers=login, timeout=10)
        self.account, self.token = answer.headers["X-Storage-Url"].rpartition("/")[2], answer.headers["X-Auth-Token"]

    def __call__(self, method, path="", version="v1", body=None, **headers):
        headers = {"X-Auth-Token": self.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = f"{self.endpoint}/{version}/{self.account}{path}"
        return requests.request(method, url, headers=headers, data=body, timeout=10)


@pytest.fixture
def swift(cluster):
    client = Client(cluster)
    assert client("PUT", "/c").status_code in (201, 202)
    return client


def test_info_shows_them(cluster):
    output = requests.get(f"{cluster.access['endpoint']}/info", timeout=10).json()["swift"]
    assert {name: output[name] for name in OPTIONS} == OPTIONS
    assert output["valid_api_versions"] == ["v1", "v2"]


def test_names_and_bodies_are_as_long_as_they_say(swift):
    assert swift("PUT", "/" + "c" * 12).status_code == 201
    answer = swift("PUT", "/" + "c" * 13)
    assert (answer.status_code, answer.text) == (400, "Container name length of 13 longer than 12")
    assert swift("PUT", "/c/" + "o" * 30, body=b"x" * 1000).status_code == 201
    assert swift("PUT", "/c/" + "o" * 31, body=b"").status_code == 400
    assert swift("PUT", "/c/o", body=b"x" * 1001).status_code == 413
    # A client need not say how long its body is.
    assert swift("PUT", "/c/o", body=iter([b"x" * 600, b"x" * 400])).status_code == 201
    assert swift("PUT", "/c/o", body=iter([b"x" * 600, b"x" * 401])).status_code == 413
    assert swift("GET", "/c/o").content == b"x" * 1000


@pytest.mark.parametrize(
    "headers",
    [
        {"12345678901": "v"},
        {"a": "v" * 21},
        {"a": "1", "b": "2", "c": "3", "d": "4"},
        {"a": "v" * 20, "b": "v" * 20},
    ],
)
@pytest.mark.parametrize("path, kind", [("", "Account"), ("/c", "Container"), ("/c/meta", "Object")])
def test_metadata_is_as_much_as_they_say(swift, path, kind, headers):
    assert swift("PUT", "/c/meta", body=b"").status_code == 201
    named = {f"X-{kind}-Meta-{name}": value for name, value in headers.items()}
    assert swift("POST", path, **named).status_code == 400


def test_metadata_of_several_requests_counts_together(swift):
    for name in ["One", "Two", "Three"]:
        assert swift("POST", "/c", **{f"X-Container-Meta-{name}": "1"}).status_code == 204
    answer = swift("POST", "/c", **{"X-Container-Meta-Four": "1"})
    assert (answer.status_code, answer.text) == (400, "Too many metadata items; max 3")


def test_listings_have_as_many_rows_as_they_say(swift, cluster):
    assert swift("PUT", "/rows").status_code in (201, 202)
    for name in "abcdefg":
        assert swift("PUT", f"/rows/{name}", body=b"").status_code == 201
    assert swift("GET", "/rows").text == "a\nb\nc\nd\n"
    assert swift("GET", "/rows?limit=4&marker=d").text == "e\nf\ng\n"
    assert swift("GET", "/rows?limit=5").status_code == 412
    assert len(swift("GET", "?format=json").json()) == 2
    # S3 has limits of its own.
    listed = cluster.s3().list_objects_v2(Bucket="rows")["Contents"]
    assert [row["Key"] for row in listed] == list("abcdefg")
    assert len(cluster.s3().list_buckets()["Buckets"]) >= 2


def test_requests_are_as_long_as_they_say(swift):
    assert swift("HEAD", "/c", version="v2").status_code == 204
    assert swift("HEAD", "/c", version="v1.0").status_code != 204
    assert swift("HEAD", "/c?marker=" + "m" * 1900).status_code == 204
    assert swift("HEAD", "/c?marker=" + "m" * 2000).status_code == 414
    assert swift("HEAD", "/c", X_Long="v" * 4080).status_code == 204
    assert swift("HEAD", "/c", X_Long="v" * 4100).status_code == 400


def test_what_s3_writes_keeps_to_them(cluster, swift):
    s3 = cluster.s3()
    s3.put_object(Bucket="rows", Key="k" * 30, Body=b"x" * 1000)
    for key, size, code in [("k" * 31, 1, "KeyTooLongError"), ("k", 1001, "EntityTooLarge")]:
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket="rows", Key=key, Body=b"x" * size)
        assert refused.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError) as refused:
        s3.create_bucket(Bucket="a-bucket-of-more")
    assert refused.value.response["Error"]["Code"] == "InvalidBucketName"


@pytest.mark.parametrize("name, value", [("max_file_size", "5G"), ("auto_create_account_prefix", "_"), ("max_header_size", "0")])
def test_bad_values_are_refused_by_name(tmp_path, name, value):
    cluster = Saio(tmp_path).start()
    cluster.stop()
    constrain(cluster, {name: value})
    done = subprocess.run([APUS, "main", str(tmp_path / "etc")], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    for word in ["swift.conf", "[swift-constraints]", name, f'"{value}"', "expected"]:
        assert word in done.stderr
