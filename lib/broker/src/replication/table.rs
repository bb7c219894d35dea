//! What replication reads and writes in a database of either kind: sync points, merged timestamps,
//! a copy's new id. Source: `swift/common/db.py`.

use apus_cluster::Timestamp;
use serde::{Deserialize, Serialize};

use super::info::Info;
use super::kind::Kind;
use crate::digest;
use crate::error::DbError;
use crate::metadata;
use crate::raw::{Connection, Param};
use crate::stat;

/// A sync point as replicas tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SyncPoint {
    pub(super) remote_id: String,
    pub(super) sync_point: i64,
}

/// Which way rows went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the replica of that id to here.
    Incoming,
    /// From here to it.
    Outgoing,
}

fn integer(
    connection: &mut Connection,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<Option<i64>, DbError> {
    let mut found = None;
    connection.query(sql, params, |row| {
        found = Some(row.int(0));
        false
    })?;
    Ok(found)
}

/// The last row that went a way; -1 when none did.
pub(super) fn point(connection: &mut Connection, way: Way, id: &str) -> Result<i64, DbError> {
    let sql = match way {
        Way::Incoming => "SELECT sync_point FROM incoming_sync WHERE remote_id = ?",
        Way::Outgoing => "SELECT sync_point FROM outgoing_sync WHERE remote_id = ?",
    };
    Ok(integer(connection, sql, &[id.into()])?.unwrap_or(-1))
}

/// All incoming points.
pub(super) fn points(connection: &mut Connection) -> Result<Vec<SyncPoint>, DbError> {
    let mut points = Vec::new();
    connection.query("SELECT remote_id, sync_point FROM incoming_sync", &[], |row| {
        points.push(SyncPoint { remote_id: row.text(0), sync_point: row.int(1) });
        true
    })?;
    Ok(points)
}

/// Raises a sync point. What is already there is not written again.
pub(super) fn merge_point(
    connection: &mut Connection,
    way: Way,
    new: &SyncPoint,
) -> Result<(), DbError> {
    if point(connection, way, &new.remote_id)? >= new.sync_point {
        return Ok(());
    }
    // Not `INSERT OR REPLACE`: the row stays, and a trigger dates it.
    let sql = match way {
        Way::Incoming => {
            "INSERT INTO incoming_sync (remote_id, sync_point) VALUES (?1, ?2)
             ON CONFLICT (remote_id) DO UPDATE SET sync_point = ?2"
        }
        Way::Outgoing => {
            "INSERT INTO outgoing_sync (remote_id, sync_point) VALUES (?1, ?2)
             ON CONFLICT (remote_id) DO UPDATE SET sync_point = ?2"
        }
    };
    connection.run(sql, &[(&new.remote_id).into(), new.sync_point.into()])
}

/// The replica's id.
pub(super) fn id<K: Kind>(connection: &mut Connection) -> Result<String, DbError> {
    let mut id = None;
    connection.query(K::STATEMENTS.id, &[], |row| {
        id = Some(row.text(0));
        false
    })?;
    id.ok_or_else(|| DbError::Corrupt("no row about the database".to_owned()))
}

/// The greatest `ROWID` that a table has had; -1 when it had none. For [`Info`] of each kind.
///
/// # Errors
/// SQLite's.
pub fn sync_point(connection: &mut Connection, max_row: &'static str) -> Result<i64, DbError> {
    Ok(integer(connection, max_row, &[])?.unwrap_or(-1))
}

/// Makes a copy of the replica `source` a replica of its own. Its rows so far came from there: the
/// sync point is set before any other rows are merged, so that it counts the source's rows alone.
pub(super) fn renew<K: Kind>(
    connection: &mut Connection,
    source: &str,
    device: &str,
) -> Result<(), DbError> {
    digest::change_info(connection, K::TABLES, |connection| {
        connection.run(K::STATEMENTS.set_id, &[(&stat::new_id(device)).into()])
    })?;
    let last = integer(connection, K::STATEMENTS.last_row, &[])?.unwrap_or(-1);
    connection.run("DELETE FROM incoming_sync WHERE remote_id = ?", &[source.into()])?;
    let point = SyncPoint { remote_id: source.to_owned(), sync_point: last };
    merge_point(connection, Way::Incoming, &point)?;
    K::renewed(connection)
}

/// Merges a replica's timestamps; a database that begins or ceases to be deleted by that changes
/// its status now.
pub(super) fn merge_timestamps<K: Kind>(
    connection: &mut Connection,
    remote: &Info,
    now: Timestamp,
) -> Result<(), DbError> {
    if remote.timestamps().iter().any(|time| Timestamp::parse(time).is_none()) {
        return Err(DbError::Invalid(format!("timestamps {:?}", remote.timestamps())));
    }
    let before = K::is_deleted(connection)?;
    let [created, put, delete] = remote.timestamps();
    let params = [created.into(), put.into(), delete.into()];
    digest::change_info(connection, K::TABLES, |connection| {
        connection.run(K::STATEMENTS.merge_timestamps, &params)?;
        if K::is_deleted(connection)? != before {
            connection.run(K::STATEMENTS.status_changed, &[(&now.to_string()).into()])?;
        }
        Ok(())
    })
}

/// Merges a replica's metadata, given as the text of its column.
pub(super) fn merge_metadata<K: Kind>(
    connection: &mut Connection,
    remote: &str,
) -> Result<(), DbError> {
    if apus_fault::planted("bug.merge-no-metadata") {
        return Ok(());
    }
    let (select, update) = (K::STATEMENTS.metadata, K::STATEMENTS.set_metadata);
    let remote = decode_remote(remote)?;
    digest::change_info(connection, K::TABLES, |connection| {
        metadata::merge_dated(connection, select, update, remote)
    })
}

fn decode_remote(text: &str) -> Result<metadata::Dated, DbError> {
    metadata::decode(text).map_err(|error| DbError::Invalid(error.to_string()))
}

/// Whether metadata of a replica has anything newer than ours.
pub(super) fn has_newer(local: &str, remote: &str) -> Result<bool, DbError> {
    if remote.is_empty() || local == remote {
        return Ok(false);
    }
    let local = metadata::decode(local)?;
    let newer = |(name, (_, time)): (&String, &(String, String))| {
        local.get(name).is_none_or(|(_, known)| time > known)
    };
    Ok(decode_remote(remote)?.iter().any(newer))
}

/// Whether a replica's timestamps would change ours.
pub(super) fn has_newer_times(local: &Info, remote: &Info) -> bool {
    remote.created_at < local.created_at
        || remote.put_timestamp > local.put_timestamp
        || remote.delete_timestamp > local.delete_timestamp
}
