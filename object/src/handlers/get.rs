//! `GET` and `HEAD`.

use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_cluster::byte_range::{ByteRanges, Framing, Resolution, Resolved};
use apus_cluster::metadata::header_name;
use apus_daemon::Body;
use apus_daemon::config::value::flag;
use apus_daemon::http::{BodyError, format_date, full, header, set, status, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_wire::headers;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use super::body::{READ_BYTES, ReadError, Reading};
use super::conditions;
use crate::engine::blocks::SMALLEST_BLOCK;
use crate::engine::object::{Object, State};
use crate::engine::place::Place;
use crate::rows::expirer;
use crate::server::{Refusal, Server, refuse, store_failed};
use crate::store::LocalObject;

/// Pieces that wait between disk and network.
const WINDOW: usize = 3;

/// 404 with the time of a deletion, if one is known.
pub(crate) fn absent(time: Option<Timestamp>) -> Refusal {
    let mut response = status(StatusCode::NOT_FOUND);
    if let Some(time) = time {
        set(response.headers_mut(), headers::BACKEND_TIMESTAMP, &time.to_string());
        set(response.headers_mut(), headers::TIMESTAMP, &time.normal());
    }
    Box::new(response)
}

/// Whether the sender wants what has expired as well.
pub(crate) fn opens_expired(head: &HeaderMap) -> bool {
    let asked = header(head, headers::OPEN_EXPIRED).and_then(flag).unwrap_or(false);
    asked || expirer::is_replication(head)
}

pub(crate) fn object_headers(object: &Object, out: &mut HeaderMap) {
    for (name, value) in &object.metadata {
        let own = ["name", "ETag", "X-Timestamp", "Content-Length"];
        if !own.contains(&name.as_str()) {
            set(out, &header_name(name), value);
        }
    }
    set(out, "etag", &format!("\"{}\"", object.metadata.get("ETag").map_or("", String::as_str)));
    set(out, headers::TIMESTAMP, &object.time.normal());
    set(out, headers::BACKEND_TIMESTAMP, &object.time.to_string());
    set(out, headers::DATA_TIMESTAMP, &object.data_time.to_string());
    set(out, headers::DURABLE_TIMESTAMP, &object.data_time.to_string());
    set(out, "last-modified", &format_date(object.time.seconds_ceil()));
    set(out, "accept-ranges", "bytes");
}

pub(crate) async fn get(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    is_head: bool,
) -> Result<Response<Body>, Refusal> {
    let object =
        match server.store.open(target).await.map_err(|error| store_failed(error, target))? {
            State::Present(object) => object,
            State::Deleted(time) => return Err(absent(Some(time))),
            State::Absent => return Err(absent(None)),
        };
    if object.delete_at().is_some_and(|at| at <= server.now_seconds()) && !opens_expired(head) {
        return Err(absent(Some(object.time)));
    }
    let etag = conditions::effective_etag(head, &object.metadata);
    let mut response = status(StatusCode::OK);
    object_headers(&object, response.headers_mut());
    if let Some(code) = conditions::check(head, &etag, object.time) {
        *response.status_mut() = code;
        return Ok(response);
    }
    let whole = Resolved { start: 0, length: object.length };
    let range = if is_head { Resolution::Whole } else { resolve(head, &object) };
    let range = match range {
        Resolution::Whole => whole,
        Resolution::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let all = format!("bytes */{}", object.length);
            set(response.headers_mut(), "content-range", &all);
            return Ok(response);
        }
        Resolution::Ranges(ranges) => match ranges.as_slice() {
            [one] => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = one.content_range(object.length);
                set(response.headers_mut(), "content-range", &range);
                *one
            }
            several => {
                let kind = object.content_type();
                let boundary = apus_daemon::seed::hex::<16>();
                let framing = Framing::new(several, object.length, &kind, &boundary);
                return several_ranges(server, target, *object, several, framing, response).await;
            }
        },
    };
    set(response.headers_mut(), "content-length", &range.length.to_string());
    // A short whole body shows its length when it is read.
    let read_at_once = !is_head && range == whole && (1..=SMALLEST_BLOCK).contains(&range.length);
    if !read_at_once && !object.has_its_length() {
        return Err(damaged(server, target, &object, "length is not what the metadata says").await?);
    }
    if !is_head && range.length > 0 {
        *response.body_mut() = body(server, target, object, range).await?;
    }
    Ok(response)
}

