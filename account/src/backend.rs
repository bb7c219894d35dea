//! Statements on one account database.

use std::sync::LazyLock;

use apus_broker::listing::{self, PageQuery};
use apus_broker::metadata::{self, Dated};
use apus_broker::schema::{RowQuery, SYNC_TABLES};
use apus_broker::{Connection, DbError, NewDatabase, Row, digest};
use apus_cluster::listing::{ContainerEntry, ContainerRow, ListQuery};
use apus_cluster::pickle::Value;
use apus_cluster::{AccountName, Timestamp};

use crate::schema::SCHEMA;

/// State of an account database.
#[derive(Debug, Clone)]
pub(crate) struct AccountInfo {
    pub(crate) created_at: Timestamp,
    pub(crate) put_timestamp: Timestamp,
    pub(crate) delete_timestamp: Timestamp,
    pub(crate) status: String,
    pub(crate) container_count: i64,
    pub(crate) object_count: i64,
    pub(crate) bytes_used: i64,
    pub(crate) metadata: Dated,
    /// Policy, containers, objects, bytes.
    pub(crate) policies: Vec<(u32, i64, i64, i64)>,
}

impl AccountInfo {
    /// Whether the account is gone.
    pub(crate) fn is_deleted(&self) -> bool {
        self.status == "DELETED"
            || (self.container_count == 0 && self.delete_timestamp > self.put_timestamp)
    }

    /// Whether it was deleted, even if it still has containers. Replicas get a deletion by its time,
    /// not by the status.
    pub(crate) fn is_marked_deleted(&self) -> bool {
        self.status == "DELETED" || self.delete_timestamp > self.put_timestamp
    }
}

/// A row as container servers report it.
#[derive(Debug, Clone)]
pub(crate) struct ContainerReport {
    pub(crate) name: String,
    pub(crate) put_timestamp: Timestamp,
    pub(crate) delete_timestamp: Timestamp,
    pub(crate) object_count: i64,
    pub(crate) bytes_used: i64,
    pub(crate) policy: u32,
}

fn time(row: &Row<'_>, column: i32) -> Timestamp {
    Timestamp::parse(&row.text(column)).unwrap_or(Timestamp::ZERO)
}

/// Fills a new database.
pub(crate) fn initialize(
    connection: &mut Connection,
    new: &NewDatabase<AccountName>,
) -> Result<(), DbError> {
    connection.script(SYNC_TABLES)?;
    connection.script(crate::schema::ACCOUNT)?;
    let put = new.put.to_string();
    connection.run(
        "UPDATE account_stat SET account = ?, created_at = ?, id = ?, put_timestamp = ?,
             status_changed_at = ?",
        &[
            new.path.as_str().into(),
            (&new.created.to_string()).into(),
            (&new.id).into(),
            (&put).into(),
            (&put).into(),
        ],
    )?;
    digest::keep(connection, &SCHEMA)
}

/// Reads the row about the database, with its counts.
pub(crate) fn info(connection: &mut Connection) -> Result<AccountInfo, DbError> {
    let mut info = None;
    let mut stored = String::new();
    connection.query(
        "SELECT created_at, put_timestamp, delete_timestamp, status, container_count,
             object_count, bytes_used, metadata FROM account_stat",
        &[],
        |row| {
            stored = row.text(7);
            info = Some(AccountInfo {
                created_at: time(row, 0),
                put_timestamp: time(row, 1),
                delete_timestamp: time(row, 2),
                status: row.text(3),
                container_count: row.int(4),
                object_count: row.int(5),
                bytes_used: row.int(6),
                metadata: Dated::new(),
                policies: Vec::new(),
            });
            false
        },
    )?;
    let mut info = info.ok_or_else(|| DbError::Corrupt("no row in account_stat".to_owned()))?;
    info.metadata = metadata::decode(&stored)?;
    connection.query(
        "SELECT storage_policy_index, container_count, object_count, bytes_used FROM policy_stat
         ORDER BY storage_policy_index",
        &[],
        |row| {
            let policy = u32::try_from(row.int(0)).unwrap_or(0);
            info.policies.push((policy, row.int(1), row.int(2), row.int(3)));
            true
        },
    )?;
    Ok(info)
}

/// An account that was deleted and still holds containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeletedAccount {
    pub(crate) account: String,
    pub(crate) deleted: Timestamp,
}

