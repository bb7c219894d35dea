//! Replication of one partition of one local device, as both kinds of it need.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_daemon::http::{BodyError, empty};
use apus_ring::{Device, Ring};
use apus_wire::Client;
use apus_wire::client::NodeError;
use apus_wire::message::object::{
    PartitionAddress, ReplicatePartitionRequest, ReplicatePurpose, ReplicateReply,
};
use futures_util::FutureExt;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};

use super::options::ReplicatorOptions;
use super::sender::Source;
use super::unchanged::SyncedPartitions;
use crate::diskfile::partition_mark::PartitionMark;
use crate::engine::Engine;
use crate::engine::object::Times;
use crate::engine::place::Partition;
use crate::engine::suffix_hashes::decode_reply;
use crate::ssync::line::Offer;
use crate::store::suffix_hashes::{CurrentHashes, HashingOptions};
use crate::store::{ObjectStore, StoreError};

/// Suffixes that one job of a device's thread counts.
const COUNTED_AT_ONCE: usize = 64;
/// Objects that one exchange offers, in addition to the rest of a suffix. They are held in memory.
const OFFERS_AT_ONCE: usize = 4096;
/// Largest response to `REPLICATE`. There are 4,096 suffixes, and Swift's oldest protocol takes some
/// 60 bytes for each. Decoding may take 128 times this (`pickle::loads`).
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Cloning shares everything.
#[derive(Debug, Clone)]
pub(super) struct PartitionJob {
    pub(super) store: Arc<ObjectStore>,
    pub(super) client: Arc<Client>,
    /// This node's device, as in the ring.
    pub(super) local: Device,
    pub(super) partition: Partition,
    pub(super) ring: Arc<Ring>,
    pub(super) options: Arc<ReplicatorOptions>,
    /// Whether suffix directories are compared with the stored hashes.
    pub(super) list: bool,
    /// The time at which the device went away for longer than tombstones are kept.
    pub(super) away_since: Option<Timestamp>,
    /// The mark of the partition before it was read.
    pub(super) mark: Option<PartitionMark>,
    pub(super) memory: SyncedPartitions,
}

/// Suffix hashes of a partition on another node.
#[derive(Debug)]
pub(super) struct Remote {
    /// By suffix.
    pub(super) hashes: BTreeMap<String, String>,
    /// The mark of the partition there before these were read.
    pub(super) mark: Option<PartitionMark>,
}

/// Why a node did not return its hashes.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The device is not mounted there.
    #[error("its device is not mounted")]
    Unmounted,
    #[error("{0}")]
    Node(NodeError),
    #[error("the node answered {0}")]
    Status(StatusCode),
    #[error("the node did not answer in time")]
    Timeout,
    #[error("its response broke off: {0}")]
    Body(#[source] BodyError),
    #[error("its suffix hashes cannot be decoded")]
    Malformed,
}

impl PartitionJob {
    /// The source from which its objects are sent.
    pub(super) fn source(&self) -> Source {
        Source {
            store: self.store.clone(),
            client: self.client.clone(),
            device: self.local.device.clone(),
            partition: self.partition.clone(),
            // Nothing is replicated while a part power is being changed.
            other_power: None,
            node_timeout: self.options.node_timeout,
            http_timeout: self.options.http_timeout,
        }
    }

    /// All primaries except this device.
    pub(super) fn other_primaries(&self) -> Vec<Device> {
        let primaries = self.ring.primaries(self.partition.number);
        primaries.into_iter().filter(|node| node.id != self.local.id).cloned().collect()
    }

    /// Whether this device is not a primary of the partition.
    pub(super) fn is_handoff(&self) -> bool {
        let primaries = self.ring.primaries(self.partition.number);
        !primaries.iter().any(|node| node.id == self.local.id)
    }

