"""Checks of the disks of a quiet cluster: O4 to O7 of the fault model, read with Swift's own code."""

from dataclasses import dataclass, field

from . import swift_code
from .quiesce import partitions_on_handoffs, pending
from .swift_code import AccountBroker, ContainerBroker, DiskFileDeleted, DiskFileNotExist


@dataclass
class Findings:
    """What is wrong, in sentences; empty when all is well."""

    wrong: list = field(default_factory=list)

    def say(self, text):
        self.wrong.append(text)

    def check(self):
        assert not self.wrong, f"{len(self.wrong)} findings:\n" + "\n".join(self.wrong[:20])


def object_copies(cluster, account, container, name, policy=0):
    """(node, metadata, body) of each primary; metadata is None when it has no object, and body its deletion time."""
    placement = cluster.placement("object", account, container, name, policy=policy)
    copies = []
    for node in placement.primaries:
        where = (node.devices, node.device, placement.partition, account, container, name, policy)
        try:
            metadata, body = swift_code.read_object(*where)
            copies.append((node, metadata, body))
        except DiskFileDeleted as deleted:
            copies.append((node, None, deleted.timestamp.internal))
        except DiskFileNotExist:
            copies.append((node, None, None))
    return copies


def check_object(cluster, findings, account, container, name, policy=0):
    """All primaries have the same bytes, metadata and time; returns the metadata, or None when it is deleted."""
    copies = object_copies(cluster, account, container, name, policy)
    (_, metadata, body), *others = copies
    # A node that never heard of a deleted object is as good as one with the tombstone.
    for node, other_metadata, other_body in others:
        absent = metadata is None and other_metadata is None
        if not absent and (metadata, body) != (other_metadata, other_body):
            findings.say(f"{container}/{name}: {copies[0][0]} has {metadata}, {node} has {other_metadata}")
    for node, own, own_body in copies:
        if own is not None and len(own_body) != int(own["Content-Length"]):
            findings.say(f"{container}/{name}: torn on {node}: {len(own_body)} of {own['Content-Length']} bytes")
    return metadata


def container_rows(cluster, account, container):
    """(node, info, name → (size, etag, time)) of each primary that has the database."""
    placement = cluster.placement("container", account, container)
    found = []
    for node in placement.primaries:
        path = swift_code.database_path(node.devices, node.device, "container", placement.partition, account, container)
        if not path.exists():
            found.append((node, None, {}))
            continue
        with swift_code.open_database(path, ContainerBroker) as broker:
            info = broker.get_info()
            rows = broker.list_objects_iter(
                1_000_000, "", None, None, None, storage_policy_index=info["storage_policy_index"], allow_reserved=True
            )
            found.append((node, info, {row[0]: (row[2], row[4], row[1]) for row in rows}))
    return found


def check_container(cluster, findings, account, container, live):
    """The rows of every replica are the live objects (name → (size, etag)), and its counts are theirs."""
    for node, info, rows in container_rows(cluster, account, container):
        if info is None:
            findings.say(f"{container}: no database on {node}")
            continue
        shown = {name: (size, etag) for name, (size, etag, _) in rows.items()}
        for name in shown.keys() - live.keys():
            findings.say(f"{container}: {node} lists {name}, which is not there")
        for name in live.keys() - shown.keys():
            findings.say(f"{container}: {node} does not list {name}")
        for name in live.keys() & shown.keys():
            if shown[name] != live[name]:
                findings.say(f"{container}/{name}: {node} lists {shown[name]}, it is {live[name]}")
        counted = (info["object_count"], info["bytes_used"])
        true = (len(live), sum(size for size, _ in live.values()))
        if counted != true:
            findings.say(f"{container}: {node} counts {counted}, it is {true}")


def check_account(cluster, findings, account, containers):
    """Every replica's rows are the containers (name → (objects, bytes)), and its totals are their sums."""
    placement = cluster.placement("account", account)
    for node in placement.primaries:
        path = swift_code.database_path(node.devices, node.device, "account", placement.partition, account)
        if not path.exists():
            findings.say(f"{account}: no database on {node}")
            continue
        with swift_code.open_database(path, AccountBroker) as broker:
            listed = broker.list_containers_iter(100_000, "", None, None, None, allow_reserved=True)
            rows = {row[0]: (row[1], row[2]) for row in listed}
            info = broker.get_info()
        for name, wanted in containers.items():
            if rows.get(name) != wanted:
                findings.say(f"{account}: {node} has {rows.get(name)} for {name}, it is {wanted}")
        sums = (len(rows), sum(row[0] for row in rows.values()), sum(row[1] for row in rows.values()))
        if (info["container_count"], info["object_count"], info["bytes_used"]) != sums:
            findings.say(f"{account}: {node} counts {info}, its rows add up to {sums}")


def check_suffix_hashes(cluster, findings, account, container, name, policy=0):
    """All primaries return the same hash of an object's suffix."""
    placement = cluster.placement("object", account, container, name, policy=policy)
    suffix = swift_code.hash_path(account, container, name)[-3:]
    hashes_by_node = {node: node.direct("object").suffix_hashes(placement.partition, policy).get(suffix) for node in placement.primaries}
    if len(set(hashes_by_node.values())) != 1:
        findings.say(f"{container}/{name}: suffix hashes {hashes_by_node}")


def check_leftovers(cluster, findings):
    """Checks that no update is pending, no handoff holds data, and no temporary file is left."""
    for path in pending(cluster):
        findings.say(f"an update waits: {path}")
    for path in partitions_on_handoffs(cluster):
        findings.say(f"left on a handoff: {path}")
    for node in cluster.nodes:
        # What lies in `tmp` is removed by its age.
        for pattern in ("objects*/**/.*.tmp", "containers/**/*.tmp", "accounts/**/*.tmp"):
            for path in node.disk.glob(pattern):
                findings.say(f"temporary file: {path}")


def check_all(cluster, account, container, names, *, hashes=True):
    """Runs all checks for one container and all names ever written to it; returns the live ones."""
    findings, live = Findings(), {}
    for name in names:
        metadata = check_object(cluster, findings, account, container, name)
        if metadata is not None:
            live[name] = (int(metadata["Content-Length"]), metadata["ETag"])
        if hashes:
            check_suffix_hashes(cluster, findings, account, container, name)
    check_container(cluster, findings, account, container, live)
    totals = (len(live), sum(size for size, _ in live.values()))
    check_account(cluster, findings, account, {container: totals})
    check_leftovers(cluster, findings)
    findings.check()
    return live
