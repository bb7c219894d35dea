//! Removes obsolete files, and invalidates suffix hashes.

use std::io;
use std::path::Path;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_disk::{Counters, DirectoryLock};

use super::layout::Layout;
use super::metadata::{OVERFLOW_DIRECTORY, overflow_path};

/// The lock under which a partition's hashes are read and written, and the time to wait for it.
pub(crate) const LOCK: &str = ".lock";
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Suffixes to be hashed again, one a line.
pub(crate) const INVALIDATIONS: &str = "hashes.invalid";

/// Appends the suffix to `hashes.invalid` under the partition's lock, as Swift does before a file
/// gets its name, so that no replicator can miss it. The line also begins with a line feed: the
/// previous line may have lost its own, and Swift ignores empty lines.
pub(crate) fn invalidate(partition: &Path, suffix: &str, counters: &Counters) -> io::Result<()> {
    if apus_fault::planted("bug.skip-invalidate") {
        return Ok(());
    }
    let append = || {
        let _lock = DirectoryLock::take(partition, LOCK, LOCK_WAIT)?;
        counters.calls(4);
        apus_disk::append(&partition.join(INVALIDATIONS), format!("\n{suffix}\n").as_bytes())
    };
    match append() {
        // The whole partition was handed off: a new one has no hashes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Names in a hash directory; empty when it does not exist.
pub(crate) fn names(directory: &Path, counters: &Counters) -> io::Result<Vec<String>> {
    counters.calls(2);
    apus_disk::names(directory)
}

/// Unlinks obsolete files. A failure only wastes space: the next write retries.
pub(crate) fn remove_obsolete(
    device: &Path,
    directory: &Path,
    hash: &PathHash,
    counters: &Counters,
) {
    let Ok(names) = names(directory, counters) else { return };
    let obsolete = Layout::of(&names).obsolete;
    if obsolete.is_empty() {
        return;
    }
    unlink(device, directory, hash, &obsolete, counters);
}

/// Unlinks files of a hash directory, each with the metadata that did not fit into it.
pub(crate) fn unlink(
    device: &Path,
    directory: &Path,
    hash: &PathHash,
    names: &[String],
    counters: &Counters,
) {
    let overflows = device.join(OVERFLOW_DIRECTORY).is_dir();
    for name in names {
        counters.calls(1);
        apus_fault::point("object.unlink.begun");
        if let Err(error) = apus_disk::remove_file(&directory.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = name, directory = %directory.display(), "Failed to unlink a file");
        }
        if overflows {
            // Most files have no overflow.
            let _ = apus_disk::remove_file(&overflow_path(device, hash, name));
        }
    }
}
