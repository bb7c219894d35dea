"""Swift's own code over our disks and rings.

Swift keeps its configuration in globals: all clusters share one `swift.conf` (`etc.SWIFT_CONF`).
"""

import logging
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from swift.account.backend import AccountBroker
from swift.common import storage_policy, utils
from swift.common.exceptions import DiskFileDeleted, DiskFileError, DiskFileNotExist
from swift.common.internal_client import InternalClient
from swift.common.ring import Ring
from swift.common.utils import Timestamp, hash_path, storage_directory
from swift.container.backend import ContainerBroker
from swift.container.reconciler import get_reconciler_container_name as reconciler_container
from swift.obj.diskfile import DiskFileManager

from . import etc

__all__ = [
    "AccountBroker",
    "ContainerBroker",
    "DiskFileDeleted",
    "DiskFileNotExist",
    "Ring",
    "Timestamp",
    "hash_path",
    "reconciler_container",
]

_FOLDER = tempfile.TemporaryDirectory(prefix="swift-conf-")
(Path(_FOLDER.name) / "swift.conf").write_text(etc.SWIFT_CONF)
utils.set_swift_dir(_FOLDER.name)
storage_policy.reload_storage_policies()

LOGGER = logging.getLogger("swift-python")
# Swift's code sets and reads this attribute of its own loggers.
setattr(LOGGER, "thread_locals", None)  # noqa: B010


def database_path(devices, device, kind, partition, *names):
    """The path of the database of an account or container."""
    hashed = hash_path(*names)
    return Path(devices, device, storage_directory(f"{kind}s", partition, hashed), f"{hashed}.db")


def read_object(devices, device, partition, account, container, name, policy=0):
    """Metadata and body as Swift's object server finds them; errors are Swift's (`DiskFileNotExist`, …)."""
    options = {"devices": str(devices), "mount_check": "false"}
    manager = DiskFileManager(options, LOGGER)
    file = manager.get_diskfile(device, partition, account, container, name, storage_policy.POLICIES[policy])
    with file.open(current_time=0):
        metadata = file.get_metadata()
        # Not the reader: it quarantines and would change what it looks at.
        body = os.pread(file._fp.fileno(), int(metadata["Content-Length"]) + 1, 0)
    return metadata, body


def is_deleted(devices, device, partition, account, container, name, policy=0):
    """Whether the object has a tombstone on the device."""
    try:
        read_object(devices, device, partition, account, container, name, policy)
    except DiskFileDeleted:
        return True
    except (DiskFileNotExist, DiskFileError):
        return False
    return False


@contextmanager
def open_database(path, broker):
    """A copy of a database in Swift's broker (`ContainerBroker`, `AccountBroker`), with the rows of its WAL in it.

    A copy, since Swift's broker wants to leave WAL mode, for which no other process may have the file open.
    """
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, path.name)
        for ending in ("", "-wal"):
            if path.with_name(path.name + ending).exists():
                shutil.copy(path.with_name(path.name + ending), copied.with_name(path.name + ending))
        pending = path.with_name(path.name + ".pending")
        if pending.exists():
            shutil.copy(pending, copied.with_name(pending.name))
        yield broker(str(copied))


def internal_client(folder, cluster_etc, filters=""):
    """Swift's own proxy as a library: it sends requests to our servers as Swift's daemons do, without gatekeeper and auth.

    `filters` are more of Swift's middleware, by name, in the order of a pipeline.
    """
    for policy in storage_policy.POLICIES:
        # Swift keeps the first ring that it loads.
        policy.object_ring = None
    conf = folder / f"internal-client{filters.replace(' ', '-')}.conf"
    options = {"versioned_writes": "allow_object_versioning = true\n"}
    sections = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{options.get(name, '')}" for name in filters.split())
    conf.write_text(
        f"[DEFAULT]\nswift_dir = {cluster_etc}\n[pipeline:main]\npipeline = catch_errors {filters} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nerror_suppression_limit = 100000\nallow_open_expired = false\n"
        f"[filter:catch_errors]\nuse = egg:swift#catch_errors\n{sections}"
    )
    return InternalClient(str(conf), "reliability", 1)
