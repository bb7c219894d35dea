//! Deletion of expired objects, conditional on the expiry of the task.
//!
//! An object is deleted only where it still expires at the time of its task, and as of that time, so
//! that nothing written later is lost.

use apus_cluster::Timestamp;
use apus_wire::message::object::{DeleteObjectRequest, ObjectRowTargets};
use http::StatusCode;

use super::super::best::best_status;
use super::super::call::ObjectCall;
use super::super::object_rows::ObjectRows;
use super::super::send::Replayable;
use super::needed;
use crate::{Error, Kind, Result, Subject};

/// Deletes an object that expires at `at`.
///
/// # Errors
/// `NotFound` and `PreconditionFailed` (it expires at another time, or never) when too few servers
/// deleted it, `Conflict` when something newer exists, `Unavailable`.
pub(super) async fn delete_expired(call: &ObjectCall<'_>, at: Timestamp) -> Result<()> {
    let request = DeleteObjectRequest {
        address: call.address(),
        timestamp: at,
        if_delete_at: Some(at),
        fence: call.fence(),
        is_replication: false,
        rows: ObjectRowTargets::default(),
    };
    let request = request.encode();
    let replicas = call.nodes.primaries.len();
    // The expirer, which asks for the deletion, also removes the task.
    let rows = ObjectRows::new(call.quorum, call.object, None, replicas).keeping_tasks();
    let build = |index| request.clone().with_rows(rows.of(index));
    let strict = call.cx.is_strong();
    let answers = call.broadcast(&call.write_rule(strict), Replayable::default(), build).await;
    let counted = answers.iter().filter(|answer| answer.primary || !strict);
    let statuses: Vec<_> = counted.map(|answer| answer.status()).collect();
    deleted_if(&statuses, needed(strict, replicas))
}

/// The result of a conditional deletion by its answers. Nothing was written where it was refused, so
/// a refusal counts only as such. A 404 may stand for a deletion where there is no quorum without
/// it, as in Swift's proxy (`status_overrides`).
fn deleted_if(statuses: &[StatusCode], needed: usize) -> Result<()> {
    let agreed = best_status(statuses, needed).or_else(|| {
        let deleted = |status: &StatusCode| match *status {
            StatusCode::NOT_FOUND => StatusCode::NO_CONTENT,
            other => other,
        };
        let found = statuses.iter().any(StatusCode::is_success);
        best_status(&statuses.iter().map(deleted).collect::<Vec<_>>(), needed).filter(|_| found)
    });
    let refused = |kind| Err(Error::new(kind, Subject::Object));
    match agreed {
        Some(status) if status.is_success() => Ok(()),
        Some(StatusCode::NOT_FOUND) => refused(Kind::NotFound),
        Some(StatusCode::CONFLICT) => refused(Kind::Conflict),
        Some(StatusCode::PRECONDITION_FAILED) => refused(Kind::PreconditionFailed),
        _ => Err(Error::unavailable(format!("object DELETE answered {statuses:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(codes: &[u16]) -> Option<Kind> {
        let statuses: Vec<_> = codes.iter().map(|c| StatusCode::from_u16(*c).unwrap()).collect();
        deleted_if(&statuses, 2).err().map(|error| error.kind)
    }

    #[test]
    fn a_conditional_deletion_follows_the_quorum() {
        assert_eq!(deleted(&[204, 204, 412]), None);
        assert_eq!(deleted(&[204, 404, 503]), None);
        assert_eq!(deleted(&[404, 404, 204]), Some(Kind::NotFound));
        assert_eq!(deleted(&[412, 412, 204]), Some(Kind::PreconditionFailed));
        assert_eq!(deleted(&[409, 409, 404]), Some(Kind::Conflict));
        assert_eq!(deleted(&[404, 503]), Some(Kind::Unavailable));
        assert_eq!(deleted(&[]), Some(Kind::Unavailable));
    }
}
