//! Statements on one container database.

use std::sync::LazyLock;

use apus_broker::metadata::{self, Dated};
use apus_broker::schema::{RowQuery, SYNC_TABLES};
use apus_broker::{Connection, DbError, NewDatabase, Row, digest, stat};
use apus_cluster::listing::ObjectRow;
use apus_cluster::pickle::Value;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{ContainerPath, Timestamp};

use crate::merge::merge;
use crate::schema::SCHEMA;

/// State of a container database.
#[derive(Debug, Clone)]
pub(crate) struct ContainerInfo {
    pub(crate) account: String,
    pub(crate) container: String,
    pub(crate) created_at: Timestamp,
    pub(crate) put_timestamp: Timestamp,
    pub(crate) delete_timestamp: Timestamp,
    pub(crate) status_changed_at: Timestamp,
    pub(crate) policy: u32,
    pub(crate) object_count: i64,
    pub(crate) bytes_used: i64,
    pub(crate) metadata: Dated,
    /// `None` when no account server can have got what is stored.
    pub(crate) reported: Option<Reported>,
}

/// The state that was last reported to the account servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) put_timestamp: Timestamp,
    pub(crate) delete_timestamp: Timestamp,
    pub(crate) object_count: i64,
    pub(crate) bytes_used: i64,
}

impl ContainerInfo {
    /// Whether the container is gone: deleted after it was put, and empty.
    pub(crate) fn is_deleted(&self) -> bool {
        self.delete_timestamp > self.put_timestamp && self.object_count == 0
    }

    /// The state to report to the account servers.
    pub(crate) fn current(&self) -> Reported {
        Reported {
            put_timestamp: self.put_timestamp,
            delete_timestamp: self.delete_timestamp,
            object_count: self.object_count,
            bytes_used: self.bytes_used,
        }
    }
}

fn time(row: &Row<'_>, column: i32) -> Timestamp {
    Timestamp::parse(&row.text(column)).unwrap_or(Timestamp::ZERO)
}

/// Whether there is no object in any policy.
pub(crate) fn is_empty(connection: &mut Connection) -> Result<bool, DbError> {
    let mut most = 0;
    connection.query("SELECT max(object_count) FROM policy_stat", &[], |row| {
        most = row.int(0);
        false
    })?;
    Ok(most <= 0)
}

/// Fills a new database.
pub(crate) fn initialize(
    connection: &mut Connection,
    new: &NewDatabase<ContainerPath>,
    policy: u32,
) -> Result<(), DbError> {
    connection.script(SYNC_TABLES)?;
    connection.script(crate::schema::CONTAINER)?;
    connection.script(crate::schema::SHARD_RANGE)?;
    let put = new.put.to_string();
    connection.run(
        "INSERT INTO container_info (account, container, created_at, id, put_timestamp,
             status_changed_at, storage_policy_index) VALUES (?, ?, ?, ?, ?, ?, ?)",
        &[
            new.path.account.as_str().into(),
            new.path.container.as_str().into(),
            (&new.created.to_string()).into(),
            (&new.id).into(),
            (&put).into(),
            (&put).into(),
            i64::from(policy).into(),
        ],
    )?;
    connection.run(
        "INSERT INTO policy_stat (storage_policy_index) VALUES (?)",
        &[i64::from(policy).into()],
    )?;
    digest::keep(connection, &SCHEMA)
}

/// Reads the row about the database, with its counts.
pub(crate) fn info(connection: &mut Connection) -> Result<ContainerInfo, DbError> {
    let mut info = None;
    let mut stored = String::new();
    connection.query(
        "SELECT account, container, created_at, put_timestamp, delete_timestamp,
             status_changed_at, storage_policy_index, object_count, bytes_used, metadata,
             reported_put_timestamp, reported_delete_timestamp, reported_object_count,
             reported_bytes_used
         FROM container_stat",
        &[],
        |row| {
            stored = row.text(9);
            info = Some(ContainerInfo {
                account: row.text(0),
                container: row.text(1),
                created_at: time(row, 2),
                put_timestamp: time(row, 3),
                delete_timestamp: time(row, 4),
                status_changed_at: time(row, 5),
                policy: u32::try_from(row.int(6)).unwrap_or(0),
                object_count: row.int(7),
                bytes_used: row.int(8),
                metadata: Dated::new(),
                reported: reported_of(row),
            });
            false
        },
    )?;
    let mut info = info.ok_or_else(|| DbError::Corrupt("no row in container_info".to_owned()))?;
    info.metadata = metadata::decode(&stored)?;
    Ok(info)
}

fn reported_of(row: &Row<'_>) -> Option<Reported> {
    Some(Reported {
        put_timestamp: Timestamp::parse(&row.text(10))?,
        delete_timestamp: Timestamp::parse(&row.text(11))?,
        object_count: row.int(12),
        bytes_used: row.int(13),
    })
}

/// Raises the put timestamp. A put after a delete makes the container exist again, with a policy.
pub(crate) fn put(
    connection: &mut Connection,
    timestamp: Timestamp,
    recreate_with: Option<u32>,
) -> Result<(), DbError> {
    stat::put(connection, &SCHEMA, timestamp)?;
    let Some(policy) = recreate_with else { return Ok(()) };
    digest::change_info(connection, &SCHEMA, |connection| recreate(connection, timestamp, policy))
}

