//! Writing objects: one body to all primaries at once, with MD5 and CRC made on the way.
//!
//! A short body is held and sent whole, so a node that fails is simply replaced. A long one flows
//! through one bounded queue per node; a node that fails within the first window is replaced and
//! gets that window again, one that fails later is dropped if a quorum goes on without it.

use apus_cluster::policy::{majority, write_quorum};
use apus_cluster::{Metadata, ObjectPath, PolicyIndex, Timestamp, expirer};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, header, set};
use apus_wire::put_stream::PutEncoder;
use apus_wire::{NodeRequest, headers};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use super::Quorum;
use super::digest::Digests;
use super::fan::Fan;
use super::nodes::{Enough, Nodes};
use super::object_rows::ObjectRows;
use super::reserve::Hold;
use super::send::{Answer, Replayable, agreed_status, bad_request, broadcast};
use crate::body::LateMetadata;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{DeleteObject, ObjectWritten, PutObject, WriteConditions};
use crate::{Error, Kind, Result, Subject};

/// Bodies up to this many bytes are held whole.
const SHORT: usize = 64 * 1024;

/// How often a write is stamped anew because a node has something newer.
pub(super) const RESTAMPS: usize = 3;

/// What the client promised of a body.
struct Promise {
    object: ObjectPath,
    length: Option<u64>,
    etag: Option<String>,
    timestamp: Option<Timestamp>,
    late: LateMetadata,
    conditions: WriteConditions,
}

/// The end of a body: what the client is told, and what the nodes are.
struct End {
    etag: String,
    late: Metadata,
    footers: Metadata,
}

fn end(op: &Promise, digests: Digests) -> Result<End> {
    if op.length.is_some_and(|length| length != digests.length) {
        return Err(Error::new(Kind::ClientGone, Subject::Request).because("short body"));
    }
    let (etag, crc) = digests.finish();
    if op.etag.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&etag)) {
        return Err(Error::new(Kind::ChecksumMismatch, Subject::Object).because(etag));
    }
    let late = op.late.take();
    let mut footers = late.clone();
    footers.insert("Etag".to_owned(), etag.clone());
    footers.insert(headers::BODY_CRC.to_owned(), crc);
    Ok(End { etag, late, footers })
}

fn body_error(error: BodyError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => {
            let text = error.to_string();
            let subject = Subject::Request;
            match error.downcast::<tokio::time::error::Elapsed>() {
                Ok(_) => Error::new(Kind::ClientTimeout, subject).because(text),
                Err(_) => Error::new(Kind::ClientGone, subject).because(text),
            }
        }
    }
}

impl Quorum {
    /// The requests of a write by replica: what all get, `extra`, and who is to send which rows.
    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn write_request(
        &self,
        cx: &Context,
        method: Method,
        object: &ObjectPath,
        policy: PolicyIndex,
        nodes: &Nodes,
        time: Timestamp,
        extra: &HeaderMap,
    ) -> impl Fn(usize) -> NodeRequest + use<> {
        let mut request = self.object_request(cx, method, object, policy, nodes);
        set(&mut request.headers, headers::TIMESTAMP, &time.to_string());
        if cx.is_fenced() {
            set(&mut request.headers, headers::STRONG, "yes");
        }
        request.headers.extend(extra.clone());
        let delete_at = header(extra, headers::DELETE_AT).and_then(|text| text.parse().ok());
        let rows = ObjectRows::new(self, object, delete_at, nodes.primaries.len());
        move |index| {
            let mut request = request.clone();
            rows.deal(index, &mut request.headers);
            request
        }
    }

    /// Good answers that a write needs: a majority of primaries when it is strict.
    pub(super) fn needed(strict: bool, replicas: usize) -> usize {
        if apus_fault::planted("bug.write-one-copy") {
            return 1;
        }
        if strict { majority(replicas) } else { write_quorum(replicas) }
    }

    /// How many of whom must have taken a write.
    pub(super) fn enough(strict: bool, nodes: &Nodes) -> Enough {
        let needed = Self::needed(strict, nodes.primaries.len());
        if strict { nodes.enough(needed) } else { Enough::Any(needed) }
    }

