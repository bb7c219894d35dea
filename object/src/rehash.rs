//! Brings the suffix hashes of a partition up to date, a few suffixes at a time, so that a
//! device's threads serve others in between.
//!
//! Source: `swift/obj/diskfile.py`, `__get_hashes`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use apus_disk::Priority;

use crate::device::DeviceError;
use crate::diskfile::hashes::{self, Consolidated};
use crate::diskfile::partition::Partition;
use crate::diskfile::sweep::{Reclaim, hash_suffix};
use crate::server::Server;

/// Suffixes in one job of a device's thread.
const SUFFIXES_AT_ONCE: usize = 16;
/// How often it is begun anew when others change the hashes meanwhile; after that the result is
/// used, but not kept.
const TRIES_MAX: u32 = 4;

/// The hashes of a partition.
#[derive(Debug, Default)]
pub(crate) struct Rehashed {
    /// Suffix → hash. One that could not be read is not there, so that it equals nobody's.
    pub(crate) hashes: BTreeMap<String, String>,
    /// How many had to be computed.
    pub(crate) hashed: u64,
}

/// Why there are no hashes.
#[derive(Debug)]
pub(crate) enum RehashError {
    Device(DeviceError),
    Io(io::Error),
}

impl From<DeviceError> for RehashError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl Server {
    /// Runs file work of replication on the threads of a device.
    pub(crate) async fn background<T: Send + 'static>(
        &self,
        device: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, RehashError> {
        self.devices.run(device, Priority::Background, work).await?.map_err(RehashError::Io)
    }

    /// What may go at this time.
    pub(crate) fn reclaim(&self) -> Reclaim {
        Reclaim { now: self.parts.clock.now(), age: self.parts.replication.reclaim_age }
    }

    /// The suffix hashes of a partition; those of `anew` are computed whatever is known of them.
    /// With `list`, the suffix directories are compared with what is known. A partition that is
    /// not there has none, and is not made.
    pub(crate) async fn suffix_hashes(
        &self,
        device: &str,
        partition: &Partition,
        anew: &BTreeSet<String>,
        list: bool,
    ) -> Result<Rehashed, RehashError> {
        let mut hashed = 0;
        let mut tries = 0;
        loop {
            tries += 1;
            let Some((seen, mut known, changed)) =
                self.known_hashes(device, partition, anew, list).await?
            else {
                return Ok(Rehashed::default());
            };
            let wanted: Vec<String> = known
                .iter()
                .filter(|(_, hash)| hash.is_none())
                .map(|(suffix, _)| suffix.clone())
                .collect();
            hashed += wanted.len() as u64;
            for some in wanted.chunks(SUFFIXES_AT_ONCE) {
                known.extend(self.hash_some(device, partition, some.to_vec()).await?);
            }
            // A suffix that is gone is marked by an empty hash.
            known.retain(|_, hash| hash.as_deref() != Some(""));
            let hashes = || {
                let good =
                    known.iter().filter_map(|(suffix, hash)| Some((suffix.clone(), hash.clone()?)));
                good.collect()
            };
            if wanted.is_empty() && !changed {
                return Ok(Rehashed { hashes: hashes(), hashed });
            }
            let mut kept = known.clone();
            // Also one that is not there yet: its directory may be made at this moment.
            kept.extend(seen.unsettled.iter().map(|suffix| (suffix.clone(), None)));
            let (directory, now) = (partition.directory(), self.parts.clock.now());
            let counters = self.parts.counters.clone();
            let store = move || match hashes::store(&directory, &seen.hashes, kept, now, &counters)
            {
                // Handed off and removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                stored => stored,
            };
            if self.background(device, store).await? || tries >= TRIES_MAX {
                return Ok(Rehashed { hashes: hashes(), hashed });
            }
        }
    }

    /// What is known of a partition's suffixes, and whether that differs from `hashes.pkl`.
    async fn known_hashes(
        &self,
        device: &str,
        partition: &Partition,
        anew: &BTreeSet<String>,
        list: bool,
    ) -> Result<Option<(Consolidated, BTreeMap<String, Option<String>>, bool)>, RehashError> {
        let (own, anew, now) = (partition.clone(), anew.clone(), self.parts.clock.now());
        let counters = self.parts.counters.clone();
        let work = move || {
            let found = match hashes::consolidate(&own.directory(), now, &counters) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found?,
            };
            let mut known = found.hashes.suffixes.clone();
            if !found.hashes.valid {
                known.clear();
            }
            if list || !found.hashes.valid {
                let there = own.suffixes(&counters)?;
                known.retain(|suffix, _| there.binary_search(suffix).is_ok());
                for suffix in there {
                    known.entry(suffix).or_default();
                }
            }
            let changed = !found.hashes.valid || known != found.hashes.suffixes;
            known.extend(anew.into_iter().map(|suffix| (suffix, None)));
            Ok(Some((found, known, changed)))
        };
        self.background(device, work).await
    }

    /// Hashes some suffixes; one that is gone gets an empty hash, one that cannot be read none.
    async fn hash_some(
        &self,
        device: &str,
        partition: &Partition,
        suffixes: Vec<String>,
    ) -> Result<Vec<(String, Option<String>)>, RehashError> {
        let (own, reclaim) = (partition.clone(), self.reclaim());
        let counters = Arc::clone(&self.parts.counters);
        let work = move || {
            let hash = |suffix: String| {
                let hash = match hash_suffix(&own, &suffix, &reclaim, &counters) {
                    Ok(hash) => Some(hash.unwrap_or_default()),
                    Err(error) => {
                        let partition = own.directory();
                        tracing::error!(%error, partition = %partition.display(), suffix, "hash");
                        None
                    }
                };
                (suffix, hash)
            };
            Ok(suffixes.into_iter().map(hash).collect())
        };
        self.background(device, work).await
    }
}
