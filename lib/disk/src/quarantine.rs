//! Moves what is broken aside; never deletes it.

use std::io;
use std::path::{Path, PathBuf};

use crate::atomic_file::make_directories;
use crate::counters::Counters;

/// Moves `path` (a hash directory or database directory) to
/// `<device>/quarantined/<kind>/<name>`, with a random ending when that name is taken.
///
/// # Errors
/// As the operating system says.
pub fn quarantine(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let target = free_target(device, kind, path)?;
    rustix::fs::rename(path, &target)?;
    apus_fault::point("quarantine.move.done");
    Ok(target)
}

/// Gives the file `path` a second name, `<device>/quarantined/<kind>/<name>` as [`quarantine`]
/// does; whoever then replaces or removes the first one keeps the evidence.
///
/// # Errors
/// As the operating system says.
pub fn quarantine_file(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let target = free_target(device, kind, path)?;
    std::fs::hard_link(path, &target)?;
    Ok(target)
}

fn free_target(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let directory = device.join("quarantined").join(kind);
    // The device must be there: one that is not mounted is never filled.
    make_directories(device, &directory, &Counters::default())?;
    let target = directory.join(&name);
    if !target.exists() {
        return Ok(target);
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(directory.join(format!("{name}-{:032x}", u128::from_le_bytes(random))))
}
