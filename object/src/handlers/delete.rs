//! `DELETE`: writes a tombstone, also over nothing, so that an older PUT cannot come back.

use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_wire::headers;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::engine::object::{State, Version};
use crate::replication::Replicated;
use crate::server::{Refusal, Server, conflict, refuse, store_failed, timestamp};
use crate::store::LocalObject;

use super::get::absent;
use super::put::row_lost;
use super::reserve::fence;

pub(crate) async fn delete(
    server: &Server,
    target: &LocalObject,
    head: &HeaderMap,
    replicated: Option<&Replicated>,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head)?;
    let condition =
        match header(head, headers::IF_DELETE_AT) {
            None => None,
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| {
                refuse(StatusCode::BAD_REQUEST, "Bad X-If-Delete-At header value")
            })?),
        };
    let state = server.store.open(target).await.map_err(|error| store_failed(error, target))?;
    let (newest, delete_at) = match &state {
        // Newer metadata does not keep a body that was deleted elsewhere.
        State::Present(object) if replicated.is_some() => (Some(object.data_time), None),
        State::Present(object) => (Some(object.time), object.delete_at()),
        State::Deleted(deleted) => (Some(*deleted), None),
        State::Absent => (None, None),
    };
    // Without anything here nobody can say whether the condition holds: no tombstone then.
    if condition.is_some() && newest.is_none() {
        return Err(absent(None));
    }
    if let Some(newest) = newest.filter(|newest| *newest >= time) {
        return Err(conflict(newest));
    }
    if condition.is_some_and(|wanted| delete_at.map(Timestamp::from_seconds) != Some(wanted)) {
        let text = "X-If-Delete-At and X-Delete-At do not match";
        return Err(refuse(StatusCode::PRECONDITION_FAILED, text));
    }
    let (existed, kind) = match &state {
        State::Present(object) => {
            let kind = object.content_type();
            (condition.is_some() || !object.is_expired(time), kind)
        }
        State::Deleted(_) | State::Absent => (false, String::new()),
    };
    drop(state);
    let stored = Metadata::from([
        ("name".to_owned(), target.name.clone()),
        ("X-Timestamp".to_owned(), time.to_string()),
    ]);
    if !apus_fault::planted("bug.delete-without-tombstone") {
        let version = (Version::Tombstone(time), fence(head));
        let written = server.store.write_bodiless(target, version, stored).await;
        written.map_err(|error| store_failed(error, target))?;
    }
    apus_fault::point("object.delete.published");
    let row = Metadata::from([("x-timestamp".to_owned(), time.to_string())]);
    let told = async {
        if let Some(delete_at) = delete_at {
            server.rows.remove_task(target, head, delete_at, time).await?;
        }
        server.rows.update(target, head, Method::DELETE, row, time).await
    };
    told.await.map_err(|error| row_lost(&error, target))?;
    apus_fault::point("object.delete.told");
    let mut response = status(if existed { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND });
    set(response.headers_mut(), headers::BACKEND_TIMESTAMP, &time.to_string());
    set(response.headers_mut(), headers::BACKEND_CONTENT_TYPE, &kind);
    Ok(response)
}
