//! Replacing an object's metadata.
//!
//! Handoffs are asked as well when primaries missed the write of the object.
//! Source: `_post_object` in `swift/proxy/controllers/obj.py`.

use apus_cluster::policy::write_quorum;
use apus_cluster::{Metadata, PolicyIndex, Timestamp};
use apus_wire::NodeRequest;
use apus_wire::message::object::{ObjectRowTargets, ObjectWriteReply, PostObjectRequest};
use http::StatusCode;

use super::Quorum;
use super::call::ObjectCall;
use super::nodes::{Nodes, QuorumRule};
use super::send::{NodeAnswer, Replayable, bad_request, broadcast};
use super::write::{RESTAMPS, agreed_by, stored};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectHead, PostObject};
use crate::{Error, Kind, Result, Subject};

impl Quorum {
    /// Replaces an object's metadata; returns the system metadata in the servers' response.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Invalid`, `Unavailable`: also when some server has the object and
    /// too many do not.
    pub async fn post_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: PostObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        let call = ObjectCall::new(self, cx, &op.object, policy)?;
        let mut request = call.post_request(op.content_type, op.metadata);
        let strict = cx.is_strong();
        let rule = call.write_rule(strict);
        for _ in 0..=RESTAMPS {
            request.timestamp = self.clock.stamp();
            let build = call.with_rows(request.encode(), request.delete_at());
            let mut answers = call.broadcast(&rule, Replayable::default(), &build).await;
            let exists = answers.iter().any(|answer| answer.status() == StatusCode::ACCEPTED);
            // A strong write counts only primaries, whatever handoffs may have.
            if !strict && exists {
                call.post_to_handoffs(&mut answers, &build).await;
            }
            match agreed_by(&rule, &answers)? {
                StatusCode::ACCEPTED => {
                    call.send_refused_rows(&answers, request.delete_at()).await;
                    let mut answers = answers.iter();
                    let accepted = answers.find(|answer| answer.status() == StatusCode::ACCEPTED);
                    return Ok(accepted.map(posted_head).unwrap_or_default());
                }
                // At least one server has it.
                StatusCode::NOT_FOUND if exists => {
                    return Err(Error::unavailable("only some object servers have the object"));
                }
                StatusCode::NOT_FOUND => return Err(Error::new(Kind::NotFound, Subject::Object)),
                StatusCode::CONFLICT => {}
                StatusCode::BAD_REQUEST => return Err(bad_request(&answers)),
                status => {
                    let cause = format!("object servers answered {status} to a POST");
                    return Err(Error::unavailable(cause));
                }
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Object))
    }
}

/// What the answer to a POST reports of the object.
fn posted_head(answer: &NodeAnswer) -> ObjectHead {
    let reply = ObjectWriteReply::decode(&answer.head.headers);
    ObjectHead {
        timestamp: reply.newest.unwrap_or_default(),
        metadata: reply.system_metadata,
        ..ObjectHead::default()
    }
}

impl ObjectCall<'_> {
    /// A POST of this metadata, without its time.
    pub(super) fn post_request(
        &self,
        content_type: Option<String>,
        metadata: Metadata,
    ) -> PostObjectRequest {
        PostObjectRequest {
            address: self.address(),
            timestamp: Timestamp::ZERO,
            content_type,
            content_type_timestamp: None,
            metadata: stored(metadata),
            open_expired: self.cx.open_expired,
            fence: self.fence(),
            is_replication: false,
            row_overrides: Metadata::new(),
            rows: ObjectRowTargets::default(),
        }
    }

    /// Where fewer than a quorum have the object, asks a handoff in place of each node that does not
    /// have it, with the rows that this node was to send.
    async fn post_to_handoffs(
        &self,
        answers: &mut Vec<NodeAnswer>,
        build: impl Fn(usize) -> NodeRequest,
    ) {
        let found = answers.iter().filter(|answer| answer.status() == StatusCode::ACCEPTED).count();
        if found >= write_quorum(self.nodes.primaries.len()) {
            return;
        }
        let missing = answers.iter().filter(|answer| answer.status() == StatusCode::NOT_FOUND);
        let missing: Vec<usize> = missing.map(|answer| answer.replica).collect();
        let mut unasked = self.nodes.fallbacks(false);
        unasked.retain(|node| answers.iter().all(|answer| answer.node != node.id));
        unasked.truncate(missing.len());
        let handoffs = Nodes::only(self.nodes.partition, unasked);
        let build = |index: usize| build(missing.get(index).copied().unwrap_or_default());
        let all = QuorumRule::Any(handoffs.primaries.len());
        let client = &self.quorum.client;
        let more = broadcast(client, &handoffs, &all, Replayable::default(), build).await;
        self.observe(&more);
        answers.extend(more.into_iter().map(|answer| NodeAnswer {
            primary: false,
            voter: None,
            ..answer
        }));
    }
}
