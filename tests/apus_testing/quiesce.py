"""Runs daemons until nothing is left to do, as days of ordinary operation would."""

# In the order in which work flows: rows to containers, databases among each other, counts to accounts.
REPLICATORS = ("account-replicator", "container-replicator", "object-replicator")
UPDATERS = ("container-updater", "object-updater")
ROUNDS = 6


def to_final_state(cluster):
    """What Swift's probe tests run (`get_to_final_state`): replicators, updaters, replicators."""
    cluster.once(*REPLICATORS, *UPDATERS, *REPLICATORS)


def pending(cluster):
    """Pending row updates."""
    return [path for node in cluster.nodes for path in node.disk.glob("async_pending*/*/*")]


def partitions_on_handoffs(cluster):
    """Directories of partitions on nodes that should not have them."""
    found = []
    for node in cluster.nodes:
        for ring_name, ring in cluster.rings.items():
            directory = {"account": "accounts", "container": "containers", "object": "objects"}.get(ring_name, "objects-1")
            if not (node.disk / directory).is_dir():
                continue
            for path in (node.disk / directory).iterdir():
                if path.name.isdigit():
                    owners = [device["ip"] for device in ring.get_part_nodes(int(path.name))]
                    if node.address not in owners and any(inner.is_dir() for inner in path.iterdir()):
                        found.append(path)
    return found


def settle(cluster, *, auditors=False):
    """Runs rounds of all daemons until no update is pending and no handoff holds data; fails when that takes too long."""
    for _ in range(ROUNDS):
        cluster.once("object-updater", *REPLICATORS, "container-updater")
        left = [*pending(cluster), *partitions_on_handoffs(cluster)]
        if not left:
            break
    else:
        files = [str(file) for path in left[:3] for file in [path, *path.rglob("*")] if file.is_file()]
        raise AssertionError(f"after {ROUNDS} rounds of the daemons {len(left)} places are not done with: {files[:12]}")
    # Once more: what the last round moved is compared everywhere now.
    cluster.once(*REPLICATORS, "container-updater")
    if auditors:
        cluster.once("account-auditor", "container-auditor", "object-auditor")
