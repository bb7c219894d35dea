//! `PUT`: plain, or Swift's MIME form with footers and commit.
//!
//! A body that fits one buffer is written by a single job of the device's threads; a longer one
//! by a job per buffer. MD5 is computed here only when the sender will not tell a CRC of the body.

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::etag::EtagList;
use apus_cluster::metadata::{is_stored_with_object, stored_name};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, set, status};
use apus_daemon::{Body, Interim};
use apus_disk::{Committer, Priority};
use apus_wire::headers;
use apus_wire::put_stream::{PutDecoder, PutStreamError};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;

use crate::engine::ObjectWriter;
use crate::engine::object::{State, Version};
use crate::handlers::reserve::fence;
use crate::replication::Replicated;
use crate::rows::container::row_headers;
use crate::rows::expirer;
use crate::server::{Refusal, Server, conflict, refuse, store_failed, timestamp};
use crate::store::LocalObject;
use crate::store::reservation::Fence;

/// Bytes gathered before the disk is asked to write.
const WRITE_BYTES: usize = 512 * 1024;
/// How long a commit may take after everything else was there (Swift's `client_timeout`).
const COMMIT_WAIT: Duration = Duration::from_secs(60);
/// How long the end of a document may take after its commit.
const END_WAIT: Duration = Duration::from_secs(1);
/// What the queue of expirations is told of an object.
const TASK_FIELDS: [&str; 2] = ["Content-Length", "X-Timestamp"];
/// 499: the client went away.
const CLIENT_CLOSED: u16 = 499;

/// `X-Delete-At` must be later than the write, except for copies made by replication.
pub(crate) fn check_delete_at(head: &HeaderMap, time: Timestamp) -> Result<(), Refusal> {
    let given = header(head, headers::DELETE_AT).filter(|text| !text.is_empty());
    let Some(text) = given else { return Ok(()) };
    let at: u64 =
        text.parse().map_err(|_| refuse(StatusCode::BAD_REQUEST, "Non-integer X-Delete-At"))?;
    if Timestamp::from_seconds(at) <= time && !expirer::is_replication(head) {
        return Err(refuse(StatusCode::BAD_REQUEST, "X-Delete-At in past"));
    }
    Ok(())
}

enum Source {
    Plain(Body),
    Mime(PutDecoder),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, PutStreamError> {
        match self {
            Self::Mime(decoder) => decoder.data().await,
            Self::Plain(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(PutStreamError::Broken(error)),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
        }
    }
}

fn stream_refusal(error: &PutStreamError) -> Refusal {
    match error {
        PutStreamError::Broken(_) => {
            let gone = StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST);
            Box::new(status(gone))
        }
        PutStreamError::FooterDigest => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        PutStreamError::Malformed(_) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Digests of a body as it passes: CRC always (it guards the disk), MD5 when asked.
struct Digests {
    crc: crc_fast::Digest,
    md5: Option<md5::Context>,
    length: u64,
}

impl Digests {
    fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.consume(bytes);
        }
        self.length += bytes.len() as u64;
    }
}

