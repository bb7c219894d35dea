//! `DELETE`: writes a tombstone.
//!
//! It does so even when nothing is stored, so that an older PUT cannot reappear.

use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_wire::message::container::{RowHeaders, RowVerb};
use apus_wire::message::object::{DeleteObjectRequest, ObjectWriteReply};
use http::{Response, StatusCode};

use super::context::{Write, absent, fence, respond, row_lost};
use crate::engine::object::{ObjectState, Version};
use crate::rows::RowSource;
use crate::server::{Refusal, conflict, refuse, store_failed};

/// What a deletion replaces.
struct Replaced {
    /// When it would expire.
    delete_at: Option<u64>,
    /// Whether clients saw the object.
    existed: bool,
    content_type: String,
}

/// Writes a tombstone.
pub(super) async fn delete(write: &Write<DeleteObjectRequest>) -> Result<Response<Body>, Refusal> {
    let Write { server, object, request, .. } = write;
    let time = request.timestamp;
    let replaced = check(write).await?;
    let stored = Metadata::from([
        ("name".to_owned(), object.name.clone()),
        ("X-Timestamp".to_owned(), time.to_string()),
    ]);
    if !apus_fault::planted("bug.delete-without-tombstone") {
        let version = (Version::Tombstone(time), fence(request.fence));
        let written = server.store.write_bodiless(object, version, stored).await;
        written.map_err(|error| store_failed(error, object))?;
    }
    apus_fault::point("object.delete.published");
    let source = RowSource {
        object,
        targets: &request.rows,
        trans_id: request.address.trans_id.as_deref(),
        is_replication: request.is_replication,
    };
    let notified = async {
        if let Some(delete_at) = replaced.delete_at {
            server.rows.remove_task(&source, delete_at, time).await?;
        }
        server.rows.update(&source, RowVerb::Delete, RowHeaders::deleted(time), time).await
    };
    notified.await.map_err(|error| row_lost(&error, object))?;
    apus_fault::point("object.delete.told");
    let code = if replaced.existed { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    let reply = ObjectWriteReply {
        newest: Some(time),
        content_type: Some(replaced.content_type),
        ..ObjectWriteReply::default()
    };
    Ok(respond(code, &reply))
}

/// Compares what is stored with the time and the condition of the deletion.
async fn check(write: &Write<DeleteObjectRequest>) -> Result<Replaced, Refusal> {
    let Write { server, object, request, replicated } = write;
    let (time, condition) = (request.timestamp, request.if_delete_at);
    let state = server.store.open(object).await.map_err(|error| store_failed(error, object))?;
    let (newest, delete_at) = match &state {
        // Newer metadata does not keep a body that was deleted elsewhere.
        ObjectState::Present(stored) if replicated.is_some() => (Some(stored.data_time), None),
        ObjectState::Present(stored) => (Some(stored.time), stored.delete_at()),
        ObjectState::Deleted(deleted) => (Some(*deleted), None),
        ObjectState::Absent => (None, None),
    };
    // When nothing is stored, the condition cannot be checked: no tombstone then.
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
    let (existed, content_type) = match &state {
        ObjectState::Present(stored) => {
            (condition.is_some() || !stored.is_expired(time), stored.content_type().to_owned())
        }
        ObjectState::Deleted(_) | ObjectState::Absent => (false, String::new()),
    };
    Ok(Replaced { delete_at, existed, content_type })
}
