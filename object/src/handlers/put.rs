//! `PUT`: stores a body with its metadata.
//!
//! A body that fits one buffer is written by a single job of the device's threads; a longer one
//! by a job per buffer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::metadata::{is_stored_with_object, stored_name};
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::status;
use apus_daemon::{Body, Interim};
use apus_disk::{Committer, Priority};
use apus_wire::headers;
use apus_wire::message::container::RowVerb;
use apus_wire::message::object::{ObjectWriteReply, PutObjectRequest};
use apus_wire::put_stream::PutStreamError;
use http::{Response, StatusCode};

use super::context::{Write, check_expiry, fence, respond, row_lost};
use super::put_body::{Digests, ReceivedBody, Source, receive, stream_refusal};
use crate::engine::ObjectWriter;
use crate::engine::object::{ObjectState, Version};
use crate::rows::RowSource;
use crate::rows::container::row_headers;
use crate::server::{Refusal, conflict, refuse, store_failed};
use crate::store::reservation::Fence;

/// How long a commit may take after everything else has arrived (Swift's `client_timeout`).
const COMMIT_WAIT: Duration = Duration::from_secs(60);
/// How long the end of a document may take after its commit.
const END_WAIT: Duration = Duration::from_secs(1);

/// Stores an object.
pub(super) async fn put(
    write: &Write<PutObjectRequest>,
    body: Body,
    interim: Option<Interim>,
) -> Result<Response<Body>, Refusal> {
    let Write { server, object, request, .. } = write;
    check_expiry(&request.metadata, request.timestamp, request.is_replication)?;
    let expired_before = check_existing(write).await?;
    let length = request.length.unwrap_or(0);
    if server.reserve.is_short(&object.place.device, length).unwrap_or(false) {
        return Err(Box::new(status(StatusCode::INSUFFICIENT_STORAGE)));
    }
    let mut source = Source::open(request, body, interim.as_ref()).await?;
    let received = receive(write, &mut source).await?;
    let footers = source.footers().await?;
    let time = final_time(write, &footers).await?;
    let fence = match footers.contains_key(headers::RESERVED) {
        true => Fence::Held,
        false => fence(request.fence),
    };
    let ReceivedBody { pieces, writer, digests } = received;
    let verified = verify_digests(request, &footers, digests)?;
    let stored = stored_metadata(write, &footers, time, &verified)?;
    let engine = server.store.engine(object.place.policy).clone();
    let (place, length) = (object.place.clone(), request.length);
    let (metadata, crc) = (stored.clone(), verified.crc);
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
        writer.seal(Version::Data(time), &metadata, Some(crc))?;
        Ok(writer)
    };
    publish(write, (time, fence), &mut source, interim, prepare).await?;
    apus_fault::point("object.put.published");
    let notified = notify(write, &stored, time, expired_before).await;
    notified.map_err(|error| row_lost(&error, object))?;
    apus_fault::point("object.put.told");
    let reply = ObjectWriteReply { etag: Some(verified.etag), ..ObjectWriteReply::default() };
    Ok(respond(StatusCode::CREATED, &reply))
}