pub(crate) async fn put(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    body: Body,
    interim: Option<Interim>,
    replicated: Option<&Replicated>,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    let content_type = header(head, "content-type").map(str::to_owned);
    check_delete_at(head, time)?;
    let length: Option<u64> = header(head, headers::OBJECT_LENGTH)
        .or_else(|| {
            header(head, "content-length")
                .filter(|_| header(head, headers::MIME_BOUNDARY).is_none())
        })
        .and_then(|text| text.parse().ok());
    let expired_before = check_existing(server, target, head, time, replicated.is_some()).await?;
    if server.reserve.is_short(&target.place.device, length.unwrap_or(0)).unwrap_or(false) {
        return Err(Box::new(status(StatusCode::INSUFFICIENT_STORAGE)));
    }
    let peer_sends_crc = header(head, headers::BODY_CRC).is_some();
    let two_phases = header(head, headers::MULTIPHASE_COMMIT).is_some();
    if two_phases && header(head, headers::MIME_BOUNDARY).is_none() {
        return Err(refuse(StatusCode::BAD_REQUEST, "a commit needs a MIME document"));
    }
    let mut source = match header(head, headers::MIME_BOUNDARY) {
        Some(boundary) => {
            if let Some(interim) = &interim {
                let commit = two_phases.then_some((headers::WILL_COMMIT, "yes"));
                let both: Vec<_> =
                    [(headers::WILL_READ_FOOTERS, "yes")].into_iter().chain(commit).collect();
                interim.announce(&both);
            }
            let opened = PutDecoder::open(body, boundary, length).await;
            Source::Mime(opened.map_err(|error| stream_refusal(&error))?)
        }
        None => Source::Plain(body),
    };
    let mut digests = Digests {
        crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
        md5: (!peer_sends_crc).then(md5::Context::new),
        length: 0,
    };
    let (pieces, writer) = receive(server, target, &mut source, &mut digests, length).await?;
    if length.is_some_and(|length| length != digests.length) {
        return Err(stream_refusal(&PutStreamError::Broken("short body".into())));
    }
    let footers = match &mut source {
        Source::Mime(decoder) => decoder.footers().await.map_err(|error| stream_refusal(&error))?,
        Source::Plain(_) => Metadata::new(),
    };
    if let (Source::Mime(decoder), false) = (&mut source, two_phases) {
        decoder.finish().await.map_err(|error| stream_refusal(&error))?;
    }
    let time = final_time(server, target, &footers, time).await?;
    let fence = match footers.contains_key(headers::RESERVED) {
        true => Fence::Held,
        false => fence(head),
    };
    let crc = digests.crc.finalize();
    let etag = check_digests(head, &footers, crc, digests.md5)?;
    let mut stored = stored_metadata(
        head,
        &footers,
        target,
        time,
        &etag,
        digests.length,
        content_type.as_deref(),
    )?;
    if let Some(replicated) = replicated {
        replicated.add_to(&mut stored);
    }
    let row = row_headers(head, &stored, time);
    let task = Metadata::from_iter(
        TASK_FIELDS.map(|name| (name.to_owned(), stored.get(name).cloned().unwrap_or_default())),
    );
    let place = target.place.clone();
    let engine = server.store.engine(target.place.policy).clone();
    let prepare = move |committer: &Arc<Committer>| {
        let mut writer = match writer {
            Some(mut writer) => {
                writer.mark_shared();
                writer
            }
            None => engine.create(place, length, committer)?,
        };
        for piece in &pieces {
            writer.append(piece)?;
        }
        writer.seal(Version::Data(time), &stored, Some(crc))?;
        Ok(writer)
    };
    match &mut source {
        Source::Mime(decoder) if two_phases => {
            let committer = server.store.devices.committer(&target.device)?;
            let durable = move || {
                let mut writer = prepare(&committer)?;
                writer.mark_shared();
                writer.sync()?;
                Ok(writer)
            };
            let prepared =
                server.store.devices.run(&target.device, Priority::Write, durable).await?;
            let prepared =
                prepared.map_err(|error: std::io::Error| store_failed(error.into(), target))?;
            // Everything is on the disk but has no name: the commit is all that is left to do.
            if let Some(interim) = &interim {
                interim.go_on();
            }
            let committed = tokio::time::timeout(COMMIT_WAIT, decoder.commit()).await;
            let committed =
                committed.unwrap_or_else(|late| Err(PutStreamError::Broken(late.into())));
            committed.map_err(|error| stream_refusal(&error))?;
            let written = server.store.write(target, (time, fence), move |_| Ok(prepared)).await;
            written.map_err(|error| store_failed(error, target))?;
            // It is published whatever comes: a sender without an end only loses its connection.
            let _ = tokio::time::timeout(END_WAIT, decoder.finish()).await;
        }
        _ => {
            let written = server.store.write(target, (time, fence), prepare).await;
            written.map_err(|error| store_failed(error, target))?;
        }
    }
    apus_fault::point("object.put.published");
    let told = async {
        let delete_at = expirer::wanted(head);
        if let Some(at) = delete_at {
            server.rows.add_task(target, head, at, &task, time).await?;
        }
        if let Some(before) = expired_before.filter(|before| Some(*before) != delete_at) {
            server.rows.remove_task(target, head, before, time).await?;
        }
        apus_fault::point("object.put.queued");
        server.rows.update(target, head, Method::PUT, row, time).await
    };
    told.await.map_err(|error| row_lost(&error, target))?;
    apus_fault::point("object.put.told");
    let mut response = status(StatusCode::CREATED);
    set(response.headers_mut(), "etag", &format!("\"{etag}\""));
    Ok(response)
}

/// The time that the footers give instead of the first; then what is here is looked at again.
async fn final_time(
    server: &Server,
    target: &LocalObject,
    footers: &Metadata,
    first: Timestamp,
) -> Result<Timestamp, Refusal> {
    let given = footers.get(headers::FINAL_TIMESTAMP).and_then(|text| Timestamp::parse(text));
    let Some(time) = given.filter(|given| *given > first) else { return Ok(first) };
    match server
        .store
        .newest(target)
        .await
        .map_err(|error| store_failed(error, target))?
        .any
        .filter(|newest| *newest >= time)
    {
        Some(newest) => Err(conflict(newest)),
        None => Ok(time),
    }
}

/// The answer when a write is durable but nobody can be told of it.
pub(crate) fn row_lost(error: &std::io::Error, target: &LocalObject) -> Refusal {
    tracing::error!(%error, device = target.device, object = target.name, "row was not kept");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "container row was not kept")
}

