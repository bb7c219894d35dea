//! Replacing an object's metadata, on handoffs as well when its primaries were away while it was
//! written.
//!
//! Source: `_post_object` in `swift/proxy/controllers/obj.py`.

use apus_cluster::PolicyIndex;
use apus_cluster::policy::write_quorum;
use apus_daemon::http::set;
use apus_wire::NodeRequest;
use http::{Method, StatusCode};

use super::Quorum;
use super::head::object_head;
use super::nodes::{Enough, Nodes};
use super::send::{Answer, Replayable, bad_request, broadcast};
use super::write::{RESTAMPS, stored_headers};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectHead, PostObject};
use crate::{Error, Kind, Result, Subject};

impl Quorum {
    /// Replaces an object's metadata; gives the system metadata that servers tell with it.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Invalid`, `Unavailable`: also when some server has the object and
    /// others, too many of them, do not.
    pub async fn post_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &PostObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        let nodes = self.object_nodes(&op.object, policy)?;
        let mut extra = stored_headers(&op.metadata);
        if let Some(content_type) = &op.content_type {
            set(&mut extra, "content-type", content_type);
        }
        let strict = cx.is_strong();
        let enough = Self::enough(strict, &nodes);
        for _ in 0..=RESTAMPS {
            let time = self.clock.stamp();
            let build =
                self.write_request(cx, Method::POST, &op.object, policy, &nodes, time, &extra);
            let none = Replayable::default();
            let mut answers = broadcast(&self.client, &nodes, &enough, none, &build).await;
            let is_there = answers.iter().any(|answer| answer.status == StatusCode::ACCEPTED);
            // A strong write counts primaries alone, whatever handoffs may have.
            if !strict && is_there {
                self.post_to_handoffs(&nodes, &mut answers, &build).await;
            }
            self.saw(&answers);
            match Self::agreed_by(&enough, &answers)? {
                StatusCode::ACCEPTED => {
                    let accepted = |answer: &&Answer| answer.status == StatusCode::ACCEPTED;
                    let told = answers.iter().find(accepted);
                    return Ok(told.map(|answer| object_head(&answer.headers)).unwrap_or_default());
                }
                // There is one that has it.
                StatusCode::NOT_FOUND if is_there => {
                    return Err(Error::unavailable("only some object servers have the object"));
                }
                StatusCode::NOT_FOUND => return Err(Error::new(Kind::NotFound, Subject::Object)),
                StatusCode::CONFLICT => {}
                StatusCode::BAD_REQUEST => return Err(bad_request(&answers)),
                status => return Err(Error::unavailable(format!("object POST answered {status}"))),
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Object))
    }

    /// Where fewer than a quorum have the object, a handoff is asked in the place of each that does
    /// not, with the rows that it was to send.
    async fn post_to_handoffs(
        &self,
        nodes: &Nodes,
        answers: &mut Vec<Answer>,
        build: impl Fn(usize) -> NodeRequest,
    ) {
        let found = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
        if found >= write_quorum(nodes.primaries.len()) {
            return;
        }
        let missing = answers.iter().filter(|answer| answer.status == StatusCode::NOT_FOUND);
        let missing: Vec<usize> = missing.map(|answer| answer.replica).collect();
        let mut unasked = nodes.fallbacks(false);
        unasked.retain(|node| answers.iter().all(|answer| answer.node != node.id));
        unasked.truncate(missing.len());
        let instead = Nodes::only(nodes.partition, unasked);
        let build = |index: usize| build(missing.get(index).copied().unwrap_or_default());
        let all = Enough::Any(instead.primaries.len());
        let more = broadcast(&self.client, &instead, &all, Replayable::default(), build).await;
        answers.extend(more.into_iter().map(|answer| Answer {
            primary: false,
            voter: None,
            ..answer
        }));
    }
}
