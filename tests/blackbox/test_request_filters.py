"""Filters that refuse or delay requests of both dialects: read_only, name_check, crossdomain, ratelimit."""

import hashlib
import http.client
import time

import botocore.exceptions
import pytest

from apus_testing.saio import Saio
from apus_testing.servers import KINDS, Servers
from apus_testing.swift_http import SwiftHttp
from apus_testing.waiting import wait_until

USER = "[filter:tempauth]\nuse = egg:swift#tempauth\nallow_sample_keys = true\nuser_test_tester = testing .admin\n"


def with_filter(cluster, name, options=""):
    """Puts a filter into the pipeline, and starts again."""
    cluster.change("proxy", " proxy-server\n", f" {name} proxy-server\n")
    return cluster.configure("proxy", f"\n[filter:{name}]\nuse = egg:swift#{name}\n{options}")


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.fixture
def saio(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    yield cluster
    assert cluster.stop() == 0


def info(cluster):
    return cluster.swift().get_capabilities(f"http://127.0.0.1:{cluster.port}/info")


def test_a_read_only_cluster_takes_no_writes(saio):
    SwiftHttp.with_object(saio)
    saio.s3().create_bucket(Bucket="bucket")
    assert "read_only" not in info(saio)
    with_filter(saio, "read_only", "read_only = true\n")
    swift, s3 = SwiftHttp(saio), saio.s3()
    assert info(saio)["read_only"] == {}
    for method, path, headers in [
        ("PUT", "/c/new", {}),
        ("PUT", "/new", {}),
        ("PUT", "/c/new", {"X-Copy-From": "c/o"}),
        ("COPY", "/c/o", {"Destination": "c/new"}),
        ("POST", "/c/o", {"X-Object-Meta-A": "b"}),
        ("POST", "/c", {"X-Container-Meta-A": "b"}),
        ("POST", "", {"X-Account-Meta-A": "b"}),
        ("DELETE", "/c/o", {}),
        ("DELETE", "/c", {}),
    ]:
        status, _, body = swift(method, path, headers)
        assert (status, body) == (405, b"Writes are disabled for this account."), (method, path)
    report = swift("POST", "?bulk-delete", {"Content-Type": "text/plain", "Accept": "application/json"}, b"/c/o\n")[2]
    assert b"405" in report, report
    for call, arguments in [
        (s3.put_object, {"Body": b"x"}),
        (s3.delete_object, {}),
        (s3.create_multipart_upload, {}),
    ]:
        assert refusal(call, Bucket="bucket", Key="k", **arguments) == (405, "MethodNotAllowed")
    assert refusal(s3.create_bucket, Bucket="another-bucket") == (405, "MethodNotAllowed")
    assert swift("GET", "/c/o")[2] == b"data"
    assert swift.names("c") == ["o"]


def test_a_read_only_cluster_may_allow_deletions(saio):
    SwiftHttp.with_object(saio)
    saio.s3().create_bucket(Bucket="bucket")
    saio.s3().put_object(Bucket="bucket", Key="k", Body=b"x")
    with_filter(saio, "read_only", "read_only = true\nallow_deletes = true\n")
    swift, s3 = SwiftHttp(saio), saio.s3()
    assert refusal(s3.put_object, Bucket="bucket", Key="k", Body=b"y") == (405, "MethodNotAllowed")
    assert swift("PUT", "/c/o")[0] == 405
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"x"
    assert swift("DELETE", "/c/o")[0] == 204
    s3.delete_object(Bucket="bucket", Key="k")
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


class FilteredServers(Servers):
    """Servers of their own, whose account servers take a direct client's metadata."""

    port = property(lambda self: self.ports["proxy"])

    def start_with(self, filters, options):
        pipeline = f"[pipeline:main]\npipeline = {filters} s3api tempauth proxy-server\n"
        self.conf("proxy", more=pipeline + options + USER)
        for kind in [*KINDS, "proxy"]:
            self.start(kind)

    def set_system_metadata(self, account, name, value):
        partition = hashlib.md5(f"a/{account}b".encode()).digest()[0]
        statuses = []
        for number in range(1, 5):
            connection = http.client.HTTPConnection(*self.address("account"), timeout=10)
            headers = {f"X-Account-Sysmeta-{name}": value, "X-Timestamp": f"{time.time():.5f}"}
            connection.request("POST", f"/sd{number}/{partition}/{account}", headers=headers)
            statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses.count(204) == 3, statuses


@pytest.fixture
def servers(tmp_path):
    servers = FilteredServers(tmp_path)
    yield servers
    servers.stop_all()


def test_an_account_is_read_only_by_its_system_metadata(servers):
    servers.start_with("read_only", "[filter:read_only]\nuse = egg:swift#read_only\n")
    swift = SwiftHttp.with_object(servers)
    servers.set_system_metadata("AUTH_test", "Read-Only", "true")
    wait_until(lambda: swift("PUT", "/c/o", body=b"new")[0] == 405, "the proxy reads the account again", 20)
    assert swift("POST", "/c", {"X-Container-Meta-A": "b"})[0] == 405
    assert refusal(servers.s3().create_bucket, Bucket="bucket") == (405, "MethodNotAllowed")
    assert "x-account-sysmeta-read-only" not in swift("HEAD")[1]
    assert swift("POST", "", {"X-Account-Sysmeta-Read-Only": "false"})[0] == 405
    servers.set_system_metadata("AUTH_test", "Read-Only", "")
    wait_until(lambda: swift("PUT", "/c/o", body=b"new")[0] == 201, "the proxy reads the account again", 20)


def test_names_are_checked_in_both_dialects(saio):
    with_filter(saio, "name_check", "maximum_length = 30\n")
    swift, s3 = SwiftHttp.with_object(saio), saio.s3()
    assert info(saio)["name_check"] == {
        "forbidden_chars": "'\"`<>",
        "maximum_length": 30,
        "forbidden_regexp": r"/\./|/\.\./|/\.$|/\.\.$",
    }
    for path, reason in [
        ("/c/%3C", b"contains forbidden chars from '\"`<>"),
        ("/c/it's", b"contains forbidden chars"),
        ("/c/%2E%2E/o", b"forbidden substring from regular expression"),
        ("/c/" + 16 * "x", b"longer than the allowed maximum 30"),
    ]:
        status, _, body = swift("PUT", path)
        assert status == 400 and reason in body, (path, body)
    assert swift("PUT", "/c/" + 13 * "x")[0] == 201
    s3.create_bucket(Bucket="bucket")
    assert refusal(s3.put_object, Bucket="bucket", Key="a<b", Body=b"x") == (400, "InvalidURI")
    assert refusal(s3.put_object, Bucket="bucket", Key="x" * 30, Body=b"x") == (400, "InvalidURI")
    s3.put_object(Bucket="bucket", Key="a.b", Body=b"x")


def test_a_pattern_that_cannot_be_used_prevents_the_start(saio):
    saio.stop()
    conf = saio.data / "etc" / "proxy-server.conf"
    text = conf.read_text().replace(" proxy-server\n", " name_check proxy-server\n")
    conf.write_text(text + "\n[filter:name_check]\nforbidden_regexp = (?=x)\n")
    with pytest.raises(AssertionError):
        saio.start()
    conf.write_text(text)
    saio.start()


def test_sites_may_ask_for_the_cross_domain_policy(saio):
    swift = SwiftHttp(saio)
    assert swift.raw("GET", "/crossdomain.xml")[0] != 200
    policy = '<allow-access-from domain="a.example" />\n    <allow-access-from domain="b.example" />\n'
    with_filter(saio, "crossdomain", f"cross_domain_policy = {policy}")
    swift = SwiftHttp(saio)
    status, headers, body = swift.raw("GET", "/crossdomain.xml")
    assert (status, headers["content-type"]) == (200, "application/xml; charset=UTF-8")
    assert body.startswith(b'<?xml version="1.0"?>\n<!DOCTYPE cross-domain-policy SYSTEM')
    assert b'<allow-access-from domain="a.example" />\n<allow-access-from domain="b.example" />\n</cross' in body
    assert info(saio)["crossdomain"] == {}


RATES = """max_sleep_time_seconds = 1
account_ratelimit = 2
container_ratelimit_2 = 2
container_listing_ratelimit_2 = 2
account_blacklist = AUTH_test2
"""


def statuses_of(count, call):
    """The statuses of calls until one is refused, and the seconds that they took."""
    began = time.monotonic()
    statuses = []
    while len(statuses) < count and (not statuses or statuses[-1] < 400):
        statuses.append(call(len(statuses)))
    return statuses, time.monotonic() - began


def test_requests_wait_for_their_rate(saio):
    with_filter(saio, "ratelimit", RATES)
    swift = SwiftHttp(saio)
    limits = info(saio)["ratelimit"]
    assert limits["account_ratelimit"] == 2 and limits["max_sleep_time_seconds"] == 1
    assert limits["container_ratelimits"] == [[2, 2]] and limits["container_listing_ratelimits"] == [[2, 2]]
    # Each waits for its turn: nothing is refused, and six take at least two and a half seconds.
    statuses, seconds = statuses_of(6, lambda number: swift("PUT", f"/c{number}")[0])
    assert statuses == [201] * 6 and seconds > 2.3
    # A container of less than two objects has no limit, and neither have reads.
    statuses, seconds = statuses_of(20, lambda _: swift("PUT", "/c0/o", body=b"x")[0])
    assert statuses == [201] * 20
    assert {swift("HEAD", "/c0")[0] for _ in range(20)} == {204}
    status, _, body = SwiftHttp(saio, "test2:tester2", "testing2")("GET")
    assert (status, body) == (497, b"Your account has been blacklisted")


def test_requests_far_over_their_rate_are_refused(saio):
    with_filter(saio, "ratelimit", "max_sleep_time_seconds = 0.1\naccount_ratelimit = 0.5\naccount_whitelist = AUTH_test2\n")
    swift = SwiftHttp(saio)
    assert swift("PUT", "/first")[0] == 201
    status, _, body = swift("PUT", "/second")
    assert (status, body) == (498, b"Slow down")
    assert refusal(saio.s3().create_bucket, Bucket="third-bucket") == (503, "SlowDown")
    assert swift("PUT", "/first/o", body=b"x")[0] == 201
    free = SwiftHttp(saio, "test2:tester2", "testing2")
    assert statuses_of(5, lambda number: free("PUT", f"/c{number}")[0])[0] == [201] * 5


def test_rates_of_containers_depend_on_their_size(servers):
    options = "max_sleep_time_seconds = 0.1\ncontainer_ratelimit_2 = 0.5\ncontainer_listing_ratelimit_2 = 0.5\n"
    servers.start_with("ratelimit", f"[filter:ratelimit]\nuse = egg:swift#ratelimit\n{options}")
    swift = SwiftHttp.with_object(servers)
    assert swift("PUT", "/c/second", body=b"x")[0] == 201
    wait_until(lambda: swift("GET", "/c")[0] == 498, "the proxy reads the container's size again", 20)
    # Writes have a rate of their own.
    statuses = [swift("PUT", "/c/o", body=b"x")[0] for _ in range(2)]
    assert statuses == [201, 498]
    assert swift("GET", "/c/o")[0] == 200
    servers.set_system_metadata("AUTH_test", "Global-Write-Ratelimit", "WHITELIST")

    def is_free():
        return [swift("PUT", "/c/o", body=b"x")[0] for _ in range(3)] == [201] * 3

    wait_until(is_free, "the proxy reads the account again", 20)
