//! `REPLICATE /device/partition/hash` with `["apus_quarantine", only_copy]`: the node's own auditor
//! asks its server to set a database aside. The server looks for itself first; nobody can make it
//! give up a good one. The answer tells where rows lie that were saved but have no place.

use std::path::Path;
use std::sync::Arc;

use apus_cluster::{HashConf, PathHash};
use apus_daemon::Body;
use apus_daemon::http::{set, status};
use apus_daemon::task::{TaskKind, spawn};
use apus_wire::NodePath;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::answer::{Damaged, Refusal, failed, refuse};
use crate::audit::Tables;
use crate::handles::Broker;
use crate::place::{Devices, database_path};
use crate::salvage::SetAside;

/// The only operation that is answered here.
pub const OPERATION: &str = "apus_quarantine";
/// In the answer: the path of a database with the rows that were saved.
pub(crate) const SAVED: &str = "x-backend-apus-salvaged";
/// Bytes of such a call at most.
const CALL_MAX: usize = 4096;

/// Answers a call: 204 when the database was set aside, 404 when there is none, 409 when nothing is
/// wrong with it, 501 for any other operation.
pub async fn call(
    broker: &Arc<Broker>,
    devices: &Devices,
    tables: &'static Tables,
    hash: &HashConf,
    path: &str,
    body: Body,
) -> Response<Body> {
    answer(broker, devices, tables, hash, path, body).await.unwrap_or_else(|refusal| *refusal)
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
    spawn(TaskKind::Background, async move {
        if let Err(error) = broker.set_aside(&device, &database, tables, &hash, false).await {
            tracing::error!(database = %database.display(), %error, "it stays");
        }
    });
}

async fn answer(
    broker: &Arc<Broker>,
    devices: &Devices,
    tables: &'static Tables,
    hash: &HashConf,
    path: &str,
    mut body: Body,
) -> Result<Response<Body>, Refusal> {
    let bad = |text: &str| refuse(StatusCode::BAD_REQUEST, text);
    let path = NodePath::decode(path, 1).map_err(|error| bad(&error))?;
    let named = path.names.first().and_then(|hash| PathHash::parse(hash));
    let named = named.ok_or_else(|| bad("Invalid path: expected a hash"))?;
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad("the body broke off"))?;
        text.extend(frame.into_data().unwrap_or_default());
        if text.len() > CALL_MAX {
            return Err(bad("too long"));
        }
    }
    let call: Vec<Value> = serde_json::from_slice(&text).unwrap_or_default();
    let only_copy = call.get(1).and_then(Value::as_bool).unwrap_or(false);
    if call.first().and_then(Value::as_str) != Some(OPERATION) {
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, "unknown replication operation"));
    }
    let device = devices
        .device(&path.device)
        .map_err(|_| Box::new(status(StatusCode::INSUFFICIENT_STORAGE)))?;
    let database = database_path(&device, tables.kind, path.partition, &named);
    let done = broker.set_aside(&device, &database, tables, hash, only_copy).await;
    Ok(match done.map_err(|error| failed(&error))? {
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
