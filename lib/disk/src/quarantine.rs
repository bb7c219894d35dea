//! Quarantines damaged files durably; never deletes them.

use std::io;
use std::path::{Path, PathBuf};

use crate::atomic_file::{make_directories, sync_directory, sync_parents};
use crate::change::{hard_link, rename};
use crate::counters::Counters;

/// Moves `path` (a hash directory or database directory) to
/// `<device>/quarantined/<kind>/<name>`, with a random ending when that name is taken.
///
/// # Errors
/// As the operating system says.
pub fn quarantine(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let target = free_target(device, kind, path)?;
    rename(path, &target)?;
    apus_fault::point("quarantine.move.done");
    keep(&target)?;
    Ok(target)
}

/// Gives the file `path` a second name, `<device>/quarantined/<kind>/<name>` as [`quarantine`]
/// does. The file then survives when its first name is replaced or removed.
///
/// # Errors
/// As the operating system says.
pub fn quarantine_file(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let target = free_target(device, kind, path)?;
    hard_link(path, &target)?;
    keep(&target)?;
    Ok(target)
}

/// Syncs the new name: any other sync may make the removal of the old name durable at any time, and
/// the file must not be lost in between.
fn keep(target: &Path) -> io::Result<()> {
    if apus_fault::planted("bug.quarantine-without-sync") {
        return Ok(());
    }
    sync_directory(target.parent().unwrap_or(target), &Counters::default())
}

fn free_target(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let directory = device.join("quarantined").join(kind);
    // The device must exist: the mount point of a missing device is never filled.
    let made = make_directories(device, &directory, &Counters::default())?;
    sync_parents(&made, &Counters::default())?;
    let target = directory.join(&name);
    if !target.exists() {
        return Ok(target);
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(directory.join(format!("{name}-{:032x}", u128::from_le_bytes(random))))
}
