//! Rows of container databases: sent at once, or kept on the device until the updater delivers them.

pub(crate) mod container;
pub(crate) mod expirer;
pub(crate) mod pending;
pub(crate) mod redirect;

use std::io;
use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_disk::Priority;
use apus_wire::Client;

use self::pending::Update;
use crate::store::{LocalObject, ObjectStore};

/// Sends the rows of writes to container servers, and keeps those that cannot be delivered.
#[derive(Debug, Clone)]
pub(crate) struct RowNotifier {
    store: Arc<ObjectStore>,
    client: Arc<Client>,
}

impl RowNotifier {
    pub(crate) fn new(store: Arc<ObjectStore>, client: Arc<Client>) -> Self {
        Self { store, client }
    }

    /// Keeps an update on the device of its object, durably, for the updater.
    ///
    /// # Errors
    /// When the disk fails.
    async fn keep(&self, target: &LocalObject, update: Update, time: Timestamp) -> io::Result<()> {
        let (device, policy) = (target.place.device.clone(), target.place.policy);
        let names = [&update.account, &update.container, &update.object];
        let hash = self.store.hash.hash(&names.map(String::as_str));
        let committer = self.store.devices.committer(&target.device)?;
        self.store
            .devices
            .run(&target.device, Priority::Write, move || {
                pending::write(&device, policy, &hash, time, &update, &committer)
            })
            .await?
    }
}
