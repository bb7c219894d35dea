//! Lock of a directory of builders: one writer at a time.
//!
//! The lock is the one that `swift-ring-builder-safe` takes: `flock` on `.lock` in the folder.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apus_disk::DirectoryLock;
use thiserror::Error;

/// How long to wait for another writer before the error that names it.
const WAIT: Duration = Duration::from_secs(5);
const NAME: &str = ".lock";

/// A directory of builders that cannot be locked.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("Ring/builder dir currently locked.\nIt is held by {0}.")]
    Held(String),
    /// The file system refuses the lock.
    #[error("{}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// Locks the directory of a builder file.
///
/// # Errors
/// Another process keeps the lock for too long, or it cannot be taken.
pub fn take(directory: &Path) -> Result<DirectoryLock, LockError> {
    let path = directory.join(NAME);
    DirectoryLock::take(directory, NAME, WAIT).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => {
            LockError::Held(holder(&path).unwrap_or_else(|| "another process".to_owned()))
        }
        _ => LockError::Io { path, source },
    })
}

/// The process that holds a lock on a file, from `/proc`.
fn holder(path: &Path) -> Option<String> {
    let inode = std::fs::metadata(path).ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| holder_in(line, &inode))?;
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
    let command =
        String::from_utf8_lossy(&read("cmdline")?).trim_end_matches('\0').replace('\0', " ");
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    Some(format!("process {pid} of user {owner}: {command}"))
}

/// The process id in a line such as `1: FLOCK  ADVISORY  WRITE 708 08:02:1313 0 EOF`. Waiting
/// ones have `->` behind the number.
fn holder_in(line: &str, inode: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
    (file.rsplit(':').next() == Some(inode)).then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let line = "12: FLOCK  ADVISORY  WRITE 708 08:02:1313 0 EOF";
        assert_eq!(holder_in(line, "1313"), Some(708));
        assert_eq!(holder_in(line, "313"), None);
        assert_eq!(holder_in("12: -> FLOCK  ADVISORY  WRITE 9 08:02:1313 0 EOF", "1313"), None);
        assert_eq!(holder_in("1: POSIX  ADVISORY  WRITE 9 08:02:1313 0 EOF", "1313"), None);
    }
}
