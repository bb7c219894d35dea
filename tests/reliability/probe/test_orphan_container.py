"""An account whose databases were destroyed below its containers (Swift's `test_orphan_container`)."""

import pytest

from apus_testing import swift_code
from apus_testing.swift_code import ContainerBroker


def outstanding(cluster, swift, container):
    """Databases of the container whose account does not know all."""
    placement = cluster.placement("container", swift.account, container)
    found = []
    for node in placement.primaries:
        path = swift_code.database_path(node.devices, node.device, "container", placement.partition, swift.account, container)
        if path.exists():
            with swift_code.open_database(path, ContainerBroker) as broker:
                info = broker.get_info()
            names = ("put_timestamp", "delete_timestamp", "object_count", "bytes_used")
            # Swift writes no time as 0 in a new database, and as a whole timestamp later.
            found += [node] * any(float(info[name]) != float(info[f"reported_{name}"]) for name in names)
    return found


def set_aside(cluster, swift, container):
    """Quarantined databases of the container; a repeated one has an ending of its own."""
    name = swift_code.hash_path(swift.account, container)
    return [path for node in cluster.nodes for path in node.disk.glob(f"quarantined/containers/{name}*")]


@pytest.fixture
def unreported(cluster, swift, container):
    """Where the account lies, whose servers are gone: two of its primaries and the handoff missed an object."""
    placement = cluster.placement("account", swift.account)
    with cluster.without("account", placement.primaries[0], placement.primaries[1], *placement.handoffs):
        swift.put(f"{container}/object1", b"123")
        assert outstanding(cluster, swift, container)
        for node in placement.primaries:
            node.kill("account")
        yield placement
    cluster.start()


def databases(swift, placement, nodes):
    """Where the account's databases lie on some nodes."""
    return [swift_code.database_path(node.devices, node.device, "account", placement.partition, swift.account) for node in nodes]


def lose(path):
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def test_updates_for_an_account_that_is_gone_come_to_an_end(cluster, swift, container, unreported):
    for path in databases(swift, unreported, unreported.primaries):
        lose(path)
    cluster.start()
    cluster.once("container-updater")
    # The row creates the account again, or the update ends; it may not fail for ever.
    assert outstanding(cluster, swift, container) == []
    assert len(set_aside(cluster, swift, container)) == 3
    cluster.once("container-updater", "container-replicator", "account-replicator")
    # What was quarantined is neither brought back nor quarantined again and again.
    cluster.once("container-replicator", "container-updater", "container-updater")
    assert len(set_aside(cluster, swift, container)) == 3
    for node in cluster.nodes:
        log = (cluster.logs / f"{node.name}-account-server.log").read_text()
        assert log.count("panicked") == 0


def test_a_replica_that_updated_the_account_in_time_is_an_orphan_too(cluster, swift, container):
    placement = cluster.placement("account", swift.account)
    containers = cluster.placement("container", swift.account, container)
    late = containers.primaries[2]
    late.kill("container")
    swift.put(f"{container}/object1", b"123")
    cluster.once("container-updater", nodes=containers.primaries[:2])
    cluster.once("object-updater")
    for node in placement.primaries:
        node.kill("account")
    for path in databases(swift, placement, placement.primaries):
        lose(path)
    cluster.start()
    # The one that was away gets the row; the others only record that they sent it.
    cluster.once("container-replicator")
    assert [node.number for node in outstanding(cluster, swift, container)] == [late.number]
    cluster.once("container-updater", nodes=[late])
    cluster.once("container-updater")
    assert len(set_aside(cluster, swift, container)) == 3
    assert outstanding(cluster, swift, container) == []


@pytest.mark.parametrize("silent", ["primary", "handoff"])
def test_a_container_whose_account_may_be_there_stays_where_it_is(cluster, swift, container, unreported, silent):
    who = unreported.primaries[1] if silent == "primary" else unreported.handoffs[0]
    for path in databases(swift, unreported, unreported.primaries):
        lose(path)
    for node in [*unreported.primaries, *unreported.handoffs]:
        if node is not who:
            node.start("account")
    cluster.once("container-updater")
    assert outstanding(cluster, swift, container)
    assert set_aside(cluster, swift, container) == []


def test_a_container_whose_account_lies_on_a_handoff_is_reported_there(cluster, swift, container, unreported):
    own, *others = databases(swift, unreported, unreported.primaries)
    (away,) = databases(swift, unreported, unreported.handoffs)
    # As after a change of the ring, before replication.
    own.parent.parent.parent.mkdir(parents=True, exist_ok=True)
    away.parent.mkdir(parents=True, exist_ok=True)
    for file in own.parent.glob(f"{own.name}*"):
        file.rename(away.with_name(file.name))
    for path in others:
        lose(path)
    cluster.start()
    cluster.once("container-updater")
    assert set_aside(cluster, swift, container) == []
    cluster.once("account-replicator", "container-updater")
    assert outstanding(cluster, swift, container) == []
    assert swift.names() == [container]
