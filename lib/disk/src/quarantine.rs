//! Moves what is broken aside; never deletes it.

use std::io;
use std::path::{Path, PathBuf};

/// Moves `path` (a hash directory or database directory) to
/// `<device>/quarantined/<kind>/<name>`, with a random ending when that name is taken.
///
/// # Errors
/// As the operating system says.
pub fn quarantine(device: &Path, kind: &str, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let directory = device.join("quarantined").join(kind);
    std::fs::create_dir_all(&directory)?;
    let mut target = directory.join(&name);
    if target.exists() {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        target = directory.join(format!("{name}-{:032x}", u128::from_le_bytes(random)));
    }
    rustix::fs::rename(path, &target)?;
    Ok(target)
}
