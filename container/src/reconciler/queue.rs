//! The rows of the queue on their servers: replicators add them, the reconciler removes them.
//!
//! They have no objects behind them, so they go to container servers directly. An added row counts
//! as queued only when a majority has it; a removed one that stays somewhere comes again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::policy::majority;
use apus_cluster::reconciler::{Entry, Operation, queue_container};
use apus_cluster::{HashConf, Timestamp, reconciler};
use apus_daemon::http::{empty, full, set};
use apus_daemon::{Body, Clock};
use apus_ring::{Device, SharedRing};
use apus_wire::{Client, NodeRequest, headers};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};

use crate::kind::ObjectRecord;

/// The way to the queue of misplaced objects.
#[derive(Debug, Clone)]
pub struct Queue {
    /// To other servers.
    pub client: Arc<Client>,
    /// Where containers live.
    pub containers: Arc<SharedRing>,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Reasons why entries were not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// No majority of the queue's servers accepted them.
    #[error("{accepted} servers accepted rows of {}/{container}", reconciler::ACCOUNT)]
    NoMajority {
        /// Servers that accepted them.
        accepted: usize,
        /// The container of the queue.
        container: String,
    },
    /// The request cannot be built.
    #[error("invalid request: {0}")]
    Request(#[from] http::Error),
    /// The rows cannot be encoded.
    #[error("invalid rows: {0}")]
    Rows(#[from] serde_json::Error),
}

/// The row of an entry: `created_at` is its own time, `written` that of the write that it is about,
/// with all that a listing row packs into it.
pub(super) fn row(
    entry: &Entry,
    operation: Operation,
    created_at: &str,
    written: &str,
) -> ObjectRecord {
    ObjectRecord {
        name: entry.to_string(),
        created_at: created_at.to_owned(),
        size: Some(0),
        content_type: Some(operation.content_type().to_owned()),
        etag: Some(written.to_owned()),
        ..ObjectRecord::default()
    }
}

/// Where a container of the queue lies.
struct Place {
    partition: u32,
    primaries: Vec<Device>,
    /// As many as primaries.
    handoffs: VecDeque<Device>,
}

impl Queue {
    fn place(&self, container: &str) -> Place {
        let ring = self.containers.get();
        let partition = ring.partition_of(&self.hash, &[reconciler::ACCOUNT, container]);
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let handoffs = ring.handoffs(partition).take(primaries.len()).cloned().collect();
        Place { partition, primaries, handoffs }
    }

    fn request(
        &self,
        method: Method,
        partition: u32,
        names: &[&str],
        time: Timestamp,
    ) -> NodeRequest {
        let mut request_headers = HeaderMap::new();
        set(&mut request_headers, headers::TIMESTAMP, &time.to_string());
        set(&mut request_headers, headers::POLICY_INDEX, "0");
        let id = apus_daemon::http::new_trans_id(self.clock.as_ref(), "");
        set(&mut request_headers, headers::TRANS_ID, &id);
        let names = std::iter::once(&reconciler::ACCOUNT).chain(names);
        NodeRequest {
            method,
            partition,
            names: names.map(|name| (*name).to_owned()).collect(),
            query: String::new(),
            headers: request_headers,
        }
    }

    async fn took(&self, node: &Device, request: &NodeRequest, body: Body) -> bool {
        match self.client.send(&node.for_replication(), request, body).await {
            Ok(response) if response.status().is_success() => true,
            Ok(response) => {
                tracing::debug!(status = %response.status(), node = node.address(), "queue");
                false
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), "queue");
                false
            }
        }
    }

    /// Adds rows to a container of the queue, which is made by that.
    ///
    /// # Errors
    /// See [`QueueError`].
    pub(crate) async fn add(
        &self,
        container: &str,
        rows: &[ObjectRecord],
    ) -> Result<(), QueueError> {
        let Place { partition, primaries, handoffs } = self.place(container);
        let now = Timestamp::from_duration(self.clock.now());
        let update = Method::from_bytes(b"UPDATE").map_err(http::Error::from)?;
        let request = self.request(update, partition, &[container], now);
        let body = Bytes::from(serde_json::to_vec(rows)?);
        let handoffs = Mutex::new(handoffs);
        let sent = primaries.iter().map(|primary| async {
            let mut node = Some(primary.clone());
            while let Some(at) = node {
                if self.took(&at, &request, full(body.clone())).await {
                    return true;
                }
                node = handoffs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            }
            false
        });
        let took = join_all(sent).await.into_iter().filter(|took| *took).count();
        if took < majority(primaries.len()) {
            return Err(QueueError::NoMajority { accepted: took, container: container.to_owned() });
        }
        apus_fault::point("reconcile.entries.queued");
        Ok(())
    }

    /// Adds an entry by hand, for an object that was written or deleted at `written`; gives the
    /// container that it is in. An entry that was removed comes back only when it is forced to.
    ///
    /// # Errors
    /// See [`QueueError`].
    pub async fn enqueue(
        &self,
        entry: &Entry,
        operation: Operation,
        written: Timestamp,
        force: bool,
    ) -> Result<String, QueueError> {
        let now = Timestamp::from_duration(self.clock.now());
        let created_at = if force { now } else { written };
        let container = queue_container(written);
        let row = row(entry, operation, &created_at.to_string(), &written.to_string());
        self.add(&container, &[row]).await?;
        Ok(container)
    }

    /// Removes an entry from each primary, unless something newer than `time` is asked for.
    pub(crate) async fn remove(&self, container: &str, entry: &str, time: Timestamp) {
        let Place { partition, primaries, .. } = self.place(container);
        let request = self.request(Method::DELETE, partition, &[container, entry], time);
        join_all(primaries.iter().map(|node| self.took(node, &request, empty()))).await;
        apus_fault::point("reconcile.entry.removed");
    }
}
