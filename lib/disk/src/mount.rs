//! Detects mount points: an empty mount point must never be filled.

use std::path::Path;

/// Whether `path` is a mount point: it and its parent are on different file systems.
pub fn is_mount(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return true };
    match (rustix::fs::stat(path), rustix::fs::stat(parent)) {
        (Ok(own), Ok(above)) => own.st_dev != above.st_dev || own.st_ino == above.st_ino,
        _ => false,
    }
}
