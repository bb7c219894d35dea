//! Account databases as a kind of database: tables, rows, replication.
//!
//! Source: `swift/account/backend.py`. Replicas of an account agree by rows, timestamps and metadata
//! alone.

use apus_broker::replication::{Replica, read_info};
use apus_broker::{Connection, DatabaseKind, DbError, NewDatabase, Schema, Tally, digest};
use apus_cluster::pickle::Value as Pickled;
use apus_cluster::{AccountName, Metadata, Timestamp};
use apus_wire::NodeRequest;
use apus_wire::message::account::{AccountAddress, ChangeAccountRequest, ChangeVerb};
use apus_wire::message::database::ReplicaInfo;
use serde::{Deserialize, Serialize};

use crate::backend::{self, ContainerReport};
use crate::schema::SCHEMA;

/// Account databases.
#[derive(Debug)]
pub(crate) struct Accounts;

/// A row of the `container` table in Swift's keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
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

impl TryFrom<ContainerRecord> for ContainerReport {
    type Error = DbError;

    fn try_from(row: ContainerRecord) -> Result<Self, DbError> {
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

/// The stored row of a container.
struct StoredRow {
    put_timestamp: Timestamp,
    delete_timestamp: Timestamp,
    deleted: bool,
}

fn stored(connection: &mut Connection, name: &str) -> Result<Option<StoredRow>, DbError> {
    let mut stored = None;
    connection.query(
        "SELECT put_timestamp, delete_timestamp, deleted FROM container
         WHERE name = ? AND deleted IN (0, 1)",
        &[name.into()],
        |row| {
            let time = |column| Timestamp::parse(&row.text(column)).unwrap_or(Timestamp::ZERO);
            stored = Some(StoredRow {
                put_timestamp: time(0),
                delete_timestamp: time(1),
                deleted: row.int(2) != 0,
            });
            false
        },
    )?;
    Ok(stored)
}

impl DatabaseKind for Accounts {
    type Address = AccountAddress;

    fn schema() -> &'static Schema {
        &SCHEMA
    }

    fn info(connection: &mut Connection) -> Result<ReplicaInfo, DbError> {
        digest::check_info(connection, &SCHEMA)?;
        read_info::<Self>(
            connection,
            "SELECT account, created_at, put_timestamp, delete_timestamp, status_changed_at,
                 container_count, hash, id, metadata, object_count, bytes_used FROM account_stat",
            |info, row| {
                info.add("object_count", row.int(9));
                info.add("bytes_used", row.int(10));
            },
        )
    }

    fn is_deleted(connection: &mut Connection) -> Result<bool, DbError> {
        Ok(backend::info(connection)?.is_deleted())
    }

    fn merge_pending(connection: &mut Connection, records: Vec<Pickled>) -> Result<(), DbError> {
        backend::merge_pending(connection, records)
    }

    fn tally(columns: &[String]) -> Option<Tally> {
        let [_, put, delete, objects, bytes, deleted, policy] = columns else { return None };
        let present = 1i64.checked_sub(deleted.parse().ok()?)?;
        Some(Tally {
            policy: policy.parse().ok()?,
            counts: [present, objects.parse().ok()?, bytes.parse().ok()?],
            version: format!("{put}-{delete}-{objects}-{bytes}"),
        })
    }

    fn rebuild(connection: &mut Connection, info: &[String]) -> Result<(), DbError> {
        let [account, created, put, _, id, ..] = info else {
            return Err(DbError::Corrupt("account_stat".to_owned()));
        };
        let new = NewDatabase::replacing(AccountName::parse(account), id, created, put)?;
        backend::initialize(connection, &new)?;
        SCHEMA.restore_info(connection, info)
    }

    fn restore(connection: &mut Connection, columns: &[String]) -> Result<(), DbError> {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        SCHEMA.insert_row(connection, &columns)
    }
}

impl Replica for Accounts {
    type Row = ContainerRecord;

    fn row_id(row: &ContainerRecord) -> Option<i64> {
        row.row_id
    }

    fn read_row(row: &apus_broker::Row<'_>, id: i64) -> ContainerRecord {
        ContainerRecord {
            row_id: Some(id),
            name: row.text(0),
            put_timestamp: Some(row.text(1)),
            delete_timestamp: Some(row.text(2)),
            object_count: Some(row.int(3)),
            bytes_used: Some(row.int(4)),
            deleted: row.int(5),
            storage_policy_index: u32::try_from(row.int(6)).unwrap_or(0),
        }
    }

    fn merge_row(connection: &mut Connection, row: ContainerRecord) -> Result<(), DbError> {
        let report: ContainerReport = row.try_into()?;
        // Counts have no time of their own. Those of a replica that lacks a deletion are from before
        // it, and must not undo it.
        let stale = stored(connection, &report.name)?.is_some_and(|stored| {
            stored.deleted
                && report.put_timestamp <= stored.put_timestamp
                && report.delete_timestamp <= stored.delete_timestamp
        });
        if stale { Ok(()) } else { backend::merge_report(connection, &report) }
    }

    fn is_old_deletion(
        connection: &mut Connection,
        row: &ContainerRecord,
        then: Timestamp,
    ) -> Result<bool, DbError> {
        let time = row.delete_timestamp.as_deref().and_then(Timestamp::parse);
        if row.deleted == 0 || time.is_none_or(|time| time >= then) {
            return Ok(false);
        }
        Ok(stored(connection, &row.name)?.is_none())
    }

    fn inherit(connection: &mut Connection, old: &mut Connection) -> Result<(), DbError> {
        // A deleted account stays deleted.
        if backend::info(old)?.status != "DELETED" {
            return Ok(());
        }
        let changed = Self::info(old)?.status_changed_at;
        digest::change_info(connection, &SCHEMA, |connection| {
            connection.run(
                "UPDATE account_stat SET status = 'DELETED',
                     status_changed_at = MAX(?, status_changed_at)",
                &[(&changed).into()],
            )
        })
    }

    fn put_request(info: &ReplicaInfo, partition: u32) -> Result<NodeRequest, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(what.to_owned());
        let account = AccountName::parse(&info.account).map_err(|_| corrupt("account"))?;
        let put = ChangeAccountRequest {
            address: AccountAddress { account, partition, trans_id: None },
            verb: ChangeVerb::Put,
            timestamp: Timestamp::parse(&info.put_timestamp)
                .ok_or_else(|| corrupt("put_timestamp"))?,
            metadata: Metadata::new(),
        };
        Ok(put.encode())
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod record_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_swift_are_read_with_missing_values() {
        let row: ContainerRecord = serde_json::from_value(json!({
            "ROWID": 1, "name": "c", "put_timestamp": "1700000000.00000",
            "delete_timestamp": null, "object_count": 3, "bytes_used": null, "deleted": 0,
        }))
        .unwrap();
        let report = ContainerReport::try_from(row).unwrap();
        assert_eq!((report.object_count, report.bytes_used, report.policy), (3, 0, 0));
        assert_eq!(report.delete_timestamp, Timestamp::ZERO);
    }
}
