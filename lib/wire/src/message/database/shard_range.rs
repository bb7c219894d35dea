//! A shard range as replicas exchange it (`swift.common.utils.ShardRange`).

use serde::{Deserialize, Serialize};

/// A row of a container's table of shard ranges. Times are text, since replicas compare text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRange {
    /// Account and container of the shard.
    pub name: String,
    /// When the range was made.
    pub timestamp: String,
    /// Names of the range are greater than this.
    pub lower: String,
    /// Names of the range are at most this; empty for no limit.
    pub upper: String,
    /// Objects in the shard.
    pub object_count: i64,
    /// Their bytes.
    pub bytes_used: i64,
    /// The time of the counts.
    pub meta_timestamp: String,
    /// 1 for a deleted range.
    pub deleted: i64,
    /// Swift's number of its state.
    pub state: i64,
    /// The time of its state.
    pub state_timestamp: String,
    /// The epoch of the shard's database.
    pub epoch: Option<String>,
    /// 1 when the counts were reported to the root container.
    #[serde(default)]
    pub reported: i64,
    /// Deleted rows; -1 when that is unknown.
    #[serde(default = "unknown")]
    pub tombstones: i64,
}

fn unknown() -> i64 {
    -1
}
