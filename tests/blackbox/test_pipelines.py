"""Filters outside the pipeline of `proxy-server.conf` are off; unsupported filters that protect data refuse the start."""

import socket
import subprocess
from contextlib import contextmanager

import pytest
import requests

from apus_testing.addresses import free_port
from apus_testing.executables import APUS
from apus_testing.waiting import wait_until

TIMEOUT = 30
SAMPLE = """
[filter:tempauth]
use = egg:swift#tempauth
user_admin_admin = admin .admin .reseller_admin
user_test_tester = testing .admin
user_test_tester3 = testing3
"""
OWN = "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_own_user = 6d1a2f7c .admin\n"
KEYSTONE = """
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:keystoneauth]
use = egg:swift#keystoneauth
"""


@pytest.fixture(scope="module")
def etc(tmp_path_factory):
    """Rings that name a server which does not run: nothing here is stored."""
    etc = tmp_path_factory.mktemp("pipelines")
    (etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n")
    for kind in ["account", "container", "object"]:
        for words in (["create", "4", "1", "0"], ["add", f"r1z1-127.0.0.1:{free_port()}/sd1", "1"], ["rebalance"]):
            subprocess.run([APUS, "ring-builder", etc / f"{kind}.builder", *words], check=True, stdout=subprocess.PIPE)
    return etc


def write(etc, pipeline, sections, app=""):
    port = free_port()
    line = f"[pipeline:main]\npipeline = {pipeline}\n" if pipeline else ""
    (etc / "proxy-server.conf").write_text(
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\n{line}[app:proxy-server]\nuse = egg:swift#proxy\n{app}{sections}"
    )
    return port


@contextmanager
def proxy(etc, pipeline, sections, app=""):
    port = write(etc, pipeline, sections, app)
    process = subprocess.Popen([APUS, "proxy-server", etc], stderr=subprocess.DEVNULL)
    try:

        def is_up():
            assert process.poll() is None, "the proxy ended"
            return socket.socket().connect_ex(("127.0.0.1", port)) == 0

        wait_until(is_up, "the proxy listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(timeout=TIMEOUT) == 0


def refused(etc, pipeline, sections, app=""):
    write(etc, pipeline, sections, app)
    done = subprocess.run([APUS, "proxy-server", etc], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode != 0
    return done.stderr


def sign_in(url, user, key):
    return requests.get(f"{url}/auth/v1.0", headers={"X-Auth-User": user, "X-Auth-Key": key}, timeout=TIMEOUT)


def test_without_tempauth_in_the_pipeline_its_users_do_not_exist(etc):
    with proxy(etc, "catch_errors proxy-logging copy slo dlo proxy-server", SAMPLE + OWN) as url:
        for user, key in [("admin:admin", "admin"), ("test:tester", "testing"), ("own:user", "6d1a2f7c")]:
            # The users that are stored in the cluster cannot be read here.
            assert sign_in(url, user, key).status_code in (401, 503)
        assert requests.put(f"{url}/v1/AUTH_victim/c", timeout=TIMEOUT).status_code == 401
    with proxy(etc, "tempauth proxy-server", OWN) as url:
        assert sign_in(url, "own:user", "6d1a2f7c").status_code == 200
        assert sign_in(url, "own:user", "admin").status_code == 401
    # A name of one's own for the filter.
    with proxy(etc, "users proxy-server", OWN.replace("filter:tempauth", "filter:users")) as url:
        assert sign_in(url, "own:user", "6d1a2f7c").status_code == 200


def test_without_s3api_in_the_pipeline_s3_is_not_spoken(etc):
    signed = {"Authorization": "AWS own:user:c2lnbmF0dXJl", "Date": "Mon, 30 Nov 2026 00:00:00 GMT"}
    with proxy(etc, "tempauth proxy-server", OWN) as url:
        for path in ["/", "/bucket", "/bucket/key?AWSAccessKeyId=own:user&Expires=9999999999&Signature=x"]:
            assert b"<Error>" not in requests.get(url + path, headers=signed, timeout=TIMEOUT).content, path
        assert "s3api" not in requests.get(f"{url}/info", timeout=TIMEOUT).json()
    with proxy(etc, "s3api tempauth proxy-server", OWN) as url:
        assert b"<Error>" in requests.get(f"{url}/bucket", headers=signed, timeout=TIMEOUT).content
        assert "s3api" in requests.get(f"{url}/info", timeout=TIMEOUT).json()


@pytest.mark.parametrize(
    ("pipeline", "sections", "word"),
    [
        ("authtoken keystoneauth proxy-server", KEYSTONE + SAMPLE, "authtoken"),
        ("authtoken keystoneauth tempauth proxy-server", KEYSTONE + OWN, "authtoken"),
        ("keystoneauth proxy-server", KEYSTONE, "keystoneauth"),
        ("mine proxy-server", "[filter:mine]\nuse = egg:swauth#swauth\n", "mine (swauth)"),
        ("s3api s3token tempauth proxy-server", OWN, "s3token"),
        ("tempauth house proxy-server", OWN + "[filter:house]\npaste.filter_factory = house.filter:factory\n", "house"),
        ("tempauth kms_keymaster encryption proxy-server", OWN, "kms_keymaster"),
        ("tempauth proxy-server", "[filter:tempauth]\nuse = egg:swift#keystoneauth\n", "keystoneauth"),
    ],
)
def test_a_filter_that_guards_and_is_not_done_is_refused_with_its_name_and_file(etc, pipeline, sections, word):
    output = refused(etc, pipeline, sections)
    assert word in output and "proxy-server.conf" in output and "leave_out_filters" in output, output


def test_an_operator_may_do_without_a_filter_by_naming_it(etc):
    app = "leave_out_filters = house\n"
    with proxy(etc, "house tempauth proxy-server", OWN + "[filter:house]\nuse = egg:house#house\n", app) as url:
        assert sign_in(url, "own:user", "6d1a2f7c").status_code == 200


def test_the_keys_of_swifts_sample_work_only_when_they_are_asked_for(etc):
    output = refused(etc, "tempauth proxy-server", SAMPLE)
    assert "user_admin_admin" in output and "allow_sample_keys" in output and "proxy-server.conf" in output, output
    assert "user_test_tester3" in refused(
        etc, "tempauth proxy-server", "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester3 = testing3\n"
    )
    with proxy(etc, "tempauth proxy-server", SAMPLE + "allow_sample_keys = true\n") as url:
        assert sign_in(url, "test:tester", "testing").status_code == 200


def test_swifts_pipelines_of_storage_servers_are_no_cause_for_warnings(etc, tmp_path):
    port = free_port()
    (tmp_path / "sd1").mkdir()
    (etc / "object-server.conf").write_text(
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\ndevices = {tmp_path}\nmount_check = false\n"
        "[pipeline:main]\npipeline = healthcheck recon object-server\n[app:object-server]\nuse = egg:swift#object\n"
        f"[filter:healthcheck]\nuse = egg:swift#healthcheck\n[filter:recon]\nuse = egg:swift#recon\nrecon_cache_path = {tmp_path}/cache\n"
    )
    done = subprocess.run([APUS, "object-server", etc, "--test-config"], capture_output=True, text=True, timeout=TIMEOUT)
    (etc / "object-server.conf").unlink()
    assert done.returncode == 0 and "has no effect" not in done.stderr, done.stderr
