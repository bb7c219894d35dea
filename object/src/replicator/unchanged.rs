//! Finds out which partitions of a sweep need not be compared: those that were in sync with all
//! other primaries when they were compared last, of which no primary's suffix hashes have changed
//! since.
//!
//! The other primaries are asked about many partitions with one request, and answer with marks
//! ([`PartitionMark`]), by which a partition that was lost or changed is noticed in the sweep that
//! comes to it. Servers of Swift give no marks, so that each of their partitions is compared in each
//! sweep; so is one whose directories are to be listed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::PolicyIndex;
use apus_daemon::http::empty;
use apus_ring::{Device, DeviceId, Ring};
use apus_wire::Client;
use apus_wire::message::object::{PartitionAddress, ReplicatePartitionRequest, ReplicatePurpose};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::redundancy::Redundancy;
use super::report::Report;
use crate::diskfile::partition_mark::PartitionMark;
use crate::store::ObjectStore;

/// Partitions that are asked for with one request.
const AT_ONCE: usize = 64;
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Partitions that are remembered at most, of some 50 bytes each.
const PARTITIONS_MAX: usize = 1 << 20;

/// A partition of a device in a policy.
type Key = (DeviceId, u32, u32);

/// A partition that was in sync with all other primaries.
#[derive(Debug, Clone, Copy)]
struct SyncedPartition {
    /// Its own mark at the time.
    own: PartitionMark,
    /// Hash of the marks of the other primaries.
    others: u64,
    /// Its suffixes.
    suffixes: u32,
    /// The last sweep that visited it.
    sweep: u32,
}

/// The mark of each other primary.
pub(super) type Marks = BTreeMap<DeviceId, PartitionMark>;

fn together(marks: &Marks) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (id, mark) in marks {
        hasher.write_u64(u64::from(*id));
        hasher.write_u64(mark.number());
    }
    hasher.finish()
}

/// Partitions that were in sync, by device, policy and number.
#[derive(Debug, Default)]
struct SyncedTable {
    known: HashMap<Key, SyncedPartition>,
    /// The rings to which it belongs.
    rings: BTreeMap<u32, Arc<Ring>>,
    sweep: u32,
}

/// What a replicator remembers from sweep to sweep, in memory only.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncedPartitions(Arc<Mutex<SyncedTable>>);

impl SyncedPartitions {
    fn lock(&self) -> std::sync::MutexGuard<'_, SyncedTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a sweep by these rings; another ring than before makes all forgotten.
    pub(super) fn begin(&self, rings: BTreeMap<u32, Arc<Ring>>) {
        let mut found = self.lock();
        let is_same = found.rings.len() == rings.len()
            && found.rings.iter().zip(&rings).all(|((policy, before), (other, now))| {
                policy == other && Arc::ptr_eq(before, now)
            });
        if !is_same {
            found.known.clear();
        }
        found.rings = rings;
        found.sweep = found.sweep.wrapping_add(1);
    }

    /// Ends a sweep over everything: what it did not come to is gone, and is forgotten.
    pub(super) fn end(&self) {
        let mut found = self.lock();
        let sweep = found.sweep;
        found.known.retain(|_, known| known.sweep == sweep);
    }

    fn get(&self, key: Key) -> Option<SyncedPartition> {
        let mut found = self.lock();
        let sweep = found.sweep;
        let known = found.known.get_mut(&key)?;
        known.sweep = sweep;
        Some(*known)
    }

    /// Notes that a partition was in sync with all other primaries.
    pub(super) fn remember(&self, key: Key, own: PartitionMark, marks: &Marks, suffixes: usize) {
        let mut found = self.lock();
        if found.known.len() < PARTITIONS_MAX || found.known.contains_key(&key) {
            let suffixes = u32::try_from(suffixes).unwrap_or(u32::MAX);
            let (others, sweep) = (together(marks), found.sweep);
            found.known.insert(key, SyncedPartition { own, others, suffixes, sweep });
        }
    }

    /// Forgets a partition.
    pub(super) fn forget(&self, key: Key) {
        self.lock().known.remove(&key);
    }
}

/// One policy on one device of ours.
#[derive(Debug)]
pub(super) struct PartitionFilter<'a> {
    pub(super) store: &'a ObjectStore,
    pub(super) client: &'a Client,
    pub(super) memory: &'a SyncedPartitions,
    pub(super) ring: &'a Ring,
    pub(super) policy: PolicyIndex,
    /// The device of ours.
    pub(super) local: &'a Device,
    /// For an answer.
    pub(super) timeout: Duration,
}

