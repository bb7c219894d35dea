"""Configuration files and rings of a cluster, as an operator would write them."""

import shutil

from .rings import make_ring

KINDS = {"account": 6202, "container": 6201, "object": 6200}
PROXY_PORT = 8080
WEBHOOK_PORT = 8088
# Seconds; a test does not wait for the usual ones.
RING_CHECK_INTERVAL = 0.2
POLICIES = {0: "gold", 1: "silver"}
RINGS = {"account": "account", "container": "container", "object": "object", "object-1": "object"}

# The same for all clusters: Swift's Python keeps them in globals.
SWIFT_CONF = f"""
[swift-hash]
swift_hash_path_prefix = reliable
swift_hash_path_suffix = bed
[storage-policy:0]
name = gold
default = yes
[storage-policy:1]
name = silver
[apus]
ring_check_interval = {RING_CHECK_INTERVAL}
"""
USERS = {
    "admin_admin": "admin .admin .reseller_admin",
    "test_tester": "testing .admin",
    "test2_tester2": "testing2 .admin",
    # Accounts that only one test uses.
    **{f"own{number}_tester": "testing .admin" for number in range(100)},
}


def notify_section(address):
    """The section of `swift.conf` with a webhook `steps` at an address of a test's network."""
    return f"[notify]\nallowed_networks = 127.0.0.0/8\nwebhook_steps = http://{address[0]}:{address[1]}/\n"


def conf_text(sections):
    """Sections of options → an INI file."""
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def write_storage(etc, kind, address, devices, cache, *, mount_check, options):
    """`<kind>-server.conf`; `options` are more options by section."""
    sections = {
        "DEFAULT": {
            "bind_ip": address,
            "bind_port": KINDS[kind],
            "devices": devices,
            "mount_check": str(mount_check).lower(),
            "recon_cache_path": cache,
        },
        f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
    }
    for section, more in options.items():
        if section.split("-")[0] == kind or section == f"app:{kind}-server":
            sections.setdefault(section, {}).update(more)
    (etc / f"{kind}-server.conf").write_text(conf_text(sections))


def user_options(users):
    """Options of tempauth for users by `account_user`."""
    return {f"user_{name}": value for name, value in users.items()}


def write_proxy(etc, address, options):
    sections = {
        "DEFAULT": {"bind_ip": address, "bind_port": PROXY_PORT},
        "app:proxy-server": {"use": "egg:swift#proxy"},
        "filter:tempauth": {"token_key": "0123456789abcdef0123456789abcdef", **user_options(USERS)},
        "filter:s3api": {"location": "us-east-1", "bucket_namespace": "cluster"},
    }
    for section, more in options.items():
        if section in sections:
            sections[section].update(more)
    (etc / "proxy-server.conf").write_text(conf_text(sections))


def make_rings(folder, addresses, *, part_power, replicas, rings=RINGS, device="sd{number}"):
    """Builds rings; the device of the N-th address is in a zone of its own, `sdN` unless named."""
    for ring, kind in rings.items():
        named = [f"r1z{number}-{address}:{KINDS[kind]}/{device.format(number=number)}" for number, address in enumerate(addresses, 1)]
        make_ring(folder, ring, named, part_power=part_power, replicas=replicas, weight=100)


def share_rings(folder, etc):
    """Copies the rings to a node, each atomically as operators do."""
    for ring in RINGS:
        temporary = etc / f".{ring}.new"
        shutil.copy(folder / f"{ring}.ring.gz", temporary)
        temporary.rename(etc / f"{ring}.ring.gz")
