//! `REPLICATE /device/partition/hash` with `["apus_quarantine", only_copy]`: the node's own auditor
//! asks its server to set a database aside. The server looks for itself first; nobody can make it
//! give up a good one. The answer tells where rows lie that were saved but have no place.

use std::path::Path;
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_daemon::Body;
use apus_daemon::http::{set, status};
use apus_daemon::task::{TaskKind, spawn};
use http::{Response, StatusCode};

use crate::answer::{Damaged, Refusal, refuse};
use crate::audit::Tables;
use crate::handles::Broker;
use crate::salvage::SetAside;

/// Databases that one pass may have set aside in any case; beyond, one in twenty.
const IN_ANY_CASE: u64 = 10;
const ONE_IN: u64 = 20;

/// Whether a pass that looked at so many databases and had so many set aside is to leave the
/// others: what looks wrong in so many is wrong elsewhere, in a ring or in a host.
#[must_use]
pub fn are_too_many(set_aside: u64, looked_at: u64) -> bool {
    set_aside >= IN_ANY_CASE && set_aside.saturating_mul(ONE_IN) > looked_at
}

/// The operation of a replication call.
pub const OPERATION: &str = "apus_quarantine";
/// In the answer: the path of a database with the rows that were saved.
pub(crate) const SAVED: &str = "x-backend-apus-salvaged";

/// 204 when a database was set aside, 404 when there is none.
///
/// # Errors
/// 409 when nothing is wrong with it.
pub(crate) fn answer(done: SetAside) -> Result<Response<Body>, Refusal> {
    Ok(match done {
        SetAside::Missing => status(StatusCode::NOT_FOUND),
        SetAside::Good => return Err(refuse(StatusCode::CONFLICT, "nothing is wrong with it")),
        SetAside::Moved { saved, .. } => {
            let mut answer = status(StatusCode::NO_CONTENT);
            if let Some(saved) = saved {
                set(answer.headers_mut(), SAVED, &saved.to_string_lossy());
            }
            answer
        }
    })
}

/// Sets a database aside whose answer is marked as [`Damaged`], while nobody waits for that.
pub fn if_damaged(
    answer: &Response<Body>,
    broker: &Arc<Broker>,
    device: &Path,
    database: &Path,
    tables: &'static Tables,
    hash: &HashConf,
) {
    if answer.extensions().get::<Damaged>().is_none() {
        return;
    }
    let (broker, hash) = (broker.clone(), hash.clone());
    let (device, database) = (device.to_owned(), database.to_owned());
    spawn(TaskKind::Request, async move {
        if let Err(error) = broker.set_aside(&device, &database, tables, &hash, false).await {
            tracing::error!(database = %database.display(), %error, "it stays");
        }
    });
}
