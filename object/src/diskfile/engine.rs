//! The engine's implementation of the traits of [`crate::engine`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, PathHash, PolicyIndex};
use apus_disk::{Committer, Counters};

use super::writer::{self, FileWriter};
use super::{audit_hashes, cleanup, examine, hashes, partition, reader, sweep};
use crate::engine::audit::{AuditEntry, Examined};
use crate::engine::object::{
    DirectoryState, Expected, Identity, NewestTimes, OpenError, Reclaim, Times,
};
use crate::engine::place::{Partition, Place};
use crate::engine::suffix_hashes::{Consolidated, KnownHashes, SuffixHashes};
use crate::engine::{AuditEngine, ObjectEngine, ObjectWriter, PartitionEngine};

/// Engine with one file per object.
#[derive(Debug)]
pub(crate) struct DiskFiles {
    hash: HashConf,
    counters: Arc<Counters>,
}

impl DiskFiles {
    pub(crate) fn new(hash: HashConf, counters: Arc<Counters>) -> Self {
        Self { hash, counters }
    }
}

impl ObjectEngine for DiskFiles {
    fn find(
        &self,
        place: &Place,
        expected: Expected<'_>,
        may_wait: bool,
    ) -> Result<DirectoryState, OpenError> {
        reader::find(place, expected, may_wait, &self.counters)
    }

    fn newest(&self, place: &Place, may_wait: bool) -> Result<NewestTimes, OpenError> {
        reader::newest(place, may_wait, &self.counters)
    }

    fn tombstone_name(&self, place: &Place, file: &str) -> Result<String, OpenError> {
        reader::tombstone_name(place, file, &self.hash, &self.counters)
    }

    fn times(&self, place: &Place) -> io::Result<Option<Times>> {
        reader::times(place)
    }

    fn holds(&self, place: &Place, identity: &Identity) -> bool {
        reader::holds(place, identity)
    }

    fn create(
        &self,
        place: Place,
        length: Option<u64>,
        committer: &Arc<Committer>,
    ) -> io::Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(FileWriter::create(place, length, committer)?))
    }

    fn quarantine(&self, place: &Place, reason: &str) -> bool {
        writer::quarantine(place, reason, &self.counters)
    }

    fn remove(&self, place: &Place, times: Times) -> io::Result<bool> {
        sweep::remove_object(&place.in_partition(), place.hash, times, &self.counters)
    }
}

impl PartitionEngine for DiskFiles {
    fn partitions(&self, device: &Path, policy: PolicyIndex) -> io::Result<Vec<u32>> {
        partition::list(device, policy)
    }

    fn suffixes(&self, partition: &Partition) -> io::Result<Vec<String>> {
        partition.suffixes(&self.counters)
    }

    fn objects(
        &self,
        partition: &Partition,
        suffix: &str,
        reclaim: &Reclaim,
    ) -> io::Result<Vec<(PathHash, Times)>> {
        sweep::objects_of_suffix(partition, suffix, reclaim, &self.counters)
    }

    fn count_objects(&self, partition: &Partition, suffix: &str) -> io::Result<u64> {
        partition::count_objects(partition, suffix, &self.counters)
    }

    fn consolidate_hashes(&self, partition: &Partition, now: Duration) -> io::Result<Consolidated> {
        hashes::consolidate(&partition.directory(), now, &self.counters)
    }

    fn hash_suffix(
        &self,
        partition: &Partition,
        suffix: &str,
        reclaim: &Reclaim,
    ) -> io::Result<Option<String>> {
        sweep::hash_suffix(partition, suffix, reclaim, &self.counters)
    }

    fn store_hashes(
        &self,
        partition: &Partition,
        before: &SuffixHashes,
        hashes: SuffixHashes,
    ) -> io::Result<bool> {
        hashes::store(&partition.directory(), before, &hashes, &self.counters)
    }

    fn invalidate(&self, partition: &Partition, suffix: &str) -> io::Result<()> {
        cleanup::invalidate(&partition.directory(), suffix, &self.counters)
    }

    fn remove_if_empty(&self, partition: &Partition) -> io::Result<bool> {
        partition.remove_if_empty(&self.counters)
    }

    fn sweep_temporary(&self, device: &Path, policy: PolicyIndex, now: Duration) {
        sweep::sweep_temporary(&device.join(policy.suffixed("tmp")), now, &self.counters);
    }
}

impl AuditEngine for DiskFiles {
    fn examine(&self, place: &Place) -> io::Result<Examined> {
        examine::examine(place, &self.hash, &self.counters)
    }

    fn audit_suffixes(&self, partition: &Partition) -> io::Result<Vec<String>> {
        let directory = partition.directory();
        let mut suffixes = apus_disk::names(&directory)?;
        suffixes.extend(hashes::hashed_suffixes(&directory, &self.counters));
        suffixes.sort_unstable();
        suffixes.dedup();
        suffixes.retain(|name| name.len() == 3);
        Ok(suffixes)
    }

    fn audit_entries(&self, partition: &Partition, suffix: &str) -> io::Result<Vec<AuditEntry>> {
        let directory = partition.directory().join(suffix);
        let entry = |name: String| match PathHash::parse(&name) {
            Some(hash) if hash.suffix_dir() == suffix => AuditEntry::Object(hash),
            _ => AuditEntry::Misnamed(directory.join(name)),
        };
        Ok(apus_disk::names(&directory)?.into_iter().map(entry).collect())
    }

    fn remove_damaged_hashes(&self, partition: &Partition) -> io::Result<bool> {
        audit_hashes::remove_damaged(&partition.directory())
    }

    fn known_hashes(&self, partition: &Partition) -> io::Result<KnownHashes> {
        hashes::known(&partition.directory(), None, &self.counters)
    }

    fn invalidate_if_stale(
        &self,
        partition: &Partition,
        suffix: &str,
        known: &KnownHashes,
    ) -> io::Result<bool> {
        audit_hashes::note_if_stale(partition, suffix, known, &self.counters)
    }

    fn is_misnamed_object(&self, path: &Path) -> io::Result<bool> {
        let is_file_of_object =
            |name: &String| [".data", ".meta", ".ts"].iter().any(|end| name.ends_with(end));
        Ok(apus_disk::names(path)?.iter().any(is_file_of_object))
    }

    fn quarantine_misnamed(
        &self,
        device: &Path,
        policy: PolicyIndex,
        path: &Path,
    ) -> io::Result<PathBuf> {
        apus_disk::quarantine(device, &policy.suffixed("objects"), path)
    }
}
