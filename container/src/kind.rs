//! Container databases as a kind of database: tables, rows, replication.
//!
//! Source: `swift/container/{backend,replicator}.py`. Rows of another policy than the container's
//! stay rows: moving their objects is the reconciler's work ([`crate::reconciler`]).

mod policy;

use apus_broker::replication::{
    BeforeRows, Operation, Replica, is_better_policy, read_info, sync_point,
};
use apus_broker::{Connection, DatabaseKind, DbError, NewDatabase, Schema, Tally, digest};
use apus_cluster::listing::ObjectRow;
use apus_cluster::name::NameError;
use apus_cluster::pickle::Value as Pickled;
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{AccountName, ContainerName, ContainerPath, Metadata, PolicyIndex, Timestamp};
use apus_wire::NodeRequest;
use apus_wire::message::RowTargets;
use apus_wire::message::container::{ContainerAddress, ContainerPolicy, PutContainerRequest};
use apus_wire::message::database::{ContainerCall, ReplicaInfo};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::backend;
use crate::schema::SCHEMA;
use crate::shard_range;

/// Container databases.
#[derive(Debug)]
pub(crate) struct Containers;

/// A row of the `object` table in Swift's keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ObjectRecord {
    #[serde(rename = "ROWID", default, skip_serializing_if = "Option::is_none")]
    pub(crate) row_id: Option<i64>,
    pub(crate) name: String,
    pub(crate) created_at: String,
    #[serde(default)]
    pub(crate) size: Option<i64>,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) etag: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    pub(crate) deleted: u8,
    #[serde(default)]
    pub(crate) storage_policy_index: u32,
    /// Times that are not packed into `created_at`.
    #[serde(default, skip_serializing)]
    pub(crate) ctype_timestamp: Option<String>,
    #[serde(default, skip_serializing)]
    pub(crate) meta_timestamp: Option<String>,
}

/// A flag as Python writes it: `True` or `1`.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(flag) => Ok(u8::from(flag)),
        Value::Number(number) => Ok(u8::from(number.as_f64().unwrap_or(0.0) != 0.0)),
        Value::Null => Ok(0),
        other => Err(serde::de::Error::custom(format!("deleted: {other}"))),
    }
}

impl TryFrom<ObjectRecord> for ObjectRow {
    type Error = DbError;

    fn try_from(row: ObjectRecord) -> Result<Self, DbError> {
        let bad = |text: &str| DbError::Invalid(format!("row {:?}: time {text:?}", row.name));
        let mut times = RowTimes::decode(&row.created_at).ok_or_else(|| bad(&row.created_at))?;
        let later = |text: &Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => Timestamp::parse(text).map(Some).ok_or_else(|| bad(text)),
        };
        if let Some(content_type) = later(&row.ctype_timestamp)? {
            times.content_type = content_type;
            times.meta = content_type;
        }
        if let Some(meta) = later(&row.meta_timestamp)? {
            times.meta = meta;
        }
        Ok(Self {
            times,
            size: u64::try_from(row.size.unwrap_or(0)).unwrap_or(0),
            content_type: row.content_type.unwrap_or_default(),
            etag: row.etag.unwrap_or_default(),
            deleted: row.deleted != 0,
            policy: row.storage_policy_index,
            name: row.name,
        })
    }
}

fn container_path(account: &str, container: &str) -> Result<ContainerPath, NameError> {
    Ok(ContainerPath::new(AccountName::parse(account)?, ContainerName::parse(container)?))
}

impl DatabaseKind for Containers {
    type Address = ContainerAddress;

