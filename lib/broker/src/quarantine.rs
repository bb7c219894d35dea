//! The quarantine of databases: on request, and of those that a request found damaged.
//!
//! The node's own auditor asks its server to quarantine a database
//! ([`DatabaseCall::Quarantine`](apus_wire::message::database::DatabaseCall)). The server audits it
//! itself first, so no request can make it quarantine a good one. The response names the file of
//! rows that were salvaged and are not in a new database.

use std::path::Path;
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_daemon::Body;
use apus_daemon::http::status;
use apus_daemon::task::{TaskKind, spawn};
use apus_wire::message::database::ReplicateDatabaseReply;
use http::{Response, StatusCode};

use crate::handles::Broker;
use crate::kind::DatabaseKind;
use crate::response::{Damaged, Refusal, missing, refuse};
use crate::salvage::QuarantineOutcome;

/// Databases that one pass may quarantine in any case; beyond that, one in twenty.
const IN_ANY_CASE: u64 = 10;
const ONE_IN: u64 = 20;

/// Whether a pass that has quarantined so many of the databases it has seen is to leave the others:
/// what looks wrong in so many is wrong elsewhere, in a ring or in a host.
#[must_use]
pub fn are_too_many(quarantined: u64, seen: u64) -> bool {
    quarantined >= IN_ANY_CASE && quarantined.saturating_mul(ONE_IN) > seen
}

/// 204 when a database was quarantined, 404 when there is none.
///
/// # Errors
/// 409 when nothing is wrong with it.
pub(crate) fn response(outcome: QuarantineOutcome) -> Result<Response<Body>, Refusal> {
    match outcome {
        QuarantineOutcome::Missing => Ok(*missing()),
        QuarantineOutcome::Good => Err(refuse(StatusCode::CONFLICT, "nothing is wrong with it")),
        QuarantineOutcome::Quarantined { salvaged, .. } => {
            let mut response = status(StatusCode::NO_CONTENT);
            let salvaged = salvaged.map(|path| path.to_string_lossy().into_owned());
            let head = ReplicateDatabaseReply { salvaged, ..ReplicateDatabaseReply::default() };
            head.encode(response.headers_mut());
            Ok(response)
        }
    }
}

/// Quarantines a database whose response is marked as [`Damaged`], in the background.
pub(crate) fn if_damaged<K: DatabaseKind>(
    response: &Response<Body>,
    broker: &Arc<Broker>,
    device: &Path,
    file: &Path,
    hash: &HashConf,
) {
    if response.extensions().get::<Damaged>().is_none() {
        return;
    }
    let (broker, hash) = (broker.clone(), hash.clone());
    let (device, file) = (device.to_owned(), file.to_owned());
    spawn(TaskKind::Request, async move {
        if let Err(error) = broker.quarantine::<K>(&device, &file, &hash, false).await {
            let database = file.display();
            tracing::error!(%database, %error, "Failed to quarantine a damaged database");
        }
    });
}
