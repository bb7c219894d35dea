"""Access lists of containers and accounts, seen by users that they do not name."""

import pytest

from apus_testing.swift_http import SwiftHttp


@pytest.fixture(scope="module")
def owner(cluster):
    owner = SwiftHttp(cluster)
    assert owner("PUT", "/shared")[0] == 201
    assert owner("PUT", "/shared/o", body=b"data")[0] == 201
    yield owner
    owner("POST", "", {"X-Remove-Account-Access-Control": "x"})


@pytest.fixture(scope="module")
def other(cluster, owner):
    """An administrator of another account, with requests to the owner's."""
    other = SwiftHttp(cluster, "test2:tester2", "testing2")
    other.root = owner.root
    return other


@pytest.mark.parametrize("word", [".admin", "%2Eadmin", "%2eadmin", ".rlistings", ".r", ".", ".x"])
def test_words_with_a_dot_open_nothing(owner, other, word):
    lists = {"X-Container-Read": word, "X-Container-Write": word}
    assert owner("POST", "/shared", lists)[0] == 204
    assert other("GET", "/shared/o")[0] == 403
    assert other("GET", "/shared")[0] == 403
    assert other("PUT", "/shared/new")[0] == 403
    assert other("DELETE", "/shared/o")[0] == 403


def test_names_open_what_they_name(owner, other):
    for word in ["test2", "test2:tester2", "test2%3Atester2", "AUTH_test2"]:
        assert owner("POST", "/shared", {"X-Container-Read": word, "X-Container-Write": ""})[0] == 204
        assert other("GET", "/shared/o")[2] == b"data"
        assert other("PUT", "/shared/new")[0] == 403
    assert owner("POST", "/shared", {"X-Container-Read": ""})[0] == 204
    assert other("GET", "/shared/o")[0] == 403


@pytest.mark.parametrize(
    "rules, referrer, status",
    [
        (".r:*,.r:-evil.org", "http://EVIL.ORG/", 401),
        (".r:*,.r:-Evil.org", "http://evil.org/", 401),
        (".r:*,.r:-.evil.com", "http://WWW.EVIL.COM/", 401),
        (".r:GOOD.org", "http://good.org/", 200),
        (".r:good.org", "http://good.org@evil.org/", 401),
        (".r:good.org", "http://evil.org/#http://good.org", 401),
    ],
)
def test_referrers_are_hosts_without_regard_to_case(owner, rules, referrer, status):
    assert owner("POST", "/shared", {"X-Container-Read": rules})[0] == 204
    assert owner.raw("GET", f"{owner.root}/shared/o", {"Referer": referrer})[0] == status


@pytest.mark.parametrize(
    "json",
    [
        '[["test2:tester2"]]',
        '["test2:tester2",[],[]]',
        "null",
        '{"admin":null}',
        '{"admin":[1]}',
        '{"admin":"test2:tester2"}',
        '{"admin":["x"],"admin":["test2:tester2"]}',
        '{"admin":["test2:tester2"]} {}',
        b'{"admin":["\xff"]}',
    ],
)
def test_lists_of_accounts_are_objects_or_refused(owner, other, json):
    status, _, body = owner("POST", "", {"X-Account-Access-Control": json})
    assert status == 400 and b"X-Account-Access-Control" in body
    assert "x-account-access-control" not in owner("HEAD")[1]
    assert other("HEAD")[0] == 403


def test_an_account_shows_the_list_that_is_in_force(owner, other):
    given = ' { "read-only" : ["test2:tester2"], "admin":[] } '
    assert owner("POST", "", {"X-Account-Access-Control": given})[0] == 204
    assert owner("HEAD")[1]["x-account-access-control"] == '{"read-only":["test2:tester2"]}'
    assert other("HEAD")[0] == 204
    assert other("POST", "", {"X-Account-Meta-A": "b"})[0] == 403
    assert "x-account-access-control" not in other("HEAD")[1]
    given = '{"admin":[".admin","b\\u00fcb"]}'
    assert owner("POST", "", {"X-Account-Access-Control": given})[0] == 204
    assert owner("HEAD")[1]["x-account-access-control"] == given
    assert other("HEAD")[0] == 403
    assert owner("POST", "", {"X-Account-Access-Control": "{}"})[0] == 204
    assert "x-account-access-control" not in owner("HEAD")[1]
