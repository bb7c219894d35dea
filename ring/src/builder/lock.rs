//! One writer at a time in a folder of builders, and who that is.
//!
//! The lock is the one that `swift-ring-builder-safe` takes: `flock` on `.lock` in the folder.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use apus_disk::DirectoryLock;

/// How long an operator waits for another before being told who it is.
const WAIT: Duration = Duration::from_secs(5);
const NAME: &str = ".lock";

/// Locks the folder of a builder file.
///
/// # Errors
/// The process that has the lock, or why it cannot be taken.
pub fn take(folder: &Path) -> Result<DirectoryLock, String> {
    DirectoryLock::take(folder, NAME, WAIT).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            let who = holder(&folder.join(NAME)).unwrap_or_else(|| "another process".to_owned());
            format!("Ring/builder dir currently locked.\nIt is held by {who}.")
        }
        _ => format!("{}: {error}", folder.join(NAME).display()),
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
