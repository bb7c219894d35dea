//! POST of metadata that depends on the newest version, under the lease of the object's name.
//!
//! No other write can commit between the read and the POST, so that neither loses what the other
//! changed, and old metadata does not return. The rules are in `apus_object::reservation`.

use apus_cluster::metadata::belongs_to_data;
use apus_cluster::{Metadata, PolicyIndex, Timestamp};
use http::StatusCode;

use super::Quorum;
use super::call::ObjectCall;
use super::nodes::QuorumRule;
use super::reserve::Reservation;
use super::send::{NodeAnswer, Replayable, bad_request};
use super::write::{RESTAMPS, agreed_by};
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::{ObjectHead, PostObject, UpdateObject};
use crate::settings;
use crate::{Error, Kind, Result, Subject};

impl Quorum {
    /// Changes a setting of an object; returns the object as it is then.
    ///
    /// # Errors
    /// `NotFound`, `Locked`, `Conflict`, `Unavailable`; `NotSupported` when object servers do not support
    /// reservations.
    pub async fn update_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &UpdateObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        let call = ObjectCall::new(self, cx, &op.object, policy)?;
        call.post_from_newest(None, |head, time| settings::changed(head, &op.change, time)).await
    }

    /// Replaces an object's metadata, and keeps its settings.
    ///
    /// # Errors
    /// As [`Quorum::update_object`], and `Invalid`.
    pub async fn post_keeping_settings(
        &self,
        cx: &Context,
        _permit: Permit,
        op: PostObject,
        policy: PolicyIndex,
    ) -> Result<ObjectHead> {
        let call = ObjectCall::new(self, cx, &op.object, policy)?;
        let posted =
            |head: &ObjectHead, _: Timestamp| Ok(settings::posted(head, op.metadata.clone()));
        call.post_from_newest(op.content_type, posted).await
    }
}

impl ObjectCall<'_> {
    /// Posts metadata that is made from the newest version.
    async fn post_from_newest(
        &self,
        content_type: Option<String>,
        make: impl Fn(&ObjectHead, Timestamp) -> Result<Metadata> + Send + Sync,
    ) -> Result<ObjectHead> {
        let opens_expired = self.cx.open_expired;
        let present = |current: Option<&ObjectHead>, _| {
            let current = current.filter(|head| opens_expired || !self.has_expired(head));
            current.cloned().ok_or_else(|| Error::new(Kind::NotFound, Subject::Object))
        };
        let rule = self.write_rule(true);
        for _ in 0..=RESTAMPS {
            let (lease, newest) = self.reserve_if(present).await?;
            let time = lease.time();
            let metadata = match make(&newest, time) {
                Ok(metadata) => metadata,
                Err(refusal) => {
                    self.release(&lease);
                    return Err(refusal);
                }
            };
            let reservation = Reservation::Leased(lease);
            let mut request = self.post_request(content_type.clone(), metadata.clone());
            request.timestamp = time;
            let build = self.with_rows(request.encode(), request.delete_at());
            let build = |index| reservation.mark(index, build(index));
            let answers = self.broadcast(&rule, Replayable::default(), build).await;
            let outcome = outcome(&rule, &answers);
            if let Reservation::Leased(lease) = &reservation
                && !matches!(outcome, Ok(PostOutcome::Accepted))
            {
                self.release(lease);
            }
            match outcome? {
                PostOutcome::Accepted => {
                    self.send_refused_rows(&answers, request.delete_at()).await;
                    let mut head = ObjectHead { timestamp: time, ..newest };
                    head.metadata.retain(|name, _| belongs_to_data(name));
                    head.metadata.extend(metadata);
                    head.content_type = content_type.unwrap_or(head.content_type);
                    return Ok(head);
                }
                PostOutcome::TooOld => {}
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Object))
    }
}

/// Outcome of a POST that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostOutcome {
    /// A majority of the primaries stored the metadata.
    Accepted,
    /// Something newer exists: the POST may be repeated at a later time.
    TooOld,
}

/// Judges the answers to a POST under a lease.
fn outcome(rule: &QuorumRule, answers: &[NodeAnswer]) -> Result<PostOutcome> {
    let agreed = agreed_by(rule, answers);
    if matches!(agreed, Ok(StatusCode::ACCEPTED)) {
        return Ok(PostOutcome::Accepted);
    }
    if answers.iter().any(|answer| answer.status() == StatusCode::ACCEPTED) {
        // The metadata may still win or vanish: the outcome is unknown.
        return Err(Error::unavailable("too few nodes committed a POST"));
    }
    match agreed? {
        StatusCode::CONFLICT => Ok(PostOutcome::TooOld),
        StatusCode::BAD_REQUEST => Err(bad_request(answers)),
        StatusCode::NOT_FOUND => {
            Err(Error::unavailable("only some object servers have the object"))
        }
        status => Err(Error::unavailable(format!("object servers answered {status} to a POST"))),
    }
}
