//! The calls of replication: a JSON list of a name and arguments.

use apus_cluster::{PathHash, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::is_file_name;
use super::{ReplicaInfo, ShardRange};

/// Databases whose marks one call may ask for.
pub const MARKS_MAX: usize = 1000;

const SYNC: &str = "sync";
const MERGE_ITEMS: &str = "merge_items";
const MERGE_SYNCS: &str = "merge_syncs";
const COMPLETE_RSYNC: &str = "complete_rsync";
const RSYNC_THEN_MERGE: &str = "rsync_then_merge";
const GET_SHARD_RANGES: &str = "get_shard_ranges";
const MERGE_SHARD_RANGES: &str = "merge_shard_ranges";
const STATES: &str = "apus_states";
const REMOVE: &str = "apus_remove";
const ORPHAN: &str = "apus_orphan";
const QUARANTINE: &str = "apus_quarantine";
const UNREPORTED: &str = "apus_unreported";

/// Up to which `ROWID` the rows of a replica were merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPoint {
    /// Id of the replica.
    pub remote_id: String,
    /// The `ROWID`.
    pub sync_point: i64,
}

/// How a database that was received is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallMode {
    /// Under a name that no database has: `complete_rsync`.
    New,
    /// Merged with the database that has the name: `rsync_then_merge`.
    Merged,
}

impl InstallMode {
    /// The name of the call.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => COMPLETE_RSYNC,
            Self::Merged => RSYNC_THEN_MERGE,
        }
    }
}

/// A call that only container servers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerCall {
    /// Returns the shard ranges, as a JSON list.
    GetShardRanges,
    /// Merges shard ranges.
    MergeShardRanges {
        /// The ranges.
        ranges: Vec<ShardRange>,
        /// Id of the replica that sends them.
        source: Option<String>,
    },
    /// The container counts as not reported to its account. Ours.
    Unreported,
}

/// A call about one database. `R` is a row in Swift's JSON keys. Those that are ours come from
/// other servers of Apus and from the daemons of the server's node.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseCall<R> {
    /// Takes over the state of the calling replica. Returns the state before, as JSON.
    Sync(Box<ReplicaInfo>),
    /// Merges rows.
    MergeItems {
        /// The rows.
        rows: Vec<R>,
        /// Id of the replica that sends them.
        source: Option<String>,
        /// Deletions from before that are not merged if there is nothing to delete. Ours.
        reclaimed: Option<Timestamp>,
    },
    /// Merges the sync points of the calling replica.
    MergeSyncs(Vec<SyncPoint>),
    /// Installs a database that was received.
    Install {
        /// How.
        mode: InstallMode,
        /// The id under which it was received.
        id: String,
        /// The name of its file at the caller.
        file: Option<String>,
    },
    /// A call that only container servers answer.
    Container(ContainerCall),
    /// Returns the marks of databases of the device, as a JSON list in the same order, with null
    /// for a database without one. Ours.
    States(Vec<(u32, PathHash)>),
    /// Removes the database if this still is its state. Ours.
    Remove(Box<ReplicaInfo>),
    /// Quarantines the database, whose account is gone, if this still is its state. Ours.
    Orphan(Box<ReplicaInfo>),
    /// Quarantines the database if it is damaged. Ours.
    Quarantine {
        /// No other replica has its rows.
        only_copy: bool,
    },
}

/// Reasons why a body is not a call.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCall {
    /// It is not JSON.
    #[error("the call is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// It does not begin with the name of a call.
    #[error("expected a list that begins with the name of an operation")]
    Name,
    /// No server has a call of this name.
    #[error("unknown operation {0:?}")]
    Unknown(String),
    /// Its arguments are others than those of its name.
    #[error("{call}: expected {expected}")]
    Arguments {
        /// The name.
        call: &'static str,
        /// The arguments that it must have.
        expected: &'static str,
    },
    /// An argument has other fields than it should.
    #[error("{call}: {source}")]
    Fields {
        /// The name.
        call: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl<R> DatabaseCall<R> {
    /// The name of the call.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sync(_) => SYNC,
            Self::MergeItems { .. } => MERGE_ITEMS,
            Self::MergeSyncs(_) => MERGE_SYNCS,
            Self::Install { mode, .. } => mode.word(),
            Self::Container(call) => call.word(),
            Self::States(_) => STATES,
            Self::Remove(_) => REMOVE,
            Self::Orphan(_) => ORPHAN,
            Self::Quarantine { .. } => QUARANTINE,
        }
    }
}

impl ContainerCall {
    /// The name of the call.
    pub fn word(&self) -> &'static str {
        match self {
            Self::GetShardRanges => GET_SHARD_RANGES,
            Self::MergeShardRanges { .. } => MERGE_SHARD_RANGES,
            Self::Unreported => UNREPORTED,
        }
    }
}