/// Makes a deleted container exist again.
fn recreate(connection: &mut Connection, timestamp: Timestamp, policy: u32) -> Result<(), DbError> {
    if info(connection)?.policy != policy {
        // Rows that were deleted with the old container are not to be moved; existing ones may be.
        let sql = if is_empty(connection)? {
            "UPDATE container_info SET reconciler_sync_point =
                 coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'object'), -1)"
        } else {
            "UPDATE container_info SET reconciler_sync_point = -1"
        };
        connection.run(sql, &[])?;
    }
    connection.run(
        "UPDATE container_info SET status = '', status_changed_at = ?1, storage_policy_index = ?2",
        &[(&timestamp.to_string()).into(), i64::from(policy).into()],
    )?;
    connection.run(
        "INSERT OR IGNORE INTO policy_stat (storage_policy_index) VALUES (?)",
        &[i64::from(policy).into()],
    )
}

/// Stores what was reported to the account servers.
pub(crate) fn reported(connection: &mut Connection, reported: &Reported) -> Result<(), DbError> {
    connection.run(
        "UPDATE container_info SET reported_put_timestamp = ?, reported_delete_timestamp = ?,
             reported_object_count = ?, reported_bytes_used = ?",
        &[
            (&reported.put_timestamp.to_string()).into(),
            (&reported.delete_timestamp.to_string()).into(),
            reported.object_count.into(),
            reported.bytes_used.into(),
        ],
    )
}

/// Stores up to which row misplaced ones were queued, if the container's policy is still the one that
/// decided which are misplaced.
pub(crate) fn queued(connection: &mut Connection, point: i64, policy: u32) -> Result<(), DbError> {
    digest::change_info(connection, &SCHEMA, |connection| {
        connection.run(
            "UPDATE container_info SET reconciler_sync_point = ?1
                 WHERE storage_policy_index = ?2 AND reconciler_sync_point < ?1",
            &[point.into(), i64::from(policy).into()],
        )
    })
}

/// A row of the `object` table from columns name, created_at, size, content_type, etag, deleted,
/// policy.
pub(crate) fn object_row(row: &Row<'_>) -> Option<ObjectRow> {
    Some(ObjectRow {
        name: row.text(0),
        times: RowTimes::decode(&row.text(1))?,
        size: u64::try_from(row.int(2)).unwrap_or(0),
        content_type: row.text(3),
        etag: row.text(4),
        deleted: row.int(5) != 0,
        policy: u32::try_from(row.int(6)).unwrap_or(0),
    })
}

static STORED: LazyLock<RowQuery> = LazyLock::new(|| {
    SCHEMA.select("WHERE r.deleted IN (0, 1) AND r.name = ? AND r.storage_policy_index = ?")
});

/// Merges one row. A damaged row is not merged into: it may look newer, and its remains would get a
/// digest that makes them look good.
pub(crate) fn merge_row(connection: &mut Connection, new: ObjectRow) -> Result<(), DbError> {
    let mut existing = None;
    let key = [(&new.name).into(), i64::from(new.policy).into()];
    STORED.run(connection, &key, |row, _| {
        existing = object_row(row);
        true
    })?;
    let Some(row) = merge(existing.as_ref(), new) else { return Ok(()) };
    if existing.is_some() {
        connection.run(
            "DELETE FROM object WHERE deleted IN (0, 1) AND name = ? AND storage_policy_index = ?",
            &[(&row.name).into(), i64::from(row.policy).into()],
        )?;
    }
    SCHEMA.insert_row(connection, &columns(&row).each_ref().map(String::as_str))
}

/// The columns of a row in the order of the schema.
fn columns(row: &ObjectRow) -> [String; 7] {
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

/// Merges the records of a `.pending` file: tuples of name, created_at, size, content_type, etag,
/// deleted, policy, content type time, metadata time; older ones are shorter.
pub(crate) fn merge_pending(
    connection: &mut Connection,
    records: Vec<Value>,
) -> Result<(), DbError> {
    for record in records {
        let Some(fields) = record.items() else { continue };
        let text = |index: usize| fields.get(index).and_then(Value::to_text).unwrap_or_default();
        let number = |index: usize| fields.get(index).and_then(Value::as_int).unwrap_or(0);
        let Some(mut times) = RowTimes::decode(&text(1)) else {
            tracing::warn!(created_at = text(1), "Left out a pending record with an invalid time");
            continue;
        };
        if let Some(content_type) = Timestamp::parse(&text(7)) {
            times.content_type = content_type;
            times.meta = content_type;
        }
        if let Some(meta) = Timestamp::parse(&text(8)) {
            times.meta = meta;
        }
        merge_row(
            connection,
            ObjectRow {
                name: text(0),
                times,
                size: u64::try_from(number(2)).unwrap_or(0),
                content_type: text(3),
                etag: text(4),
                deleted: number(5) != 0,
                policy: u32::try_from(number(6)).unwrap_or(0),
            },
        )?;
    }
    Ok(())
}
