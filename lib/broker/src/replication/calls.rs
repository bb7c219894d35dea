//! The calls `sync` and `merge_items`, and what calls have in common.

use std::sync::Arc;

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::status;
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{self, BodyReadError};
use super::info::ReplicaInfo;
use super::replica::Replica;
use super::table::{self, Direction, SyncPoint};
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

/// Reasons why a call failed.
pub(super) enum CallFailure {
    Bad(String),
    Database(DbError),
}

impl CallFailure {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Bad(text) | Self::Database(DbError::Corrupt(text) | DbError::Invalid(text)) => {
                bad_call(&text)
            }
            Self::Database(error) => error.into(),
        }
    }
}

/// Writes to a database on behalf of a call.
pub(super) async fn write<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = database.write(work).await;
    apus_fault::point("replicate.merge.committed");
    done.map_err(|error| CallFailure::Database(error).refusal())
}

/// Returns the state of a database, and takes over that of the calling replica.
pub(super) async fn sync<K: Replica>(
    database: &Arc<Database>,
    arguments: &[Value],
    now: Timestamp,
) -> Result<ReplicaInfo, CallFailure> {
    let remote = ReplicaInfo::from_sync(arguments)
        .ok_or_else(|| CallFailure::Bad("sync: expected seven or ten arguments".to_owned()))?;
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
        .await
        .map_err(CallFailure::Database)?;
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
        .await
        .map_err(CallFailure::Database)?;
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

/// Merges rows. Returns how many of them changed anything.
pub(super) async fn merge_items<K: Replica>(
    database: &Arc<Database>,
    arguments: Vec<Value>,
) -> Result<u64, CallFailure> {
    let mut arguments = arguments.into_iter();
    let rows = arguments.next().unwrap_or_default();
    let rows: Vec<K::Row> =
        serde_json::from_value(rows).map_err(|error| CallFailure::Bad(error.to_string()))?;
    let mut text = || arguments.next().and_then(|value| value.as_str().map(str::to_owned));
    let source = text();
    // Only replicas of Apus send it: Swift's send no deletions that are old enough to be dropped.
    let then = text().and_then(|then| Timestamp::parse(&then)).unwrap_or(Timestamp::ZERO);
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
        .await
        .map_err(CallFailure::Database)?;
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
    let rows = read_call(body).await?;
    merge_items::<K>(database, vec![rows]).await.map_err(CallFailure::refusal)?;
    Ok(status(StatusCode::ACCEPTED))
}

/// Reads and decodes the body of a call.
pub(super) async fn read_call(body: Body) -> Result<Value, Refusal> {
    let body = body::read(body, CALL_MAX).await.map_err(|error| match error {
        BodyReadError::TooLarge => refuse(StatusCode::PAYLOAD_TOO_LARGE, "call too large"),
        BodyReadError::Broken(error) => bad_call(&error.to_string()),
    })?;
    serde_json::from_slice(&body).map_err(|error| bad_call(&error.to_string()))
}
