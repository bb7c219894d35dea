//! Reads the state of a replica from its database.

use apus_wire::message::database::ReplicaInfo;

use super::table::sync_point;
use crate::error::DbError;
use crate::kind::DatabaseKind;
use crate::raw::{Connection, Row};

/// Reads the state of a database. `select` returns account, created_at, put_timestamp,
/// delete_timestamp, status_changed_at, the count, hash, id and metadata, and then columns that `own`
/// reads.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`] for a database without such a row.
pub fn read_info<K: DatabaseKind>(
    connection: &mut Connection,
    select: &'static str,
    own: fn(&mut ReplicaInfo, &Row<'_>),
) -> Result<ReplicaInfo, DbError> {
    let mut found = None;
    connection.query(select, &[], |row| {
        let mut info = ReplicaInfo {
            account: row.text(0),
            created_at: row.text(1),
            put_timestamp: row.text(2),
            delete_timestamp: row.text(3),
            status_changed_at: row.text(4),
            count: row.int(5),
            hash: row.text(6),
            id: row.text(7),
            metadata: row.text(8),
            ..ReplicaInfo::default()
        };
        own(&mut info, row);
        found = Some(info);
        false
    })?;
    let mut info = found.ok_or_else(|| DbError::Corrupt("no row about the database".to_owned()))?;
    info.max_row = sync_point(connection, K::schema().max_row)?;
    Ok(info)
}
