//! `GET` and `HEAD`.

use std::borrow::Cow;
use std::sync::Arc;

use apus_cluster::byte_range::{Framing, Resolution, Resolved};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, full, status, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_wire::message::Received;
use apus_wire::message::object::{ReadObjectRequest, ReadVerb, ServedBody, StoredObject};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;

use super::body::{BodyReader, READ_BYTES, ReadError};
use super::conditions;
use super::context::absent;
use super::quarantine::quarantine_damaged;
use crate::engine::blocks::SMALLEST_BLOCK;
use crate::engine::object::{Object, ObjectState};
use crate::server::{Refusal, Server, malformed, refuse, store_failed};
use crate::store::LocalObject;

/// Pieces that wait between disk and network.
const WINDOW: usize = 3;
const WRONG_LENGTH: &str = "length is not what the metadata says";

/// The description of an object in a response.
pub(super) fn described(object: &Object) -> StoredObject<'_> {
    StoredObject {
        timestamp: object.time,
        data_timestamp: Some(object.data_time),
        etag: Cow::Borrowed(object.etag()),
        content_type: Cow::Borrowed(object.content_type()),
        length: object.length,
        metadata: Cow::Borrowed(&object.metadata),
    }
}

/// A response that describes the object.
fn response(code: StatusCode, object: &Object, served: ServedBody) -> Response<Body> {
    let mut response = status(code);
    described(object).encode(served, response.headers_mut());
    response
}

/// Reads an object.
pub(crate) async fn get(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        ReadObjectRequest::decode(head).map_err(|error| malformed(&error))?;
    let read =
        ObjectRead { server: server.clone(), object: server.object(device, &request.address)? };
    let stored = read.open(&request).await?;
    let etag = conditions::effective_etag(&request.conditions, &stored.metadata);
    if let Some(code) = conditions::check(&request.conditions, &etag, stored.time) {
        return Ok(response(code, &stored, ServedBody::Nothing));
    }
    let whole = Resolved { start: 0, length: stored.length };
    let (code, served, range) = match resolve(&request, &stored) {
        Resolution::Whole => (StatusCode::OK, ServedBody::Whole, whole),
        Resolution::Unsatisfiable => {
            let code = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response(code, &stored, ServedBody::Unsatisfiable));
        }
        Resolution::Ranges(ranges) => match ranges.as_slice() {
            [one] => (StatusCode::PARTIAL_CONTENT, ServedBody::Range(*one), *one),
            _ => return read.several_ranges(stored, ranges).await,
        },
    };
    let is_head = request.verb == ReadVerb::Head;
    // A wrong length of a short whole body is noticed when it is read.
    let read_at_once = !is_head && range == whole && (1..=SMALLEST_BLOCK).contains(&range.length);
    if !read_at_once {
        read.check_length(&stored).await?;
    }
    let mut response = response(code, &stored, served);
    if !is_head && range.length > 0 {
        *response.body_mut() = read.body(stored, range).await?;
    }
    Ok(response)
}

/// The part of the body that a request asks for.
fn resolve(request: &ReadObjectRequest, stored: &Object) -> Resolution {
    let Some(ranges) = request.ranges.as_ref().filter(|_| request.verb == ReadVerb::Get) else {
        return Resolution::Whole;
    };
    let has = |name: &String| stored.metadata.keys().any(|key| key.eq_ignore_ascii_case(name));
    if request.ignore_range_if.iter().any(has) {
        return Resolution::Whole;
    }
    ranges.resolve(stored.length)
}

/// A read of one object.
#[derive(Clone)]
struct ObjectRead {
    server: Server,
    object: LocalObject,
}

type Pieces = mpsc::Sender<Result<Bytes, BodyError>>;

impl ObjectRead {
    async fn open(&self, request: &ReadObjectRequest) -> Result<Object, Refusal> {
        let state = self.server.store.open(&self.object).await;
        let stored = match state.map_err(|error| store_failed(error, &self.object))? {
            ObjectState::Present(stored) => *stored,
            ObjectState::Deleted(time) => return Err(absent(Some(time))),
            ObjectState::Absent => return Err(absent(None)),
        };
        let opens_expired = request.open_expired || request.is_replication;
        let is_expired = stored.delete_at().is_some_and(|at| at <= self.server.now_seconds());
        if is_expired && !opens_expired {
            return Err(absent(Some(stored.time)));
        }
        Ok(stored)
    }

