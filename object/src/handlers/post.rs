//! `POST`: replaces the metadata of an object.

use apus_cluster::metadata::{OBJECT_HEADERS, Resource, TRANSIENT_PREFIX, has_prefix, stored_name};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_disk::Priority;
use apus_wire::headers;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::engine::object::{CONTENT_TYPE_TIME, DirectoryState, Object, State, Version};
use crate::replication::Replicated;
use crate::rows::container::row_headers;
use crate::rows::expirer;
use crate::server::{Refusal, Server, conflict, refuse, store_failed, timestamp};
use crate::store::LocalObject;

use super::get::{absent, opens_expired};
use super::put::{check_delete_at, row_lost};
use super::reserve::fence;

/// Headers of a POST that are kept.
fn kept(name: &str) -> bool {
    has_prefix(name, Resource::Object.user_prefix())
        || has_prefix(name, TRANSIENT_PREFIX)
        || (OBJECT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name))
            && !name.eq_ignore_ascii_case("X-Static-Large-Object"))
}

/// What is to be stored, and the times it has.
struct Change {
    stored: Metadata,
    time: Timestamp,
    content_type: String,
    content_type_time: Timestamp,
}

pub(crate) async fn post(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    replicated: Option<&Replicated>,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    check_delete_at(head, time)?;
    let object =
        match server.store.open(target).await.map_err(|error| store_failed(error, target))? {
            State::Present(object) => object,
            State::Deleted(deleted) => return Err(absent(Some(deleted))),
            State::Absent => return Err(absent(None)),
        };
    if !object.has_its_length() {
        let reason = "length is not what the metadata says";
        return Err(super::get::damaged(server, target, &object, reason).await?);
    }
    if object.is_expired(time) && !opens_expired(head) && replicated.is_none() {
        return Err(absent(Some(object.time)));
    }
    let change = match replicated {
        Some(replicated) => brought(server, target, head, replicated, &object, time).await?,
        None if object.time >= time => return Err(conflict(object.time)),
        None => asked_for(head, &object, time),
    };
    let Change { mut stored, time, content_type, content_type_time } = change;
    stored.insert("name".to_owned(), target.name.clone());
    stored.insert("X-Timestamp".to_owned(), time.to_string());
    let changed_by_post = content_type_time > object.data_time;
    if changed_by_post {
        stored.insert("Content-Type".to_owned(), content_type.clone());
        stored.insert(CONTENT_TYPE_TIME.to_owned(), content_type_time.to_string());
    }
    let content_type_changed = changed_by_post.then_some(content_type_time);
    let version = Version::Metadata { time, content_type: content_type_changed };
    // First: an object that expires must not be unknown to the queue, but a task without an object
    // does no harm.
    let delete_at = expirer::wanted(head);
    if let Some(at) = delete_at {
        let data = Metadata::from([
            ("Content-Length".to_owned(), object.length.to_string()),
            ("X-Timestamp".to_owned(), object.data_time.to_string()),
        ]);
        let told = server.rows.add_task(target, head, at, &data, time).await;
        told.map_err(|error| row_lost(&error, target))?;
    }
    apus_fault::point("object.post.queued");
    let written = server.store.write_bodiless(target, (version, fence(head)), stored).await;
    written.map_err(|error| store_failed(error, target))?;
    apus_fault::point("object.post.published");
    if let Some(before) = object.delete_at().filter(|before| Some(*before) != delete_at) {
        let dropped = server.rows.remove_task(target, head, before, time).await;
        dropped.map_err(|error| row_lost(&error, target))?;
    }
    let mut row_source = object.metadata.clone();
    row_source.insert("Content-Type".to_owned(), content_type);
    let mut row = row_headers(head, &row_source, object.data_time);
    row.insert("x-content-type-timestamp".to_owned(), content_type_time.to_string());
    row.insert("x-meta-timestamp".to_owned(), time.to_string());
    let told = server.rows.update(target, head, Method::PUT, row, time).await;
    told.map_err(|error| row_lost(&error, target))?;
    apus_fault::point("object.post.told");
    let mut response = status(StatusCode::ACCEPTED);
    let out = response.headers_mut();
    if let Some(content_type) = row_source.get("Content-Type") {
        set(out, headers::BACKEND_CONTENT_TYPE, content_type);
    }
    // What the proxy cannot know of the object that it posted to: a link, a manifest.
    for (name, value) in &object.metadata {
        if has_prefix(name, Resource::Object.system_prefix()) {
            set(out, name, value);
        }
    }
    Ok(response)
}

fn kept_headers(head: &HeaderMap) -> Metadata {
    head.iter()
        .filter(|(name, _)| kept(name.as_str()))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (stored_name(name.as_str()), value)
        })
        .collect()
}

/// A client's: one metadata file carries the newest content type on, so that the older ones can go.
fn asked_for(head: &HeaderMap, object: &Object, time: Timestamp) -> Change {
    // Swift's proxy names a content type that the client did not give, and leaves it empty.
    let given = header(head, "content-type").filter(|given| !given.is_empty());
    let (content_type, content_type_time) = match given {
        Some(content_type) => (content_type.to_owned(), time),
        None => {
            let current = object.content_type();
            (current, object.content_type_time)
        }
    };
    Change { stored: kept_headers(head), time, content_type, content_type_time }
}

/// Another node's: metadata and content type each count when newer than what is here.
async fn brought(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    replicated: &Replicated,
    object: &Object,
    time: Timestamp,
) -> Result<Change, Refusal> {
    let given = replicated.0.get("Content-Type").cloned();
    let given = given.or_else(|| header(head, "content-type").map(str::to_owned));
    let set = match (&given, header(head, "content-type-timestamp")) {
        (None, _) => Timestamp::ZERO,
        (Some(_), None) => time,
        (Some(_), Some(text)) => Timestamp::parse(text)
            .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "bad Content-Type-Timestamp"))?,
    };
    if object.time >= time && object.content_type_time >= set {
        return Err(conflict(object.time));
    }
    let current = object.content_type();
    let (content_type, content_type_time) = match given {
        Some(given) if set > object.content_type_time => (given, set),
        _ => (current, object.content_type_time),
    };
    if time > object.time {
        let mut stored = kept_headers(head);
        replicated.add_to(&mut stored);
        // They stand there only when newer than the body.
        stored.remove("Content-Type");
        stored.remove(CONTENT_TYPE_TIME);
        return Ok(Change { stored, time, content_type, content_type_time });
    }
    // The metadata here is as new: only the content type changes, beside it.
    let (own, place) = (server.store.clone(), target.place.clone());
    let look = move || own.find_by_hash(&place);
    match server.store.devices.run(&target.device, Priority::Write, look).await? {
        Ok((DirectoryState::Present(here), _)) if here.time == object.time => {
            let stored = here.meta.unwrap_or_default();
            Ok(Change { stored, time: object.time, content_type, content_type_time })
        }
        _ => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "the object has just changed")),
    }
}
