//! Containers whose account is gone: all its databases were lost, or it was deleted and reclaimed
//! before they were told of. Their rows can never be delivered, so their databases are moved to
//! `quarantined/containers`, as Swift does (`swift/container/updater.py`, "no account replicas
//! exist"); their objects stay.
//!
//! An account that cannot be reached is not gone. Beyond what Swift asks for, as many handoffs as
//! there are primaries must say too that they do not know the account, after a look at the database
//! that still holds when its server moves it. Whoever gives no answer may know it.

use std::path::Path;
use std::time::Duration;

use apus_broker::DatabaseKind as _;
use apus_broker::replication::ORPHAN;
use apus_broker::{DbError, LocalClient, NoHolders};
use apus_daemon::http::empty;
use apus_ring::SharedRing;
use apus_wire::NodeError;
use http::StatusCode;

use crate::backend::{self, ContainerInfo};
use crate::kind::{Containers, UNREPORTED};
use crate::server::Server;

/// How long a server may take to move a database, which it waits to have alone.
const WAIT: Duration = Duration::from_secs(60);
/// A proxy that makes the first container of an account makes the container before the account:
/// one that was put less than so many seconds ago is looked at twice.
const YOUNG_SECONDS: u64 = 60;
/// Time between the two looks.
const SECOND_LOOK: Duration = Duration::from_secs(5);

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
    /// Has a database moved aside if its account is gone. Tells whether it was.
    ///
    /// # Errors
    /// See [`NotMoved`].
    pub(crate) async fn set_aside_orphan(
        &self,
        accounts: &SharedRing,
        own: &LocalClient,
        path: &Path,
        partition: u32,
    ) -> Result<bool, NotMoved> {
        let looked = match self.databases.open(path).await {
            Ok(Some(database)) => {
                let look = |connection: &mut _| {
                    Ok((Containers::info(connection)?, backend::info(connection)?))
                };
                database.read(look).await?
            }
            // Gone, or damaged, which is the auditor's to see.
            _ => return Ok(false),
        };
        let (seen, info) = looked;
        if !self.is_account_gone(accounts, &info).await {
            return Ok(false);
        }
        let age = self.databases.now().seconds().saturating_sub(info.put_timestamp.seconds());
        if age < YOUNG_SECONDS {
            tokio::time::sleep(SECOND_LOOK).await;
            if !self.is_account_gone(accounts, &info).await {
                return Ok(false);
            }
        }
        let holders = own.holders(path, partition)?;
        match holders.call(&holders.own, &(ORPHAN, seen), WAIT).await {
            Ok(status) if status.is_success() => {}
            // It changed meanwhile; the next pass sees it again.
            Ok(StatusCode::CONFLICT | StatusCode::NOT_FOUND) => return Ok(false),
            Ok(status) => return Err(NotMoved::Status(status)),
            Err(error) => return Err(NotMoved::Request(error)),
        }
        // A replica that told the account in time would bring this one back for ever: it is to look
        // for itself. One that does not hear of it is told again then.
        for node in &holders.others {
            if let Err(error) = holders.call(node, &[UNREPORTED], WAIT).await {
                tracing::debug!(%error, node = node.address(), "not told of an orphan");
            }
        }
        Ok(true)
    }

    /// Whether all primaries of an account and as many handoffs answered that they do not know it.
    async fn is_account_gone(&self, accounts: &SharedRing, info: &ContainerInfo) -> bool {
        let ring = accounts.get();
        let partition = ring.partition_of(&self.databases.deps.hash, &[&info.account]);
        let primaries = ring.primaries(partition);
        let handoffs = ring.handoffs(partition).take(primaries.len());
        let request = self.account_request(info, partition);
        for node in primaries.iter().copied().chain(handoffs) {
            match self.client.send(node, &request, empty()).await {
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => {}
                _ => return false,
            }
        }
        !primaries.is_empty()
    }
}
