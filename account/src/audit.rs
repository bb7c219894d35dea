//! What the auditor has to know of account databases.

use apus_broker::audit::{Tables, Tally};
use apus_broker::{Connection, DbError, digest, stat};
use apus_cluster::{AccountName, Timestamp};

use crate::backend;

/// Digests; the triggers use nothing that Swift's connections lack. Counts, bytes and the hash
/// follow from the rows.
pub(crate) const DIGESTS: &str = "
CREATE TABLE IF NOT EXISTS apus_row_digest (row_id INTEGER PRIMARY KEY, digest INTEGER);
CREATE TRIGGER IF NOT EXISTS apus_row_digest_delete AFTER DELETE ON container
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = old.ROWID;
END;
CREATE TRIGGER IF NOT EXISTS apus_info_digest_delete
AFTER UPDATE OF account, created_at, put_timestamp, delete_timestamp, id, status,
    status_changed_at, metadata ON account_stat
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = 0;
END;
";

/// Account databases.
pub(crate) static TABLES: Tables = Tables {
    kind: "accounts",
    schema: DIGESTS,
    rows: "SELECT c.ROWID, d.row_id, d.digest, c.name, c.put_timestamp, c.delete_timestamp,
             c.object_count, c.bytes_used, c.deleted, c.storage_policy_index
         FROM container AS c NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = c.ROWID
         ORDER BY c.ROWID",
    rows_alone: "SELECT ROWID, NULL, NULL, name, put_timestamp, delete_timestamp, object_count,
             bytes_used, deleted, storage_policy_index FROM container NOT INDEXED ORDER BY ROWID",
    without_digest: "SELECT c.ROWID, NULL, NULL, c.name, c.put_timestamp, c.delete_timestamp,
             c.object_count, c.bytes_used, c.deleted, c.storage_policy_index
         FROM container AS c NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = c.ROWID
         WHERE c.ROWID > ? AND d.row_id IS NULL ORDER BY c.ROWID LIMIT 1000",
    row: "SELECT c.ROWID, d.row_id, d.digest, c.name, c.put_timestamp, c.delete_timestamp,
             c.object_count, c.bytes_used, c.deleted, c.storage_policy_index
         FROM container AS c NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = c.ROWID
         WHERE c.ROWID = ?",
    columns: 7,
    fields: &[
        ("name", false),
        ("put_timestamp", false),
        ("delete_timestamp", false),
        ("object_count", true),
        ("bytes_used", true),
        ("deleted", true),
        ("storage_policy_index", true),
    ],
    info: "SELECT account, created_at, put_timestamp, delete_timestamp, id, status,
             status_changed_at, metadata FROM account_stat",
    info_columns: 8,
    names: 1,
    metadata: 7,
    policies: "SELECT storage_policy_index, container_count, object_count, bytes_used
         FROM policy_stat",
    totals: "SELECT hash, container_count, object_count, bytes_used FROM account_stat",
    tally,
    rebuild,
    restore,
};

fn tally(columns: &[String]) -> Option<Tally> {
    let [_, put, delete, objects, bytes, deleted, policy] = columns else { return None };
    let present = 1i64.checked_sub(deleted.parse().ok()?)?;
    Some(Tally {
        policy: policy.parse().ok()?,
        counts: [present, objects.parse().ok()?, bytes.parse().ok()?],
        version: format!("{put}-{delete}-{objects}-{bytes}"),
    })
}

fn corrupt(what: &str) -> DbError {
    DbError::Corrupt(what.to_owned())
}

fn rebuild(connection: &mut Connection, info: &[String]) -> Result<(), DbError> {
    let [account, created, put, delete, id, status, changed, metadata] = info else {
        return Err(corrupt("account_stat"));
    };
    let account = AccountName::parse(account).map_err(|error| corrupt(&error.to_string()))?;
    let time = |text: &str| Timestamp::parse(text).ok_or_else(|| corrupt("a time is none"));
    // Another database with another history: replicas send it everything.
    let device = id.get(37..).unwrap_or_default();
    let id = stat::new_id(device);
    backend::initialize(connection, &account, &id, time(created)?, time(put)?)?;
    digest::change_info(connection, &TABLES, |connection| {
        connection.run(
            "UPDATE account_stat SET delete_timestamp = ?, status = ?, status_changed_at = ?,
                 metadata = ?",
            &[delete.into(), status.into(), changed.into(), metadata.into()],
        )
    })
}

fn restore(connection: &mut Connection, columns: &[String]) -> Result<(), DbError> {
    let [name, put, delete, objects, bytes, deleted, policy] = columns else {
        return Err(corrupt("container"));
    };
    let values: [&str; 7] =
        [name, put, delete, objects, bytes, deleted, policy].map(String::as_str);
    backend::insert_row(connection, values)
}

#[cfg(test)]
mod tests;