/// Refuses with 409 when something as new is stored, with 412 when `If-None-Match` forbids what is
/// stored. Returns when the stored object would expire, if its task must be removed. Newer metadata
/// does not block a replicated body: it belongs to it then.
async fn check_existing(write: &Write<PutObjectRequest>) -> Result<Option<u64>, Refusal> {
    let Write { server, object, request, replicated } = write;
    let (time, is_replicated) = (request.timestamp, replicated.is_some());
    let cleans = !request.is_replication && request.rows.cleans_queue();
    let failed = |error| store_failed(error, object);
    let mut delete_at = None;
    // File names alone contain the times; opening costs a little more.
    let newest = if request.if_none_match.is_none() && !cleans {
        let newest = server.store.newest(object).await.map_err(failed)?;
        if is_replicated { newest.write } else { newest.any }
    } else {
        match server.store.open(object).await.map_err(failed)? {
            ObjectState::Present(stored) => {
                if !stored.is_expired(time) {
                    let unwanted = request.if_none_match.as_ref();
                    if unwanted.is_some_and(|unwanted| unwanted.matches(stored.etag())) {
                        return Err(Box::new(status(StatusCode::PRECONDITION_FAILED)));
                    }
                    delete_at = stored.delete_at().filter(|_| cleans);
                }
                Some(if is_replicated { stored.data_time } else { stored.time })
            }
            ObjectState::Deleted(deleted) => Some(deleted),
            ObjectState::Absent => None,
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

/// The time that the footers give instead of the first; then the stored times are checked again.
async fn final_time(
    write: &Write<PutObjectRequest>,
    footers: &Metadata,
) -> Result<Timestamp, Refusal> {
    let Write { server, object, request, .. } = write;
    let given = footers.get(headers::FINAL_TIMESTAMP).and_then(|text| Timestamp::parse(text));
    let Some(time) = given.filter(|given| *given > request.timestamp) else {
        return Ok(request.timestamp);
    };
    let newest = server.store.newest(object).await.map_err(|error| store_failed(error, object))?;
    match newest.any.filter(|newest| *newest >= time) {
        Some(newest) => Err(conflict(newest)),
        None => Ok(time),
    }
}

/// A footer, whatever its spelling.
fn footer<'a>(footers: &'a Metadata, name: &str) -> Option<&'a str> {
    let found = footers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Digests that match what the sender declared.
struct VerifiedDigests {
    etag: String,
    crc: u64,
    length: u64,
}

/// Compares the digests of the body with those that the sender declared.
fn verify_digests(
    request: &PutObjectRequest,
    footers: &Metadata,
    digests: Digests,
) -> Result<VerifiedDigests, Refusal> {
    let unprocessable = || Box::new(status(StatusCode::UNPROCESSABLE_ENTITY));
    let Digests { crc, md5, length } = digests;
    let crc = crc.finalize();
    let declared = footer(footers, "etag").map(|etag| etag.trim_matches('"'));
    let declared = declared.or(request.etag.as_deref());
    let etag = match md5 {
        Some(md5) => {
            let etag = format!("{:x}", md5.finalize());
            if declared.is_some_and(|declared| !declared.eq_ignore_ascii_case(&etag)) {
                return Err(unprocessable());
            }
            etag
        }
        None => {
            if footer(footers, headers::BODY_CRC) != Some(format!("{crc:016x}").as_str()) {
                return Err(unprocessable());
            }
            declared.map(str::to_owned).ok_or_else(unprocessable)?
        }
    };
    Ok(VerifiedDigests { etag, crc, length })
}

/// The metadata to store: of the request, of its footers, and of the sender's copy.
fn stored_metadata(
    write: &Write<PutObjectRequest>,
    footers: &Metadata,
    time: Timestamp,
    verified: &VerifiedDigests,
) -> Result<Metadata, Refusal> {
    let Write { object, request, replicated, .. } = write;
    let mut stored = request.metadata.clone();
    let late = footers.iter().filter(|(name, _)| is_stored_with_object(name));
    stored.extend(late.map(|(name, value)| (stored_name(name), value.clone())));
    let content_type = footer(footers, "content-type").or(request.content_type.as_deref());
    let content_type =
        content_type.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "No content type"))?;
    for (name, value) in [
        ("name", object.name.as_str()),
        ("X-Timestamp", &time.to_string()),
        ("Content-Type", content_type),
        ("ETag", &verified.etag),
        ("Content-Length", &verified.length.to_string()),
    ] {
        stored.insert(name.to_owned(), value.to_owned());
    }
    if let Some(replicated) = replicated {
        replicated.add_to(&mut stored);
    }
    Ok(stored)
}

/// Publishes the object that `prepare` writes; waits for the commit of a sender with two phases.
async fn publish(
    write: &Write<PutObjectRequest>,
    (time, fence): (Timestamp, Fence),
    source: &mut Source,
    interim: Option<Interim>,
    prepare: impl FnOnce(&Arc<Committer>) -> io::Result<Box<dyn ObjectWriter>> + Send + 'static,
) -> Result<(), Refusal> {
    let Write { server, object, .. } = write;
    let failed = |error| store_failed(error, object);
    let Source::TwoPhase(decoder) = source else {
        return server.store.write(object, (time, fence), prepare).await.map_err(failed);
    };
    let committer = server.store.devices.committer(&object.device)?;
    let durable = move || {
        let mut writer = prepare(&committer)?;
        writer.mark_shared();
        writer.sync()?;
        Ok(writer)
    };
    let prepared = server.store.devices.run(&object.device, Priority::Write, durable).await?;
    let prepared = prepared.map_err(|error: io::Error| failed(error.into()))?;
    // The object is durable but not published: only the commit is missing.
    if let Some(interim) = &interim {
        interim.go_on();
    }
    let committed = tokio::time::timeout(COMMIT_WAIT, decoder.commit()).await;
    let committed = committed.unwrap_or_else(|late| Err(PutStreamError::Broken(late.into())));
    committed.map_err(|error| stream_refusal(&error))?;
    server.store.write(object, (time, fence), move |_| Ok(prepared)).await.map_err(failed)?;
    // The object is published in any case: a sender without an end only loses its connection.
    let _ = tokio::time::timeout(END_WAIT, decoder.finish()).await;
    Ok(())
}

/// Sends the rows of the write: the task of its expiry, the end of the previous one, the listing.
async fn notify(
    write: &Write<PutObjectRequest>,
    stored: &Metadata,
    time: Timestamp,
    expired_before: Option<u64>,
) -> io::Result<()> {
    let Write { server, object, request, .. } = write;
    let source = RowSource {
        object,
        targets: &request.rows,
        trans_id: request.address.trans_id.as_deref(),
        is_replication: request.is_replication,
    };
    let delete_at = request.delete_at();
    if let Some(at) = delete_at {
        server.rows.add_task(&source, at, stored, time).await?;
    }
    if let Some(before) = expired_before.filter(|before| Some(*before) != delete_at) {
        server.rows.remove_task(&source, before, time).await?;
    }
    apus_fault::point("object.put.queued");
    let row = row_headers(&request.row_overrides, stored, time);
    server.rows.update(&source, RowVerb::Put, row, time).await
}
