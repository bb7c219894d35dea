//! `DELETE`: writes a tombstone, also over nothing, so that an older PUT cannot come back.

use std::sync::Arc;

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_disk::Committer;
use apus_wire::headers;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::container_update::update;
use crate::diskfile::layout::tombstone_name;
use crate::diskfile::reader::State;
use crate::diskfile::writer::bodiless;
use crate::server::{Refusal, Server, Target, conflict, refuse, timestamp};

use super::get::absent;
use super::reserve::fence;

pub(crate) async fn delete(
    server: &Server,
    target: &Target,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    let state = server.open(target).await?;
    let (newest, delete_at) = match &state {
        State::Present(object) => (Some(object.time), object.delete_at()),
        State::Deleted(deleted) => (Some(*deleted), None),
        State::Absent => (None, None),
    };
    if let Some(wanted) = header(head, "x-if-delete-at") {
        let wanted: u64 = wanted
            .parse()
            .map_err(|_| refuse(StatusCode::BAD_REQUEST, "Bad X-If-Delete-At header value"))?;
        match &state {
            State::Absent | State::Deleted(_) => return Err(absent(newest)),
            State::Present(_) if delete_at != Some(wanted) => {
                return Err(refuse(
                    StatusCode::PRECONDITION_FAILED,
                    "X-If-Delete-At does not match",
                ));
            }
            State::Present(_) => {}
        }
    }
    if let Some(newest) = newest.filter(|newest| *newest >= time) {
        return Err(conflict(newest));
    }
    let expired = delete_at.is_some_and(|at| at <= server.now_seconds());
    let existed = matches!(state, State::Present(_)) && !expired;
    drop(state);
    let stored = Metadata::from([
        ("name".to_owned(), target.name.clone()),
        ("X-Timestamp".to_owned(), time.to_string()),
    ]);
    let place = target.place.clone();
    let prepare = move |committer: &Arc<Committer>| {
        let name = tombstone_name(time);
        Ok((bodiless(place, &name, &stored, committer)?, name))
    };
    server.write(target, time, fence(head), prepare).await?;
    let row = Metadata::from([("x-timestamp".to_owned(), time.to_string())]);
    update(server, &target.place, &target.object, head, Method::DELETE, row, time)
        .await
        .map_err(|_| refuse(StatusCode::SERVICE_UNAVAILABLE, "container row was not kept"))?;
    let mut response = status(if existed { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND });
    let before = newest.unwrap_or(time);
    set(response.headers_mut(), headers::BACKEND_TIMESTAMP, &before.max(time).to_string());
    Ok(response)
}
