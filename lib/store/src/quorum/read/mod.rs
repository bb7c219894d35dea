//! Reading objects: one good copy, or in strong mode the newest version of a majority.

mod agreed;
mod any;
mod confirm;
mod ranges;
mod resume;

use apus_cluster::PolicyIndex;
use apus_cluster::byte_range::{Resolution, Resolved};
use apus_daemon::Body;
use apus_ring::Device;
use apus_wire::message::object::{ObjectVersion, ReadObjectRequest, ReadVerb};
use http::{Response, StatusCode};

use self::ranges::RangesRead;
use self::resume::ResumableBody;
use super::Quorum;
use super::call::ObjectCall;
use super::head::{read_conditions, read_error, response_head};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{GetObject, HeadObject, ObjectHead, ObjectRead, Served};
use crate::{Error, Kind, Result, Subject};

/// Bodies up to this length arrive in one piece and need no replacement.
const ONE_PIECE: u64 = 256 * 1024;

/// A node's answer to a read, with its body still open.
struct CopyAnswer {
    node: Device,
    version: ObjectVersion,
    response: Response<Body>,
}

impl CopyAnswer {
    fn new(node: Device, response: Response<Body>) -> Self {
        let version = ObjectVersion::decode(response.headers());
        Self { node, version, response }
    }
}

impl Quorum {
    /// Reads an object's metadata.
    ///
    /// # Errors
    /// `NotFound`, `NotModified`, `PreconditionFailed`, `Unavailable`.
    pub async fn head_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &HeadObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        ObjectCall::new(self, cx, &op.object, policy)?.head(op).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As [`Quorum::head_object`], and `RangeNotSatisfiable`.
    pub async fn get_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &GetObject,
        policy: PolicyIndex,
    ) -> Result<ObjectRead> {
        let call = ObjectCall::new(self, cx, &op.head.object, policy)?;
        match call.read_several(op).await? {
            Some(read) => Ok(read),
            None => call.read_whole_or_range(op).await,
        }
    }
}

impl ObjectCall<'_> {
    fn read_request(&self, verb: ReadVerb) -> ReadObjectRequest {
        let open_expired = self.cx.open_expired;
        ReadObjectRequest { open_expired, ..ReadObjectRequest::new(verb, self.address()) }
    }

    async fn head(&self, op: &HeadObject) -> Result<ObjectHead> {
        let mut request = self.read_request(ReadVerb::Head);
        request.conditions = read_conditions(op);
        let answer = self.read_one(&request, op.newest).await?;
        Ok(response_head(&answer.response))
    }

    /// Reads several ranges; `None` when not several ranges are to be served.
    async fn read_several(&self, op: &GetObject) -> Result<Option<ObjectRead>> {
        let several = op.ranges.as_ref().filter(|ranges| ranges.is_several());
        let Some(ranges) = several else { return Ok(None) };
        let head = self.head(&op.head).await?;
        let ignore_range_if = op.ignore_range_if.as_deref().unwrap_or_default();
        let mut marks = ignore_range_if.split(',').map(str::trim);
        if marks.any(|mark| head.metadata.contains_key(mark)) {
            return Ok(None);
        }
        match ranges.resolve(head.length) {
            Resolution::Ranges(ranges) => {
                let body = RangesRead::new(self, op, &head).start(ranges.clone());
                Ok(Some(ObjectRead { head, served: Served::Ranges(ranges), body }))
            }
            Resolution::Unsatisfiable => {
                let kind = Kind::RangeNotSatisfiable { size: head.length };
                let mut error = Error::new(kind, Subject::Object);
                error.head = Some(Box::new(head));
                Err(error)
            }
            Resolution::Whole => Ok(None),
        }
    }

    /// Reads the object, or one range of it.
    async fn read_whole_or_range(&self, op: &GetObject) -> Result<ObjectRead> {
        let mut request = self.read_request(ReadVerb::Get);
        request.conditions = read_conditions(&op.head);
        request.ranges = op.ranges.clone().filter(|ranges| !ranges.is_several());
        request.ignore_range_if = op.ignore_range_if.iter().cloned().collect();
        let answer = self.read_one(&request, op.head.newest).await?;
        let head = response_head(&answer.response);
        let is_partial = answer.response.status() == StatusCode::PARTIAL_CONTENT;
        let ranges = op.ranges.as_ref().map(|ranges| ranges.resolve(head.length));
        let range = match (is_partial, ranges) {
            (true, Some(Resolution::Ranges(ranges))) => ranges.first().copied(),
            _ => None,
        };
        let served = match range {
            Some(range) => Served::Ranges(vec![range]),
            None => Served::Whole,
        };
        let range = range.unwrap_or(Resolved { start: 0, length: head.length });
        let body = match range.length <= ONE_PIECE {
            true => answer.response.into_body(),
            false => self.resumable(answer, request, range),
        };
        Ok(ObjectRead { head, served, body })
    }

    /// The body of an answer, which continues on another node when it breaks off.
    fn resumable(
        &self,
        answer: CopyAnswer,
        mut request: ReadObjectRequest,
        range: Resolved,
    ) -> Body {
        let mut others = self.nodes.primaries.clone();
        others.extend(self.nodes.fallbacks(false));
        others.retain(|other| other.id != answer.node.id);
        request.conditions.if_none_match = None;
        request.conditions.if_modified_since = None;
        let resume = ResumableBody {
            client: self.quorum.client.clone(),
            request,
            version: answer.version,
            next: range.start,
            end: range.start + range.length,
            node: answer.node,
            others,
        };
        resume.start(answer.response.into_body())
    }

    /// The answer to a read that was successful.
    ///
    /// # Errors
    /// The error for an unsuccessful answer; `Unavailable`.
    async fn read_one(&self, request: &ReadObjectRequest, newest: bool) -> Result<CopyAnswer> {
        let request = request.encode();
        let strong = self.cx.is_strong() && !apus_fault::planted("bug.read-one-copy");
        let chosen = if newest || (strong && self.nodes.primaries.len() > 1) {
            self.read_agreed(&request, newest, strong).await?
        } else {
            self.read_any(&request).await?
        };
        match chosen.response.status().is_success() {
            true => Ok(chosen),
            false => Err(read_error(&chosen.response)),
        }
    }
}
