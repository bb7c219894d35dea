//! What can be said of a partition's suffix hashes without reading them: a mark, which changes when
//! they may have.
//!
//! It is made of the inode and change time of the partition's directory and of its `hashes.pkl`.
//! Each write notes its suffix in `hashes.invalid` first, so a partition with anything in there has
//! no mark. What auditors find, they note there, too.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use apus_disk::Counters;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::cleanup::INVALIDATIONS;
use super::hashes::HASHES;

/// File systems date changes by a clock that stands still for some milliseconds at a time, so a
/// second change may leave the times of the first. After this time it cannot any more.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The open directory with the partitions of a policy. Looking at one from here is cheaper than by its
/// whole path, and an idle node does little else.
pub(crate) struct PartitionsDirectory(OwnedFd);

impl PartitionsDirectory {
    /// Opens `objects` or `objects-N` of a device.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    fn metadata(&self, below: &str) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.0, below, AtFlags::empty())
    }
}

/// The state of a partition's suffix hashes. Only compared with another one of the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionMark(u64);

impl PartitionMark {
    /// The mark of partition `number` at the time `now` since 1970. `None` when it is not there, has no
    /// hashes, has some that must be computed again, or was changed a moment ago. Blocks.
    pub(crate) fn of(
        partitions: &PartitionsDirectory,
        number: u32,
        now: Duration,
        counters: &Counters,
    ) -> Option<Self> {
        counters.calls(3);
        match partitions.metadata(&format!("{number}/{INVALIDATIONS}")) {
            Ok(noted) if noted.st_size == 0 => {}
            Err(Errno::NOENT) => {}
            _ => return None,
        }
        let mut hasher = DefaultHasher::new();
        for file in [number.to_string(), format!("{number}/{HASHES}")] {
            let file = partitions.metadata(&file).ok()?;
            let seconds = u64::try_from(file.st_ctime).ok()?;
            let nanoseconds = u32::try_from(file.st_ctime_nsec).ok()?;
            if Duration::new(seconds, nanoseconds) + SETTLED_AFTER > now {
                return None;
            }
            let size = u64::try_from(file.st_size).ok()?;
            for number in [file.st_dev, file.st_ino, size, seconds, u64::from(nanoseconds)] {
                hasher.write_u64(number);
            }
        }
        Some(Self(hasher.finish()))
    }

    /// As it was written by [`std::fmt::Display`].
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for PartitionMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_changes_with_the_hashes_the_suffixes_and_what_is_noted() {
        let root = std::env::temp_dir().join(format!("apus-part-mark-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let path = root.join("12");
        std::fs::create_dir_all(&path).unwrap();
        let partitions = PartitionsDirectory::open(&root).unwrap();
        // The clock of the file system, which is not that of a test that runs at a later date.
        let changed = |path: &str| {
            let seconds = partitions.metadata(path).unwrap().st_ctime;
            Duration::from_secs(u64::try_from(seconds).unwrap())
        };
        let later = changed("12") + Duration::from_secs(3600);
        let mark = |now| PartitionMark::of(&partitions, 12, now, &Counters::default());
        assert_eq!(PartitionMark::of(&partitions, 1, later, &Counters::default()), None);
        assert_eq!(mark(later), None, "no hashes");
        std::fs::write(path.join(HASHES), "one").unwrap();
        let now = changed(&format!("12/{HASHES}"));
        assert_eq!(mark(now), None, "changed just now");
        let first = mark(later).unwrap();
        assert_eq!(PartitionMark::parse(&first.to_string()), Some(first));
        std::fs::create_dir(path.join("abc")).unwrap();
        let second = mark(later).unwrap();
        assert_ne!(first, second);
        std::fs::write(path.join(INVALIDATIONS), "\nabc\n").unwrap();
        assert_eq!(mark(later), None, "a suffix is noted");
        std::fs::write(path.join(INVALIDATIONS), "").unwrap();
        std::fs::remove_dir(path.join("abc")).unwrap();
        std::fs::write(path.join("new"), "two").unwrap();
        std::fs::rename(path.join("new"), path.join(HASHES)).unwrap();
        assert!(![first, second].contains(&mark(later).unwrap()));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
