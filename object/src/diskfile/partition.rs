//! One partition on one device: where it is, and its removal when nothing is left in it.

use std::io;
use std::path::PathBuf;

use apus_cluster::{PathHash, PolicyIndex};
use apus_disk::{Counters, DirectoryLock};

use super::cleanup::{INVALIDATIONS, LOCK, LOCK_WAIT};
use super::hashes::HASHES;
use super::partition_lock::REPLICATION_LOCK;
use super::writer::Place;

/// `<device>/objects[-N]/<number>`.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// The device's directory.
    pub(crate) device: PathBuf,
    pub(crate) policy: PolicyIndex,
    pub(crate) number: u32,
}

/// Whether a name is that of a suffix directory: three lower-case hex digits.
pub(crate) fn is_suffix(name: &str) -> bool {
    name.len() == 3 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Partition {
    pub(crate) fn directory(&self) -> PathBuf {
        self.device.join(self.policy.suffixed("objects")).join(self.number.to_string())
    }

    /// Where one object of the partition lies.
    pub(crate) fn place(&self, hash: PathHash) -> Place {
        Place { device: self.device.clone(), policy: self.policy, partition: self.number, hash }
    }

    /// Its suffix directories, sorted; none when it is not there.
    pub(crate) fn suffixes(&self, counters: &Counters) -> io::Result<Vec<String>> {
        counters.calls(2);
        let mut names = apus_disk::names(&self.directory())?;
        names.retain(|name| is_suffix(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Removes empty suffix directories and then, if nothing else is there, the partition with its
    /// bookkeeping. Says whether it is gone. Whoever writes into it meanwhile keeps it: only empty
    /// directories go, and without `hashes.pkl` everything is hashed anew.
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
