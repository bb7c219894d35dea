//! State of a replica, in Swift's JSON keys (`get_replication_info`).

use apus_cluster::{HashConf, PathHash, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::sync_point;
use crate::error::DbError;
use crate::kind::DatabaseKind;
use crate::raw::{Connection, Row};

/// State of a replica. Times are text, since replicas compare text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaInfo {
    /// Account.
    pub account: String,
    /// Container; `None` for an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// When the first replica was created.
    pub created_at: String,
    /// When it was last put.
    pub put_timestamp: String,
    /// When it was last deleted.
    pub delete_timestamp: String,
    /// When it was last deleted or created again.
    pub status_changed_at: String,
    /// Rows that are not deleted.
    pub count: i64,
    /// Hash of all rows.
    pub hash: String,
    /// The id of the replica.
    pub id: String,
    /// The `metadata` column.
    pub metadata: String,
    /// The greatest `ROWID` there has been; -1 when there was none.
    pub max_row: i64,
    /// The container's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_policy_index: Option<i64>,
    /// As `max_row`, of the shard ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_max_row: Option<i64>,
    /// The last row of the calling replica that was merged here; -1 when none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<i64>,
    /// For a container with rows of several policies: up to which row misplaced ones were queued for
    /// the reconciler. Not sent.
    #[serde(skip)]
    pub queued: Option<i64>,
    /// All other keys that Swift sends.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl ReplicaInfo {
    /// Reads it. `select` returns account, created_at, put_timestamp, delete_timestamp,
    /// status_changed_at, the count, hash, id and metadata, and then columns that `own` reads.
    ///
    /// # Errors
    /// SQLite's; [`DbError::Corrupt`] for a database without such a row.
    pub fn read<K: DatabaseKind>(
        connection: &mut Connection,
        select: &'static str,
        own: fn(&mut Self, &Row<'_>),
    ) -> Result<Self, DbError> {
        let mut found = None;
        connection.query(select, &[], |row| {
            let mut info = Self {
                account: row.text(0),
                created_at: row.text(1),
                put_timestamp: row.text(2),
                delete_timestamp: row.text(3),
                status_changed_at: row.text(4),
                count: row.int(5),
                hash: row.text(6),
                id: row.text(7),
                metadata: row.text(8),
                ..Self::default()
            };
            own(&mut info, row);
            found = Some(info);
            false
        })?;
        let mut info =
            found.ok_or_else(|| DbError::Corrupt("no row about the database".to_owned()))?;
        info.max_row = sync_point(connection, K::schema().max_row)?;
        Ok(info)
    }

    /// Adds a key that only this kind has.
    pub fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.more.insert(name.to_owned(), value.into());
    }

    /// Decodes the arguments of a `sync` call; `None` for invalid ones.
    pub(super) fn from_sync(arguments: &[Value]) -> Option<Self> {
        let text = |index: usize| arguments.get(index)?.as_str().map(str::to_owned);
        let more = arguments.len() > 9;
        Some(Self {
            max_row: arguments.first()?.as_i64()?,
            hash: text(1)?,
            id: text(2)?,
            created_at: text(3)?,
            put_timestamp: text(4)?,
            delete_timestamp: text(5)?,
            // Old databases have no metadata at all.
            metadata: text(6).unwrap_or_default(),
            status_changed_at: if more { text(7)? } else { String::new() },
            count: if more { arguments.get(8)?.as_i64()? } else { 0 },
            storage_policy_index: if more { arguments.get(9)?.as_i64() } else { None },
            ..Self::default()
        })
    }

    /// The `sync` call.
    pub(super) fn to_sync(&self) -> Value {
        let mut call = vec![
            Value::from("sync"),
            self.max_row.into(),
            self.hash.as_str().into(),
            self.id.as_str().into(),
            self.created_at.as_str().into(),
            self.put_timestamp.as_str().into(),
            self.delete_timestamp.as_str().into(),
            self.metadata.as_str().into(),
        ];
        if let Some(policy) = self.storage_policy_index {
            call.push(self.status_changed_at.as_str().into());
            call.push(self.count.into());
            call.push(policy.into());
        }
        Value::from(call)
    }

    pub(super) fn timestamps(&self) -> [&str; 3] {
        [&self.created_at, &self.put_timestamp, &self.delete_timestamp]
    }

    /// Whether nothing changed between a replication and a removal.
    pub(super) fn same_state(&self, other: &Self) -> bool {
        self.id == other.id
            && self.max_row == other.max_row
            && self.hash == other.hash
            && self.timestamps() == other.timestamps()
            && self.metadata == other.metadata
            && self.storage_policy_index == other.storage_policy_index
            && self.shard_max_row == other.shard_max_row
    }

    /// The names, account first.
    pub(super) fn names(&self) -> Vec<&str> {
        std::iter::once(self.account.as_str()).chain(self.container.as_deref()).collect()
    }

    /// The hash of its path.
    pub(super) fn path_hash(&self, conf: &HashConf) -> PathHash {
        conf.hash(&self.names())
    }

    /// Rows that are not deleted, which another replica may lack.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(0)
    }

    /// A time; an invalid one is older than any.
    pub(super) fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or(Timestamp::ZERO)
    }

    /// Whether it was deleted before `then`, after it was put, and holds nothing.
    pub(super) fn is_deleted_before(&self, then: Timestamp) -> bool {
        let deleted = Self::time(&self.delete_timestamp);
        self.count == 0 && then > deleted && deleted > Self::time(&self.put_timestamp)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sync_call_is_read_as_it_was_written_with_and_without_policy() {
        let info = ReplicaInfo {
            max_row: 7,
            hash: "h".to_owned(),
            id: "i".to_owned(),
            created_at: "1".to_owned(),
            put_timestamp: "2".to_owned(),
            delete_timestamp: "0".to_owned(),
            metadata: "{}".to_owned(),
            ..ReplicaInfo::default()
        };
        let call = info.to_sync();
        let call = call.as_array().unwrap();
        assert_eq!(call.len(), 8);
        assert_eq!(ReplicaInfo::from_sync(&call[1..]), Some(info.clone()));
        let info = ReplicaInfo {
            status_changed_at: "2".to_owned(),
            count: 3,
            storage_policy_index: Some(1),
            ..info
        };
        let call = info.to_sync();
        assert_eq!(ReplicaInfo::from_sync(&call.as_array().unwrap()[1..]), Some(info));
        assert_eq!(ReplicaInfo::from_sync(&[json!("7")]), None);
        assert_eq!(ReplicaInfo::from_sync(&[]), None);
    }
}
