//! Changes of the row about a database (`account_stat`, `container_info`).
//!
//! Those that both kinds have in common. Each change renews the digest of the row.

use std::collections::BTreeMap;

use apus_cluster::Timestamp;
use apus_cluster::constraints::Constraints;

use crate::digest;
use crate::error::DbError;
use crate::metadata;
use crate::raw::Connection;
use crate::schema::Schema;

/// An id for a new database on a device, as Swift makes it (`swift/common/db.py`, `newid`).
#[must_use]
pub fn new_id(device: &str) -> String {
    format!("{}-{device}", apus_daemon::random::uuid())
}

/// Merges changes of metadata; an empty value removes one.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub fn put_metadata(
    connection: &mut Connection,
    schema: &Schema,
    changes: &BTreeMap<String, String>,
    timestamp: Timestamp,
    constraints: &Constraints,
) -> Result<(), DbError> {
    digest::change_info(connection, schema, |connection| {
        metadata::merge(connection, schema, changes, timestamp, constraints)
    })
}

/// Raises the time of the last put.
///
/// # Errors
/// SQLite's.
pub fn put(
    connection: &mut Connection,
    schema: &Schema,
    timestamp: Timestamp,
) -> Result<(), DbError> {
    digest::change_info(connection, schema, |connection| {
        connection.run(schema.put, &[(&timestamp.to_string()).into()])
    })
}

/// Deletes: all metadata emptied, the time of deletion raised.
///
/// # Errors
/// SQLite's; [`DbError::Corrupt`].
pub fn delete(
    connection: &mut Connection,
    schema: &Schema,
    timestamp: Timestamp,
) -> Result<(), DbError> {
    let names = metadata::read(connection, schema)?.into_keys();
    let emptied = names.map(|name| (name, String::new())).collect();
    // Nothing is left that could exceed a limit.
    put_metadata(connection, schema, &emptied, timestamp, &Constraints::default())?;
    digest::change_info(connection, schema, |connection| {
        connection.run(schema.delete, &[(&timestamp.to_string()).into()])
    })
}
