//! Marks of databases, which change when their files change.
//!
//! A mark is made of the inode, size and change time of the database and of its write-ahead log,
//! which every write of any process changes. So a database need not be opened to see that it is as
//! before. A bit that flips on the disk changes no mark: auditors, which read everything, find it.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::path::with_suffix;

/// File systems date changes by a clock that advances every few milliseconds, so a second change may
/// leave the times of the first. After this time it cannot.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The state of a database's files. Only compared with another one of the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileMark(u64);

impl FileMark {
    /// The mark of a database at the time `now` since 1970. `None` when it does not exist, was
    /// changed a moment ago, or has records in `.pending` that have to be merged. Blocks.
    #[must_use]
    pub fn of(database: &Path, now: Duration) -> Option<Self> {
        let mut hasher = DefaultHasher::new();
        add(&mut hasher, &std::fs::metadata(database).ok()?, now)?;
        match std::fs::metadata(with_suffix(database, "-wal")) {
            // An empty log is one that was opened to read.
            Ok(log) if log.len() > 0 => add(&mut hasher, &log, now)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        match std::fs::metadata(with_suffix(database, ".pending")) {
            Ok(pending) if pending.len() > 0 => None,
            Ok(_) => Some(Self(hasher.finish())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Self(hasher.finish())),
            Err(_) => None,
        }
    }

    /// Parses the form of [`std::fmt::Display`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Adds a file, unless it was changed a moment ago or, by this clock, will be.
fn add(hasher: &mut DefaultHasher, file: &std::fs::Metadata, now: Duration) -> Option<()> {
    let seconds = u64::try_from(file.ctime()).ok()?;
    let nanoseconds = u32::try_from(file.ctime_nsec()).ok()?;
    if Duration::new(seconds, nanoseconds) + SETTLED_AFTER > now {
        return None;
    }
    for number in [file.dev(), file.ino(), file.len(), seconds, u64::from(nanoseconds)] {
        hasher.write_u64(number);
    }
    Some(())
}

impl std::fmt::Display for FileMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_daemon::Clock;
    use apus_daemon::clock::SystemClock;

    fn later() -> Duration {
        SystemClock.now() + SETTLED_AFTER * 2
    }

    #[test]
    fn a_mark_changes_with_the_database_and_its_log_and_is_read_as_written() {
        let folder = std::env::temp_dir().join(format!("apus-mark-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("one.db");
        assert_eq!(FileMark::of(&path, later()), None, "not there");
        std::fs::write(&path, "one").unwrap();
        assert_eq!(FileMark::of(&path, SystemClock.now()), None, "changed just now");
        let first = FileMark::of(&path, later()).unwrap();
        assert_eq!(FileMark::of(&path, later()), Some(first));
        assert_eq!(FileMark::parse(&first.to_string()), Some(first));
        std::fs::write(with_suffix(&path, "-wal"), "").unwrap();
        std::fs::write(with_suffix(&path, ".pending"), "").unwrap();
        assert_eq!(FileMark::of(&path, later()), Some(first), "opened to read");

        std::fs::write(with_suffix(&path, "-wal"), "commit").unwrap();
        let second = FileMark::of(&path, later()).unwrap();
        assert_ne!(first, second);
        std::fs::write(with_suffix(&path, "-wal"), "").unwrap();
        std::fs::write(with_suffix(&path, ".pending"), "record").unwrap();
        assert_eq!(FileMark::of(&path, later()), None, "something to merge");
        std::fs::remove_file(with_suffix(&path, ".pending")).unwrap();

        // Another file with the same content, such as one from a backup.
        std::fs::write(folder.join("two.db"), "one").unwrap();
        std::fs::rename(folder.join("two.db"), &path).unwrap();
        let third = FileMark::of(&path, later()).unwrap();
        assert!(third != first && third != second);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
