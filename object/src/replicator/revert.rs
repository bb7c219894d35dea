//! Pushes a handoff partition to its primaries, and removes what they have.
//!
//! Source: `swift/obj/replicator.py`, `revert`. An object is removed when all primaries, or as many
//! as `handoff_delete` requires, have reported that they lack nothing of it. After sending, each
//! node is asked again: only its own report counts. What arrives meanwhile stays until it is
//! confirmed as well.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use apus_cluster::PathHash;
use apus_ring::{Device, DeviceId};

use super::job::{Batch, PartitionJob};
use super::redundancy::{self, Redundancy};
use super::report::Report;
use super::returned;
use super::sender::{ObjectSelection, SyncError, exchange};
use crate::ssync::line::Offer;
use crate::store::StoreError;
use crate::store::replication_lock::{LockError, LockOptions};

/// How long the partition's lock is waited for: a receiver has precedence.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// Objects that one job of a device's thread removes.
const REMOVED_AT_ONCE: usize = 64;

/// Pushes a handoff partition to its primaries and removes what they have.
pub(super) async fn revert(job: &PartitionJob) -> Report {
    let mut report = Report { attempted: 1, ..Report::default() };
    let (device, partition) = (&job.local.device, job.partition.number);
    let nodes = job.other_primaries();
    // Held to the end: two nodes that push to each other must not both remove objects.
    let options = LockOptions { create: false, per_device: 0, wait: LOCK_WAIT };
    let lock = job.store.lock_replication(device, &job.partition, options).await;
    let _lock = match lock {
        Ok(lock) => lock,
        Err(LockError::Store(StoreError::Disk(error)))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            return report;
        }
        Err(error) => {
            tracing::info!(device, partition, %error, "A handoff partition is in use");
            report.handoffs_left = 1;
            let unknown = job.count_objects().await.unwrap_or(0);
            report.redundancy(job.partition.policy, Redundancy { below: 0, unknown });
            return report;
        }
    };
    let mut push = Push { job, nodes, failed: BTreeSet::new(), report: &mut report };
    match push.all().await {
        Ok(true) => report.removed += 1,
        Ok(false) => report.handoffs_left += 1,
        Err(error) => {
            tracing::error!(device, partition, %error, "Failed to push a handoff partition");
            report.handoffs_left += 1;
        }
    }
    report
}

struct Push<'a> {
    job: &'a PartitionJob,
    nodes: Vec<Device>,
    /// Nodes that are not tried again for this partition.
    failed: BTreeSet<DeviceId>,
    report: &'a mut Report,
}

impl Push<'_> {
    /// Pushes all objects; returns whether nothing is left of the partition.
    async fn all(&mut self) -> Result<bool, StoreError> {
        let (store, device) = (&self.job.store, &self.job.local.device);
        let suffixes = self.job.suffixes().await?;
        let needed = match self.job.options.handoff_delete {
            _ if apus_fault::planted("bug.hand-over-to-one") => 1,
            0 => self.nodes.len(),
            some => some.min(self.nodes.len()),
        };
        let mut batches = self.job.batches(suffixes);
        // A partition without primaries stays.
        while needed > 0
            && let Some(batch) = batches.next().await?
        {
            self.batch(&batch, needed).await?;
        }
        let good = self.nodes.iter().filter(|node| !self.failed.contains(&node.id)).count();
        self.report.success += good as u64;
        let (engine, partition) = (self.job.engine(), self.job.partition.clone());
        store.background(device, move || engine.remove_if_empty(&partition)).await
    }

    /// Pushes some objects and removes those that enough nodes have.
    async fn batch(&mut self, batch: &Batch, needed: usize) -> Result<(), StoreError> {
        let held = returned::held(self.job, batch).await;
        self.report.suspect += held.len() as u64;
        let mut confirmed = vec![0; batch.offers.len()];
        let (mut lacked, mut answered) = (vec![0; batch.offers.len()], 0);
        let mut regions = BTreeSet::new();
        for node in self.nodes.clone() {
            if self.failed.contains(&node.id) {
                continue;
            }
            // One copy goes to each far region; its nodes forward it to each other.
            let send = match regions.contains(&node.region) {
                true => ObjectSelection::Nothing,
                false => ObjectSelection::AllBut(&held),
            };
            match self.lacking(&node, &batch.offers, send).await {
                Ok(node_lacks) => {
                    if node.region != self.job.local.region {
                        regions.insert(node.region);
                    }
                    answered += 1;
                    for (count, offer) in lacked.iter_mut().zip(&batch.offers) {
                        *count += usize::from(node_lacks.before.contains(&offer.hash));
                    }
                    for (count, offer) in confirmed.iter_mut().zip(&batch.offers) {
                        *count += usize::from(!node_lacks.after.contains(&offer.hash));
                    }
                }
                Err(error) => {
                    let (device, partition) = (&self.job.local.device, self.job.partition.number);
                    let (address, remote) = (node.replication_address(), &node.device);
                    tracing::warn!(device, partition, address, remote, %error, "Failed to push objects to a primary");
                    self.failed.insert(node.id);
                    self.report.failed(&node);
                }
            }
        }
        let counts = redundancy::of_handoff(&lacked, answered);
        self.report.redundancy(self.job.partition.policy, counts);
        apus_fault::point("replicate.handoff.confirmed");
        let objects = batch.offers.iter().zip(&batch.times).zip(confirmed);
        let (done, left): (Vec<_>, Vec<_>) =
            objects.partition(|(_, confirmed)| *confirmed >= needed);
        self.report.objects_behind += left.len() as u64;
        let done: Vec<_> =
            done.into_iter().map(|((offer, times), _)| (offer.hash, *times)).collect();
        for some in done.chunks(REMOVED_AT_ONCE) {
            let (partition, some) = (self.job.partition.clone(), some.to_vec());
            let engine = self.job.engine();
            let remove = move || {
                let mut gone = 0;
                for (hash, times) in some {
                    gone += u64::from(engine.remove(&partition.place(hash), times)?);
                    apus_fault::point("replicate.handoff.removed");
                }
                Ok(gone)
            };
            let gone = self.job.store.background(&self.job.local.device, remove).await?;
            self.report.objects_removed += gone;
        }
        Ok(())
    }

    /// Sends objects to a node; returns those that it lacks before and after that.
    async fn lacking(
        &mut self,
        node: &Device,
        offers: &[Offer],
        send: ObjectSelection<'_>,
    ) -> Result<Lacking, SyncError> {
        let done = exchange(&self.job.source(), node, offers, send).await?;
        self.report.objects_sent += done.sent;
        self.report.synced += u64::from(done.sent > 0);
        let before: BTreeSet<PathHash> = done.wanted.into_iter().map(|(hash, _)| hash).collect();
        if before.is_empty() || matches!(send, ObjectSelection::Nothing) {
            return Ok(Lacking { after: before.clone(), before });
        }
        let sent: Vec<Offer> =
            offers.iter().filter(|offer| before.contains(&offer.hash)).copied().collect();
        let again = exchange(&self.job.source(), node, &sent, ObjectSelection::Nothing).await?;
        let after = again.wanted.into_iter().map(|(hash, _)| hash).collect();
        Ok(Lacking { before, after })
    }
}

/// Objects that a node lacks before and after they were sent.
struct Lacking {
    before: BTreeSet<PathHash>,
    after: BTreeSet<PathHash>,
}