impl PartitionFilter<'_> {
    /// Those partitions that must be compared, with their marks; the others are counted in `report`.
    /// `is_listed` says which are to be compared in any case.
    pub(super) async fn sift(
        &self,
        numbers: &[u32],
        is_listed: impl Fn(u32) -> bool,
        report: &mut Report,
    ) -> Vec<(u32, Option<PartitionMark>)> {
        let mut rest = Vec::new();
        let mut silent = HashSet::new();
        for some in numbers.chunks(AT_ONCE) {
            let own = self.own_marks(some).await;
            let mut candidates = Vec::new();
            for (number, mark) in some.iter().copied().zip(own) {
                let known = self.memory.get(self.key(number));
                match known.filter(|known| mark == Some(known.own) && !is_listed(number)) {
                    Some(known) => candidates.push((number, mark, known)),
                    None => rest.push((number, mark)),
                }
            }
            let marks = self.other_marks(&candidates, &mut silent).await;
            for (number, mark, known) in candidates {
                let marks = marks.get(&number);
                let primaries = self.others(number).len();
                if marks.is_some_and(|marks| {
                    marks.len() == primaries && together(marks) == known.others
                }) {
                    self.count(&known, primaries as u64, report);
                } else {
                    rest.push((number, mark));
                }
            }
        }
        rest
    }

    fn key(&self, number: u32) -> Key {
        (self.local.id, self.policy.0, number)
    }

    /// As a comparison that finds nothing.
    fn count(&self, known: &SyncedPartition, primaries: u64, report: &mut Report) {
        report.attempted += 1;
        report.success += primaries;
        report.hashmatch += primaries;
        report.suffixes_checked += u64::from(known.suffixes);
        report.redundancy(self.policy, Redundancy::default());
    }

    fn others(&self, number: u32) -> Vec<&Device> {
        if number >= self.ring.partitions() {
            return Vec::new();
        }
        let primaries = self.ring.primaries(number).into_iter();
        primaries.filter(|node| node.id != self.local.id).collect()
    }

    async fn own_marks(&self, numbers: &[u32]) -> Vec<Option<PartitionMark>> {
        let none = vec![None; numbers.len()];
        let Ok(device) = self.store.devices.path(&self.local.device) else { return none };
        let marks =
            self.store.partition_marks(&self.local.device, device, self.policy, numbers.to_vec());
        marks.await.unwrap_or(none)
    }

    /// By partition and device, as far as devices answer.
    async fn other_marks(
        &self,
        candidates: &[(u32, Option<PartitionMark>, SyncedPartition)],
        silent: &mut HashSet<DeviceId>,
    ) -> BTreeMap<u32, Marks> {
        let mut wanted: BTreeMap<DeviceId, (Device, Vec<u32>)> = BTreeMap::new();
        let mut found: BTreeMap<u32, Marks> = BTreeMap::new();
        for (number, ..) in candidates {
            found.insert(*number, Marks::new());
            for node in self.others(*number) {
                let asked = || (node.for_replication(), Vec::new());
                wanted.entry(node.id).or_insert_with(asked).1.push(*number);
            }
        }
        for (id, (node, numbers)) in wanted {
            if silent.contains(&id) {
                continue;
            }
            let Some(marks) = self.ask(&node, &numbers).await else {
                silent.insert(id);
                continue;
            };
            for (number, mark) in numbers.into_iter().zip(marks) {
                if let (Some(found), Some(mark)) = (found.get_mut(&number), mark) {
                    found.insert(id, mark);
                }
            }
        }
        found
    }

    /// Asks one device; `None` when it gives no marks.
    async fn ask(&self, node: &Device, numbers: &[u32]) -> Option<Vec<Option<PartitionMark>>> {
        let address = PartitionAddress { partition: *numbers.first()?, policy: self.policy };
        let purpose = ReplicatePurpose::Marks(numbers.to_vec());
        let request = ReplicatePartitionRequest { address, purpose }.encode();
        let answer =
            self.client.send_regardless(node, &request, empty(), self.timeout).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().boxed();
        let body = tokio::time::timeout(self.timeout, body).await.ok()?.ok()?.to_bytes();
        let marks: Vec<Value> = serde_json::from_slice(&body).ok()?;
        let mark = |mark: &Value| mark.as_str().and_then(PartitionMark::parse);
        (marks.len() == numbers.len()).then(|| marks.iter().map(mark).collect())
    }
}
