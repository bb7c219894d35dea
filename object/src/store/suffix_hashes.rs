//! Brings the suffix hashes of a partition up to date.
//!
//! A few suffixes are hashed at a time, so that the threads of the device serve other operations in
//! between. Source: `swift/obj/diskfile.py`, `__get_hashes`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use apus_cluster::PolicyIndex;

use super::{ObjectStore, StoreError};
use crate::diskfile::partition_mark::{PartitionMark, PartitionsDirectory};
use crate::engine::place::Partition;
use crate::engine::suffix_hashes::{Consolidated, SuffixHashes};

/// Suffixes that are hashed in one job of a device's thread.
const SUFFIXES_AT_ONCE: usize = 16;
/// Attempts when others change the hashes meanwhile; after that the result is used, but not stored.
const TRIES_MAX: u32 = 4;

/// The current hashes of a partition.
#[derive(Debug, Default)]
pub(crate) struct CurrentHashes {
    /// By suffix. An unreadable suffix is missing, so that it equals no other node's.
    pub(crate) hashes: BTreeMap<String, String>,
    /// How many had to be computed.
    pub(crate) hashed: u64,
}

/// How the hashes of a partition are brought up to date.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashingOptions<'a> {
    /// Suffixes to compute in any case.
    pub(crate) recalculate: &'a BTreeSet<String>,
    /// Whether the existing suffixes are compared with the stored hashes.
    pub(crate) list: bool,
    /// Age up to which tombstones are kept.
    pub(crate) reclaim_age: Duration,
}

/// By suffix; `None` is to be computed.
type Hashes = BTreeMap<String, Option<String>>;

impl ObjectStore {
    /// The suffix hashes of a partition. One that does not exist has none, and is not created.
    pub(crate) async fn suffix_hashes(
        &self,
        device: &str,
        partition: &Partition,
        options: HashingOptions<'_>,
    ) -> Result<CurrentHashes, StoreError> {
        let mut hashed = 0;
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((before, mut known, changed)) =
                self.stored_hashes(device, partition, options).await?
            else {
                return Ok(CurrentHashes::default());
            };
            let missing: Vec<String> = known
                .iter()
                .filter(|(_, hash)| hash.is_none())
                .map(|(suffix, _)| suffix.clone())
                .collect();
            hashed += missing.len() as u64;
            for some in missing.chunks(SUFFIXES_AT_ONCE) {
                let age = options.reclaim_age;
                known.extend(self.hash_suffixes(device, partition, some.to_vec(), age).await?);
            }
            // A suffix that does not exist any longer is marked by an empty hash.
            known.retain(|_, hash| hash.as_deref() != Some(""));
            let hashes = || {
                let good =
                    known.iter().filter_map(|(suffix, hash)| Some((suffix.clone(), hash.clone()?)));
                good.collect()
            };
            if missing.is_empty() && !changed {
                return Ok(CurrentHashes { hashes: hashes(), hashed });
            }
            let mut kept = known.clone();
            // Even one that does not exist yet: its directory may be created at this moment.
            kept.extend(before.unsettled.iter().map(|suffix| (suffix.clone(), None)));
            let new = SuffixHashes::new(kept, self.clock.now());
            let (engine, of) = (self.engine(partition.policy).clone(), partition.clone());
            let store = move || match engine.store_hashes(&of, &before.hashes, new) {
                // The partition was handed off and removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                stored => stored,
            };
            if self.background(device, store).await? || tries >= TRIES_MAX {
                return Ok(CurrentHashes { hashes: hashes(), hashed });
            }
        }
    }

    /// The stored hashes, those to use of them, and whether the two differ.
    async fn stored_hashes(
        &self,
        device: &str,
        partition: &Partition,
        options: HashingOptions<'_>,
    ) -> Result<Option<(Consolidated, Hashes, bool)>, StoreError> {
        let HashingOptions { recalculate, list, .. } = options;
        let (engine, of) = (self.engine(partition.policy).clone(), partition.clone());
        let (recalculate, now) = (recalculate.clone(), self.clock.now());
        let work = move || {
            let found = match engine.consolidate_hashes(&of, now) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found?,
            };
            let mut known = found.hashes.suffixes.clone();
            if !found.hashes.valid {
                known.clear();
            }
            if list || !found.hashes.valid {
                let existing = engine.suffixes(&of)?;
                known.retain(|suffix, _| existing.binary_search(suffix).is_ok());
                for suffix in existing {
                    known.entry(suffix).or_default();
                }
            }
            let changed = !found.hashes.valid || known != found.hashes.suffixes;
            known.extend(recalculate.into_iter().map(|suffix| (suffix, None)));
            Ok(Some((found, known, changed)))
        };
        self.background(device, work).await
    }

    /// Hashes some suffixes. One that does not exist gets an empty hash, an unreadable one none.
    async fn hash_suffixes(
        &self,
        device: &str,
        partition: &Partition,
        suffixes: Vec<String>,
        reclaim_age: Duration,
    ) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let (engine, of) = (self.engine(partition.policy).clone(), partition.clone());
        let reclaim = self.reclaim(reclaim_age);
        let work = move || {
            let hash = |suffix: String| {
                let hash = match engine.hash_suffix(&of, &suffix, &reclaim) {
                    Ok(hash) => Some(hash.unwrap_or_default()),
                    Err(error) => {
                        let partition = of.directory();
                        tracing::error!(%error, partition = %partition.display(), suffix, "Failed to hash a suffix");
                        None
                    }
                };
                (suffix, hash)
            };
            Ok(suffixes.into_iter().map(hash).collect())
        };
        self.background(device, work).await
    }

    /// The marks of some partitions of a device.
    pub(crate) async fn partition_marks(
        &self,
        name: &str,
        device: PathBuf,
        policy: PolicyIndex,
        numbers: Vec<u32>,
    ) -> Result<Vec<Option<PartitionMark>>, StoreError> {
        let (now, counters) = (self.clock.now(), self.counters.clone());
        let look = move || {
            let Ok(partitions) =
                PartitionsDirectory::open(&device.join(policy.suffixed("objects")))
            else {
                return Ok(vec![None; numbers.len()]);
            };
            let mark = |number| PartitionMark::of(&partitions, number, now, &counters);
            Ok(numbers.into_iter().map(mark).collect())
        };
        self.background(name, look).await
    }
}
