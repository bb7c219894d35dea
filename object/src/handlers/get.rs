//! `GET` and `HEAD`.

use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_cluster::byte_range::{ByteRanges, Framing, Resolution, Resolved};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, format_date, full, header, set, status, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_disk::{Counters, NowaitRead, Priority, read_at, read_nowait};
use apus_wire::headers;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;

use crate::conditions;
use crate::diskfile::reader::{Object, State};
use crate::diskfile::writer::quarantine;
use crate::server::{Refusal, Server, Target, refuse};

/// Bytes per read, and the largest body that is answered in one piece.
const READ_BYTES: usize = 256 * 1024;
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

pub(crate) fn object_headers(object: &Object, out: &mut HeaderMap) {
    for (name, value) in &object.metadata {
        let own = ["name", "ETag", "X-Timestamp", "Content-Length"];
        if !own.contains(&name.as_str()) {
            set(out, name, value);
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
    target: &Target,
    head: &HeaderMap,
    is_head: bool,
) -> Result<Response<Body>, Refusal> {
    let object = match server.open(target).await? {
        State::Present(object) => object,
        State::Deleted(time) => return Err(absent(Some(time))),
        State::Absent => return Err(absent(None)),
    };
    let open_expired = header(head, headers::OPEN_EXPIRED).is_some();
    if object.delete_at().is_some_and(|at| at <= server.now_seconds()) && !open_expired {
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
                let kind = object.metadata.get("Content-Type").cloned().unwrap_or_default();
                let boundary = apus_daemon::seed::hex::<16>();
                let framing = Framing::new(several, object.length, &kind, &boundary);
                return several_ranges(server, target, *object, several, framing, response).await;
            }
        },
    };
    set(response.headers_mut(), "content-length", &range.length.to_string());
    // A short whole body shows its length when it is read.
    let read_at_once =
        !is_head && range == whole && (1..=READ_BYTES as u64).contains(&range.length);
    if !read_at_once && !object.has_its_length(&server.parts.counters) {
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
    target: &Target,
    object: Object,
    ranges: &[Resolved],
    framing: Framing,
    mut response: Response<Body>,
) -> Result<Response<Body>, Refusal> {
    if !object.has_its_length(&server.parts.counters) {
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
            let (mut offset, end) = (range.start, range.start + range.length);
            while offset < end {
                let wanted = usize::try_from(end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
                match read(&server, &target.device, &object, offset, wanted).await {
                    Ok(piece) => {
                        offset += piece.len() as u64;
                        if sender.send(Ok(piece)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        return break_off(&server, &target, &object, error, &sender).await;
                    }
                }
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

/// What a whole body must add up to.
enum Verify {
    Crc(u64),
    Md5(String),
    /// A range cannot be checked against a digest of the whole.
    Nothing,
}

fn verification(object: &Object, range: Resolved, counters: &Counters) -> Verify {
    if range.length != object.length {
        return Verify::Nothing;
    }
    match object.crc(counters) {
        Some(crc) => Verify::Crc(crc),
        None => Verify::Md5(object.metadata.get("ETag").cloned().unwrap_or_default()),
    }
}

enum Digest {
    Crc(Box<crc_fast::Digest>, u64),
    Md5(Box<md5::Context>, String),
    Nothing,
}

impl Digest {
    fn new(verify: Verify) -> Self {
        match verify {
            Verify::Crc(expected) => Self::Crc(
                Box::new(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme)),
                expected,
            ),
            Verify::Md5(expected) => Self::Md5(Box::new(md5::Context::new()), expected),
            Verify::Nothing => Self::Nothing,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(bytes),
            Self::Md5(context, _) => context.consume(bytes),
            Self::Nothing => {}
        }
    }

    fn matches(self) -> bool {
        match self {
            Self::Crc(digest, expected) => digest.finalize() == expected,
            Self::Md5(context, expected) => format!("{:x}", context.finalize()) == expected,
            Self::Nothing => true,
        }
    }
}

/// Why a piece could not be read.
enum ReadError {
    /// The file ends before its metadata says so.
    Short,
    /// The disk did not answer.
    Failed(String),
}

const SHORTER: &str = "shorter than the metadata says";

/// Ends a stream that cannot go on; a damaged object is moved aside first.
async fn break_off(
    server: &Server,
    target: &Target,
    object: &Object,
    error: ReadError,
    sender: &mpsc::Sender<Result<Bytes, BodyError>>,
) {
    let reason = match error {
        ReadError::Short => {
            // Busy threads leave it to the next reader.
            let _ = damaged(server, target, object, SHORTER).await;
            SHORTER.to_owned()
        }
        ReadError::Failed(reason) => reason,
    };
    // The client may have gone.
    let _ = sender.send(Err(reason.into())).await;
}

/// Reads one piece, from memory if possible, else on a device thread.
async fn read(
    server: &Server,
    device: &str,
    object: &Arc<Object>,
    offset: u64,
    length: usize,
) -> Result<Bytes, ReadError> {
    let mut buffer = BytesMut::zeroed(length);
    let counters = &server.parts.counters;
    match read_nowait(&object.file, &mut buffer, offset, counters) {
        Ok(NowaitRead::Read(read)) if read > 0 => {
            buffer.truncate(read);
            return Ok(buffer.freeze());
        }
        // Some kernels (5.9, 5.10) say 0 where they mean that they would wait.
        Ok(NowaitRead::Read(_) | NowaitRead::WouldWait) => {}
        Err(error) => return Err(ReadError::Failed(error.to_string())),
    }
    let (object, counters) = (object.clone(), counters.clone());
    let work = move || {
        let read = read_at(&object.file, &mut buffer, offset, &counters)?;
        buffer.truncate(read);
        Ok::<_, std::io::Error>(buffer.freeze())
    };
    let read = server.devices.run(device, Priority::Read, work).await;
    match read {
        Ok(Ok(bytes)) if !bytes.is_empty() => Ok(bytes),
        Ok(Ok(_)) => Err(ReadError::Short),
        Ok(Err(error)) => Err(ReadError::Failed(error.to_string())),
        Err(error) => Err(ReadError::Failed(format!("{error:?}"))),
    }
}

async fn body(
    server: &Server,
    target: &Target,
    object: Box<Object>,
    range: Resolved,
) -> Result<Body, Refusal> {
    let mut digest = Digest::new(verification(&object, range, &server.parts.counters));
    let object = Arc::new(*object);
    if let Ok(length) = usize::try_from(range.length)
        && length <= READ_BYTES
    {
        let mut pieces = BytesMut::new();
        let mut offset = range.start;
        let end = range.start + range.length;
        while offset < end {
            // One byte more than there should be, which a file of the right length does not have.
            let more = usize::from(end == object.length);
            let wanted = usize::try_from(end - offset).unwrap_or(READ_BYTES) + more;
            let piece = match read(server, &target.device, &object, offset, wanted).await {
                Ok(piece) => piece,
                Err(ReadError::Short) => {
                    return Err(damaged(server, target, &object, SHORTER).await?);
                }
                Err(ReadError::Failed(error)) => {
                    tracing::error!(error, object = target.name, "read");
                    return Err(refuse(StatusCode::INSUFFICIENT_STORAGE, "read failed"));
                }
            };
            offset += piece.len() as u64;
            if offset > end {
                return Err(
                    damaged(server, target, &object, "longer than the metadata says").await?
                );
            }
            if offset == end && pieces.is_empty() {
                digest.update(&piece);
                return verified(server, target, &object, digest, piece).await;
            }
            pieces.extend_from_slice(&piece);
        }
        digest.update(&pieces);
        return verified(server, target, &object, digest, pieces.freeze()).await;
    }
    let (sender, receiver) = mpsc::channel(WINDOW);
    let server = server.clone();
    let target = target.clone();
    spawn(TaskKind::Request, async move {
        let mut offset = range.start;
        let end = range.start + range.length;
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(READ_BYTES).min(READ_BYTES);
            let piece = match read(&server, &target.device, &object, offset, wanted).await {
                Ok(piece) => piece,
                Err(error) => return break_off(&server, &target, &object, error, &sender).await,
            };
            digest.update(&piece);
            offset += piece.len() as u64;
            // The last piece is held back until the whole is known to be good.
            if offset == end && !std::mem::replace(&mut digest, Digest::Nothing).matches() {
                let reason = "body does not match its digest";
                // Busy threads leave it to the next reader.
                let _ = damaged(&server, &target, &object, reason).await;
                let _ = sender.send(Err(reason.into())).await;
                return;
            }
            if sender.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    Ok(stream(receiver))
}

async fn verified(
    server: &Server,
    target: &Target,
    object: &Object,
    digest: Digest,
    bytes: Bytes,
) -> Result<Body, Refusal> {
    if digest.matches() {
        return Ok(full(bytes));
    }
    Err(damaged(server, target, object, "body does not match its digest").await?)
}

/// Moves a damaged object aside; then it is not there. What has taken its place meanwhile stays.
async fn damaged(
    server: &Server,
    target: &Target,
    object: &Object,
    reason: &'static str,
) -> Result<Refusal, Refusal> {
    let place = target.place.clone();
    let seen = object.identity();
    let work = move || {
        if seen.is_some_and(|seen| seen.is_still_at(&place)) {
            quarantine(&place, reason);
        }
    };
    server.devices.run(&target.device, Priority::Read, work).await?;
    Ok(absent(None))
}
