//! Statements on one account database.

use apus_broker::metadata::{self, Dated};
use apus_broker::{Connection, DbError, Param, Row, digest, schema};
use apus_cluster::listing::{ContainerEntry, ContainerRow, ListQuery, after_prefix, common_prefix};
use apus_cluster::pickle::Value;
use apus_cluster::{AccountName, Timestamp};

use crate::audit;

/// What an account database says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Info {
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

impl Info {
    /// Whether the account is gone.
    pub(crate) fn is_deleted(&self) -> bool {
        self.status == "DELETED"
            || (self.container_count == 0 && self.delete_timestamp > self.put_timestamp)
    }

    /// Whether it was deleted, also when what is in it has not gone yet. Replicas learn of a
    /// deletion by its time, not by the status.
    pub(crate) fn is_marked_deleted(&self) -> bool {
        self.status == "DELETED" || self.delete_timestamp > self.put_timestamp
    }
}

/// A row as container servers report it.
#[derive(Debug, Clone)]
pub(crate) struct Report {
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

pub(crate) fn initialize(
    connection: &mut Connection,
    account: &AccountName,
    id: &str,
    created: Timestamp,
    put: Timestamp,
) -> Result<(), DbError> {
    connection.script(schema::SYNC_TABLES)?;
    connection.script(crate::schema::ACCOUNT)?;
    let put = put.to_string();
    connection.run(
        "UPDATE account_stat SET account = ?, created_at = ?, id = ?, put_timestamp = ?,
             status_changed_at = ?",
        &[
            account.as_str().into(),
            (&created.to_string()).into(),
            id.into(),
            (&put).into(),
            (&put).into(),
        ],
    )?;
    digest::keep(connection, &audit::TABLES)
}

pub(crate) fn info(connection: &mut Connection) -> Result<Info, DbError> {
    let mut info = None;
    let mut stored = String::new();
    connection.query(
        "SELECT created_at, put_timestamp, delete_timestamp, status, container_count,
             object_count, bytes_used, metadata FROM account_stat",
        &[],
        |row| {
            stored = row.text(7);
            info = Some(Info {
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
pub(crate) struct Doomed {
    pub(crate) account: String,
    pub(crate) deleted: Timestamp,
}

/// Whether this account is to be emptied.
pub(crate) fn doomed(connection: &mut Connection) -> Result<Option<Doomed>, DbError> {
    let mut doomed = None;
    connection.query(
        "SELECT account, delete_timestamp FROM account_stat
         WHERE status = 'DELETED' AND container_count > 0",
        &[],
        |row| {
            doomed = Some(Doomed { account: row.text(0), deleted: time(row, 1) });
            false
        },
    )?;
    Ok(doomed)
}

/// A statement without and with the digests of its rows (see [`digest::row_matches`]).
macro_rules! rows {
    ($rest:literal) => {
        [
            concat!(
                "SELECT c.name, c.put_timestamp, c.delete_timestamp, c.object_count, c.bytes_used,
                     c.deleted, c.storage_policy_index, c.ROWID, NULL, NULL FROM container AS c ",
                $rest
            ),
            concat!(
                "SELECT c.name, c.put_timestamp, c.delete_timestamp, c.object_count, c.bytes_used,
                     c.deleted, c.storage_policy_index, c.ROWID, d.row_id, d.digest
                     FROM container AS c
                     LEFT JOIN apus_row_digest AS d ON d.row_id = c.ROWID ",
                $rest
            ),
        ]
    };
}
pub(crate) use rows;

/// Where [`rows`] has its digests.
pub(crate) const DIGEST_AT: i32 = 7;

const KNOWN: [&str; 2] = rows!("WHERE c.name = ? AND c.deleted IN (0, 1)");

/// Merges a report: the newest times of both, the counts of the report, deleted when the newest
/// deletion is past the newest put and the container is empty. Not into a row that is damaged: it
/// may seem to be newer, and what stays of it would get a digest that calls it good.
pub(crate) fn merge_report(connection: &mut Connection, report: &Report) -> Result<(), DbError> {
    let mut put = report.put_timestamp;
    let mut delete = report.delete_timestamp;
    let (mut known, mut damaged) = (None, None);
    let sql = digest::chosen(connection, KNOWN)?;
    connection.query(sql, &[(&report.name).into()], |row| {
        if !digest::row_matches(row, DIGEST_AT) {
            damaged = Some(row.int(DIGEST_AT));
        }
        known = Some((time(row, 1), time(row, 2), row.int(3), row.int(4), row.int(6), row.int(5)));
        true
    })?;
    if let Some(id) = damaged {
        return Err(digest::mismatch(id));
    }
    if let Some((known_put, known_delete, ..)) = known {
        put = put.max(known_put);
        delete = delete.max(known_delete);
    }
    let deleted = delete > put && report.object_count == 0;
    let row = (
        put,
        delete,
        report.object_count,
        report.bytes_used,
        i64::from(report.policy),
        i64::from(deleted),
    );
    if known == Some(row) {
        return Ok(());
    }
    if known.is_some() {
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
    insert_row(connection, [&report.name, put, delete, objects, bytes, deleted, policy])
}

/// Inserts a row whose columns are these, in the order of its digest; those that are numbers are
/// stored as such.
pub(crate) fn insert_row(connection: &mut Connection, columns: [&str; 7]) -> Result<(), DbError> {
    connection.run(
        "INSERT INTO container (name, put_timestamp, delete_timestamp, object_count, bytes_used,
             deleted, storage_policy_index) VALUES (?, ?, ?, ?, ?, ?, ?)",
        &columns.map(Param::from),
    )?;
    digest::inserted(connection, &columns)
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
        let report = Report {
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

const FORWARD: [&str; 2] =
    rows!("WHERE c.deleted = 0 AND c.name > ?1 AND c.name >= ?2 AND c.name < ?3 ORDER BY c.name");
const BACKWARD: [&str; 2] = rows!(
    "WHERE c.deleted = 0 AND c.name > ?1 AND c.name >= ?2 AND c.name < ?3 ORDER BY c.name DESC"
);

/// One page of the listing; after a name that rolls up the walk seeks past its prefix.
pub(crate) fn page(
    connection: &mut Connection,
    query: &ListQuery,
) -> Result<Vec<ContainerEntry>, DbError> {
    let mut entries = Vec::new();
    let prefix = query.prefix.clone().unwrap_or_default();
    let (low, high) = if query.reverse {
        (&query.end_marker, &query.marker)
    } else {
        (&query.marker, &query.end_marker)
    };
    let mut from = query.from(&prefix);
    let mut before = Some(high.clone().into_bytes()).filter(|high| !high.is_empty());
    if !prefix.is_empty()
        && let Some(end) = after_prefix(prefix.as_bytes())
        && before.as_ref().is_none_or(|before| end < *before)
    {
        before = Some(end);
    }
    while entries.len() < query.limit {
        let (mut skip, mut damaged) = (None, None);
        let sql = digest::chosen(connection, if query.reverse { BACKWARD } else { FORWARD })?;
        let end = before.as_ref().map_or(Param::Blob(b""), |before| Param::Text(before));
        connection.query(sql, &[low.into(), Param::Text(&from), end], |row| {
            if !digest::row_matches(row, DIGEST_AT) {
                damaged = Some(row.int(DIGEST_AT));
                return false;
            }
            let name = row.text(0);
            if let Some(directory) = common_prefix(&name, &prefix, &query.delimiter) {
                if directory != query.marker {
                    entries.push(ContainerEntry::Subdir(directory.to_owned()));
                }
                skip = Some(directory.to_owned());
                return false;
            }
            entries.push(ContainerEntry::Container(ContainerRow {
                name,
                object_count: u64::try_from(row.int(3)).unwrap_or(0),
                bytes_used: u64::try_from(row.int(4)).unwrap_or(0),
                put_timestamp: time(row, 1),
                policy: u32::try_from(row.int(6)).unwrap_or(0),
            }));
            entries.len() < query.limit
        })?;
        if let Some(id) = damaged {
            return Err(digest::mismatch(id));
        }
        match skip {
            None => break,
            Some(directory) if query.reverse => before = Some(directory.into_bytes()),
            Some(directory) => match after_prefix(directory.as_bytes()) {
                Some(next) => from = from.max(next),
                None => break,
            },
        }
    }
    Ok(entries)
}
