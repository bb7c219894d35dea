//! Reports containers to their account servers.
//!
//! At once when a container is created or deleted, and a moment later when its rows changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use apus_broker::DbError;
use apus_cluster::name::NameError;
use apus_cluster::{AccountName, PolicyIndex};
use apus_daemon::http::empty;
use apus_ring::SharedRing;
use apus_wire::NodeRequest;
use apus_wire::message::RowTargets;
use apus_wire::message::account::{AccountAddress, ContainerRowRequest};
use http::StatusCode;

use crate::backend::{self, ContainerInfo, Reported};
use crate::server::{ContainerTarget, Server};

/// Reasons why an account row is behind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Behind {
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DbError),
    /// No majority of the account's servers accepted it.
    #[error("{accepted} of {servers} account servers accepted the row")]
    NoMajority { accepted: usize, servers: usize },
    /// Its account has an invalid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// All of them responded that there is no such account.
    #[error("no account server has the account")]
    NoAccount,
}

impl Server {
    /// Notes that the account row of this container is behind.
    pub(crate) fn note_change(&self, target: &ContainerTarget) {
        self.note_behind(target.file.clone(), target.partition);
    }

    /// Notes that the account row of a database is behind.
    pub(crate) fn note_behind(&self, database: PathBuf, partition: u32) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.insert((database, partition));
    }

    /// The row of a container for its account.
    pub(crate) fn account_row(
        &self,
        info: &ContainerInfo,
        partition: u32,
    ) -> Result<NodeRequest, NameError> {
        let account = AccountName::parse(&info.account)?;
        let row = ContainerRowRequest {
            address: AccountAddress { account, partition, trans_id: None },
            container: info.container.clone(),
            timestamp: Some(self.databases.now()),
            put: info.put_timestamp,
            deleted: info.delete_timestamp,
            object_count: info.object_count,
            bytes_used: info.bytes_used,
            policy: PolicyIndex(info.policy),
            override_deleted: true,
        };
        Ok(row.encode())
    }

    /// Sends the account row to the servers that a request names. `NOT_FOUND` when all of them
    /// responded that there is no such account.
    pub(crate) async fn update_account(
        &self,
        target: &ContainerTarget,
        accounts: &RowTargets,
        info: &ContainerInfo,
    ) -> Option<StatusCode> {
        if accounts.is_empty() {
            return None;
        }
        let request = self.account_row(info, accounts.partition).ok()?;
        let mut statuses = Vec::new();
        for node in &accounts.nodes {
            let deadline = self.client.deadlines().row_update;
            match self.client.send_within(node, &request, empty(), deadline).await {
                Ok(response) => statuses.push(response.status()),
                Err(error) => {
                    let (node, device) = (node.address(), &node.device);
                    tracing::warn!(%error, node, device, "Failed to send an account row");
                }
            }
        }
        if statuses.iter().any(StatusCode::is_success) {
            return Some(StatusCode::CREATED);
        }
        self.note_change(target);
        let all_missing =
            !statuses.is_empty() && statuses.iter().all(|code| *code == StatusCode::NOT_FOUND);
        all_missing.then_some(StatusCode::NOT_FOUND)
    }

    /// Sends the rows of changed containers to a majority of their account's servers. Those that
    /// failed stay for the next time.
    async fn report(&self, ring: &SharedRing) {
        let changed = {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *changed)
        };
        for (path, partition) in changed {
            if let Err(behind) = self.report_one(ring, &path).await {
                let database = path.display();
                tracing::debug!(%database, %behind, "An account row stays behind");
                self.note_behind(path, partition);
            }
        }
    }

    /// Sends the account row of a database if it is behind. Returns whether it was not; `false` also
    /// when the database could not be opened.
    ///
    /// # Errors
    /// See [`Behind`].
    pub(crate) async fn report_one(&self, ring: &SharedRing, path: &Path) -> Result<bool, Behind> {
        let Ok(Some(database)) = self.databases.open(path).await else { return Ok(false) };
        let info = database.read(backend::info).await?;
        let current: Reported = info.current();
        if info.reported.as_ref() == Some(&current) {
            return Ok(true);
        }
        let ring = ring.get();
        let partition = ring.partition_of(&self.databases.deps.hash, &[&info.account]);
        let nodes = ring.primaries(partition);
        let request = self.account_row(&info, partition)?;
        let (mut good, mut missing) = (0, 0);
        for node in &nodes {
            if let Ok(response) = self.client.send(node, &request, empty()).await {
                good += usize::from(response.status().is_success());
                missing += usize::from(response.status() == StatusCode::NOT_FOUND);
            }
        }
        apus_fault::point("container.report.sent");
        if good <= nodes.len() / 2 {
            let servers = nodes.len();
            return Err(match missing == servers && servers > 0 {
                true => Behind::NoAccount,
                false => Behind::NoMajority { accepted: good, servers },
            });
        }
        database.write(move |connection| backend::reported(connection, &current)).await?;
        Ok(false)
    }
}

/// Reports changed containers every `interval` until the drain begins, and once more then.
pub async fn report_changes(
    server: Arc<Server>,
    ring: Arc<SharedRing>,
    interval: std::time::Duration,
    drain: apus_daemon::Drain,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = drain.begun() => {
                server.report(&ring).await;
                return;
            }
        }
        server.report(&ring).await;
    }
}
