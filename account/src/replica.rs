//! An account database as a replica: its rows as Swift sends them.
//!
//! Source: `swift/account/backend.py`. Replicas of an account agree by rows, timestamps and
//! metadata alone.

use apus_broker::audit::Tables;
use apus_broker::replication::{BeforeRows, Info, Kind, Operation, Statements};
use apus_broker::{Connection, DbError, digest};
use apus_cluster::Timestamp;
use apus_cluster::pickle::Value as Pickled;
use apus_daemon::http::set;
use apus_wire::headers;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit;
use crate::backend::{self, Report};

const ROWS_SINCE: [&str; 2] = backend::rows!("WHERE c.ROWID > ? ORDER BY c.ROWID LIMIT ?");

/// Account databases.
#[derive(Debug)]
pub(crate) struct Accounts;

/// A row of the `container` table in Swift's keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(rename = "ROWID", default, skip_serializing_if = "Option::is_none")]
    row_id: Option<i64>,
    name: String,
    put_timestamp: Option<String>,
    delete_timestamp: Option<String>,
    object_count: Option<i64>,
    bytes_used: Option<i64>,
    #[serde(default)]
    deleted: i64,
    #[serde(default)]
    storage_policy_index: u32,
}

impl TryFrom<Row> for Report {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let time = |text: &Option<String>| match text {
            None => Ok(Timestamp::ZERO),
            Some(text) => Timestamp::parse(text)
                .ok_or_else(|| DbError::Invalid(format!("row {:?}: time {text:?}", row.name))),
        };
        Ok(Self {
            put_timestamp: time(&row.put_timestamp)?,
            delete_timestamp: time(&row.delete_timestamp)?,
            object_count: row.object_count.unwrap_or(0),
            bytes_used: row.bytes_used.unwrap_or(0),
            policy: row.storage_policy_index,
            name: row.name,
        })
    }
}

/// What is known of a container.
struct Known {
    put_timestamp: Timestamp,
    delete_timestamp: Timestamp,
    deleted: bool,
}

fn known(connection: &mut Connection, name: &str) -> Result<Option<Known>, DbError> {
    let mut known = None;
    connection.query(
        "SELECT put_timestamp, delete_timestamp, deleted FROM container
         WHERE name = ? AND deleted IN (0, 1)",
        &[name.into()],
        |row| {
            let time = |column| Timestamp::parse(&row.text(column)).unwrap_or(Timestamp::ZERO);
            known = Some(Known {
                put_timestamp: time(0),
                delete_timestamp: time(1),
                deleted: row.int(2) != 0,
            });
            false
        },
    )?;
    Ok(known)
}

impl Kind for Accounts {
    const DAEMON: &'static str = "account-replicator";
    const DIRECTORY: &'static str = "accounts";
    const STATEMENTS: Statements =
        apus_broker::statements!("account_stat", "container", "delete_timestamp");
    const TABLES: &'static Tables = &audit::TABLES;

    type Row = Row;

    fn row_id(row: &Row) -> Option<i64> {
        row.row_id
    }

    fn info(connection: &mut Connection) -> Result<Info, DbError> {
        digest::check_info(connection, &audit::TABLES)?;
        Info::read::<Self>(
            connection,
            "SELECT account, created_at, put_timestamp, delete_timestamp, status_changed_at,
                 container_count, hash, id, metadata, object_count, bytes_used FROM account_stat",
            |info, row| {
                info.tell("object_count", row.int(9));
                info.tell("bytes_used", row.int(10));
            },
        )
    }

