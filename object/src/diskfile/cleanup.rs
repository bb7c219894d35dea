//! Removes what a newer file made obsolete, and notes that a suffix must be hashed again.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_disk::{Counters, DirectoryLock};

use super::layout::Layout;
use super::metadata::{OVERFLOW_DIRECTORY, overflow_path};

/// Appends the suffix to `hashes.invalid` under the partition's lock, as Swift does before a file
/// gets its name, so that no replicator can miss it.
pub(crate) fn invalidate(partition: &Path, suffix: &str, counters: &Counters) -> io::Result<()> {
    if apus_fault::planted("bug.skip-invalidate") {
        return Ok(());
    }
    let _lock = DirectoryLock::take(partition, ".lock", Duration::from_secs(10))?;
    counters.calls(4);
    let path = partition.join("hashes.invalid");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{suffix}\n").as_bytes())
}

/// Names in a hash directory; none when it does not exist.
pub(crate) fn names(directory: &Path, counters: &Counters) -> io::Result<Vec<String>> {
    counters.calls(2);
    apus_disk::names(directory)
}

/// Unlinks obsolete files. A failure is only wasted space: the next write tries again.
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
    let overflows = device.join(OVERFLOW_DIRECTORY).is_dir();
    for name in obsolete {
        counters.calls(1);
        apus_fault::point("object.unlink.begun");
        if let Err(error) = std::fs::remove_file(directory.join(&name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = name, directory = %directory.display(), "unlink");
        }
        if overflows {
            // Most files have none.
            let _ = std::fs::remove_file(overflow_path(device, hash, &name));
        }
    }
}
