//! `REPAIR`: sends one object to nodes that a reader found behind, as the replicator would, and its
//! rows to databases that a refused write did not reach.
//!
//! Only what is stored here is sent, and a receiver takes only what is newer than what it has; so a
//! mistaken sender of the request does no harm.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::{status, text};
use apus_wire::message::Received;
use apus_wire::message::container::{RowHeaders, RowVerb};
use apus_wire::message::object::RepairRequest;
use http::request::Parts;
use http::{Response, StatusCode};

use super::context::{absent, row_lost};
use crate::engine::object::{Object, ObjectState};
use crate::replicator::sender::{ObjectSelection, Source, exchange};
use crate::rows::RowSource;
use crate::rows::container::row_headers;
use crate::server::{Refusal, Server, malformed, refuse, store_failed};
use crate::ssync::line::Offer;
use crate::store::presence::away_since;
use crate::store::{LocalObject, StoreError};

/// From sending a request to the head of its response.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two lines of an exchange.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

fn failed(error: &StoreError) -> Refusal {
    tracing::warn!(%error, "Failed to read an object to repair");
    Box::new(status(StatusCode::SERVICE_UNAVAILABLE))
}

/// Sends the rows of what is stored to the databases that the request names.
async fn send_rows(
    server: &Server,
    object: &LocalObject,
    request: &RepairRequest,
) -> Result<(), Refusal> {
    let state = server.store.open(object).await.map_err(|error| store_failed(error, object))?;
    let source = RowSource {
        object,
        targets: &request.rows,
        trans_id: request.address.trans_id.as_deref(),
        is_replication: false,
    };
    let sent = match state {
        ObjectState::Absent => return Err(absent(None)),
        ObjectState::Deleted(time) => {
            server.rows.update(&source, RowVerb::Delete, RowHeaders::deleted(time), time).await
        }
        ObjectState::Present(stored) => send_rows_of(server, &source, &stored).await,
    };
    sent.map_err(|error| row_lost(&error, object))
}

/// Sends the rows of a stored object.
async fn send_rows_of(server: &Server, source: &RowSource<'_>, stored: &Object) -> io::Result<()> {
    if let Some(at) = stored.delete_at() {
        let data = Metadata::from([
            ("Content-Length".to_owned(), stored.length.to_string()),
            ("X-Timestamp".to_owned(), stored.data_time.to_string()),
        ]);
        server.rows.add_task(source, at, &data, stored.time).await?;
    }
    let mut row = row_headers(&Metadata::new(), &stored.metadata, stored.data_time);
    if stored.time > stored.data_time {
        row.set_content_type_timestamp(&stored.content_type_time.to_string());
        row.set_meta_timestamp(stored.time);
    }
    server.rows.update(source, RowVerb::Put, row, stored.time).await
}

/// Responds with 200 when every node has the object, 404 when it is not stored here, 502 when a node
/// did not take it, 503 when it may have been deleted elsewhere while this device was away.
pub(crate) async fn repair(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        RepairRequest::decode(head).map_err(|error| malformed(&error))?;
    let target = server.object(device, &request.address)?;
    let has_rows = !request.rows.listing.is_empty() || request.rows.queue.is_some();
    if request.nodes.is_empty() && !has_rows {
        let expected =
            "X-Backend-Apus-Repair-To is missing: expected ip:port/device, or databases for rows";
        return Err(refuse(StatusCode::BAD_REQUEST, expected));
    }
    if has_rows {
        send_rows(server, &target, &request).await?;
    }
    if request.nodes.is_empty() {
        return Ok(status(StatusCode::OK));
    }
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