    /// Quarantines an object whose body has another length than its metadata says.
    async fn check_length(&self, stored: &Object) -> Result<(), Refusal> {
        if stored.has_its_length() {
            return Ok(());
        }
        Err(quarantine_damaged(&self.server, &self.object, stored, WRONG_LENGTH).await?)
    }

    /// Several ranges in one response, which our own proxies request one by one.
    async fn several_ranges(
        self,
        stored: Object,
        ranges: Vec<Resolved>,
    ) -> Result<Response<Body>, Refusal> {
        self.check_length(&stored).await?;
        let boundary = apus_daemon::seed::hex::<16>();
        let framing = Framing::new(&ranges, stored.length, stored.content_type(), &boundary);
        let mut response = response(StatusCode::PARTIAL_CONTENT, &stored, ServedBody::Nothing);
        let head = response.headers_mut();
        if let Ok(content_type) = HeaderValue::try_from(&framing.content_type) {
            head.insert(header::CONTENT_TYPE, content_type);
        }
        head.insert(header::CONTENT_LENGTH, framing.length.into());
        let (sender, receiver) = mpsc::channel(WINDOW);
        spawn(TaskKind::Request, async move {
            self.send_ranges(stored, ranges, framing, &sender).await;
        });
        *response.body_mut() = stream(receiver);
        Ok(response)
    }

    async fn send_ranges(
        &self,
        stored: Object,
        ranges: Vec<Resolved>,
        framing: Framing,
        sender: &Pieces,
    ) {
        let stored = Arc::new(stored);
        for (head, range) in framing.heads.into_iter().zip(ranges) {
            if sender.send(Ok(head.into())).await.is_err() {
                return;
            }
            let device = &self.object.device;
            let reader = match BodyReader::begin(&self.server, device, &stored, range).await {
                Ok(reader) => reader,
                Err(error) => return self.break_off(&stored, error, sender).await,
            };
            if !self.send_all(&stored, reader, sender).await {
                return;
            }
            if sender.send(Ok(framing.between.into())).await.is_err() {
                return;
            }
        }
        // The client has received everything or has disconnected.
        let _ = sender.send(Ok(framing.end.into())).await;
    }

    /// Ends a stream in the middle; a damaged object is quarantined first.
    async fn break_off(&self, stored: &Object, error: ReadError, sender: &Pieces) {
        if let ReadError::Damaged(reason) = &error {
            // When the threads are busy, the next reader quarantines it.
            let _ = quarantine_damaged(&self.server, &self.object, stored, reason).await;
        }
        // The client may have disconnected.
        let _ = sender.send(Err(error.to_string().into())).await;
    }

    /// The response to a body that cannot be read, before anything of it was sent.
    async fn unreadable(&self, stored: &Object, error: ReadError) -> Result<Refusal, Refusal> {
        match error {
            ReadError::Damaged(reason) => {
                quarantine_damaged(&self.server, &self.object, stored, reason).await
            }
            ReadError::Disk(error) => {
                tracing::error!(%error, object = self.object.name, "Failed to read a body");
                Ok(refuse(StatusCode::INTERNAL_SERVER_ERROR, "read failed"))
            }
        }
    }

    async fn body(self, stored: Object, range: Resolved) -> Result<Body, Refusal> {
        let stored = Arc::new(stored);
        let device = &self.object.device;
        let mut reader = match BodyReader::begin(&self.server, device, &stored, range).await {
            Ok(reader) => reader,
            Err(error) => return Err(self.unreadable(&stored, error).await?),
        };
        if range.length <= READ_BYTES as u64 {
            let mut pieces: Vec<Bytes> = Vec::with_capacity(1);
            loop {
                match reader.next().await {
                    Ok(Some(piece)) => pieces.push(piece),
                    Ok(None) => break,
                    Err(error) => return Err(self.unreadable(&stored, error).await?),
                }
            }
            return Ok(match pieces.as_slice() {
                [only] => full(only.clone()),
                several => full(several.concat()),
            });
        }
        let (sender, receiver) = mpsc::channel(WINDOW);
        spawn(TaskKind::Request, async move {
            self.send_all(&stored, reader, &sender).await;
        });
        Ok(stream(receiver))
    }

    /// Sends the rest of a part; returns whether all of it was sent.
    async fn send_all(&self, stored: &Object, mut reader: BodyReader, sender: &Pieces) -> bool {
        loop {
            match reader.next().await {
                Ok(Some(piece)) => {
                    if sender.send(Ok(piece)).await.is_err() {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(error) => {
                    self.break_off(stored, error, sender).await;
                    return false;
                }
            }
        }
    }
}
