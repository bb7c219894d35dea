//! What the auditor has to know of container databases.

use apus_broker::audit::{Tables, Tally};
use apus_broker::{Connection, DbError, digest, stat};
use apus_cluster::listing::ObjectRow;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{AccountName, ContainerName, ContainerPath, Timestamp};

use crate::backend;

/// Digests; the triggers use nothing that Swift's connections lack. Counts, bytes and the hash
/// follow from the rows, and what was reported is reported again.
pub(crate) const DIGESTS: &str = "
CREATE TABLE IF NOT EXISTS apus_row_digest (row_id INTEGER PRIMARY KEY, digest INTEGER);
CREATE TRIGGER IF NOT EXISTS apus_row_digest_delete AFTER DELETE ON object
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = old.ROWID;
END;
CREATE TRIGGER IF NOT EXISTS apus_info_digest_delete
AFTER UPDATE OF account, container, created_at, put_timestamp, delete_timestamp, id, status,
    status_changed_at, metadata, x_container_sync_point1, x_container_sync_point2,
    storage_policy_index, reconciler_sync_point ON container_info
BEGIN
    DELETE FROM apus_row_digest WHERE row_id = 0;
END;
";

/// Container databases.
pub(crate) static TABLES: Tables = Tables {
    kind: "containers",
    schema: DIGESTS,
    rows: "SELECT o.ROWID, d.row_id, d.digest, o.name, o.created_at, o.size, o.content_type,
             o.etag, o.deleted, o.storage_policy_index
         FROM object AS o NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = o.ROWID
         ORDER BY o.ROWID",
    rows_alone: "SELECT ROWID, NULL, NULL, name, created_at, size, content_type, etag, deleted,
             storage_policy_index FROM object NOT INDEXED ORDER BY ROWID",
    without_digest: "SELECT o.ROWID, NULL, NULL, o.name, o.created_at, o.size, o.content_type,
             o.etag, o.deleted, o.storage_policy_index
         FROM object AS o NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = o.ROWID
         WHERE o.ROWID > ? AND d.row_id IS NULL ORDER BY o.ROWID LIMIT 1000",
    row: "SELECT o.ROWID, d.row_id, d.digest, o.name, o.created_at, o.size, o.content_type,
             o.etag, o.deleted, o.storage_policy_index
         FROM object AS o NOT INDEXED LEFT JOIN apus_row_digest AS d ON d.row_id = o.ROWID
         WHERE o.ROWID = ?",
    columns: 7,
    fields: &[
        ("name", false),
        ("created_at", false),
        ("size", true),
        ("content_type", false),
        ("etag", false),
        ("deleted", true),
        ("storage_policy_index", true),
    ],
    info: "SELECT account, container, created_at, put_timestamp, delete_timestamp, id, status,
             status_changed_at, metadata, x_container_sync_point1, x_container_sync_point2,
             storage_policy_index, reconciler_sync_point FROM container_info",
    info_columns: 13,
    names: 2,
    metadata: 8,
    policies: "SELECT storage_policy_index, object_count, bytes_used, 0 FROM policy_stat",
    totals: "SELECT hash, -1, -1, -1 FROM container_info",
    tally,
    rebuild,
    restore,
};

fn tally(columns: &[String]) -> Option<Tally> {
    let [_, created_at, size, _, _, deleted, policy] = columns else { return None };
    let present = 1i64.checked_sub(deleted.parse().ok()?)?;
    let counts = [present, size.parse().ok()?, 0];
    Some(Tally { policy: policy.parse().ok()?, counts, version: created_at.clone() })
}

/// The columns of a row in the order of its digest.
pub(crate) fn columns(row: &ObjectRow) -> [String; 7] {
    [
        row.name.clone(),
        row.times.encode(),
        i64::try_from(row.size).unwrap_or(i64::MAX).to_string(),
        row.content_type.clone(),
        row.etag.clone(),
        i64::from(row.deleted).to_string(),
        row.policy.to_string(),
    ]
}

fn corrupt(what: &str) -> DbError {
    DbError::Corrupt(what.to_owned())
}

fn rebuild(connection: &mut Connection, info: &[String]) -> Result<(), DbError> {
    let [
        account,
        container,
        created,
        put,
        delete,
        id,
        status,
        changed,
        metadata,
        sync_1,
        sync_2,
        policy,
        reconciler,
    ] = info
    else {
        return Err(corrupt("container_info"));
    };
    let path = ContainerPath::new(
        AccountName::parse(account).map_err(|error| corrupt(&error.to_string()))?,
        ContainerName::parse(container).map_err(|error| corrupt(&error.to_string()))?,
    );
    let time = |text: &str| Timestamp::parse(text).ok_or_else(|| corrupt("a time is none"));
    let policy = policy.parse().map_err(|_| corrupt("storage_policy_index"))?;
    // Another database with another history: replicas send it everything.
    let device = id.get(37..).unwrap_or_default();
    let id = stat::new_id(device);
    backend::initialize(connection, &path, &id, time(created)?, time(put)?, policy)?;
    let int = |text: &str| text.parse::<i64>().map_err(|_| corrupt("a number is none"));
    digest::change_info(connection, &TABLES, |connection| {
        connection.run(
            "UPDATE container_info SET delete_timestamp = ?, status = ?, status_changed_at = ?,
                 metadata = ?, x_container_sync_point1 = ?, x_container_sync_point2 = ?,
                 reconciler_sync_point = ?",
            &[
                delete.into(),
                status.into(),
                changed.into(),
                metadata.into(),
                int(sync_1)?.into(),
                int(sync_2)?.into(),
                int(reconciler)?.into(),
            ],
        )
    })
}

fn restore(connection: &mut Connection, columns: &[String]) -> Result<(), DbError> {
    let [name, created_at, size, content_type, etag, deleted, policy] = columns else {
        return Err(corrupt("object"));
    };
    let row = ObjectRow {
        name: name.clone(),
        times: RowTimes::decode(created_at).ok_or_else(|| corrupt("created_at"))?,
        size: size.parse().map_err(|_| corrupt("size"))?,
        content_type: content_type.clone(),
        etag: etag.clone(),
        deleted: deleted != "0",
        policy: policy.parse().map_err(|_| corrupt("storage_policy_index"))?,
    };
    backend::merge_row(connection, row)
}

#[cfg(test)]
mod tests;
