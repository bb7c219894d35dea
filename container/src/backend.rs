//! Statements on one container database.

use apus_broker::metadata::{self, Dated};
use apus_broker::{Connection, DbError, Row, digest, schema, stat};
use apus_cluster::listing::ObjectRow;
use apus_cluster::pickle::Value;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{ContainerPath, Timestamp};

use crate::audit;
use crate::listing::{DIGEST_AT, rows};
use crate::merge::merge;
use crate::replica::Containers;

/// What a container database says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Info {
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
    /// `None` when nobody can have been told what is there.
    pub(crate) reported: Option<Reported>,
}

/// What the account servers were last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) put_timestamp: Timestamp,
    pub(crate) delete_timestamp: Timestamp,
    pub(crate) object_count: i64,
    pub(crate) bytes_used: i64,
}

impl Info {
    /// Whether the container is gone: deleted after it was put, and empty.
    pub(crate) fn is_deleted(&self) -> bool {
        self.delete_timestamp > self.put_timestamp && self.object_count == 0
    }

    /// What the account servers should know.
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
    path: &ContainerPath,
    id: &str,
    created: Timestamp,
    put: Timestamp,
    policy: u32,
) -> Result<(), DbError> {
    connection.script(schema::SYNC_TABLES)?;
    connection.script(crate::schema::CONTAINER)?;
    connection.script(crate::schema::SHARD_RANGE)?;
    let put = put.to_string();
    connection.run(
        "INSERT INTO container_info (account, container, created_at, id, put_timestamp,
             status_changed_at, storage_policy_index) VALUES (?, ?, ?, ?, ?, ?, ?)",
        &[
            path.account.as_str().into(),
            path.container.as_str().into(),
            (&created.to_string()).into(),
            id.into(),
            (&put).into(),
            (&put).into(),
            i64::from(policy).into(),
        ],
    )?;
    connection.run(
        "INSERT INTO policy_stat (storage_policy_index) VALUES (?)",
        &[i64::from(policy).into()],
    )?;
    digest::keep(connection, &audit::TABLES)
}

pub(crate) fn info(connection: &mut Connection) -> Result<Info, DbError> {
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
            info = Some(Info {
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

/// Raises the put timestamp; a put after a delete makes the container live again, with a policy.
pub(crate) fn put(
    connection: &mut Connection,
    timestamp: Timestamp,
    recreate_with: Option<u32>,
) -> Result<(), DbError> {
    stat::put::<Containers>(connection, timestamp)?;
    let Some(policy) = recreate_with else { return Ok(()) };
    digest::change_info(connection, &audit::TABLES, |connection| {
        recreate(connection, timestamp, policy)
    })
}

/// Makes a deleted container live again.
fn recreate(connection: &mut Connection, timestamp: Timestamp, policy: u32) -> Result<(), DbError> {
    if info(connection)?.policy != policy {
        // What was deleted with the old container is nobody's to move; what is there may be.
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

/// Notes what the account servers know now.
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

/// Notes up to which row what is misplaced was queued, if the container's policy is still the one
/// by which that was judged.
pub(crate) fn queued(connection: &mut Connection, point: i64, policy: u32) -> Result<(), DbError> {
    digest::change_info(connection, &audit::TABLES, |connection| {
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

const KNOWN: [&str; 2] =
    rows!("WHERE o.deleted IN (0, 1) AND o.name = ? AND o.storage_policy_index = ?");

/// Merges one row. Not into one that is damaged: it may seem to be newer, and what stays of it
/// would get a digest that calls it good.
pub(crate) fn merge_row(connection: &mut Connection, new: ObjectRow) -> Result<(), DbError> {
    let (mut existing, mut damaged) = (None, None);
    let sql = digest::chosen(connection, KNOWN)?;
    connection.query(sql, &[(&new.name).into(), i64::from(new.policy).into()], |row| {
        if !digest::row_matches(row, DIGEST_AT) {
            damaged = Some(row.int(DIGEST_AT));
        }
        existing = object_row(row);
        true
    })?;
    if let Some(id) = damaged {
        return Err(digest::mismatch(id));
    }
    let Some(row) = merge(existing.as_ref(), new) else { return Ok(()) };
    if existing.is_some() {
        connection.run(
            "DELETE FROM object WHERE deleted IN (0, 1) AND name = ? AND storage_policy_index = ?",
            &[(&row.name).into(), i64::from(row.policy).into()],
        )?;
    }
    connection.run(
        "INSERT INTO object (name, created_at, size, content_type, etag, deleted,
             storage_policy_index) VALUES (?, ?, ?, ?, ?, ?, ?)",
        &[
            (&row.name).into(),
            (&row.times.encode()).into(),
            i64::try_from(row.size).unwrap_or(i64::MAX).into(),
            (&row.content_type).into(),
            (&row.etag).into(),
            i64::from(row.deleted).into(),
            i64::from(row.policy).into(),
        ],
    )?;
    let columns = audit::columns(&row);
    digest::inserted(connection, &columns.each_ref().map(String::as_str))
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
            tracing::warn!(created_at = text(1), "pending record with a bad time left out");
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
