//! Finds and removes the databases of a device, with their directories.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use apus_cluster::PathHash;
use apus_daemon::Clock;
use apus_disk::{DirectoryLock, names};

use crate::mark::FileMark;
use crate::open::{LOCK, clear_leftovers};
use crate::path::with_suffix;

/// A database below a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseFile {
    pub(super) path: PathBuf,
    pub(super) partition: u32,
    pub(super) hash: PathHash,
    /// The mark of its files when it was found.
    pub(super) mark: Option<FileMark>,
}

/// A walk over the databases of a device.
pub(super) struct DatabaseWalk<'a> {
    pub(super) device: &'a Path,
    pub(super) kind: &'a str,
    /// Which partitions to enter.
    pub(super) wants: &'a dyn Fn(u32) -> bool,
    /// For marks.
    pub(super) clock: &'a dyn Clock,
}

impl DatabaseWalk<'_> {
    /// Finds databases until `found` returns false. Each walk begins with another partition, so that
    /// those after a slow one are not always late. Empty directories are removed; returns how many.
    pub(super) fn run(&self, mut found: impl FnMut(DatabaseFile) -> bool) -> io::Result<u64> {
        let mut removed = 0;
        let root = self.device.join(self.kind);
        let mut partitions = names(&root)?;
        let start = u32::from_le_bytes(apus_daemon::random::bytes()) as usize;
        let turn = start.checked_rem(partitions.len()).unwrap_or(0);
        partitions.rotate_left(turn);
        for name in partitions {
            let Ok(partition) = name.parse::<u32>() else { continue };
            if !(self.wants)(partition) {
                continue;
            }
            let directory = root.join(&name);
            let suffixes = names(&directory)?;
            let mut may_be_empty = suffixes.is_empty();
            for suffix in suffixes {
                let suffix = directory.join(suffix);
                let mut has_database = false;
                for hash in names(&suffix)? {
                    let path = suffix.join(&hash).join(format!("{hash}.db"));
                    // Servers do not use other paths, and could not be asked to remove them.
                    let Some(hash) = PathHash::parse(&hash)
                        .filter(|hash| suffix.file_name() == Some(hash.suffix_dir().as_ref()))
                    else {
                        continue;
                    };
                    if !path.is_file() {
                        removed += remove_unused(&suffix.join(hash.to_string()));
                        continue;
                    }
                    has_database = true;
                    let mark = FileMark::of(&path, self.clock.now());
                    if !found(DatabaseFile { path, partition, hash, mark }) {
                        return Ok(removed);
                    }
                }
                if !has_database {
                    removed += remove_directory(&suffix);
                    may_be_empty = true;
                }
            }
            if may_be_empty {
                removed += remove_directory(&directory);
            }
        }
        Ok(removed)
    }
}

/// Removes the directory of a database that does not exist, if it holds nothing but a lock that is
/// not taken, as a crash leaves it. Returns 1 if it did.
fn remove_unused(directory: &Path) -> u64 {
    let has_only_lock = || names(directory).is_ok_and(|names| names == [LOCK]);
    if has_only_lock()
        && let Ok(_lock) = DirectoryLock::take(directory, LOCK, Duration::ZERO)
        && has_only_lock()
        && let Err(error) = apus_disk::remove_file(&directory.join(LOCK))
    {
        tracing::debug!(%error, directory = %directory.display(), "Failed to remove the lock of an empty directory");
    }
    remove_directory(directory)
}

/// Removes a directory if it is empty; returns 1 if it did.
fn remove_directory(path: &Path) -> u64 {
    u64::from(path.is_dir() && apus_disk::remove_directory(path).is_ok())
}

/// Whether its directory holds other databases: a sharded container has several.
pub(super) fn has_other_files(path: &Path) -> io::Result<bool> {
    let directory = path.parent().unwrap_or(path);
    Ok(names(directory)?
        .iter()
        .any(|name| name.ends_with(".db") && path.file_name() != Some(name.as_ref())))
}