    fn rows_since(
        connection: &mut Connection,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Row>, DbError> {
        let (mut rows, mut damaged) = (Vec::new(), None);
        let sql = digest::chosen(connection, ROWS_SINCE)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        connection.query(sql, &[after.into(), limit.into()], |row| {
            // What is damaged must not become what the others have.
            if !digest::row_matches(row, backend::DIGEST_AT) {
                damaged = Some(row.int(backend::DIGEST_AT));
                return false;
            }
            rows.push(Row {
                row_id: Some(row.int(backend::DIGEST_AT)),
                name: row.text(0),
                put_timestamp: Some(row.text(1)),
                delete_timestamp: Some(row.text(2)),
                object_count: Some(row.int(3)),
                bytes_used: Some(row.int(4)),
                deleted: row.int(5),
                storage_policy_index: u32::try_from(row.int(6)).unwrap_or(0),
            });
            true
        })?;
        if let Some(id) = damaged {
            return Err(digest::mismatch(id));
        }
        Ok(rows)
    }

    fn merge_row(connection: &mut Connection, row: Row) -> Result<(), DbError> {
        let report: Report = row.try_into()?;
        // Counts have no time of their own. Those of a replica that has not heard of a deletion
        // are from before it, and must not undo it.
        let stale = known(connection, &report.name)?.is_some_and(|known| {
            known.deleted
                && report.put_timestamp <= known.put_timestamp
                && report.delete_timestamp <= known.delete_timestamp
        });
        if stale { Ok(()) } else { backend::merge_report(connection, &report) }
    }

    fn is_old_deletion(
        connection: &mut Connection,
        row: &Row,
        then: Timestamp,
    ) -> Result<bool, DbError> {
        let time = row.delete_timestamp.as_deref().and_then(Timestamp::parse);
        if row.deleted == 0 || time.is_none_or(|time| time >= then) {
            return Ok(false);
        }
        Ok(known(connection, &row.name)?.is_none())
    }

    fn merge_pending(connection: &mut Connection, records: Vec<Pickled>) -> Result<(), DbError> {
        backend::merge_pending(connection, records)
    }

    fn is_deleted(connection: &mut Connection) -> Result<bool, DbError> {
        Ok(backend::info(connection)?.is_deleted())
    }

    fn is_spent(_: &mut Connection) -> Result<bool, DbError> {
        // Nobody is told of an account.
        Ok(true)
    }

    fn renewed(_: &mut Connection) -> Result<(), DbError> {
        Ok(())
    }

    fn inherit(connection: &mut Connection, old: &mut Connection) -> Result<(), DbError> {
        // A deleted account does not come back.
        let known = backend::info(old)?;
        if known.status != "DELETED" {
            return Ok(());
        }
        let changed = Self::info(old)?.status_changed_at;
        digest::change_info(connection, &audit::TABLES, |connection| {
            connection.run(
                "UPDATE account_stat SET status = 'DELETED',
                     status_changed_at = MAX(?, status_changed_at)",
                &[(&changed).into()],
            )
        })
    }

    fn reconcile(_: &mut Connection, _: &Info, _: Timestamp) -> Result<bool, DbError> {
        Ok(false)
    }

    fn disagrees(_: &Info, _: &Info) -> bool {
        false
    }

    fn operation(_: &str, _: &[Value]) -> Result<Option<Operation>, DbError> {
        Ok(None)
    }

    fn before_rows(_: &mut Connection) -> Result<BeforeRows, DbError> {
        Ok(BeforeRows::default())
    }

    fn put_headers(info: &Info) -> HeaderMap {
        let mut head = HeaderMap::new();
        set(&mut head, headers::TIMESTAMP, &info.put_timestamp);
        head
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_swift_are_read_with_nothing_told_as_nothing() {
        let row: Row = serde_json::from_value(json!({
            "ROWID": 1, "name": "c", "put_timestamp": "1700000000.00000",
            "delete_timestamp": null, "object_count": 3, "bytes_used": null, "deleted": 0,
        }))
        .unwrap();
        let report = Report::try_from(row).unwrap();
        assert_eq!((report.object_count, report.bytes_used, report.policy), (3, 0, 0));
        assert_eq!(report.delete_timestamp, Timestamp::ZERO);
    }
}
