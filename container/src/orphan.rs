//! Quarantines containers whose account is gone.
//!
//! All databases of the account were lost, or it was deleted and reclaimed before these containers
//! were reported. Their rows can never be delivered, so their databases are moved to
//! `quarantined/containers`, as in Swift (`swift/container/updater.py`, "no account replicas
//! exist"); their objects stay.
//!
//! An account that cannot be reached is not gone. In addition to Swift's condition, as many handoffs
//! as there are primaries must respond that they do not have the account, after the state of the
//! database was read, which must not change until its server moves it. A server that does not respond
//! may have the account.

use std::path::Path;
use std::time::Duration;

use apus_broker::DatabaseKind as _;
use apus_broker::{DbError, LocalClient, NoHolders};
use apus_daemon::http::empty;
use apus_ring::SharedRing;
use apus_wire::NodeError;
use apus_wire::message::database::{ContainerCall, DatabaseCall};
use http::StatusCode;

use crate::backend::{self, ContainerInfo};
use crate::kind::Containers;
use crate::server::Server;

/// How long a server may take to move a database, which must not be open elsewhere.
const WAIT: Duration = Duration::from_secs(60);
/// A proxy creates the first container of an account before the account: a container that was put less
/// than so many seconds ago is checked twice.
const YOUNG_SECONDS: u64 = 60;
/// Time between the two checks.
const SECOND_CHECK: Duration = Duration::from_secs(5);

/// Reasons why the database of an orphan was not quarantined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMoved {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Holders(#[from] NoHolders),
    #[error("the server returned {0}")]
    Status(StatusCode),
    #[error("the request failed: {0}")]
    Request(NodeError),
}

impl Server {
    /// Quarantines a database if its account is gone. Returns whether it was.
    ///
    /// # Errors
    /// See [`NotMoved`].
    pub(crate) async fn quarantine_orphan(
        &self,
        accounts: &SharedRing,
        local: &LocalClient,
        path: &Path,
        partition: u32,
    ) -> Result<bool, NotMoved> {
        let state = match self.databases.open(path).await {
            Ok(Some(database)) => {
                let read = |connection: &mut _| {
                    Ok((Containers::info(connection)?, backend::info(connection)?))
                };
                database.read(read).await?
            }
            // Gone, or damaged, which the auditor finds.
            _ => return Ok(false),
        };
        let (seen, info) = state;
        if !self.is_account_gone(accounts, &info).await {
            return Ok(false);
        }
        let age = self.databases.now().seconds().saturating_sub(info.put_timestamp.seconds());
        if age < YOUNG_SECONDS {
            tokio::time::sleep(SECOND_CHECK).await;
            if !self.is_account_gone(accounts, &info).await {
                return Ok(false);
            }
        }
        let holders = local.holders(path, partition)?;
        match holders.call(&holders.own, &DatabaseCall::Orphan(Box::new(seen)), WAIT).await {
            Ok(status) if status.is_success() => {}
            // It changed meanwhile; the next pass sees it again.
            Ok(StatusCode::CONFLICT | StatusCode::NOT_FOUND) => return Ok(false),
            Ok(status) => return Err(NotMoved::Status(status)),
            Err(error) => return Err(NotMoved::Request(error)),
        }
        // A replica that counts as reported would bring this one back forever: it is to check for
        // itself. One that cannot be reached is notified the next time.
        for node in &holders.others {
            let call = DatabaseCall::Container(ContainerCall::Unreported);
            if let Err(error) = holders.call(node, &call, WAIT).await {
                let node = node.address();
                tracing::debug!(%error, node, "Failed to notify a replica of an orphan");
            }
        }
        Ok(true)
    }

    /// Whether all primaries of an account and as many handoffs responded that they do not have it.
    async fn is_account_gone(&self, accounts: &SharedRing, info: &ContainerInfo) -> bool {
        let ring = accounts.get();
        let partition = ring.partition_of(&self.databases.deps.hash, &[&info.account]);
        let primaries = ring.primaries(partition);
        let handoffs = ring.handoffs(partition).take(primaries.len());
        let Ok(request) = self.account_row(info, partition) else { return false };
        for node in primaries.iter().copied().chain(handoffs) {
            match self.client.send(node, &request, empty()).await {
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {}
                _ => return false,
            }
        }
        !primaries.is_empty()
    }
}
