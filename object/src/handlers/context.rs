//! A decoded write and what its handler needs.

use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::status;
use apus_wire::message::object::{AbsentObject, ObjectWriteReply, WriteFence};
use http::{Response, StatusCode};

use crate::replication::Replicated;
use crate::server::{Refusal, Server, refuse};
use crate::store::LocalObject;
use crate::store::reservation::Fence;

/// A write of one object.
pub(super) struct Write<T> {
    pub(super) server: Server,
    pub(super) object: LocalObject,
    pub(super) request: T,
    /// Headers of the sender's copy, if replication brings the write.
    pub(super) replicated: Option<Replicated>,
}

/// 404 with the time of a deletion, if one is known.
pub(super) fn absent(deleted: Option<Timestamp>) -> Refusal {
    let mut response = status(StatusCode::NOT_FOUND);
    AbsentObject { deleted }.encode(response.headers_mut());
    Box::new(response)
}

/// The response to a write.
pub(super) fn respond(code: StatusCode, reply: &ObjectWriteReply) -> Response<Body> {
    let mut response = status(code);
    reply.encode(response.headers_mut());
    response
}

/// 503: the write is durable, but its row was lost.
pub(super) fn row_lost(error: &std::io::Error, object: &LocalObject) -> Refusal {
    tracing::error!(
        %error,
        device = object.device,
        object = object.name,
        "A write is durable, but its row could be neither sent nor kept"
    );
    refuse(StatusCode::SERVICE_UNAVAILABLE, "container row was not kept")
}

/// How a write relates to reservations of its name.
pub(super) fn fence(fence: WriteFence) -> Fence {
    match fence {
        WriteFence { reserved: true, .. } => Fence::Held,
        WriteFence { strong: true, .. } => Fence::Strong,
        WriteFence { .. } => Fence::Plain,
    }
}

/// Refuses an expiry that is not later than the write, except for copies made by replication.
pub(super) fn check_expiry(
    metadata: &Metadata,
    time: Timestamp,
    is_replication: bool,
) -> Result<(), Refusal> {
    let at = metadata.get("X-Delete-At").and_then(|text| text.parse().ok());
    let is_past = at.is_some_and(|at| Timestamp::from_seconds(at) <= time);
    if is_past && !is_replication {
        return Err(refuse(StatusCode::BAD_REQUEST, "X-Delete-At in past"));
    }
    Ok(())
}
