//! Rows of container databases.
//!
//! A row is sent at once, or kept on the device until the updater delivers it.

pub(crate) mod container;
pub(crate) mod expirer;
pub(crate) mod pending;

use std::io;
use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_disk::Priority;
use apus_ring::Device;
use apus_wire::message::RowTargets;
use apus_wire::message::container::RowRedirect;
use apus_wire::message::object::ObjectRowTargets;
use apus_wire::{Client, NodeRequest};

use self::pending::Update;
use crate::store::{LocalObject, ObjectStore};

/// Sends the rows of writes to container servers, and keeps those that cannot be delivered.
#[derive(Debug, Clone)]
pub(crate) struct RowNotifier {
    store: Arc<ObjectStore>,
    client: Arc<Client>,
}

/// The write that rows are about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowSource<'a> {
    pub(crate) object: &'a LocalObject,
    /// Databases that the request names.
    pub(crate) targets: &'a ObjectRowTargets,
    /// Id of the client request.
    pub(crate) trans_id: Option<&'a str>,
    /// Whether replication brings the write: then no tasks are added or removed.
    pub(crate) is_replication: bool,
}

impl RowNotifier {
    pub(crate) fn new(store: Arc<ObjectStore>, client: Arc<Client>) -> Self {
        Self { store, client }
    }

    /// Sends an update to each of `targets`, and keeps it when one of them does not take it.
    ///
    /// # Errors
    /// When it could be neither sent nor kept.
    async fn deliver(
        &self,
        object: &LocalObject,
        targets: &RowTargets,
        mut update: Update,
        time: Timestamp,
    ) -> io::Result<()> {
        let request = update.headers.encode(update.verb, targets.partition, update.names());
        let sent = targets.nodes.iter().map(|node| self.send(node, &request));
        let undelivered: Vec<Option<RowRedirect>> =
            futures_util::future::join_all(sent).await.into_iter().flatten().collect();
        apus_fault::point("object.row.sent");
        if undelivered.is_empty() || apus_fault::planted("bug.forget-undelivered-row") {
            return Ok(());
        }
        let redirect = undelivered.into_iter().flatten().max_by_key(|redirect| redirect.time);
        if let Some(redirect) = redirect {
            update.container_path = Some(redirect.path);
        }
        self.keep(object, update, time).await
    }

    /// Returns `None` when the node took the row, else the shard that it named, if any.
    async fn send(&self, node: &Device, request: &NodeRequest) -> Option<Option<RowRedirect>> {
        let deadline = self.client.deadlines().row_update;
        let (address, device) = (node.address(), &node.device);
        match self.client.send_within(node, request, apus_daemon::http::empty(), deadline).await {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => {
                let status = response.status();
                tracing::debug!(%status, node = address, device, "A container server refused a row");
                Some(RowRedirect::decode(status, response.headers()))
            }
            Err(error) => {
                tracing::warn!(%error, node = address, device, "Failed to send a row to a container server");
                Some(None)
            }
        }
    }

    /// Keeps an update on the device of its object, durably, for the updater.
    ///
    /// # Errors
    /// When the disk fails.
    async fn keep(&self, object: &LocalObject, update: Update, time: Timestamp) -> io::Result<()> {
        let (device, policy) = (object.place.device.clone(), object.place.policy);
        let names = [&update.account, &update.container, &update.object];
        let hash = self.store.hash.hash(&names.map(String::as_str));
        let committer = self.store.devices.committer(&object.device)?;
        let write = move || pending::write((&device, policy, &hash), time, &update, &committer);
        self.store.devices.run(&object.device, Priority::Write, write).await?
    }
}