/// The account, if it is to be emptied.
pub(crate) fn deleted_account(
    connection: &mut Connection,
) -> Result<Option<DeletedAccount>, DbError> {
    let mut found = None;
    connection.query(
        "SELECT account, delete_timestamp FROM account_stat
         WHERE status = 'DELETED' AND container_count > 0",
        &[],
        |row| {
            found = Some(DeletedAccount { account: row.text(0), deleted: time(row, 1) });
            false
        },
    )?;
    Ok(found)
}

static STORED: LazyLock<RowQuery> =
    LazyLock::new(|| SCHEMA.select("WHERE r.name = ? AND r.deleted IN (0, 1)"));

/// Merges a report: the newest times of both, the counts of the report, deleted when the newest
/// deletion is later than the newest put and the container is empty. A damaged row is not merged
/// into: it may look newer, and its remains would get a digest that makes them look good.
pub(crate) fn merge_report(
    connection: &mut Connection,
    report: &ContainerReport,
) -> Result<(), DbError> {
    let mut put = report.put_timestamp;
    let mut delete = report.delete_timestamp;
    let mut stored = None;
    STORED.run(connection, &[(&report.name).into()], |row, _| {
        stored = Some((time(row, 1), time(row, 2), row.int(3), row.int(4), row.int(6), row.int(5)));
        true
    })?;
    if let Some((stored_put, stored_delete, ..)) = stored {
        put = put.max(stored_put);
        delete = delete.max(stored_delete);
    }
    let deleted = delete > put && report.object_count == 0;
    let merged = (
        put,
        delete,
        report.object_count,
        report.bytes_used,
        i64::from(report.policy),
        i64::from(deleted),
    );
    if stored == Some(merged) {
        return Ok(());
    }
    if stored.is_some() {
        connection.run(
            "DELETE FROM container WHERE name = ? AND deleted IN (0, 1)",
            &[(&report.name).into()],
        )?;
    }
    let texts = [
        put.to_string(),
        delete.to_string(),
        report.object_count.to_string(),
        report.bytes_used.to_string(),
        i64::from(deleted).to_string(),
        report.policy.to_string(),
    ];
    let [put, delete, objects, bytes, deleted, policy] = texts.each_ref().map(String::as_str);
    let row = [&report.name, put, delete, objects, bytes, deleted, policy];
    SCHEMA.insert_row(connection, &row)
}

/// Merges `.pending` records: name, put time, delete time, objects, bytes, deleted, policy.
pub(crate) fn merge_pending(
    connection: &mut Connection,
    records: Vec<Value>,
) -> Result<(), DbError> {
    for record in records {
        let Some(fields) = record.items() else { continue };
        let text = |index: usize| fields.get(index).and_then(Value::to_text).unwrap_or_default();
        let number = |index: usize| fields.get(index).and_then(Value::as_int).unwrap_or(0);
        let time = |index: usize| Timestamp::parse(&text(index)).unwrap_or(Timestamp::ZERO);
        let report = ContainerReport {
            name: text(0),
            put_timestamp: time(1),
            delete_timestamp: time(2),
            object_count: number(3),
            bytes_used: number(4),
            policy: u32::try_from(number(6)).unwrap_or(0),
        };
        merge_report(connection, &report)?;
    }
    Ok(())
}

static FORWARD: LazyLock<RowQuery> = LazyLock::new(|| {
    SCHEMA.select(
        "WHERE r.deleted = 0 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3 ORDER BY r.name",
    )
});
static BACKWARD: LazyLock<RowQuery> = LazyLock::new(|| {
    SCHEMA.select(
        "WHERE r.deleted = 0 AND r.name > ?1 AND r.name >= ?2 AND r.name < ?3 ORDER BY r.name DESC",
    )
});

/// One page of the listing.
pub(crate) fn page(
    connection: &mut Connection,
    query: &ListQuery,
) -> Result<Vec<ContainerEntry>, DbError> {
    let page = PageQuery {
        query,
        prefix: query.prefix.clone().unwrap_or_default(),
        delimiter: query.delimiter.clone(),
        is_path: false,
        rows: if query.reverse { &BACKWARD } else { &FORWARD },
        policy: None,
    };
    let entry = |row: &Row<'_>| {
        Some(ContainerEntry::Container(ContainerRow {
            name: row.text(0),
            object_count: u64::try_from(row.int(3)).unwrap_or(0),
            bytes_used: u64::try_from(row.int(4)).unwrap_or(0),
            put_timestamp: time(row, 1),
            policy: u32::try_from(row.int(6)).unwrap_or(0),
        }))
    };
    listing::page(connection, &page, entry, ContainerEntry::Subdir)
}
