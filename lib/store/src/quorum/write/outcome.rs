//! The outcome of a PUT, by the answers of the nodes.

use apus_cluster::Timestamp;
use http::StatusCode;

use super::super::nodes::QuorumRule;
use super::super::reserve::Reservation;
use super::super::send::{NodeAnswer, agreed_status, bad_request};
use super::{ObjectPut, VerifiedBody};
use crate::operation::ObjectWritten;
use crate::{Error, Kind, Result, Subject};

/// Outcome of a PUT that was not refused.
pub(super) enum PutOutcome {
    /// The object was written.
    Written,
    /// Something newer exists: the write may be repeated at a later time.
    TooOld,
}

/// The status that enough object servers agree on.
///
/// # Errors
/// `Unavailable` when there is none.
pub(in crate::quorum) fn agreed_by(
    rule: &QuorumRule,
    answers: &[NodeAnswer],
) -> Result<StatusCode> {
    agreed_status(rule, answers).ok_or_else(|| {
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status()).collect();
        Error::unavailable(format!("object servers answered {statuses:?}"))
    })
}

impl ObjectPut<'_> {
    /// Judges the answers to a PUT, and releases the name unless the object was written.
    ///
    /// # Errors
    /// `PreconditionFailed`, `Conflict`, `ChecksumMismatch`, `Invalid`, `Unavailable`.
    pub(super) fn outcome(
        &self,
        reservation: &Reservation,
        answers: &[NodeAnswer],
    ) -> Result<PutOutcome> {
        let rule = self.call.write_rule(reservation.is_strict(self.call.cx));
        let agreed = agreed_by(&rule, answers);
        if let Reservation::Leased(lease) = reservation
            && !matches!(agreed, Ok(StatusCode::CREATED))
        {
            self.call.release(lease);
            if answers.iter().any(|answer| answer.status().is_success()) {
                // The write may still win or vanish: its outcome is unknown.
                return Err(Error::unavailable("too few nodes committed"));
            }
        }
        let refused = |answer: &NodeAnswer| answer.status() == StatusCode::PRECONDITION_FAILED;
        if matches!(reservation, Reservation::LeftToNodes) && answers.iter().any(refused) {
            return Err(Error::new(Kind::PreconditionFailed, Subject::Object));
        }
        match agreed? {
            StatusCode::CREATED => Ok(PutOutcome::Written),
            StatusCode::CONFLICT if self.timestamp.is_some() => {
                Err(Error::new(Kind::Conflict, Subject::Object))
            }
            StatusCode::CONFLICT => Ok(PutOutcome::TooOld),
            StatusCode::PRECONDITION_FAILED => {
                Err(Error::new(Kind::PreconditionFailed, Subject::Object))
            }
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Error::new(Kind::ChecksumMismatch, Subject::Object))
            }
            StatusCode::BAD_REQUEST => Err(bad_request(answers)),
            status => Err(Error::unavailable(format!("object servers answered {status} to a PUT"))),
        }
    }
}

/// The result of a write of this body at this time.
pub(super) fn written(body: VerifiedBody, timestamp: Timestamp) -> ObjectWritten {
    ObjectWritten {
        etag: body.etag,
        timestamp,
        length: body.length,
        late: body.late,
        version: None,
        encryption: None,
    }
}