    /// The suffix hashes of a node.
    pub(super) async fn remote_hashes(&self, node: &Device) -> Result<Remote, RemoteError> {
        let (partition, policy) = (self.partition.number, self.partition.policy);
        let address = PartitionAddress { partition, policy };
        let request =
            ReplicatePartitionRequest { address, purpose: ReplicatePurpose::Hashes }.encode();
        let (client, timeout) = (&self.client, self.options.http_timeout);
        let node = node.for_replication();
        let answer = client.send_regardless(&node, &request, empty(), timeout).await;
        let answer = answer.map_err(RemoteError::Node)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::INSUFFICIENT_STORAGE => return Err(RemoteError::Unmounted),
            status => return Err(RemoteError::Status(status)),
        }
        let mark = ReplicateReply::decode(answer.headers()).mark;
        let mark = mark.as_deref().and_then(PartitionMark::parse);
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().boxed();
        let body = tokio::time::timeout(timeout, body).await.map_err(|_| RemoteError::Timeout)?;
        let body = body.map_err(RemoteError::Body)?.to_bytes();
        let hashes = decode_reply(&body).ok_or(RemoteError::Malformed)?;
        Ok(Remote { hashes, mark })
    }

    /// Whether a primary comes before this device in the ring's order.
    pub(super) fn is_earlier(&self, node: &Device) -> bool {
        let primaries = self.ring.primaries(self.partition.number);
        let place = |id| primaries.iter().position(|primary| primary.id == id);
        match (place(node.id), place(self.local.id)) {
            (Some(theirs), Some(own)) => theirs < own,
            (theirs, _) => theirs.is_some(),
        }
    }

    /// The engine of the partition.
    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        self.store.engine(self.partition.policy).clone()
    }

    /// The suffixes of the partition.
    pub(super) async fn suffixes(&self) -> Result<Vec<String>, StoreError> {
        let (engine, partition) = (self.engine(), self.partition.clone());
        self.store.background(&self.local.device, move || engine.suffixes(&partition)).await
    }

    /// The suffix hashes of the partition here; those of `recalculate` are computed in any case.
    pub(super) async fn local_hashes(
        &self,
        recalculate: &BTreeSet<String>,
        list: bool,
    ) -> Result<CurrentHashes, StoreError> {
        let options = HashingOptions { recalculate, list, reclaim_age: self.options.reclaim_age };
        self.store.suffix_hashes(&self.local.device, &self.partition, options).await
    }

    /// How many objects and tombstones this device has.
    pub(super) async fn count_objects(&self) -> Result<u64, StoreError> {
        let (store, device) = (&self.store, &self.local.device);
        let suffixes = self.suffixes().await?;
        let mut count = 0;
        for some in suffixes.chunks(COUNTED_AT_ONCE) {
            let (engine, partition, some) = (self.engine(), self.partition.clone(), some.to_vec());
            let look = move || {
                let counts = some.iter().map(|suffix| engine.count_objects(&partition, suffix));
                counts.sum::<io::Result<u64>>()
            };
            count += store.background(device, look).await?;
        }
        Ok(count)
    }

    /// The objects of some suffixes, in batches of bounded size.
    pub(super) fn batches(&self, suffixes: Vec<String>) -> Batches<'_> {
        Batches { job: self, suffixes: suffixes.into() }
    }
}

/// See [`PartitionJob::batches`].
pub(super) struct Batches<'a> {
    job: &'a PartitionJob,
    suffixes: VecDeque<String>,
}

/// Objects that are offered together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) offers: Vec<Offer>,
    /// The state of each, in the same order.
    pub(super) times: Vec<Times>,
}

impl Batches<'_> {
    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, StoreError> {
        let mut batch = Batch::default();
        while batch.offers.len() < OFFERS_AT_ONCE
            && let Some(suffix) = self.suffixes.pop_front()
        {
            let (engine, partition) = (self.job.engine(), self.job.partition.clone());
            let reclaim = self.job.store.reclaim(self.job.options.reclaim_age);
            let list = move || engine.objects(&partition, &suffix, &reclaim);
            for (hash, times) in self.job.store.background(&self.job.local.device, list).await? {
                batch.offers.push(Offer::new(hash, &times));
                batch.times.push(times);
            }
        }
        Ok((!batch.offers.is_empty()).then_some(batch))
    }
}
