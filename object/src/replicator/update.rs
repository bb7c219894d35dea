//! Pushes a primary partition to its other primaries. The partition is never removed.
//!
//! Source: `swift/obj/replicator.py`, `update`. The next handoff replaces a primary whose device is
//! not mounted, but not one that cannot be reached, since that usually returns with its data.

use std::collections::{BTreeMap, BTreeSet};

use apus_cluster::PathHash;
use apus_daemon::seed;
use apus_ring::Device;

use super::job::{Batch, PartitionJob, RemoteError};
use super::redundancy::{Comparison, Redundancy};
use super::report::Report;
use super::returned;
use super::sender::{ObjectSelection, SyncError, exchange};
use super::unchanged::Marks;
use crate::diskfile::partition_mark::PartitionMark;
use crate::ssync::line::Wanted;
use crate::store::StoreError;

/// Result of comparing with one node.
enum NodeOutcome {
    /// It has everything. Its hashes were equal at once, if its mark is given.
    InSync(Option<PartitionMark>),
    /// It received something, but does not have everything.
    Behind,
    /// Its device is not mounted.
    Unmounted,
    /// It could not be asked, or refused what it lacks.
    Failed,
}

/// Compares a partition with its other primaries and pushes what they lack.
pub(super) async fn update(job: &PartitionJob) -> Report {
    let mut report = Report { attempted: 1, ..Report::default() };
    let key = (job.local.id, job.partition.policy.0, job.partition.number);
    job.memory.forget(key);
    let done = try_update(job, &mut report).await;
    if let (Ok(Some((marks, suffixes))), Some(own)) = (&done, job.mark)
        && job.away_since.is_none()
    {
        job.memory.remember(key, own, marks, *suffixes);
    }
    if let Err(error) = done {
        let (device, partition) = (&job.local.device, job.partition.number);
        tracing::error!(device, partition, %error, "Failed to compare a partition");
        report.partitions_behind = 1;
        job.other_primaries().iter().for_each(|node| report.failed(node));
        let unknown = job.count_objects().await.unwrap_or(0);
        report.redundancy(job.partition.policy, Redundancy { below: 0, unknown });
    }
    report
}

/// Returns the marks of the other primaries and the number of suffixes, if all primaries had
/// everything at once.
async fn try_update(
    job: &PartitionJob,
    report: &mut Report,
) -> Result<Option<(Marks, usize)>, StoreError> {
    let device = &job.local.device;
    let found = job.local_hashes(&BTreeSet::new(), job.list).await?;
    report.suffixes_hashed += found.hashed;
    let mut local = found.hashes;
    let mut primaries = job.other_primaries();
    if !primaries.is_empty() {
        // Nodes must not all begin with the same one.
        let turn = usize::from(u16::from_le_bytes(seed::bytes())) % primaries.len();
        primaries.rotate_left(turn);
    }
    let count = primaries.len();
    let handoffs = job.ring.handoffs(job.partition.number).cloned();
    let mut nodes = primaries.into_iter().chain(handoffs).enumerate();
    let (mut attempts_left, mut tried, mut failed) = (count, 0, 0);
    let mut regions = BTreeSet::new();
    let mut behind = false;
    let mut comparison = Comparison::default();
    let mut marks = Marks::new();
    while attempts_left > 0 {
        let Some((index, node)) = nodes.next() else {
            tracing::warn!(
                device,
                partition = job.partition.number,
                "The ring has no further handoff for a partition"
            );
            break;
        };
        attempts_left -= 1;
        tried += 1;
        // One copy goes to each far region; its nodes forward it to each other.
        if regions.contains(&node.region) {
            if index < count {
                ask(job, &node, &local, &mut comparison).await?;
            }
            continue;
        }
        let compared = (index < count).then_some(&mut comparison);
        let outcome = one(job, &node, &mut local, report, compared).await?;
        behind |= index < count && !matches!(outcome, NodeOutcome::InSync(_));
        if let (true, NodeOutcome::InSync(Some(mark))) = (index < count, &outcome) {
            marks.insert(node.id, *mark);
        }
        match outcome {
            NodeOutcome::InSync(_) | NodeOutcome::Behind => {
                report.success += 1;
                if node.region != job.local.region {
                    regions.insert(node.region);
                }
            }
            NodeOutcome::Unmounted => {
                failed += 1;
                report.failed(&node);
                // `handoff_delete` limits the number of copies, of which one is here.
                let expected = 1 + tried - failed + attempts_left;
                let enough = job.options.handoff_delete;
                if enough == 0 || expected < enough {
                    attempts_left += 1;
                }
            }
            NodeOutcome::Failed => {
                failed += 1;
                report.failed(&node);
            }
        }
    }
    report.suffixes_checked += local.len() as u64;
    report.partitions_behind += u64::from(behind);
    let total = match comparison.needs_total() {
        true => job.count_objects().await?,
        false => 0,
    };
    report.redundancy(job.partition.policy, comparison.count(total));
    Ok((marks.len() == count).then_some((marks, local.len())))
}