/// Several ranges in one answer, which our own proxies ask for one by one.
async fn several_ranges(
    server: &Server,
    target: &LocalObject,
    object: Object,
    ranges: &[Resolved],
    framing: Framing,
    mut response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    if !object.has_its_length() {
        return Err(damaged(server, target, &object, "length is not what the metadata says").await?);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(response.headers_mut(), "content-type", &framing.content_type);
    set(response.headers_mut(), "content-length", &framing.length.to_string());
    let (sender, receiver) = mpsc::channel(WINDOW);
    let (server, target, ranges) = (server.clone(), target.clone(), ranges.to_vec());
    spawn(TaskKind::Request, async move {
        let object = Arc::new(object);
        for (head, range) in framing.heads.into_iter().zip(ranges) {
            if sender.send(Ok(head.into())).await.is_err() {
                return;
            }
            let reading = match Reading::begin(&server, &target.device, &object, range).await {
                Ok(reading) => reading,
                Err(error) => return break_off(&server, &target, &object, error, &sender).await,
            };
            if !send_all(&server, &target, &object, reading, &sender).await {
                return;
            }
            if sender.send(Ok(framing.between.into())).await.is_err() {
                return;
            }
        }
        // The client has everything or is gone.
        let _ = sender.send(Ok(framing.end.into())).await;
    });
    *response.body_mut() = stream(receiver);
    Ok(response)
}

fn resolve(head: &HeaderMap, object: &Object) -> Resolution {
    let Some(ranges) = header(head, "range").and_then(ByteRanges::parse) else {
        return Resolution::Whole;
    };
    let ignored = header(head, headers::IGNORE_RANGE_IF).unwrap_or_default();
    let ignored = ignored.split(',').map(str::trim).any(|name| {
        !name.is_empty() && object.metadata.keys().any(|key| key.eq_ignore_ascii_case(name))
    });
    if ignored { Resolution::Whole } else { ranges.resolve(object.length) }
}

/// Ends a stream that cannot go on; a damaged object is moved aside first.
async fn break_off(
    server: &Server,
    target: &LocalObject,
    object: &Object,
    error: ReadError,
    sender: &mpsc::Sender<Result<Bytes, BodyError>>,
) {
    let reason = match error {
        ReadError::Damaged(reason) => {
            // Busy threads leave it to the next reader.
            let _ = damaged(server, target, object, reason).await;
            reason.to_owned()
        }
        ReadError::Disk(error) => error.to_string(),
    };
    // The client may have gone.
    let _ = sender.send(Err(reason.into())).await;
}

/// The answer to a body that cannot be read, before anything of it was sent.
async fn unreadable(
    server: &Server,
    target: &LocalObject,
    object: &Object,
    error: ReadError,
) -> Result<Refusal, Refusal> {
    match error {
        ReadError::Damaged(reason) => damaged(server, target, object, reason).await,
        ReadError::Disk(error) => {
            tracing::error!(%error, object = target.name, "Failed to read a body");
            Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "read failed"))
        }
    }
}

async fn body(
    server: &Server,
    target: &LocalObject,
    object: Box<Object>,
    range: Resolved,
) -> Result<Body, Refusal> {
    let object = Arc::new(*object);
    let mut reading = match Reading::begin(server, &target.device, &object, range).await {
        Ok(reading) => reading,
        Err(error) => return Err(unreadable(server, target, &object, error).await?),
    };
    if range.length <= READ_BYTES as u64 {
        let mut pieces: Vec<Bytes> = Vec::with_capacity(1);
        loop {
            match reading.next().await {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(error) => return Err(unreadable(server, target, &object, error).await?),
            }
        }
        return Ok(match pieces.as_slice() {
            [only] => full(only.clone()),
            several => full(several.concat()),
        });
    }
    let (sender, receiver) = mpsc::channel(WINDOW);
    let server = server.clone();
    let target = target.clone();
    spawn(TaskKind::Request, async move {
        send_all(&server, &target, &object, reading, &sender).await;
    });
    Ok(stream(receiver))
}

/// Sends what is left of a part; says whether all of it went.
async fn send_all(
    server: &Server,
    target: &LocalObject,
    object: &Object,
    mut reading: Reading,
    sender: &mpsc::Sender<Result<Bytes, BodyError>>,
) -> bool {
    loop {
        match reading.next().await {
            Ok(Some(piece)) => {
                if sender.send(Ok(piece)).await.is_err() {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(error) => {
                break_off(server, target, object, error, sender).await;
                return false;
            }
        }
    }
}

/// Moves a damaged object aside; then it is not there. What has taken its place meanwhile stays.
pub(super) async fn damaged(
    server: &Server,
    target: &LocalObject,
    object: &Object,
    reason: &'static str,
) -> Result<Refusal, Refusal> {
    let identity = object.identity();
    let engine = server.store.engine(target.place.policy).clone();
    let is_same =
        move |place: &Place| identity.is_some_and(|identity| engine.holds(place, &identity));
    let quarantined = server.store.quarantine(target, reason, is_same).await;
    quarantined.map_err(|error| store_failed(error, target))?;
    Ok(absent(None))
}
