//! Quarantines an object that a request found to be damaged.

use super::context::absent;
use crate::engine::object::Object;
use crate::engine::place::Place;
use crate::server::{Refusal, Server, store_failed};
use crate::store::LocalObject;

/// Quarantines a damaged object, unless it was replaced meanwhile; then the response is 404.
pub(super) async fn quarantine_damaged(
    server: &Server,
    object: &LocalObject,
    damaged: &Object,
    reason: &'static str,
) -> Result<Refusal, Refusal> {
    let identity = damaged.identity();
    let engine = server.store.engine(object.place.policy).clone();
    let is_same =
        move |place: &Place| identity.is_some_and(|identity| engine.holds(place, &identity));
    let quarantined = server.store.quarantine(object, reason, is_same).await;
    quarantined.map_err(|error| store_failed(error, object))?;
    Ok(absent(None))
}
