//! State of a replica, in Swift's JSON keys (`get_replication_info`).

use apus_cluster::{HashConf, PathHash, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

    /// A `sync` call of that name.
    pub(super) fn to_sync(&self, word: &str) -> Value {
        let mut call = vec![
            Value::from(word),
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

    /// When it was created, put and deleted.
    pub fn timestamps(&self) -> [&str; 3] {
        [&self.created_at, &self.put_timestamp, &self.delete_timestamp]
    }

    /// Whether nothing changed between a replication and a removal.
    pub fn same_state(&self, other: &Self) -> bool {
        self.id == other.id
            && self.max_row == other.max_row
            && self.hash == other.hash
            && self.timestamps() == other.timestamps()
            && self.metadata == other.metadata
            && self.storage_policy_index == other.storage_policy_index
            && self.shard_max_row == other.shard_max_row
    }

    /// The names, account first.
    pub fn names(&self) -> Vec<&str> {
        std::iter::once(self.account.as_str()).chain(self.container.as_deref()).collect()
    }

    /// The hash of its path.
    pub fn path_hash(&self, conf: &HashConf) -> PathHash {
        conf.hash(&self.names())
    }

    /// Rows that are not deleted, which another replica may lack.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(0)
    }

    /// A time; an invalid one is older than any.
    pub fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap_or(Timestamp::ZERO)
    }

    /// Whether it was deleted before `then`, after it was put, and holds nothing.
    pub fn is_deleted_before(&self, then: Timestamp) -> bool {
        let deleted = Self::time(&self.delete_timestamp);
        self.count == 0 && then > deleted && deleted > Self::time(&self.put_timestamp)
    }
}