/// Removes a database that no other connection has open, with its other files. The caller holds the
/// lock of its directory.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    apus_disk::remove_file(path)?;
    clear_leftovers(path)?;
    let directory = path.parent().unwrap_or(path);
    for file in [with_suffix(path, ".pending"), directory.join(LOCK)] {
        match apus_disk::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the directories that a removed database left empty: its own, the suffix's and the
/// partition's.
pub(super) fn remove_empty_parents(device: &Path, path: &Path) {
    let mut directory = path.parent();
    for _ in 0..3 {
        let Some(empty) = directory.filter(|directory| *directory != device) else { return };
        if apus_disk::remove_directory(empty).is_err() {
            return;
        }
        directory = empty.parent();
    }
}

/// Removes files in `<device>/tmp` that were last written more than `age` seconds ago: transfers that
/// were interrupted.
pub(super) fn clear_temporary(device: &Path, now: Duration, age: f64) -> io::Result<()> {
    let directory = device.join("tmp");
    for name in names(&directory)? {
        let path = directory.join(name);
        // A file that is gone meanwhile is not ours.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let written = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH);
        let old = written.unwrap_or(now).as_secs_f64() + age < now.as_secs_f64();
        if metadata.is_file() && old {
            let _ = apus_disk::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use apus_daemon::clock::SystemClock;

    #[test]
    fn databases_are_found_and_empty_directories_are_removed() {
        let device = std::env::temp_dir().join(format!("apus-walk-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        let hash = "9d00c9d091fea9ea855f29c22714dc83";
        let directory = device.join("containers/7/c83").join(hash);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{hash}.db")), b"").unwrap();
        std::fs::create_dir_all(device.join("containers/8/abc/9d00c9d091fea9ea855f29c22714dabc"))
            .unwrap();
        // A crash left only the lock of the database that was being made.
        std::fs::write(device.join("containers/8/abc/9d00c9d091fea9ea855f29c22714dabc/.lock"), b"")
            .unwrap();
        std::fs::create_dir_all(device.join("containers/9")).unwrap();
        let other = device.join("containers/7/c83.old").join(hash);
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join(format!("{hash}.db")), b"").unwrap();
        std::fs::create_dir_all(device.join("containers/not-a-partition")).unwrap();
        let run = |partitions: &[u32]| {
            let mut all = Vec::new();
            let wants = |partition: u32| partitions.contains(&partition);
            let walk = DatabaseWalk {
                device: &device,
                kind: "containers",
                wants: &wants,
                clock: &SystemClock,
            };
            let removed = walk.run(|found| {
                all.push(found);
                true
            });
            (all, removed.unwrap())
        };
        let (found, removed) = run(&[7, 8]);
        assert_eq!((found.len(), found[0].partition, removed), (1, 7, 3));
        assert!(device.join("containers/9").exists());
        assert_eq!(run(&[8, 9]), (Vec::new(), 1));
        assert!(!has_other_files(&found[0].path).unwrap());
        std::fs::write(directory.join(format!("{hash}_1700000000.00000.db")), b"").unwrap();
        assert!(has_other_files(&found[0].path).unwrap());
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_walk_keeps_the_directory_of_a_database_that_is_being_made() {
        let device = std::env::temp_dir().join(format!("apus-walk-made-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        let broker = crate::Broker::new("walk", 4, Default::default()).unwrap();
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let walker = {
            let (device, over) = (device.clone(), over.clone());
            std::thread::spawn(move || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let walk = DatabaseWalk {
                        device: &device,
                        kind: "containers",
                        wants: &|_| true,
                        clock: &SystemClock,
                    };
                    walk.run(|_| true).unwrap();
                }
            })
        };
        for number in 0..40 {
            let hash = PathHash::parse(&format!("{number:032x}")).unwrap();
            let path = crate::path::database_path(&device, "containers", number, &hash);
            let slowly = |connection: &mut crate::raw::Connection| {
                std::thread::sleep(Duration::from_millis(3));
                connection.run("CREATE TABLE t (a INTEGER)", &[])
            };
            broker.create(&device, &path, slowly).await.unwrap();
            assert!(path.is_file());
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        walker.join().unwrap();
        std::fs::remove_dir_all(&device).unwrap();
    }
}
