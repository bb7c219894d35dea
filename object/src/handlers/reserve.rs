//! `RESERVE` and `RELEASE`: taking an object's name for a conditional write, and giving it back.
//!
//! The rules are in [`crate::store::reservation`]; nothing here judges a condition.

use apus_daemon::Body;
use apus_daemon::http::{header, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use super::get::{absent, object_headers};
use crate::engine::object::State;
use crate::server::{Refusal, Server, conflict, refuse, store_failed, timestamp};
use crate::store::LocalObject;
use crate::store::reservation::{Fence, ReserveRefusal};

/// How a write asks to get through.
pub(crate) fn fence(head: &HeaderMap) -> Fence {
    if header(head, headers::RESERVED).is_some() {
        Fence::Held
    } else if header(head, headers::STRONG).is_some() {
        Fence::Strong
    } else {
        Fence::Plain
    }
}

pub(crate) async fn reserve(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    let reservations = server.store.devices.reservations(&target.device)?;
    let taken = reservations.take(target.place.hash, time).await.map_err(|error| match error {
        ReserveRefusal::TooEarly(promised) => conflict(promised),
        // Whoever asks again comes to the process that makes them.
        ReserveRefusal::Sealed => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "promises are made elsewhere now")
        }
        ReserveRefusal::Disk(error) => store_failed(error.into(), target),
    })?;
    apus_fault::point("object.reserve.promised");
    let (newest, mut response) =
        match server.store.open(target).await.map_err(|error| store_failed(error, target))? {
            State::Present(object) => {
                let mut response = status(StatusCode::OK);
                object_headers(&object, response.headers_mut());
                apus_daemon::http::set(
                    response.headers_mut(),
                    "content-length",
                    &object.length.to_string(),
                );
                (Some(object.time), response)
            }
            State::Deleted(deleted) => (Some(deleted), *absent(Some(deleted))),
            State::Absent => (None, *absent(None)),
        };
    if let Some(newest) = newest.filter(|newest| *newest >= time) {
        return Err(conflict(newest));
    }
    taken.keep();
    apus_daemon::http::set(response.headers_mut(), headers::RESERVED, "yes");
    Ok(response)
}

pub(crate) fn release(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    server.store.devices.reservations(&target.device)?.release(&target.place.hash, time);
    Ok(status(StatusCode::NO_CONTENT))
}
