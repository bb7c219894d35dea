"""Container servers that are down, behind or locked (Swift's `test_container_failures`)."""

import sqlite3
import time

from apus_testing import quiesce, swift_code


def totals(swift):
    headers = swift.head().headers
    return tuple(int(headers[f"x-account-{what}"]) for what in ("container-count", "object-count", "bytes-used"))


def test_a_container_lives_on_when_a_node_missed_its_deletion_and_an_object_came_after(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    away = placement.primaries[0]
    with cluster.without("container", away, *placement.handoffs):
        swift.delete(container)
    cluster.restart_proxies()
    # Swift takes the object since one server still has the container. We ask a majority first.
    answer = swift.put(f"{container}/object1", b"123", expect=(201, 404))
    if answer.status == 404:
        partition, path = placement.partition, [swift.account, container, "object1"]
        row = {"X-Size": "3", "X-Content-Type": "a/b", "X-Etag": "e"}
        away.direct("container").request("PUT", partition, path, row, expect=201)
    quiesce.to_final_state(cluster)
    for node in placement.primaries:
        assert node.direct("container").rows(placement.partition, swift.account, container) == ["object1"], node
    assert totals(swift) == (1, 1, 3)


def heads(placement, swift, container):
    found = []
    for node in placement.primaries:
        answer = node.direct("container").request("HEAD", placement.partition, [swift.account, container], expect=2)
        found.append({name: value for name, value in answer.headers.items() if name != "date"})
    return found


def test_metadata_is_replicated_without_a_new_time_of_the_container(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    cluster.once("container-replicator")
    first, *others = heads(placement, swift, container)
    assert others == [first, first]
    time.sleep(max(0, float(first["x-backend-put-timestamp"]) + 1.1 - time.time()))
    one = placement.primaries[1].direct("container")
    post = {"X-Container-Meta-Foo": "bar", "X-Backend-No-Timestamp-Update": "true"}
    one.request("POST", placement.partition, [swift.account, container], post, expect=2)
    expected = {**first, "x-container-meta-foo": "bar"}
    assert heads(placement, swift, container)[1] == expected
    cluster.once("container-replicator")
    assert heads(placement, swift, container) == [expected] * 3
    one.request("POST", placement.partition, [swift.account, container], {"X-Container-Meta-Foo": "baz"}, expect=2)
    changed = heads(placement, swift, container)[1]
    differing = {name for name in expected if expected[name] != changed[name]}
    assert differing - {"last-modified"} == {"x-container-meta-foo", "x-backend-put-timestamp", "x-put-timestamp"}


def test_a_deletion_that_only_one_node_knows_reaches_the_others(cluster, swift, container):
    placement = cluster.placement("container", swift.account, container)
    first, second, third = placement.primaries
    with cluster.without("container", first, second, *placement.handoffs):
        third.direct("container").request("DELETE", placement.partition, [swift.account, container], expect=2)
    quiesce.to_final_state(cluster)
    for node in placement.primaries:
        assert node.direct("container").request("GET", placement.partition, [swift.account, container]).status == 404
    assert totals(swift) == (0, 0, 0)


def test_with_all_primaries_away_listings_fail_and_objects_go_on_while_the_container_is_remembered(cluster, swift, container):
    swift.put(f"{container}/one", b"data")
    placement = cluster.placement("container", swift.account, container)
    with cluster.without("container", *placement.primaries):
        assert swift.get(container, expect=503).status == 503
        swift.put(f"{container}/two", b"data")
        swift.post(container, {"X-Container-Meta-A": "b"}, expect=503)
        cluster.restart_proxies()
        swift.put(f"{container}/three", b"x", expect=503)
    quiesce.settle(cluster)
    assert swift.names(container) == ["one", "two"]


def test_locked_databases_give_503_in_bounded_time_and_one_lock_is_outvoted(cluster, swift):
    for locked, status in [(1, 204), (2, 503), (3, 503)]:
        name = f"locked-{locked}-{time.time_ns()}"
        swift.put(name)
        swift.get(name)
        placement = cluster.placement("container", swift.account, name)
        connections = []
        for node in placement.primaries[:locked]:
            path = swift_code.database_path(node.devices, node.device, "container", placement.partition, swift.account, name)
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE TRANSACTION")
            connections.append(connection)
        began = time.monotonic()
        answer = swift.delete(name, expect=status)
        assert time.monotonic() - began < 15, answer
        for connection in connections:
            connection.close()
