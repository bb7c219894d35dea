"""Deleted accounts (Swift's `test_account_reaper`)."""

import time
from io import BytesIO

import pytest

from apus_testing import quiesce

BODY = b"test-body"


@pytest.fixture
def condemned(cluster, swift):
    """An account with objects in both policies, reserved names too, deleted on all its nodes."""
    internal, objects = cluster.internal(), []
    for policy, name in enumerate(["gold", "silver"]):
        swift.put(f"container-{name}", b"", {"X-Storage-Policy": name})
        swift.put(f"container-{name}/object", BODY)
        objects.append((policy, f"container-{name}", "object"))
        reserved = f"\0reserved\0{name}"
        internal.create_container(swift.account, reserved, headers={"X-Storage-Policy": name})
        internal.upload_object(BytesIO(BODY), swift.account, reserved, "\0object")
        objects.append((policy, reserved, "\0object"))
    cluster.once("container-updater")
    head = swift.head().headers
    found = [int(head[f"x-account-{what}"]) for what in ("container-count", "object-count", "bytes-used")]
    assert found == [4, 4, 4 * len(BODY)]
    placement = cluster.placement("account", swift.account)
    for node in placement.primaries:
        node.direct("account").request("DELETE", placement.partition, [swift.account], expect=2)
    return objects


def deletion_times(cluster, account, objects):
    """For each container and object: what its nodes say, as (statuses, deletion times)."""
    found = []
    for policy, container, name in objects:
        placement = cluster.placement("container", account, container)
        answers = [node.direct("container").request("HEAD", placement.partition, [account, container]) for node in placement.primaries]
        found.append(([a.status for a in answers], {a.headers.get("x-backend-delete-timestamp") for a in answers}))
        placement = cluster.placement("object", account, container, name, policy=policy)
        answers = [
            node.direct("object").request("GET", placement.partition, [account, container, name], policy=policy)
            for node in placement.primaries
        ]
        found.append(([a.status for a in answers], {a.headers.get("x-backend-timestamp") for a in answers}))
    return found


def check_reaped(cluster, account, objects):
    for statuses, times in deletion_times(cluster, account, objects):
        assert statuses == [404, 404, 404]
        assert len(times) == 1 and None not in times, "one deletion has one time"


def test_every_container_and_object_is_reaped_at_one_time_each(cluster, swift, condemned):
    cluster.configure(account_reaper={"delay_reaping": 0})
    cluster.once("account-reaper")
    check_reaped(cluster, swift.account, condemned)
    quiesce.to_final_state(cluster)
    check_reaped(cluster, swift.account, condemned)


def test_reaping_waits_as_long_as_configured(cluster, swift, condemned):
    deleted = time.monotonic()
    cluster.configure(account_reaper={"delay_reaping": 4})
    cluster.once("account-reaper")
    assert time.monotonic() - deleted < 4, "this machine is too slow for the test"
    for statuses, _ in deletion_times(cluster, swift.account, condemned):
        assert all(status // 100 == 2 for status in statuses), "reaped too early"
    time.sleep(max(0, deleted + 4.5 - time.monotonic()))
    cluster.once("account-reaper")
    check_reaped(cluster, swift.account, condemned)
