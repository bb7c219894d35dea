//! Writing objects: one body to all primaries at once, with MD5 and CRC computed in transit.
//!
//! A short body is buffered and sent whole, so that a node that fails is simply replaced. A long one
//! is streamed through one bounded queue per node: a node that fails within the first pieces is
//! replaced and gets them again, one that fails later is dropped if a quorum is left without it.

mod delete;
mod expire;
mod long;
mod outcome;
mod short;

use apus_cluster::etag::EtagList;
use apus_cluster::policy::{majority, write_quorum};
use apus_cluster::{Metadata, ObjectPath, PolicyIndex, Timestamp, expirer};
use apus_daemon::Body;
use apus_daemon::http::BodyError;
use apus_wire::message::object::{ObjectRowTargets, PutFraming, PutObjectRequest, WriteFence};
use apus_wire::put_stream::PutEncoder;
use apus_wire::{NodeRequest, headers};
use bytes::Bytes;
use http_body_util::BodyExt;

pub(super) use self::outcome::agreed_by;
use super::Quorum;
use super::call::ObjectCall;
use super::digest::Digests;
use crate::body::LateMetadata;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectWritten, PutObject, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// Bodies up to this many bytes are buffered whole.
const SHORT: usize = 64 * 1024;

/// How often a write is repeated at a later time because a node has something newer.
pub(super) const RESTAMPS: usize = 3;

/// What the client declared of a body.
struct DeclaredBody {
    length: Option<u64>,
    etag: Option<String>,
    /// Metadata that wrappers of the body add at its end.
    late: LateMetadata,
}

/// A whole body that is what the client declared.
struct VerifiedBody {
    etag: String,
    length: u64,
    /// Metadata that came with the end of the body.
    late: Metadata,
    /// What the nodes get after the body.
    footers: Metadata,
}

impl DeclaredBody {
    /// Checks the digests of the whole body.
    ///
    /// # Errors
    /// `ClientGone` for a body that is too short, `ChecksumMismatch`.
    fn verify(&self, digests: Digests) -> Result<VerifiedBody> {
        if self.length.is_some_and(|length| length != digests.length) {
            let cause = "the body is not as long as its Content-Length";
            return Err(Error::new(Kind::ClientGone, Subject::Request).because(cause));
        }
        let length = digests.length;
        let (etag, crc) = digests.finish();
        if self.etag.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&etag)) {
            let cause = format!("the etag of the body is {etag}");
            return Err(Error::new(Kind::ChecksumMismatch, Subject::Object).because(cause));
        }
        let late = self.late.take();
        let mut footers = late.clone();
        footers.insert("Etag".to_owned(), etag.clone());
        footers.insert(headers::BODY_CRC.to_owned(), crc);
        Ok(VerifiedBody { etag, length, late, footers })
    }
}

/// A PUT: the call and what the client asked of it, without the body.
struct ObjectPut<'a> {
    call: ObjectCall<'a>,
    declared: DeclaredBody,
    timestamp: Option<Timestamp>,
    conditions: WriteConditions,
    encoder: PutEncoder,
    /// The request without its time.
    request: PutObjectRequest,
}

impl ObjectPut<'_> {
    /// The requests of a PUT at this time, by the index of the replica.
    fn requests(&mut self, time: Timestamp) -> impl Fn(usize) -> NodeRequest + use<> {
        self.request.timestamp = time;
        self.call.with_rows(self.request.encode(), self.request.delete_at())
    }
}

/// The first pieces of a body, and the digests of them.
struct BodyStart {
    buffered: Vec<Bytes>,
    digests: Digests,
    /// Whether they are the whole body.
    is_whole: bool,
}

impl BodyStart {
    /// Reads a body until it ends or is too long for a short one.
    async fn read(body: &mut Body, mut digests: Digests) -> Result<Self> {
        let mut buffered: Vec<Bytes> = Vec::new();
        let mut size = 0;
        while size <= SHORT {
            let Some(piece) = next_piece(body).await? else {
                return Ok(Self { buffered, digests, is_whole: true });
            };
            digests.update(&piece);
            size += piece.len();
            buffered.push(piece);
        }
        Ok(Self { buffered, digests, is_whole: false })
    }
}

impl Quorum {
    /// Writes an object.
    ///
    /// # Errors
    /// `ChecksumMismatch`, `ClientGone`, `Conflict`, `PreconditionFailed`, `Unavailable`.
    pub async fn put_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: PutObject,
        policy: PolicyIndex,
    ) -> Result<ObjectWritten> {
        let call = ObjectCall::new(self, cx, &op.object, policy)?;
        let encoder = PutEncoder::new(apus_daemon::random::hex::<16>());
        // Swift's nodes check this themselves, and ours thereby refuse a long body early.
        let if_absent = op.conditions.is_absent_only() && !cx.is_strong();
        let request = PutObjectRequest {
            address: call.address(),
            timestamp: Timestamp::ZERO,
            content_type: Some(op.content_type),
            length: op.length,
            etag: None,
            metadata: stored(op.metadata),
            if_none_match: if_absent.then(|| EtagList::parse("*")),
            framing: PutFraming::Footers { boundary: encoder.boundary().to_owned() },
            sends_crc: true,
            fence: if is_version(&op.object, op.timestamp) {
                WriteFence::default()
            } else {
                call.fence()
            },
            is_replication: false,
            row_overrides: Metadata::new(),
            rows: ObjectRowTargets::default(),
        };
        let put = ObjectPut {
            call,
            declared: DeclaredBody { length: op.length, etag: op.etag, late: op.late },
            timestamp: op.timestamp,
            conditions: op.conditions,
            encoder,
            request,
        };
        let mut body = op.body;
        let start = BodyStart::read(&mut body, Digests::new(&self.client)).await?;
        match start.is_whole {
            true => put.send_short(start).await,
            false => put.send_long(start, body).await,
        }
    }
}

/// Whether a PUT stores a version in a hidden container. Its name contains its time and is written once,
/// so that no lease of it can have been given. A server that was just started must not refuse its time,
/// which may be old, for the leases of other names that it may have forgotten.
fn is_version(object: &ObjectPath, time: Option<Timestamp>) -> bool {
    time.is_some() && object.container.container.is_reserved()
}

/// The number of successful answers that a write needs: a majority of primaries when it is strict.
pub(super) fn needed(strict: bool, replicas: usize) -> usize {
    if apus_fault::planted("bug.write-one-copy") {
        return 1;
    }
    if strict { majority(replicas) } else { write_quorum(replicas) }
}

/// The metadata that is stored with an object; an expiry is written in ten digits, as the expirer's
/// queue sorts it.
pub(super) fn stored(mut metadata: Metadata) -> Metadata {
    if let Some(at) = metadata.get_mut("X-Delete-At")
        && let Ok(seconds) = at.parse()
    {
        *at = expirer::ten_digits(seconds);
    }
    metadata
}

/// The next bytes of a body; `None` at its end.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(body_error(error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The error of a wrapper of the body, or that the client was too slow or disconnected.
fn body_error(error: BodyError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => {
            let kind = match error.is::<tokio::time::error::Elapsed>() {
                true => Kind::ClientTimeout,
                false => Kind::ClientGone,
            };
            Error::new(kind, Subject::Request).because(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_has_ten_digits() {
        let metadata = Metadata::from([("X-Delete-At".to_owned(), "1700".to_owned())]);
        assert_eq!(stored(metadata)["X-Delete-At"], "0000001700");
    }
}
