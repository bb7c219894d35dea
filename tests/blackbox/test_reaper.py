"""Accounts that a reseller deletes, and the removal of their content."""

import time

import pytest
import swiftclient

from apus_testing.servers_with_daemons import ServersWithDaemons

ACCOUNT = "AUTH_gone"
BODY = b"test-body"


def connection(nodes, user, key):
    url = f"http://127.0.0.1:{nodes.ports['proxy']}/auth/v1.0"
    return swiftclient.Connection(authurl=url, user=user, key=key, retries=0)


def send(nodes, method, user="admin:admin", key="admin", account=ACCOUNT, query=""):
    """A request for an account as a reseller, or as another user: status and headers."""
    import http.client

    token = connection(nodes, user, key).get_auth()[1]
    asked = http.client.HTTPConnection("127.0.0.1", nodes.ports["proxy"], timeout=20)
    asked.request(method, f"/v1/{account}{query}", headers={"X-Auth-Token": token, "Content-Length": "0"})
    response = asked.getresponse()
    response.read()
    return response.status, dict(response.getheaders())


@pytest.fixture
def nodes(tmp_path):
    with ServersWithDaemons(tmp_path, app="allow_account_management = true\n") as nodes:
        yield nodes


@pytest.fixture
def condemned(nodes):
    """Containers and objects of an account that was just deleted, one of each with reserved names."""
    swift = connection(nodes, "gone:tester", "testing")
    objects = []
    for number in range(5):
        swift.put_container(f"c{number}")
        for name in ["o", "p/ü"]:
            swift.put_object(f"c{number}", name, BODY)
            objects.append((f"c{number}", name))
    for status, _, _ in nodes.ask_all("container", "PUT", [ACCOUNT, "\0reserved\0c"], account_hosts(nodes)):
        assert status // 100 == 2
    for device_answer in put_reserved(nodes):
        assert device_answer == 201
    objects.append(("\0reserved\0c", "\0object"))
    nodes.once("container-updater")
    assert int(swift.head_account()["x-account-container-count"]) == 6
    assert send(nodes, "DELETE")[0] == 204
    return objects


def account_hosts(nodes):
    partition, devices = nodes.nodes_of("account", ACCOUNT)
    hosts = ",".join(f"127.0.0.1:{nodes.ports['account']}" for _ in devices)
    return {
        "X-Account-Host": hosts,
        "X-Account-Partition": str(partition),
        "X-Account-Device": ",".join(device["device"] for device in devices),
    }


def put_reserved(nodes):
    """An object that only daemons can name, with its rows."""
    names = [ACCOUNT, "\0reserved\0c", "\0object"]
    partition, devices = nodes.nodes_of("container", *names[:2])
    headers = {
        "Content-Type": "a/b",
        "Content-Length": "0",
        "X-Container-Host": ",".join(f"127.0.0.1:{nodes.ports['container']}" for _ in devices),
        "X-Container-Partition": str(partition),
        "X-Container-Device": ",".join(device["device"] for device in devices),
    }
    return [status for status, _, _ in nodes.ask_all("object", "PUT", names, headers)]


def times(nodes, objects):
    """For each object and each container: statuses and times of deletion of its servers."""
    found = []
    for name in objects:
        answers = nodes.ask_all("object", "HEAD", [ACCOUNT, *name])
        found.append(([status for status, _, _ in answers], {headers.get("x-backend-timestamp") for _, headers, _ in answers}))
    for container in sorted({container for container, _ in objects}):
        answers = nodes.ask_all("container", "HEAD", [ACCOUNT, container])
        deleted = {headers.get("x-backend-delete-timestamp") for _, headers, _ in answers}
        found.append(([status for status, _, _ in answers], deleted))
    return found


def check_reaped(nodes, objects):
    for statuses, deleted in times(nodes, objects):
        assert statuses == [404, 404, 404]
        assert len(deleted) == 1 and None not in deleted, "one deletion has one time"


