//! Deletion of objects.

use apus_cluster::{PolicyIndex, Timestamp};
use apus_wire::message::object::{DeleteObjectRequest, ObjectRowTargets};
use http::StatusCode;

use super::super::call::ObjectCall;
use super::super::reserve::Reservation;
use super::super::send::{NodeAnswer, Replayable};
use super::RESTAMPS;
use super::expire::delete_expired;
use crate::context::Context;
use crate::gate::Permit;
use crate::operation::DeleteObject;
use crate::quorum::Quorum;
use crate::{Error, Kind, Result, Subject};

/// Outcome of a deletion that was not refused.
enum DeleteOutcome {
    /// The object was deleted.
    Deleted,
    /// Something newer exists: the deletion may be repeated at a later time.
    TooOld,
}

impl Quorum {
    /// Deletes an object; returns the time of the deletion.
    ///
    /// # Errors
    /// `NotFound` (the tombstone is durable all the same), `PreconditionFailed`, `Conflict`,
    /// `Unavailable`.
    pub async fn delete_object(
        &self,
        cx: &Context,
        _permit: Permit,
        op: &DeleteObject,
        policy: PolicyIndex,
    ) -> Result<Timestamp> {
        let call = ObjectCall::new(self, cx, &op.object, policy)?;
        let expiry = op.if_delete_at;
        if let Some(at) = expiry.filter(|_| op.conditions.unlocked.is_none()) {
            return delete_expired(&call, at).await.map(|()| at);
        }
        for _ in 0..=RESTAMPS {
            let reservation = match expiry {
                // What may be locked is deleted under its lease, so that a new lock counts.
                Some(at) => call.reserve_expired(at, &op.conditions).await?,
                None => call.reserve(&op.conditions).await?,
            };
            let rule = call.write_rule(reservation.is_strict(cx));
            let time = reservation.time().or(op.timestamp).unwrap_or_else(|| self.clock.stamp());
            let request = DeleteObjectRequest {
                address: call.address(),
                timestamp: time,
                if_delete_at: None,
                fence: call.fence(),
                is_replication: false,
                rows: ObjectRowTargets::default(),
            };
            let build = call.with_rows(request.encode(), None);
            let build = |index| reservation.mark(index, build(index));
            let answers = call.broadcast(&rule, Replayable::default(), build).await;
            let outcome = outcome(&call, &reservation, &answers);
            let is_written = match &outcome {
                Ok(outcome) => matches!(outcome, DeleteOutcome::Deleted),
                // The tombstone is durable.
                Err(error) => error.kind == Kind::NotFound,
            };
            if is_written {
                call.send_refused_rows(&answers, None).await;
            }
            match outcome? {
                DeleteOutcome::Deleted => return Ok(time),
                DeleteOutcome::TooOld if op.timestamp.is_none() => {}
                DeleteOutcome::TooOld => break,
            }
        }
        Err(Error::new(Kind::Conflict, Subject::Object))
    }
}

/// Judges the answers to a DELETE, and releases the name unless the object was deleted.
fn outcome(
    call: &ObjectCall<'_>,
    reservation: &Reservation,
    answers: &[NodeAnswer],
) -> Result<DeleteOutcome> {
    let strict = reservation.is_strict(call.cx);
    let counted = || answers.iter().filter(|answer| answer.voter.is_some() || !strict);
    // 404 means that a tombstone was written where no object was: as durable as 204.
    let is_written = |answer: &&NodeAnswer| {
        answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND
    };
    let written = counted().filter(is_written).map(|answer| answer.voter);
    if call.write_rule(strict).is_met(written.clone()) {
        return match counted().any(|answer| answer.status().is_success()) {
            true => Ok(DeleteOutcome::Deleted),
            false => Err(Error::new(Kind::NotFound, Subject::Object)),
        };
    }
    if let Reservation::Leased(lease) = reservation {
        call.release(lease);
        if written.count() > 0 {
            return Err(Error::unavailable("too few nodes committed"));
        }
    }
    if counted().any(|answer| answer.status() == StatusCode::CONFLICT) {
        return Ok(DeleteOutcome::TooOld);
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status()).collect();
    Err(Error::unavailable(format!("object servers answered {statuses:?} to a DELETE")))
}
