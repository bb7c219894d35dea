"""Features of Swift's optional filters that this proxy does not have are refused by name, never silently ignored; sign-in
follows the operator's configuration and not the client."""

import pytest

from apus_testing.saio import Saio
from apus_testing.swift_http import SwiftHttp

SETTINGS = [
    ("X-Container-Sync-To", "//realm/cluster/AUTH_a/c"),
    ("X-Container-Meta-Access-Control-Allow-Headers", "X-A"),
]


@pytest.fixture(scope="module")
def swift(cluster):
    return SwiftHttp.with_object(cluster)


@pytest.mark.parametrize("name, value", SETTINGS)
def test_settings_without_effect_are_refused_by_name(swift, name, value):
    for method, path in [("PUT", "/never"), ("PUT", "/c"), ("POST", "/c")]:
        status, _, body = swift(method, path, {name: value})
        assert status == 501 and body.decode().lower().startswith(name.lower()), body
    assert swift("HEAD", "/never")[0] == 404
    assert name.lower() not in swift("HEAD", "/c")[1]
    assert swift("POST", "/c", {name: ""})[0] == 204
    assert swift("POST", "/c", {name.replace("X-", "X-Remove-", 1): "x"})[0] == 204


def test_keys_of_temporary_urls_of_accounts_stay_the_owners_secret(cluster, swift):
    assert swift("POST", "", {"X-Account-Meta-Temp-URL-Key": "secret"})[0] == 204
    assert swift("HEAD")[1]["x-account-meta-temp-url-key"] == "secret"
    assert swift("POST", "", {"X-Remove-Account-Meta-Temp-URL-Key": "x"})[0] == 204


@pytest.fixture
def configured(tmp_path):
    """A cluster whose proxy is configured with `lines`."""
    clusters = []

    def start(section, lines):
        cluster = Saio(tmp_path / "data", "--dev-users").start()
        cluster.stop()
        conf = cluster.data / "etc/proxy-server.conf"
        text = conf.read_text()
        assert f"[{section}]" in text, text
        conf.write_text(text.replace(f"[{section}]", f"[{section}]\n{lines}", 1))
        clusters.append(cluster.start())
        return cluster

    yield start
    for cluster in clusters:
        assert cluster.stop() == 0


def sign_in(cluster, key="testing", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = {"X-Auth-User": "test:tester", "X-Auth-Key": key, **headers}
    return SwiftHttp.raw(cluster, "GET", "/auth/v1.0", request)


def test_storage_urls_follow_the_operator(configured):
    cluster = configured("app:proxy-server", "public_url = https://store.example:8443/")
    output = sign_in(cluster, Host="evil.example")[1]["x-storage-url"]
    assert output == "https://store.example:8443/v1/AUTH_test"


def test_storage_urls_have_the_configured_scheme(configured):
    cluster = configured("filter:tempauth", "storage_url_scheme = https")
    output = sign_in(cluster, Host="store.example")[1]["x-storage-url"]
    assert output == "https://store.example/v1/AUTH_test"
    for host in ['"x"', "a/b", "u@h"]:
        assert sign_in(cluster, Host=host)[0] == 400


def test_too_many_failed_sign_ins_wait(configured):
    cluster = configured("filter:tempauth", "failed_sign_ins_per_minute = 3")
    answers = [sign_in(cluster, key="guess") for _ in range(8)]
    statuses = [answer[0] for answer in answers]
    # A minute may end in between; then there are three more.
    assert statuses[:3] == [401] * 3 and 429 in statuses and set(statuses) == {401, 429}
    refused = next(headers for status, headers, _ in answers if status == 429)
    assert 1 <= int(refused["retry-after"]) <= 60


def test_features_are_refused_by_name_where_their_filters_are_off(tmp_path):
    cluster = Saio(tmp_path / "data", "--dev-users").start()
    cluster.change("proxy", " formpost ", " ").change("proxy", " container-quotas account-quotas ", " ")
    swift = SwiftHttp(cluster)
    assert swift("PUT", "/c")[0] == 201
    assert swift("PUT", "/c/o", body=b"data")[0] == 201
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ["", "/c", "/c/o"]:
        assert swift("POST", path, form, b"--x--\r\n")[0] == 501
    assert swift("GET", "/c/o")[1]["content-type"] != form["Content-Type"]
    for path, name in [
        ("/c", "X-Container-Meta-Quota-Bytes"),
        ("/c", "X-Container-Meta-Quota-Count"),
        ("", "X-Account-Meta-Quota-Bytes"),
        ("", "X-Account-Quota-Bytes"),
        ("", "X-Account-Quota-Count-Policy-gold"),
    ]:
        status, _, body = swift("POST", path, {name: "1"})
        assert status == 501 and body.decode().startswith(name.title()), body
        assert swift("POST", path, {name: ""})[0] == 204
    assert cluster.stop() == 0