    fn schema() -> &'static Schema {
        &SCHEMA
    }

    fn info(connection: &mut Connection) -> Result<ReplicaInfo, DbError> {
        digest::check_info(connection, &SCHEMA)?;
        let mut info = read_info::<Self>(
            connection,
            "SELECT account, created_at, put_timestamp, delete_timestamp, status_changed_at,
                 object_count, hash, id, metadata, container, storage_policy_index, status,
                 reported_put_timestamp, reported_delete_timestamp, reported_object_count,
                 reported_bytes_used, bytes_used, x_container_sync_point1, x_container_sync_point2,
                 reconciler_sync_point, (SELECT count(*) FROM policy_stat)
             FROM container_stat",
            |info, row| {
                info.container = Some(row.text(9));
                info.storage_policy_index = Some(row.int(10));
                info.add("status", row.text(11));
                info.add("reported_put_timestamp", row.text(12));
                info.add("reported_delete_timestamp", row.text(13));
                info.add("reported_object_count", row.int(14));
                info.add("reported_bytes_used", row.int(15));
                info.add("bytes_used", row.int(16));
                info.add("x_container_sync_point1", row.int(17));
                info.add("x_container_sync_point2", row.int(18));
                info.add("db_state", "unsharded");
                info.queued = (row.int(20) > 1).then(|| row.int(19));
            },
        )?;
        info.shard_max_row = Some(sync_point(connection, shard_range::MAX_ROW)?);
        Ok(info)
    }

    fn is_deleted(connection: &mut Connection) -> Result<bool, DbError> {
        Ok(backend::info(connection)?.is_deleted())
    }

    fn merge_pending(connection: &mut Connection, records: Vec<Pickled>) -> Result<(), DbError> {
        backend::merge_pending(connection, records)
    }

    fn tally(columns: &[String]) -> Option<Tally> {
        let [_, created_at, size, _, _, deleted, policy] = columns else { return None };
        let present = 1i64.checked_sub(deleted.parse().ok()?)?;
        let counts = [present, size.parse().ok()?, 0];
        Some(Tally { policy: policy.parse().ok()?, counts, version: created_at.clone() })
    }

    fn rebuild(connection: &mut Connection, info: &[String]) -> Result<(), DbError> {
        let [account, container, created, put, _, id, .., policy, _] = info else {
            return Err(DbError::Corrupt("container_info".to_owned()));
        };
        let policy = policy
            .parse()
            .map_err(|_| DbError::Corrupt(format!("storage_policy_index {policy:?}")))?;
        let new = NewDatabase::replacing(container_path(account, container), id, created, put)?;
        backend::initialize(connection, &new, policy)?;
        SCHEMA.restore_info(connection, info)
    }

    fn restore(connection: &mut Connection, columns: &[String]) -> Result<(), DbError> {
        let [name, created_at, size, content_type, etag, deleted, policy] = columns else {
            return Err(DbError::Corrupt("object".to_owned()));
        };
        let corrupt = |what: &str| DbError::Corrupt(format!("row {name:?}: {what}"));
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
}

impl Replica for Containers {
    type Row = ObjectRecord;

    fn row_id(row: &ObjectRecord) -> Option<i64> {
        row.row_id
    }

    fn read_row(row: &apus_broker::Row<'_>, id: i64) -> ObjectRecord {
        ObjectRecord {
            row_id: Some(id),
            name: row.text(0),
            created_at: row.text(1),
            size: Some(row.int(2)),
            content_type: Some(row.text(3)),
            etag: Some(row.text(4)),
            deleted: u8::from(row.int(5) != 0),
            storage_policy_index: u32::try_from(row.int(6)).unwrap_or(0),
            ctype_timestamp: None,
            meta_timestamp: None,
        }
    }

    fn merge_row(connection: &mut Connection, row: ObjectRecord) -> Result<(), DbError> {
        if row.deleted != 0 && apus_fault::planted("bug.merge-no-deletions") {
            return Ok(());
        }
        backend::merge_row(connection, row.try_into()?)
    }

    fn is_old_deletion(
        connection: &mut Connection,
        row: &ObjectRecord,
        then: Timestamp,
    ) -> Result<bool, DbError> {
        let time = RowTimes::decode(&row.created_at).map(|times| times.data);
        if row.deleted == 0 || time.is_none_or(|time| time >= then) {
            return Ok(false);
        }
        let mut exists = false;
        connection.query(
            "SELECT 1 FROM object WHERE deleted IN (0, 1) AND name = ? AND storage_policy_index = ?",
            &[(&row.name).into(), i64::from(row.storage_policy_index).into()],
            |_| {
                exists = true;
                false
            },
        )?;
        Ok(!exists)
    }

