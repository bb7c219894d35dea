"""An account without a database looks like an empty one (Swift's `test_account_get_fake_responses_match`)."""

import re

import pytest


@pytest.mark.parametrize("wanted", [None, "application/json", "application/xml"])
def test_an_account_without_a_database_answers_as_an_empty_one(cluster, wanted):
    admin = cluster.swift("admin:admin", "admin")
    headers = {"Accept": wanted} if wanted else {}
    admin.account = "AUTH_real"
    admin.post("", {"X-Account-Meta-Bert": "Ernie"})
    real = admin.get(headers=headers)
    admin.account = "AUTH_fake"
    fake = admin.get(headers=headers)

    def named(body):
        return re.sub(rb"AUTH_\w{4}", b"AUTH_any", body)

    assert (real.status, named(real.body)) == (fake.status, named(fake.body))
    assert real.headers["content-type"] == fake.headers["content-type"]
