//! Messages of the replication of account and container databases.
//!
//! `REPLICATE /device/partition/hash`: the body is a call ([`DatabaseCall`]) or, between servers of
//! Apus, a whole database. Source: `swift/common/db_replicator.py` and
//! `swift/container/replicator.py`.

mod address;
mod call;
mod replica_info;
mod request;
mod shard_range;

#[cfg(test)]
mod tests;

pub use address::ReplicaAddress;
pub use call::{ContainerCall, DatabaseCall, InstallMode, InvalidCall, MARKS_MAX, SyncPoint};
pub use replica_info::ReplicaInfo;
pub use request::{DatabaseUpload, ReplicateDatabaseReply, ReplicateDatabaseRequest};
pub use shard_range::ShardRange;