    fn is_spent(connection: &mut Connection) -> Result<bool, DbError> {
        let info = backend::info(connection)?;
        Ok(backend::is_empty(connection)? && info.reported == Some(info.current()))
    }

    fn renewed(connection: &mut Connection) -> Result<(), DbError> {
        connection.run(
            "UPDATE container_info SET reported_put_timestamp = 0, reported_delete_timestamp = 0,
                 reported_object_count = 0, reported_bytes_used = 0",
            &[],
        )
    }

    fn inherit(connection: &mut Connection, old: &mut Connection) -> Result<(), DbError> {
        let ranges = shard_range::all(old)?;
        shard_range::merge_all(connection, ranges)
    }

    fn reconcile(
        connection: &mut Connection,
        remote: &ReplicaInfo,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        policy::adopt(connection, remote, now)
    }

    fn disagrees(local: &ReplicaInfo, remote: &ReplicaInfo) -> bool {
        is_better_policy(local, remote)
    }

    fn operation(call: ContainerCall) -> Option<Operation> {
        Some(match call {
            ContainerCall::GetShardRanges => {
                Box::new(|connection| shard_range::all(connection).map(Some))
            }
            ContainerCall::MergeShardRanges { ranges, .. } => Box::new(move |connection| {
                shard_range::merge_all(connection, ranges)?;
                Ok(None)
            }),
            ContainerCall::Unreported => Box::new(|connection| {
                Self::renewed(connection)?;
                Ok(None)
            }),
        })
    }

    fn before_rows(connection: &mut Connection) -> Result<BeforeRows, DbError> {
        let ranges = shard_range::all(connection)?;
        if ranges.is_empty() {
            return Ok(BeforeRows::default());
        }
        let info = backend::info(connection)?;
        let own = format!("{}/{}", info.account, info.container);
        let rows_wait = shard_range::is_sharding(&own, &ranges);
        Ok(BeforeRows { shard_ranges: ranges, rows_wait })
    }

    fn put_request(info: &ReplicaInfo, partition: u32) -> Result<NodeRequest, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(what.to_owned());
        let container = info.container.as_deref().unwrap_or_default();
        let policy = info.storage_policy_index.unwrap_or(0);
        let put = PutContainerRequest {
            address: ContainerAddress {
                container: container_path(&info.account, container)
                    .map_err(|error| corrupt(&error.to_string()))?,
                partition,
                trans_id: None,
            },
            timestamp: Timestamp::parse(&info.put_timestamp)
                .ok_or_else(|| corrupt("put_timestamp"))?,
            policy: ContainerPolicy::Explicit(PolicyIndex(
                u32::try_from(policy).map_err(|_| corrupt("storage_policy_index"))?,
            )),
            metadata: Metadata::new(),
            account_rows: RowTargets::default(),
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
    fn rows_of_swift_are_read_with_times_packed_or_apart() {
        let read = |value: Value| -> Result<ObjectRow, DbError> {
            serde_json::from_value::<ObjectRecord>(value).unwrap().try_into()
        };
        let swift = json!({
            "ROWID": 3, "name": "o", "created_at": "1700000000.00000+186a0", "size": 5,
            "content_type": "a/b", "etag": "e", "deleted": 0, "storage_policy_index": 1,
        });
        let row = read(swift).unwrap();
        assert_eq!(row.times.content_type, Timestamp::from_seconds(1_700_000_001));
        assert_eq!((row.policy, row.deleted, row.size), (1, false, 5));
        let apart = json!({
            "name": "o", "created_at": "1700000000.00000", "size": 0, "content_type": "x",
            "etag": "noetag", "deleted": true, "ctype_timestamp": null,
            "meta_timestamp": "1700000002.00000",
        });
        let row = read(apart).unwrap();
        assert_eq!(row.times.meta, Timestamp::from_seconds(1_700_000_002));
        assert!(row.deleted);
        assert!(read(json!({"name": "o", "created_at": "long ago"})).is_err());
    }
}