def test_a_deleted_account_is_gone_for_clients_at_once_and_reaped_by_the_daemon(nodes, condemned):
    assert send(nodes, "GET")[0] == 410 and send(nodes, "HEAD")[0] == 410
    assert send(nodes, "DELETE")[0] == 404
    assert send(nodes, "PUT")[0] == 403, "recently deleted"
    assert nodes.ask_all("object", "HEAD", [ACCOUNT, *condemned[0]])[0][0] == 200
    done = nodes.once("account-reaper")
    assert "objects_deleted: 11" in done.stderr and "containers_deleted: 6" in done.stderr, done.stderr
    check_reaped(nodes, condemned)
    assert nodes.pending() == [], "rows of the containers were removed with the objects"
    # The account itself stays, empty, until it is reclaimed.
    assert send(nodes, "GET")[0] == 410
    assert len(list(nodes.devices.glob("*/accounts/*/*/*/*.db"))) >= 3
    assert "accounts: 0" in nodes.once("account-reaper").stderr, "nothing is left to do"


def test_reaping_waits_as_long_as_it_is_configured(nodes, condemned):
    deleted = time.monotonic()
    nodes.option("account", "account-reaper", "delay_reaping = 4")
    nodes.once("account-reaper")
    assert time.monotonic() - deleted < 4, "this machine is too slow for the test"
    assert all(status // 100 == 2 for statuses, _ in times(nodes, condemned) for status in statuses)
    time.sleep(max(0, deleted + 4.2 - time.monotonic()))
    nodes.once("account-reaper")
    check_reaped(nodes, condemned)


def test_what_cannot_be_reaped_now_is_reaped_later_and_logged(nodes, condemned):
    nodes.option("account", "account-reaper", "reap_warn_after = 0")
    nodes.stop("object", kill=True)
    try:
        done = nodes.once("account-reaper")
    finally:
        nodes.start("object")
    assert "objects_remaining: 11" in done.stderr and "containers_remaining: 6" in done.stderr, done.stderr
    assert "has not been reaped" in done.stderr
    assert all(status // 100 == 2 for statuses, _ in times(nodes, condemned) for status in statuses)
    nodes.once("account-reaper")
    check_reaped(nodes, condemned)


def test_accounts_that_were_not_deleted_are_left_alone(nodes, condemned):
    swift = connection(nodes, "test:tester", "testing")
    swift.put_container("c")
    swift.put_object("c", "o", BODY)
    nodes.once("account-reaper")
    assert swift.get_object("c", "o")[1] == BODY
    assert [row["name"] for row in swift.get_account()[1]] == ["c"]


def test_a_long_listing_is_reaped_page_by_page(nodes):
    swift = connection(nodes, "gone:tester", "testing")
    swift.put_container("long")
    headers = {"X-Size": "1", "X-Content-Type": "a/b", "X-Etag": "x"}
    names = [f"row-{number:05}" for number in range(1010)]
    for name in names:
        nodes.ask_all("container", "PUT", [ACCOUNT, "long", name], headers)
    nodes.once("container-updater")
    assert send(nodes, "DELETE")[0] == 204
    done = nodes.once("account-reaper")
    assert "objects_deleted: 1010" in done.stderr and "containers_deleted: 1," in done.stderr, done.stderr
    assert [status for status, _, _ in nodes.ask_all("container", "HEAD", [ACCOUNT, "long"])] == [404, 404, 404]


def test_only_resellers_manage_accounts_and_only_where_it_is_allowed(nodes):
    status, headers = send(nodes, "PUT", account="AUTH_new")
    assert status == 201
    assert send(nodes, "PUT", account="AUTH_new")[0] == 202
    assert send(nodes, "DELETE", "test:tester", "testing", account="AUTH_test")[0] == 403
    assert send(nodes, "DELETE", query="?multipart-manifest=delete")[0] == 400
    nodes.stop("proxy")
    nodes.conf("proxy", "", "account_autocreate = false\n[filter:tempauth]\nuser_admin_admin = admin .admin .reseller_admin\n")
    nodes.start("proxy")
    for method in ["PUT", "DELETE"]:
        status, headers = send(nodes, method, account="AUTH_new")
        assert status == 405 and "DELETE" not in headers["allow"]
    assert send(nodes, "HEAD", account="AUTH_new")[0] == 204
    assert send(nodes, "HEAD", account="AUTH_unknown")[0] == 404
