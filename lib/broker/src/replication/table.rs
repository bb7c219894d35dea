//! Statements of replication on a database of either kind.
//!
//! Sync points, merged timestamps, the new id of a copy. Source: `swift/common/db.py`.

use apus_cluster::Timestamp;
use apus_wire::message::database::{ReplicaInfo, SyncPoint};

use super::replica::Replica;
use crate::digest;
use crate::error::DbError;
use crate::metadata;
use crate::raw::{Connection, Param};
use crate::stat;

/// Direction of replicated rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
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

/// The last row that was sent in a direction; -1 when none was.
pub(super) fn point(
    connection: &mut Connection,
    direction: Direction,
    id: &str,
) -> Result<i64, DbError> {
    let sql = match direction {
        Direction::Incoming => "SELECT sync_point FROM incoming_sync WHERE remote_id = ?",
        Direction::Outgoing => "SELECT sync_point FROM outgoing_sync WHERE remote_id = ?",
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
    direction: Direction,
    new: &SyncPoint,
) -> Result<(), DbError> {
    if point(connection, direction, &new.remote_id)? >= new.sync_point {
        return Ok(());
    }
    // Not `INSERT OR REPLACE`: the row stays, and a trigger dates it.
    let sql = match direction {
        Direction::Incoming => {
            "INSERT INTO incoming_sync (remote_id, sync_point) VALUES (?1, ?2)
             ON CONFLICT (remote_id) DO UPDATE SET sync_point = ?2"
        }
        Direction::Outgoing => {
            "INSERT INTO outgoing_sync (remote_id, sync_point) VALUES (?1, ?2)
             ON CONFLICT (remote_id) DO UPDATE SET sync_point = ?2"
        }
    };
    connection.run(sql, &[(&new.remote_id).into(), new.sync_point.into()])
}

/// The replica's id.
pub(super) fn id<K: Replica>(connection: &mut Connection) -> Result<String, DbError> {
    let mut id = None;
    connection.query(K::schema().id, &[], |row| {
        id = Some(row.text(0));
        false
    })?;
    id.ok_or_else(|| DbError::Corrupt("no row about the database".to_owned()))
}

/// The greatest `ROWID` that a table has had; -1 when it had none. For [`ReplicaInfo`] of each kind.
///
/// # Errors
/// SQLite's.
pub fn sync_point(connection: &mut Connection, max_row: &'static str) -> Result<i64, DbError> {
    Ok(integer(connection, max_row, &[])?.unwrap_or(-1))
}

/// Makes a copy of the replica `source` a replica with an id of its own. Its rows came from there:
/// the sync point is set before any other rows are merged, so that it counts those of the source.
pub(super) fn renew<K: Replica>(
    connection: &mut Connection,
    source: &str,
    device: &str,
) -> Result<(), DbError> {
    digest::change_info(connection, K::schema(), |connection| {
        connection.run(K::schema().set_id, &[(&stat::new_id(device)).into()])
    })?;
    let last = integer(connection, K::schema().last_row, &[])?.unwrap_or(-1);
    connection.run("DELETE FROM incoming_sync WHERE remote_id = ?", &[source.into()])?;
    let point = SyncPoint { remote_id: source.to_owned(), sync_point: last };
    merge_point(connection, Direction::Incoming, &point)?;
    K::renewed(connection)
}

/// Merges a replica's timestamps. A database that becomes deleted or undeleted by that changes its
/// status now.
pub(super) fn merge_timestamps<K: Replica>(
    connection: &mut Connection,
    remote: &ReplicaInfo,
    now: Timestamp,
) -> Result<(), DbError> {
    if remote.timestamps().iter().any(|time| Timestamp::parse(time).is_none()) {
        return Err(DbError::Invalid(format!("timestamps {:?}", remote.timestamps())));
    }
    let before = K::is_deleted(connection)?;
    let [created, put, delete] = remote.timestamps();
    let params = [created.into(), put.into(), delete.into()];
    digest::change_info(connection, K::schema(), |connection| {
        connection.run(K::schema().merge_timestamps, &params)?;
        if K::is_deleted(connection)? != before {
            connection.run(K::schema().status_changed, &[(&now.to_string()).into()])?;
        }
        Ok(())
    })
}

/// Merges a replica's metadata, as the text of its column.
pub(super) fn merge_metadata<K: Replica>(
    connection: &mut Connection,
    remote: &str,
) -> Result<(), DbError> {
    if apus_fault::planted("bug.merge-no-metadata") {
        return Ok(());
    }
    let remote = decode_remote(remote)?;
    digest::change_info(connection, K::schema(), |connection| {
        metadata::merge_dated(connection, K::schema(), remote)
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
        local.get(name).is_none_or(|(_, stored)| time > stored)
    };
    Ok(decode_remote(remote)?.iter().any(newer))
}

/// Whether a replica's timestamps would change ours.
pub(super) fn has_newer_times(local: &ReplicaInfo, remote: &ReplicaInfo) -> bool {
    remote.created_at < local.created_at
        || remote.put_timestamp > local.put_timestamp
        || remote.delete_timestamp > local.delete_timestamp
}
