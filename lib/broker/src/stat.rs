//! The row that a database has about itself (`account_stat`, `container_info`), where both kinds
//! change it alike. Each change seals it anew with its digest.

use std::collections::BTreeMap;

use apus_cluster::Timestamp;
use apus_cluster::constraints::Constraints;

use crate::digest;
use crate::error::DbError;
use crate::metadata;
use crate::raw::Connection;
use crate::replication::Kind;

/// An id for a new database on a device, as Swift makes it (`swift/common/db.py`, `newid`).
#[must_use]
pub fn new_id(device: &str) -> String {
    format!("{}-{device}", apus_daemon::seed::uuid())
}

/// Merges changes of metadata; an empty value removes one.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub fn put_metadata<K: Kind>(
    connection: &mut Connection,
    changes: &BTreeMap<String, String>,
    timestamp: Timestamp,
    constraints: &Constraints,
) -> Result<(), DbError> {
    let (select, update) = (K::STATEMENTS.metadata, K::STATEMENTS.set_metadata);
    digest::change_info(connection, K::TABLES, |connection| {
        metadata::merge(connection, select, update, changes, timestamp, constraints)
    })
}

/// Raises the time of the last put.
///
/// # Errors
/// SQLite's.
pub fn put<K: Kind>(connection: &mut Connection, timestamp: Timestamp) -> Result<(), DbError> {
    digest::change_info(connection, K::TABLES, |connection| {
        connection.run(K::STATEMENTS.put, &[(&timestamp.to_string()).into()])
    })
}

/// Deletes: all metadata emptied, the time of deletion raised.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub fn delete<K: Kind>(connection: &mut Connection, timestamp: Timestamp) -> Result<(), DbError> {
    let known = metadata::read(connection, K::STATEMENTS.metadata)?.into_keys();
    let emptied = known.map(|name| (name, String::new())).collect();
    // Nothing stays that could be too much.
    put_metadata::<K>(connection, &emptied, timestamp, &Constraints::default())?;
    digest::change_info(connection, K::TABLES, |connection| {
        connection.run(K::STATEMENTS.delete, &[(&timestamp.to_string()).into()])
    })
}