    /// The status that enough servers agree on.
    pub(super) fn agreed_by(enough: &Enough, answers: &[Answer]) -> Result<StatusCode> {
        agreed_status(enough, answers).ok_or_else(|| {
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            Error::unavailable(format!("object servers answered {statuses:?}"))
        })
    }

    pub(super) fn saw(&self, answers: &[Answer]) {
        for time in answers.iter().filter_map(Answer::timestamp) {
            self.clock.saw(time);
        }
    }

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
        let nodes = self.object_nodes(&op.object, policy)?;
        let encoder = PutEncoder::new(apus_daemon::seed::hex::<16>());
        let mut extra = stored_headers(&op.metadata);
        set(&mut extra, "content-type", &op.content_type);
        set(&mut extra, headers::METADATA_FOOTER, "yes");
        set(&mut extra, headers::MIME_BOUNDARY, encoder.boundary());
        set(&mut extra, headers::BODY_CRC, "yes");
        if let Some(length) = op.length {
            set(&mut extra, headers::OBJECT_LENGTH, &length.to_string());
        }
        if op.conditions.is_absent_only() && !cx.is_strong() {
            // Swift's nodes judge by themselves, and ours so refuse a long body early.
            set(&mut extra, "if-none-match", "*");
        }
        let mut digests = Digests::new(&self.client);
        let mut held: Vec<Bytes> = Vec::new();
        let mut size = 0;
        let mut body = op.body;
        let op = Promise {
            object: op.object,
            length: op.length,
            etag: op.etag,
            timestamp: op.timestamp,
            late: op.late,
            conditions: op.conditions,
        };
        let mut ended = false;
        while size <= SHORT {
            match next_piece(&mut body).await? {
                Some(piece) => {
                    digests.update(&piece);
                    size += piece.len();
                    held.push(piece);
                }
                None => {
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            self.put_short(cx, &op, policy, &nodes, &extra, &encoder, held, digests).await
        } else {
            let flow = Flow { encoder, extra, held, digests, body };
            self.put_long(cx, &op, policy, &nodes, flow).await
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request, used once")]
    async fn put_short(
        &self,
        cx: &Context,
        op: &Promise,
        policy: PolicyIndex,
        nodes: &Nodes,
        extra: &HeaderMap,
        encoder: &PutEncoder,
        held: Vec<Bytes>,
        digests: Digests,
    ) -> Result<ObjectWritten> {
        let end = end(op, digests)?;
        let mut pieces = vec![encoder.head()];
        pieces.extend(held);
        pieces.push(encoder.footers(&end.footers, false));
        let body = Replayable(pieces);
        for attempt in 0..=RESTAMPS {
            let hold = self.hold(cx, &op.object, policy, nodes, &op.conditions).await?;
            let time = hold.time().or(op.timestamp).unwrap_or_else(|| self.clock.stamp());
            let build = self.write_request(cx, Method::PUT, &op.object, policy, nodes, time, extra);
            let enough = Self::enough(hold.is_strict(cx), nodes);
            let build = |index| hold.mark(index, build(index));
            let answers = broadcast(&self.client, nodes, &enough, body.clone(), build).await;
            apus_fault::point("proxy.put.answered");
            self.saw(&answers);
            let written =
                ObjectWritten { etag: end.etag.clone(), timestamp: time, late: end.late.clone() };
            match self.put_outcome(cx, op, policy, nodes, &hold, &answers)? {
                Outcome::Written => return Ok(written),
                Outcome::Restamp if attempt < RESTAMPS => {}
                // A client that gave its own time learns that it was too old; Swift says 202.
                Outcome::Restamp => return Err(Error::new(Kind::Conflict, Subject::Object)),
            }
        }
        Err(Error::unavailable("stamped too often"))
    }

    fn put_outcome(
        &self,
        cx: &Context,
        op: &Promise,
        policy: PolicyIndex,
        nodes: &Nodes,
        hold: &Hold,
        answers: &[Answer],
    ) -> Result<Outcome> {
        let agreed = Self::agreed_by(&Self::enough(hold.is_strict(cx), nodes), answers);
        if let Hold::Held(held) = hold
            && !matches!(agreed, Ok(StatusCode::CREATED))
        {
            self.release(cx, &op.object, policy, nodes, held);
            if answers.iter().any(|answer| answer.status.is_success()) {
                // It may yet win or vanish: nobody can say.
                return Err(Error::unavailable("a commit was taken by too few"));
            }
        }
        let unwanted = |answer: &Answer| answer.status == StatusCode::PRECONDITION_FAILED;
        if matches!(hold, Hold::AskNodes) && answers.iter().any(unwanted) {
            return Err(Error::new(Kind::PreconditionFailed, Subject::Object));
        }
        match agreed? {
            StatusCode::CREATED => Ok(Outcome::Written),
            StatusCode::CONFLICT if op.timestamp.is_some() => {
                Err(Error::new(Kind::Conflict, Subject::Object))
            }
            StatusCode::CONFLICT => Ok(Outcome::Restamp),
            StatusCode::PRECONDITION_FAILED => {
                Err(Error::new(Kind::PreconditionFailed, Subject::Object))
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Error::new(Kind::ChecksumMismatch, Subject::Object))
            }
            StatusCode::BAD_REQUEST => Err(bad_request(answers)),
            status => Err(Error::unavailable(format!("object PUT answered {status}"))),
        }
    }

    async fn put_long(
        &self,
        cx: &Context,
        op: &Promise,
        policy: PolicyIndex,
        nodes: &Nodes,
        mut flow: Flow,
    ) -> Result<ObjectWritten> {
        let mut time = op.timestamp.unwrap_or_else(|| self.clock.stamp());
        let extra = &flow.extra;
        let build = self.write_request(cx, Method::PUT, &op.object, policy, nodes, time, extra);
        let replicas = nodes.primaries.len();
        let needed = Self::needed(cx.is_strong(), replicas);
        // Whoever may have to be counted gets the body.
        let strict = cx.is_strong() || !op.conditions.is_empty();
        let asked = if strict { nodes.voters().count() } else { replicas };
        let requests = (0..asked).map(build).collect();
        let handoffs = nodes.fallbacks(strict).into();
        let is_needed = !nodes.can_avoid(&self.client, &Self::enough(strict, nodes));
        let mut fan = Fan::new(self.client.clone(), requests, replicas, handoffs);
        for (index, node) in nodes.voters().take(asked).enumerate() {
            fan.open_voter(index, node.clone(), is_needed);
        }
        let mut pieces = vec![flow.encoder.head()];
        pieces.append(&mut flow.held);
        for piece in pieces {
            fan.send(piece).await;
        }
        let end = loop {
            match next_piece(&mut flow.body).await {
                Ok(Some(piece)) => {
                    flow.digests.update(&piece);
                    fan.send(piece).await;
                    if fan.alive() < needed {
                        break None;
                    }
                }
                Ok(None) => break Some(end(op, flow.digests)),
                Err(error) => {
                    fan.abort("the client's body broke off").await;
                    return Err(error);
                }
            }
        };
        let mut hold = Hold::None;
        let end = match end {
            // Too few nodes go on: their answers say why.
            None => None,
            Some(Ok(mut end)) => {
                // The body has arrived: only now is the name worth holding.
                hold = match self.hold(cx, &op.object, policy, nodes, &op.conditions).await {
                    Ok(hold) => hold,
                    Err(error) => {
                        fan.abort("the conditions do not hold").await;
                        return Err(error);
                    }
                };
                let stamps = cx.is_strong() && op.timestamp.is_none();
                // Of two uploads the one that ends later wins, as S3 has it.
                let last = hold.time().or_else(|| stamps.then(|| self.clock.stamp()));
                if let Some(last) = last {
                    time = last;
                    end.footers.insert(headers::FINAL_TIMESTAMP.to_owned(), time.to_string());
                }
                let common = flow.encoder.footers(&end.footers, false);
                end.footers.insert(headers::RESERVED.to_owned(), "yes".to_owned());
                let held = flow.encoder.footers(&end.footers, false);
                fan.send_each(|voter| match voter.is_some_and(|index| hold.has(index)) {
                    true => held.clone(),
                    false => common.clone(),
                })
                .await;
                Some(end)
            }
            Some(Err(error)) => {
                fan.abort("the body is not what the client promised").await;
                return Err(error);
            }
        };
        let answers = fan.finish(&Self::enough(hold.is_strict(cx), nodes)).await;
        self.saw(&answers);
        match (self.put_outcome(cx, op, policy, nodes, &hold, &answers)?, end) {
            (Outcome::Written, Some(end)) => {
                Ok(ObjectWritten { etag: end.etag, timestamp: time, late: end.late })
            }
            // Another proxy's clock is ahead; ours has learned of it, so another try will succeed.
            _ if cx.is_strong() => Err(Error::unavailable("something newer is there")),
            _ => Err(Error::new(Kind::Conflict, Subject::Object)),
        }
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// `NotFound` (the deletion is durable all the same), `Conflict`, `Unavailable`.
    pub async fn delete_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &DeleteObject,
        policy: PolicyIndex,
    ) -> Result<()> {
        let nodes = self.object_nodes(&op.object, policy)?;
        for _ in 0..=RESTAMPS {
            let hold = self.hold(cx, &op.object, policy, &nodes, &op.conditions).await?;
            let strict = hold.is_strict(cx);
            let enough = Self::enough(strict, &nodes);
            let time = hold.time().or(op.timestamp).unwrap_or_else(|| self.clock.stamp());
            let none = HeaderMap::new();
            let build =
                self.write_request(cx, Method::DELETE, &op.object, policy, &nodes, time, &none);
            let none = Replayable::default();
            let build = |index| hold.mark(index, build(index));
            let answers = broadcast(&self.client, &nodes, &enough, none, build).await;
            self.saw(&answers);
            // 404 means that a tombstone was written over nothing: as durable as 204.
            let counted: Vec<&Answer> =
                answers.iter().filter(|answer| answer.voter.is_some() || !strict).collect();
            let written = |answer: &&&Answer| {
                answer.status.is_success() || answer.status == StatusCode::NOT_FOUND
            };
            let good = counted.iter().filter(written);
            let good: Vec<_> = good.map(|answer| answer.voter).collect();
            if enough.is_met(&good) {
                let found = counted.iter().any(|answer| answer.status.is_success());
                return if found {
                    Ok(())
                } else {
                    Err(Error::new(Kind::NotFound, Subject::Object))
                };
            }
            if let Hold::Held(held) = &hold {
                self.release(cx, &op.object, policy, &nodes, held);
                if !good.is_empty() {
                    return Err(Error::unavailable("a commit was taken by too few"));
                }
            }
            let conflict = counted.iter().any(|answer| answer.status == StatusCode::CONFLICT);
            match conflict {
                true if op.timestamp.is_none() => {}
                true => return Err(Error::new(Kind::Conflict, Subject::Object)),
                false => {
                    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
                    return Err(Error::unavailable(format!("object DELETE answered {statuses:?}")));
                }
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Object))
    }
}

/// What is stored with an object, as headers; an expiry is spelled as the queue sorts it.
pub(super) fn stored_headers(metadata: &Metadata) -> HeaderMap {
    let mut stored = HeaderMap::new();
    for (name, value) in metadata {
        set(&mut stored, name, value);
    }
    let at: Option<u64> = header(&stored, headers::DELETE_AT).and_then(|text| text.parse().ok());
    if let Some(at) = at {
        set(&mut stored, headers::DELETE_AT, &expirer::ten_digits(at));
    }
    stored
}

enum Outcome {
    Written,
    Restamp,
}

/// A long body and what is known of it so far.
struct Flow {
    encoder: PutEncoder,
    extra: HeaderMap,
    held: Vec<Bytes>,
    digests: Digests,
    body: Body,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_has_ten_digits() {
        let metadata = Metadata::from([("X-Delete-At".to_owned(), "1700".to_owned())]);
        assert_eq!(header(&stored_headers(&metadata), "x-delete-at"), Some("0000001700"));
    }
}