/// Compares with a primary to which nothing is sent.
async fn ask(
    job: &PartitionJob,
    node: &Device,
    local: &BTreeMap<String, String>,
    comparison: &mut Comparison,
) -> Result<(), StoreError> {
    let remote = match job.remote_hashes(node).await {
        Ok(remote) => remote,
        Err(RemoteError::Unmounted) => {
            comparison.unmounted();
            return Ok(());
        }
        Err(_) => {
            comparison.silent();
            return Ok(());
        }
    };
    let is_earlier = job.is_earlier(node);
    comparison.answered(is_earlier);
    let mut batches = job.batches(differing(local, &remote.hashes).into_iter().collect());
    let mut answers = true;
    while let Some(batch) = batches.next().await? {
        let lacked = match answers {
            true => {
                exchange(&job.source(), node, &batch.offers, ObjectSelection::Nothing).await.ok()
            }
            false => None,
        };
        answers = lacked.is_some();
        note(comparison, is_earlier, &batch, lacked.map(|done| done.wanted).as_deref());
    }
    Ok(())
}

/// Records which of some objects a primary lacks; `None` when it did not report that.
fn note(
    comparison: &mut Comparison,
    is_earlier: bool,
    batch: &Batch,
    wanted: Option<&[(PathHash, Wanted)]>,
) {
    match wanted {
        Some(wanted) => {
            wanted.iter().for_each(|(hash, _)| comparison.doubt(*hash, is_earlier, true));
        }
        None => {
            let hashes = batch.offers.iter().map(|offer| offer.hash);
            hashes.for_each(|hash| comparison.doubt(hash, is_earlier, false));
        }
    }
}

/// The suffixes that differ from a node's.
fn differing(
    local: &BTreeMap<String, String>,
    remote: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let differs = |(suffix, hash): &(&String, &String)| remote.get(*suffix) != Some(hash);
    local.iter().filter(differs).map(|(suffix, _)| suffix.clone()).collect()
}

/// Compares with a node and pushes what it lacks.
async fn one(
    job: &PartitionJob,
    node: &Device,
    local: &mut BTreeMap<String, String>,
    report: &mut Report,
    mut comparison: Option<&mut Comparison>,
) -> Result<NodeOutcome, StoreError> {
    let remote = match job.remote_hashes(node).await {
        Ok(remote) => remote,
        Err(RemoteError::Unmounted) => {
            comparison.into_iter().for_each(Comparison::unmounted);
            return Ok(NodeOutcome::Unmounted);
        }
        Err(error) => {
            comparison.into_iter().for_each(Comparison::silent);
            return Ok(failed(job, node, &error));
        }
    };
    if let Some(comparison) = comparison.as_deref_mut() {
        comparison.answered(job.is_earlier(node));
    }
    let mut suffixes = differing(local, &remote.hashes);
    let was_equal = suffixes.is_empty();
    if !suffixes.is_empty() {
        // The stored hashes may be old: they are computed again before anything is sent.
        let found = job.local_hashes(&suffixes, false).await?;
        report.suffixes_hashed += found.hashed;
        *local = found.hashes;
        suffixes = differing(local, &remote.hashes);
    }
    if suffixes.is_empty() {
        report.hashmatch += 1;
        return Ok(NodeOutcome::InSync(remote.mark.filter(|_| was_equal)));
    }
    report.synced += 1;
    report.suffixes_synced += suffixes.len() as u64;
    match push(job, node, suffixes, report, comparison).await? {
        Err(error) => return Ok(failed(job, node, &error)),
        Ok(false) => return Ok(NodeOutcome::Behind),
        Ok(true) => {}
    }
    // The node computes its hashes while the objects are still in memory, and shows that it is still
    // present. It may have more than this node, which it pushes itself.
    Ok(match job.remote_hashes(node).await {
        Ok(_) => NodeOutcome::InSync(None),
        Err(RemoteError::Unmounted) => NodeOutcome::Unmounted,
        Err(error) => failed(job, node, &error),
    })
}

/// Logs that a node could not be asked, or refused what it lacks.
fn failed(job: &PartitionJob, node: &Device, error: &dyn std::error::Error) -> NodeOutcome {
    let (device, partition) = (&job.local.device, job.partition.number);
    let (address, remote) = (node.replication_address(), &node.device);
    tracing::warn!(
        device,
        partition,
        address,
        remote,
        error = %error,
        "Failed to replicate a partition to a node"
    );
    NodeOutcome::Failed
}

/// Pushes the objects of some suffixes; returns whether the node has all of them now.
async fn push(
    job: &PartitionJob,
    node: &Device,
    suffixes: BTreeSet<String>,
    report: &mut Report,
    mut comparison: Option<&mut Comparison>,
) -> Result<Result<bool, SyncError>, StoreError> {
    let is_earlier = job.is_earlier(node);
    let mut batches = job.batches(suffixes.into_iter().collect());
    let mut all = true;
    while let Some(batch) = batches.next().await? {
        let held = returned::held(job, &batch).await;
        match exchange(&job.source(), node, &batch.offers, ObjectSelection::AllBut(&held)).await {
            Ok(done) => {
                if let Some(comparison) = comparison.as_deref_mut() {
                    note(comparison, is_earlier, &batch, Some(&done.wanted));
                }
                report.objects_sent += done.sent;
                let wanted = done.wanted.len() as u64;
                let kept = done.wanted.iter().filter(|(hash, _)| held.contains(hash)).count();
                report.suspect += kept as u64;
                report.objects_behind += wanted.saturating_sub(done.sent);
                all &= wanted == done.sent;
            }
            Err(error) => {
                // The rest is only listed: nothing is known of it.
                let mut left = Some(batch);
                while let (Some(comparison), Some(batch)) = (comparison.as_deref_mut(), left) {
                    note(comparison, is_earlier, &batch, None);
                    left = batches.next().await?;
                }
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(all))
}
