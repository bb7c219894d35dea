//! The queue of misplaced objects: adds and removes rows on its servers.
//!
//! Replicators add rows, the reconciler removes them. They have no objects, so they are sent to
//! container servers directly. An added row counts as queued only when a majority has it; a removed
//! one that stays on a server comes again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::name::NameError;
use apus_cluster::policy::majority;
use apus_cluster::reconciler::{Entry, Operation, queue_container};
use apus_cluster::{
    AccountName, ContainerName, ContainerPath, HashConf, PolicyIndex, Timestamp, reconciler,
};
use apus_daemon::http::{empty, full};
use apus_daemon::{Body, Clock};
use apus_ring::{Device, SharedRing};
use apus_wire::message::container::{ContainerAddress, RowHeaders, RowVerb, UpdateRowsRequest};
use apus_wire::{Client, NodeRequest};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::kind::ObjectRecord;

/// Client of the queue of misplaced objects.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Sends requests.
    pub client: Arc<Client>,
    /// The ring of containers.
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
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The rows cannot be encoded.
    #[error("invalid rows: {0}")]
    Rows(#[from] serde_json::Error),
}

/// The row of an entry: `created_at` is its own time, `written` that of the write that it is about,
/// with all times that a listing row has.
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

/// The devices of a container of the queue.
struct QueueDevices {
    partition: u32,
    primaries: Vec<Device>,
    /// As many as there are primaries.
    handoffs: VecDeque<Device>,
}

impl Queue {
    fn devices(&self, container: &str) -> QueueDevices {
        let ring = self.containers.get();
        let partition = ring.partition_of(&self.hash, &[reconciler::ACCOUNT, container]);
        let primaries: Vec<Device> = ring.primaries(partition).into_iter().cloned().collect();
        let handoffs = ring.handoffs(partition).take(primaries.len()).cloned().collect();
        QueueDevices { partition, primaries, handoffs }
    }

    fn trans_id(&self) -> String {
        apus_daemon::http::new_trans_id(self.clock.as_ref(), "")
    }

    async fn accepts(&self, node: &Device, request: &NodeRequest, body: Body) -> bool {
        match self.client.send(&node.for_replication(), request, body).await {
            Ok(response) if response.status().is_success() => true,
            Ok(response) => {
                let (status, node) = (response.status(), node.address());
                tracing::debug!(%status, node, "A server refused rows of the reconciler queue");
                false
            }
            Err(error) => {
                let node = node.address();
                tracing::debug!(%error, node, "Failed to send rows of the reconciler queue");
                false
            }
        }
    }

    /// Adds rows to a container of the queue, which they create.
    ///
    /// # Errors
    /// See [`QueueError`].
    pub(crate) async fn add(
        &self,
        container: &str,
        rows: &[ObjectRecord],
    ) -> Result<(), QueueError> {
        let QueueDevices { partition, primaries, handoffs } = self.devices(container);
        let now = Timestamp::from_duration(self.clock.now());
        let path = ContainerPath::new(
            AccountName::parse(reconciler::ACCOUNT)?,
            ContainerName::parse(container)?,
        );
        let trans_id = Some(self.trans_id());
        let update = UpdateRowsRequest {
            address: ContainerAddress { container: path, partition, trans_id },
            timestamp: now,
            policy: PolicyIndex(0),
            auto_create: false,
        };
        let request = update.encode();
        let body = Bytes::from(serde_json::to_vec(rows)?);
        let handoffs = Mutex::new(handoffs);
        let sent = primaries.iter().map(|primary| async {
            let mut node = Some(primary.clone());
            while let Some(at) = node {
                if self.accepts(&at, &request, full(body.clone())).await {
                    return true;
                }
                node = handoffs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            }
            false
        });
        let accepted = join_all(sent).await.into_iter().filter(|accepted| *accepted).count();
        if accepted < majority(primaries.len()) {
            return Err(QueueError::NoMajority { accepted, container: container.to_owned() });
        }
        apus_fault::point("reconcile.entries.queued");
        Ok(())
    }

    /// Adds an entry by hand, for an object that was written or deleted at `written`. Returns its
    /// container. An entry that was removed comes back only with `force`.
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

    /// Removes an entry from each primary, unless there is one newer than `time`.
    pub(crate) async fn remove(&self, container: &str, entry: &str, time: Timestamp) {
        let QueueDevices { partition, primaries, .. } = self.devices(container);
        let mut row = RowHeaders::deleted(time);
        row.set_origin(PolicyIndex(0), Some(&self.trans_id()));
        let names = [reconciler::ACCOUNT, container, entry].map(str::to_owned).to_vec();
        let request = row.encode(RowVerb::Delete, partition, names);
        join_all(primaries.iter().map(|node| self.accepts(node, &request, empty()))).await;
        apus_fault::point("reconcile.entry.removed");
    }
}