/// 409 when something as new is here, 412 when `If-None-Match` forbids what is here. Gives when
/// what is here would expire, if somebody has to be told that it no longer will. Newer metadata is
/// not in the way of a replicated body: it belongs to it then.
async fn check_existing(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    time: Timestamp,
    replicated: bool,
) -> Result<Option<u64>, Refusal> {
    let unwanted = header(head, "if-none-match").map(EtagList::parse);
    let cleans = expirer::cleans(head);
    let mut delete_at = None;
    // The names alone tell the times; opening costs a little more and is only for those who ask.
    let newest = if unwanted.is_none() && !cleans {
        let newest =
            server.store.newest(target).await.map_err(|error| store_failed(error, target))?;
        if replicated { newest.write } else { newest.any }
    } else {
        match server.store.open(target).await.map_err(|error| store_failed(error, target))? {
            State::Present(object) => {
                if !object.is_expired(time) {
                    let etag = object.metadata.get("ETag").map_or("", String::as_str);
                    if unwanted.is_some_and(|unwanted| unwanted.matches(etag)) {
                        return Err(Box::new(status(StatusCode::PRECONDITION_FAILED)));
                    }
                    delete_at = object.delete_at().filter(|_| cleans);
                }
                Some(if replicated { object.data_time } else { object.time })
            }
            State::Deleted(deleted) => Some(deleted),
            State::Absent => None,
        }
    };
    if apus_fault::planted("bug.accept-older-put") {
        return Ok(delete_at);
    }
    match newest.filter(|newest| *newest >= time) {
        Some(newest) => Err(conflict(newest)),
        None => Ok(delete_at),
    }
}

/// Reads the body. A short one stays in memory; of a longer one all but the tail is written.
async fn receive(
    server: &Server,
    target: &LocalObject,
    source: &mut Source,
    digests: &mut Digests,
    length: Option<u64>,
) -> Result<(Vec<Bytes>, Option<Box<dyn ObjectWriter>>), Refusal> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut waiting = 0;
    let mut writer: Option<Box<dyn ObjectWriter>> = None;
    while let Some(piece) = source.next().await.map_err(|error| stream_refusal(&error))? {
        digests.update(&piece);
        if digests.md5.is_some() {
            server.client.counters().digested(piece.len());
        }
        waiting += piece.len();
        pieces.push(piece);
        if waiting < WRITE_BYTES {
            continue;
        }
        let batch = std::mem::take(&mut pieces);
        waiting = 0;
        let open = writer.take();
        let (place, committer) =
            (target.place.clone(), server.store.devices.committer(&target.device)?);
        let engine = server.store.engine(place.policy).clone();
        let written = server
            .store
            .devices
            .run(&target.device, Priority::Write, move || {
                let mut writer = match open {
                    Some(writer) => writer,
                    None => engine.create(place, length, &committer)?,
                };
                for piece in &batch {
                    writer.append(piece)?;
                }
                Ok::<_, std::io::Error>(writer)
            })
            .await?;
        writer = Some(written.map_err(|error| store_failed(error.into(), target))?);
        apus_fault::point("object.put.piece-written");
    }
    Ok((pieces, writer))
}

/// Compares what was received with what the sender says; gives the etag to store.
fn check_digests(
    head: &HeaderMap,
    footers: &Metadata,
    crc: u64,
    md5: Option<md5::Context>,
) -> Result<String, Refusal> {
    let footer = |name: &str| {
        footers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    let unprocessable = || Box::new(status(StatusCode::UNPROCESSABLE_ENTITY));
    let promised =
        footer("etag").or_else(|| header(head, "etag")).map(|etag| etag.trim_matches('"'));
    match md5 {
        Some(md5) => {
            let etag = format!("{:x}", md5.finalize());
            if promised.is_some_and(|promised| !promised.eq_ignore_ascii_case(&etag)) {
                return Err(unprocessable());
            }
            Ok(etag)
        }
        None => {
            if footer(headers::BODY_CRC) != Some(format!("{crc:016x}").as_str()) {
                return Err(unprocessable());
            }
            promised.map(str::to_owned).ok_or_else(unprocessable)
        }
    }
}

fn stored_metadata(
    head: &HeaderMap,
    footers: &Metadata,
    target: &LocalObject,
    time: Timestamp,
    etag: &str,
    length: u64,
    content_type: Option<&str>,
) -> Result<Metadata, Refusal> {
    let from_head = head.iter().map(|(name, value)| {
        (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let from_footers = footers.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let mut stored: Metadata = from_head
        .chain(from_footers)
        .filter(|(name, _)| is_stored_with_object(name))
        .map(|(name, value)| (stored_name(name), value))
        .collect();
    let footer_type =
        footers.iter().find(|(key, _)| key.eq_ignore_ascii_case("content-type")).map(|(_, v)| v);
    let content_type = footer_type
        .map(String::as_str)
        .or(content_type)
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "No content type"))?;
    for (name, value) in [
        ("name", target.name.as_str()),
        ("X-Timestamp", &time.to_string()),
        ("Content-Type", content_type),
        ("ETag", etag),
        ("Content-Length", &length.to_string()),
    ] {
        stored.insert(name.to_owned(), value.to_owned());
    }
    Ok(stored)
}
