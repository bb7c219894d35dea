//! `RESERVE` and `RELEASE`: acquires an object's name for a conditional write, and releases it.
//!
//! The rules are in [`crate::store::reservation`]; nothing here evaluates a condition.

use apus_daemon::Body;
use apus_daemon::http::status;
use apus_wire::message::Received;
use apus_wire::message::object::{AbsentObject, ReleaseRequest, ReserveReply, ReserveRequest};
use http::request::Parts;
use http::{Response, StatusCode};

use super::get::described;
use crate::engine::object::ObjectState;
use crate::server::{Refusal, Server, conflict, malformed, refuse, store_failed};
use crate::store::reservation::ReserveRefusal;

/// Reserves a name; responds with what is stored.
pub(crate) async fn reserve(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        ReserveRequest::decode(head).map_err(|error| malformed(&error))?;
    let object = server.object(device, &request.address)?;
    let time = request.timestamp;
    let reservations = server.store.devices.reservations(&object.device)?;
    let lease = reservations.take(object.place.hash, time).await.map_err(|error| match error {
        ReserveRefusal::TooEarly(promised) => conflict(promised),
        // A repeated request reaches the process that reserves names now.
        ReserveRefusal::Sealed => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "another process reserves names now")
        }
        ReserveRefusal::Disk(error) => store_failed(error.into(), &object),
    })?;
    apus_fault::point("object.reserve.promised");
    let state = server.store.open(&object).await.map_err(|error| store_failed(error, &object))?;
    let newest = match &state {
        ObjectState::Present(stored) => Some(stored.time),
        ObjectState::Deleted(deleted) => Some(*deleted),
        ObjectState::Absent => None,
    };
    if let Some(newest) = newest.filter(|newest| *newest >= time) {
        return Err(conflict(newest));
    }
    let reply = match &state {
        ObjectState::Present(stored) => ReserveReply::Stored(Box::new(described(stored))),
        ObjectState::Deleted(_) | ObjectState::Absent => {
            ReserveReply::Absent(AbsentObject { deleted: newest })
        }
    };
    let mut response = status(StatusCode::OK);
    *response.status_mut() = reply.encode(response.headers_mut());
    lease.keep();
    Ok(response)
}

/// Releases a name.
pub(crate) fn release(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        ReleaseRequest::decode(head).map_err(|error| malformed(&error))?;
    let object = server.object(device, &request.address)?;
    let reservations = server.store.devices.reservations(&object.device)?;
    reservations.release(&object.place.hash, request.timestamp);
    Ok(status(StatusCode::NO_CONTENT))
}