impl<R: Serialize> DatabaseCall<R> {
    /// As the body of a request.
    ///
    /// # Errors
    /// When a row cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let word = self.word();
        match self {
            Self::Sync(info) => serde_json::to_vec(&info.to_sync(word)),
            Self::MergeItems { rows, source, reclaimed: None } => {
                serde_json::to_vec(&(word, rows, source))
            }
            Self::MergeItems { rows, source, reclaimed: Some(time) } => {
                serde_json::to_vec(&(word, rows, source, time.to_string()))
            }
            Self::MergeSyncs(points) => serde_json::to_vec(&(word, points)),
            Self::Install { id, file: None, .. } => serde_json::to_vec(&(word, id)),
            Self::Install { id, file: Some(file), .. } => serde_json::to_vec(&(word, id, file)),
            Self::Container(ContainerCall::MergeShardRanges { ranges, source }) => {
                serde_json::to_vec(&(word, ranges, source))
            }
            Self::Container(ContainerCall::GetShardRanges | ContainerCall::Unreported) => {
                serde_json::to_vec(&[word])
            }
            Self::States(databases) => {
                let text = |(partition, hash): &(u32, PathHash)| (*partition, hash.to_string());
                serde_json::to_vec(&(word, databases.iter().map(text).collect::<Vec<_>>()))
            }
            Self::Remove(info) | Self::Orphan(info) => serde_json::to_vec(&(word, info)),
            Self::Quarantine { only_copy } => serde_json::to_vec(&(word, only_copy)),
        }
    }
}

impl<R: DeserializeOwned> DatabaseCall<R> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// See [`InvalidCall`].
    pub fn decode(body: &[u8]) -> Result<Self, InvalidCall> {
        let Value::Array(list) = serde_json::from_slice(body).map_err(InvalidCall::Json)? else {
            return Err(InvalidCall::Name);
        };
        let mut list = list.into_iter();
        let Some(Value::String(name)) = list.next() else { return Err(InvalidCall::Name) };
        let arguments = Arguments(list.collect());
        match name.as_str() {
            SYNC => ReplicaInfo::from_sync(&arguments.0)
                .map(|info| Self::Sync(Box::new(info)))
                .ok_or(InvalidCall::Arguments { call: SYNC, expected: "seven or ten arguments" }),
            MERGE_ITEMS => Ok(Self::MergeItems {
                source: arguments.text(1),
                // Swift's servers do not send it.
                reclaimed: arguments.text(2).and_then(|time| Timestamp::parse(&time)),
                rows: arguments.first(MERGE_ITEMS)?,
            }),
            MERGE_SYNCS => arguments.first(MERGE_SYNCS).map(Self::MergeSyncs),
            COMPLETE_RSYNC => arguments.install(InstallMode::New),
            RSYNC_THEN_MERGE => arguments.install(InstallMode::Merged),
            GET_SHARD_RANGES => Ok(Self::Container(ContainerCall::GetShardRanges)),
            MERGE_SHARD_RANGES => {
                let source = arguments.text(1);
                let ranges = arguments.first(MERGE_SHARD_RANGES)?;
                Ok(Self::Container(ContainerCall::MergeShardRanges { ranges, source }))
            }
            UNREPORTED => Ok(Self::Container(ContainerCall::Unreported)),
            STATES => arguments.databases().map(Self::States),
            REMOVE => arguments.first(REMOVE).map(Self::Remove),
            ORPHAN => arguments.first(ORPHAN).map(Self::Orphan),
            QUARANTINE => Ok(Self::Quarantine {
                only_copy: arguments.0.first().and_then(Value::as_bool).unwrap_or(false),
            }),
            _ => Err(InvalidCall::Unknown(name)),
        }
    }
}

/// The arguments of a call.
struct Arguments(Vec<Value>);

impl Arguments {
    fn text(&self, index: usize) -> Option<String> {
        self.0.get(index)?.as_str().map(str::to_owned)
    }

    /// The first argument, decoded.
    fn first<T: DeserializeOwned>(self, call: &'static str) -> Result<T, InvalidCall> {
        let first = self.0.into_iter().next().unwrap_or_default();
        serde_json::from_value(first).map_err(|source| InvalidCall::Fields { call, source })
    }

    fn install<R>(&self, mode: InstallMode) -> Result<DatabaseCall<R>, InvalidCall> {
        let wrong = |expected| InvalidCall::Arguments { call: mode.word(), expected };
        let id = self.text(0).filter(|id| is_file_name(id));
        let id = id.ok_or_else(|| wrong("the id of a database"))?;
        let file = match self.0.get(1) {
            None => None,
            Some(Value::String(file)) => Some(file.clone()),
            Some(_) => return Err(wrong("the name of a file")),
        };
        Ok(DatabaseCall::Install { mode, id, file })
    }

    fn databases(&self) -> Result<Vec<(u32, PathHash)>, InvalidCall> {
        let wrong = || InvalidCall::Arguments {
            call: STATES,
            expected: "a list of at most 1000 pairs of a partition and a hash",
        };
        let list = self.0.first().and_then(Value::as_array);
        let list = list.filter(|list| list.len() <= MARKS_MAX).ok_or_else(wrong)?;
        let pair = |database: &Value| {
            let partition = u32::try_from(database.get(0)?.as_u64()?).ok()?;
            Some((partition, PathHash::parse(database.get(1)?.as_str()?)?))
        };
        list.iter().map(|database| pair(database).ok_or_else(wrong)).collect()
    }
}
