//! `REPAIR`: sends one object to nodes that a reader found behind, as the replicator would.
//!
//! Only what is stored here is sent, and a receiver takes only what is newer than what it has; so a
//! mistaken reader does no harm.

use std::collections::BTreeSet;
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::{status, text};
use apus_wire::message::Received;
use apus_wire::message::object::RepairRequest;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::replicator::sender::{ObjectSelection, Source, exchange};
use crate::server::{Refusal, Server, malformed, refuse};
use crate::ssync::line::Offer;
use crate::store::StoreError;
use crate::store::presence::away_since;

/// From sending a request to the head of its response.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two lines of an exchange.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

fn failed(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "Failed to read an object to repair");
    Box::new(status(StatusCode::SERVICE_UNAVAILABLE))
}

/// Responds with 200 when every node has the object, 404 when it is not stored here, 502 when a node
/// did not take it, 503 when it may have been deleted elsewhere while this device was away.
pub(crate) async fn repair(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        RepairRequest::decode(head).map_err(|error| malformed(&error))?;
    let target = server.object(device, &request.address)?;
    let place = &target.place;
    let (store, partition, hash) = (server.store.clone(), place.in_partition(), place.hash);
    let reclaim_age = server.replication.reclaim_age;
    let listed = partition.clone();
    let look = move || {
        let reclaim = store.reclaim(reclaim_age);
        let away = away_since(&listed.device, reclaim.now, reclaim_age, &store.counters)?;
        let engine = store.engine(listed.policy);
        let found = engine.objects(&listed, &hash.suffix_dir(), &reclaim)?;
        Ok((away, found))
    };
    let (away, found) =
        server.store.background(&target.device, look).await.map_err(|error| failed(&error))?;
    if away.is_some() {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "this device was away for too long"));
    }
    let Some((_, times)) = found.into_iter().find(|(found, _)| *found == hash) else {
        return Err(Box::new(status(StatusCode::NOT_FOUND)));
    };
    let source = Source {
        store: server.store.clone(),
        client: server.client.clone(),
        device: target.device.clone(),
        partition,
        other_power: request.address.next_part_power,
        node_timeout: NODE_TIMEOUT,
        http_timeout: LINE_TIMEOUT,
    };
    let mut failed = Vec::new();
    for node in &request.nodes {
        let offers = [Offer::new(hash, &times)];
        let sent =
            exchange(&source, node, &offers, ObjectSelection::AllBut(&BTreeSet::new())).await;
        match sent {
            Ok(done) if done.sent >= done.wanted.len() as u64 => {}
            Ok(_) => failed.push(format!("{}: not sent", node.address())),
            Err(error) => failed.push(format!("{}: {error}", node.address())),
        }
    }
    if failed.is_empty() {
        return Ok(status(StatusCode::OK));
    }
    Ok(text(StatusCode::BAD_GATEWAY, &failed.join("\n")))
}
