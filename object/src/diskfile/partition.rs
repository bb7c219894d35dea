//! Lists a partition's suffixes, and removes a partition in which nothing is left.

use std::io;
use std::path::Path;

use apus_cluster::{PathHash, PolicyIndex};
use apus_disk::{Counters, DirectoryLock};

use super::cleanup::{INVALIDATIONS, LOCK, LOCK_WAIT};
use super::hashes::HASHES;
use crate::engine::place::{Partition, is_suffix};

/// Held while a partition is received, or is pushed away.
pub(crate) const REPLICATION_LOCK: &str = ".lock-replication";

/// The partitions of a policy on a device.
pub(super) fn list(device: &Path, policy: PolicyIndex) -> io::Result<Vec<u32>> {
    let names = apus_disk::names(&device.join(policy.suffixed("objects")))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// How many hash directories a suffix has.
pub(super) fn count_objects(
    partition: &Partition,
    suffix: &str,
    counters: &Counters,
) -> io::Result<u64> {
    counters.calls(2);
    let names = apus_disk::names(&partition.directory().join(suffix))?;
    Ok(names.iter().filter(|name| PathHash::parse(name).is_some()).count() as u64)
}

impl Partition {
    /// Its suffix directories, sorted; empty when the partition does not exist.
    pub(crate) fn suffixes(&self, counters: &Counters) -> io::Result<Vec<String>> {
        counters.calls(2);
        let mut names = apus_disk::names(&self.directory())?;
        names.retain(|name| is_suffix(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Removes empty suffix directories and then, if nothing else is there, the partition with its
    /// bookkeeping. Returns whether it is gone. A concurrent write keeps it: only empty directories
    /// are removed, and without `hashes.pkl` everything is hashed again.
    pub(crate) fn remove_if_empty(&self, counters: &Counters) -> io::Result<bool> {
        let directory = self.directory();
        for suffix in self.suffixes(counters)? {
            counters.calls(1);
            // One that is not empty stays.
            let _ = apus_disk::remove_directory(&directory.join(suffix));
        }
        let own = [LOCK, REPLICATION_LOCK, HASHES, INVALIDATIONS];
        let only_own = |names: Vec<String>| names.iter().all(|name| own.contains(&name.as_str()));
        if !only_own(apus_disk::names(&directory)?) {
            return Ok(false);
        }
        let lock = DirectoryLock::take(&directory, LOCK, LOCK_WAIT)?;
        if !only_own(apus_disk::names(&directory)?) {
            return Ok(false);
        }
        for name in [HASHES, INVALIDATIONS, REPLICATION_LOCK, LOCK] {
            counters.calls(1);
            match apus_disk::remove_file(&directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        drop(lock);
        counters.calls(1);
        match apus_disk::remove_directory(&directory) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(error),
        }
    }
}
