//! `POST`: replaces the metadata of an object.

use apus_cluster::metadata::{Resource, has_prefix};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_disk::Priority;
use apus_wire::message::container::RowVerb;
use apus_wire::message::object::{ObjectWriteReply, PostObjectRequest};
use http::{Response, StatusCode};

use super::context::{Write, absent, check_expiry, fence, respond, row_lost};
use super::quarantine::quarantine_damaged;
use crate::engine::object::{CONTENT_TYPE_TIME, DirectoryState, Object, ObjectState, Version};
use crate::replication::Replicated;
use crate::rows::RowSource;
use crate::rows::container::row_headers;
use crate::server::{Refusal, conflict, refuse, store_failed};

/// Metadata to store, and its times.
struct MetadataChange {
    stored: Metadata,
    time: Timestamp,
    content_type: String,
    content_type_time: Timestamp,
}

/// Replaces the metadata of an object.
pub(super) async fn post(write: &Write<PostObjectRequest>) -> Result<Response<Body>, Refusal> {
    let Write { server, object, request, replicated } = write;
    check_expiry(&request.metadata, request.timestamp, request.is_replication)?;
    let existing = open(write).await?;
    let change = match replicated {
        Some(replicated) => replicated_change(write, replicated, &existing).await?,
        None if existing.time >= request.timestamp => return Err(conflict(existing.time)),
        None => requested_change(request, &existing),
    };
    let MetadataChange { mut stored, time, content_type, content_type_time } = change;
    stored.insert("name".to_owned(), object.name.clone());
    stored.insert("X-Timestamp".to_owned(), time.to_string());
    let newer_content_type = (content_type_time > existing.data_time).then_some(content_type_time);
    if let Some(set) = newer_content_type {
        stored.insert("Content-Type".to_owned(), content_type.clone());
        stored.insert(CONTENT_TYPE_TIME.to_owned(), set.to_string());
    }
    let source = RowSource {
        object,
        targets: &request.rows,
        trans_id: request.address.trans_id.as_deref(),
        is_replication: request.is_replication,
    };
    let lost = |error: std::io::Error| row_lost(&error, object);
    // First: the queue must know every object that expires, but a task without an object does no
    // harm.
    if let Some(at) = request.delete_at() {
        let data = Metadata::from([
            ("Content-Length".to_owned(), existing.length.to_string()),
            ("X-Timestamp".to_owned(), existing.data_time.to_string()),
        ]);
        server.rows.add_task(&source, at, &data, time).await.map_err(lost)?;
    }
    apus_fault::point("object.post.queued");
    let version = Version::Metadata { time, content_type: newer_content_type };
    let written = server.store.write_bodiless(object, (version, fence(request.fence)), stored);
    written.await.map_err(|error| store_failed(error, object))?;
    apus_fault::point("object.post.published");
    let before = existing.delete_at().filter(|before| Some(*before) != request.delete_at());
    if let Some(before) = before {
        server.rows.remove_task(&source, before, time).await.map_err(lost)?;
    }
    let mut row_source = existing.metadata.clone();
    row_source.insert("Content-Type".to_owned(), content_type.clone());
    let mut row = row_headers(&request.row_overrides, &row_source, existing.data_time);
    row.set_content_type_timestamp(&content_type_time.to_string());
    row.set_meta_timestamp(time);
    server.rows.update(&source, RowVerb::Put, row, time).await.map_err(lost)?;
    apus_fault::point("object.post.told");
    Ok(respond(StatusCode::ACCEPTED, &reply(existing.metadata, content_type)))
}

/// What the proxy cannot know of the object that it posted to: a link, a manifest.
fn reply(mut metadata: Metadata, content_type: String) -> ObjectWriteReply {
    metadata.retain(|name, _| has_prefix(name, Resource::Object.system_prefix()));
    ObjectWriteReply {
        content_type: Some(content_type),
        system_metadata: metadata,
        ..ObjectWriteReply::default()
    }
}

/// Opens the object that the request changes.
async fn open(write: &Write<PostObjectRequest>) -> Result<Object, Refusal> {
    let Write { server, object, request, replicated } = write;
    let state = server.store.open(object).await.map_err(|error| store_failed(error, object))?;
    let existing = match state {
        ObjectState::Present(existing) => existing,
        ObjectState::Deleted(deleted) => return Err(absent(Some(deleted))),
        ObjectState::Absent => return Err(absent(None)),
    };
    if !existing.has_its_length() {
        let reason = "length is not what the metadata says";
        return Err(quarantine_damaged(server, object, &existing, reason).await?);
    }
    let opens_expired = request.open_expired || request.is_replication || replicated.is_some();
    if existing.is_expired(request.timestamp) && !opens_expired {
        return Err(absent(Some(existing.time)));
    }
    Ok(*existing)
}

/// The change that a client requests. One metadata file carries the newest content type on, so that
/// the older ones can be removed.
fn requested_change(request: &PostObjectRequest, existing: &Object) -> MetadataChange {
    let (content_type, content_type_time) = match &request.content_type {
        Some(content_type) => (content_type.clone(), request.timestamp),
        None => (existing.content_type().to_owned(), existing.content_type_time),
    };
    let (stored, time) = (request.metadata.clone(), request.timestamp);
    MetadataChange { stored, time, content_type, content_type_time }
}

/// The change that replication brings: metadata and content type each count when newer than what is
/// stored.
async fn replicated_change(
    write: &Write<PostObjectRequest>,
    replicated: &Replicated,
    existing: &Object,
) -> Result<MetadataChange, Refusal> {
    let Write { server, object, request, .. } = write;
    let time = request.timestamp;
    let given = replicated.0.get("Content-Type").cloned().or_else(|| request.content_type.clone());
    let set = match &given {
        None => Timestamp::ZERO,
        Some(_) => request.content_type_timestamp.unwrap_or(time),
    };
    if existing.time >= time && existing.content_type_time >= set {
        return Err(conflict(existing.time));
    }
    let (content_type, content_type_time) = match given {
        Some(given) if set > existing.content_type_time => (given, set),
        _ => (existing.content_type().to_owned(), existing.content_type_time),
    };
    if time > existing.time {
        let mut stored = request.metadata.clone();
        replicated.add_to(&mut stored);
        // They are stored only when newer than the body.
        stored.remove("Content-Type");
        stored.remove(CONTENT_TYPE_TIME);
        return Ok(MetadataChange { stored, time, content_type, content_type_time });
    }
    // The stored metadata is as new: only its content type changes.
    let (store, place) = (server.store.clone(), object.place.clone());
    let look = move || store.find_by_hash(&place);
    match server.store.devices.run(&object.device, Priority::Write, look).await? {
        Ok((DirectoryState::Present(here), _)) if here.time == existing.time => {
            let stored = here.meta.unwrap_or_default();
            Ok(MetadataChange { stored, time: existing.time, content_type, content_type_time })
        }
        _ => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the object has just changed")),
    }
}
