//! The calls `sync` and `merge_items`, and what calls have in common.

use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::status;
use apus_wire::message::database::{ReplicaInfo, SyncPoint};
use bytes::Bytes;
use http::{Response, StatusCode};

use super::body::{self, BodyReadError};
use super::replica::Replica;
use super::table::{self, Direction};
use crate::database::Database;
use crate::error::DbError;
use crate::raw::Connection;
use crate::response::{Refusal, refuse};

/// Bytes of a call at most. A thousand rows are some 200 KB, with the longest names some 10 MB.
const CALL_MAX: usize = 64 * 1024 * 1024;

/// 400 with a text.
pub(super) fn bad_call(text: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, text)
}

/// The refusal of a call whose work failed: what another replica sent is damaged, not this one.
pub(super) fn refusal(error: DbError) -> Refusal {
    match error {
        DbError::Corrupt(text) | DbError::Invalid(text) => bad_call(&text),
        error => error.into(),
    }
}

/// Writes to a database on behalf of a call.
pub(super) async fn write<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = database.write(work).await;
    apus_fault::point("replicate.merge.committed");
    done.map_err(refusal)
}

/// Returns the state of a database, and takes over that of the calling replica.
pub(super) async fn sync<K: Replica>(
    database: &Arc<Database>,
    remote: ReplicaInfo,
    now: Timestamp,
) -> Result<ReplicaInfo, DbError> {
    let calling = remote.clone();
    let (info, is_newer) = database
        .read(move |connection| {
            let (mut info, point) = state::<K>(connection, &calling)?;
            let is_newer = table::has_newer_times(&info, &calling)
                || table::has_newer(&info.metadata, &calling.metadata)?
                || K::disagrees(&info, &calling)
                || is_new_point(&info, &calling, point);
            if is_new_point(&info, &calling, point) {
                info.point = Some(calling.max_row);
            }
            Ok((info, is_newer))
        })
        .await?;
    if !is_newer {
        return Ok(info);
    }
    // The state before the replica's is merged, as Swift returns it: the replica merges ours itself.
    let before = database
        .write(move |connection| {
            K::reconcile(connection, &remote, now)?;
            let (mut info, point) = state::<K>(connection, &remote)?;
            if table::has_newer(&info.metadata, &remote.metadata)? {
                table::merge_metadata::<K>(connection, &remote.metadata)?;
            }
            if table::has_newer_times(&info, &remote) {
                table::merge_timestamps::<K>(connection, &remote, now)?;
            }
            if is_new_point(&info, &remote, point) {
                let new = SyncPoint { remote_id: remote.id.clone(), sync_point: remote.max_row };
                table::merge_point(connection, Direction::Incoming, &new)?;
                info.point = Some(remote.max_row);
            }
            Ok(info)
        })
        .await?;
    apus_fault::point("replicate.sync.committed");
    Ok(before)
}

fn state<K: Replica>(
    connection: &mut Connection,
    remote: &ReplicaInfo,
) -> Result<(ReplicaInfo, i64), DbError> {
    let mut info = K::info(connection)?;
    let point = table::point(connection, Direction::Incoming, &remote.id)?;
    info.point = Some(point);
    Ok((info, point))
}

/// Whether the hashes are equal, so that all rows of the replica are here, and that is not stored.
fn is_new_point(info: &ReplicaInfo, remote: &ReplicaInfo, point: i64) -> bool {
    info.hash == remote.hash && point < remote.max_row
}

/// Merges rows from the replica `source`, without deletions from before `reclaimed` of what does not
/// exist here. Returns how many of the rows changed anything.
pub(super) async fn merge_items<K: Replica>(
    database: &Arc<Database>,
    rows: Vec<K::Row>,
    source: Option<String>,
    reclaimed: Option<Timestamp>,
) -> Result<u64, DbError> {
    let then = reclaimed.unwrap_or(Timestamp::ZERO);
    let new = database
        .write(move |connection| {
            let last = rows.last().and_then(K::row_id);
            let mut new = 0;
            for row in rows {
                if !K::is_old_deletion(connection, &row, then)? {
                    let before = connection.total_changes();
                    K::merge_row(connection, row)?;
                    new += u64::from(connection.total_changes() != before);
                }
            }
            if let (Some(remote_id), Some(sync_point)) = (source, last) {
                let point = SyncPoint { remote_id, sync_point };
                table::merge_point(connection, Direction::Incoming, &point)?;
            }
            Ok(new)
        })
        .await?;
    apus_fault::point("replicate.merge.committed");
    Ok(new)
}

/// Merges rows without a source: the body of the verb `UPDATE`. Returns Swift's status.
///
/// # Errors
/// The refusal.
pub async fn update<K: Replica>(
    database: &Arc<Database>,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let rows = serde_json::from_slice(&read_call(body).await?);
    let rows = rows.map_err(|error| bad_call(&error.to_string()))?;
    merge_items::<K>(database, rows, None, None).await.map_err(refusal)?;
    Ok(status(StatusCode::ACCEPTED))
}

/// Reads the body of a call.
pub(super) async fn read_call(body: Body) -> Result<Bytes, Refusal> {
    body::read(body, CALL_MAX).await.map_err(|error| match error {
        BodyReadError::TooLarge => refuse(StatusCode::PAYLOAD_TOO_LARGE, "call too large"),
        BodyReadError::Broken(error) => bad_call(&error.to_string()),
    })
}
