"""ETags in quotes in Swift's dialect: settings of the container, the account and the cluster, in this order."""

import json

import pytest

from apus_testing.saio import Saio
from apus_testing.swift_http import SwiftHttp

OF_CONTAINER, OF_ACCOUNT = "X-Container-Rfc-Compliant-Etags", "X-Account-Rfc-Compliant-Etags"
ETAG = "8d777f385d3dfec8815d20f7496026dc"


@pytest.fixture(scope="module")
def swift(cluster):
    return SwiftHttp.with_object(cluster)


def etag(swift, method="HEAD", **headers):
    return swift(method, "/c/o", headers)[1]["etag"]


def test_the_setting_of_the_container_is_before_that_of_the_account(swift):
    assert etag(swift) == ETAG
    for path, name, value, expected in [
        ("", OF_ACCOUNT, "true", f'"{ETAG}"'),
        ("/c", OF_CONTAINER, "no", ETAG),
        ("/c", OF_CONTAINER, "yes", f'"{ETAG}"'),
        ("", OF_ACCOUNT, "false", f'"{ETAG}"'),
        ("/c", OF_CONTAINER, "", ETAG),
        ("", OF_ACCOUNT, "on", f'"{ETAG}"'),
        ("", OF_ACCOUNT.replace("X-", "X-Remove-"), "x", ETAG),
    ]:
        assert swift("POST", path, {name: value})[0] == 204
        assert etag(swift) == etag(swift, "GET") == expected, (name, value)


def test_settings_are_shown(swift):
    assert swift("PUT", "/shown", {OF_CONTAINER: "1"})[0] == 201
    assert swift("POST", "", {OF_ACCOUNT: "0"})[0] == 204
    for method in ["HEAD", "GET"]:
        assert swift(method, "/shown")[1][OF_CONTAINER.lower()] == "True"
        assert swift(method)[1][OF_ACCOUNT.lower()] == "False"
    assert swift("POST", "", {OF_ACCOUNT: ""})[0] == 204
    assert OF_ACCOUNT.lower() not in swift("HEAD")[1]


def test_every_response_about_an_object_has_quotes(swift):
    assert swift("PUT", "/quoted", {OF_CONTAINER: "true"})[0] == 201
    assert swift("PUT", "/quoted/o", body=b"data")[1]["etag"] == f'"{ETAG}"'
    manifest = json.dumps([{"path": "quoted/o"}]).encode()
    written = swift("PUT", "/quoted/slo?multipart-manifest=put", body=manifest)[1]["etag"]
    assert written == swift("HEAD", "/quoted/slo")[1]["etag"] and written.count('"') == 2
    unchanged = swift("GET", "/quoted/o", {"If-None-Match": f'"{ETAG}"'})
    assert (unchanged[0], unchanged[1]["etag"]) == (304, f'"{ETAG}"')
    assert "etag" not in swift("GET", "/quoted/none")[1]


def test_the_cluster_has_a_default_or_no_quotes(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.change("proxy", "[filter:s3api]", "[filter:etag_quoter]\nenable_by_default = true\n\n[filter:s3api]")
    swift = SwiftHttp(cluster)
    assert swift("PUT", "/c")[0] == 201
    assert swift("PUT", "/c/o", body=b"data")[1]["etag"] == f'"{ETAG}"'
    assert swift("POST", "/c", {OF_CONTAINER: "false"})[0] == 204
    assert etag(swift) == ETAG
    cluster.change("proxy", " etag_quoter ", " ")
    swift = SwiftHttp(cluster)
    assert swift("POST", "/c", {OF_CONTAINER: "true"})[0] == 501
    assert swift("POST", "", {OF_ACCOUNT: "true"})[0] == 501
    assert etag(swift) == ETAG
    assert cluster.stop() == 0
