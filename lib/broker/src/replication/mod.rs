//! Replication of account and container databases: the daemon and the service it calls.
//!
//! Source: `swift/common/db_replicator.py`. Replicas push by Swift's `REPLICATE` calls: rows after
//! the last sync point, or the whole database where most of it is missing. Merging is commutative
//! and repeatable, so any number of daemons may push at once. Between servers of Apus a whole
//! database is the body of a request instead of a transfer by rsync ([`transfer`]).
//!
//! A database file is replaced and removed only by the server of its node, which may have it open.

mod body;
mod calls;
mod decide;
mod filter;
mod info;
mod options;
mod pass;
mod peer;
mod push;
mod reclaim;
mod redundancy;
mod replica;
mod report;
mod service;
mod snapshot;
mod table;
mod transfer;
mod walk;
mod worker;

pub use calls::update;
pub use decide::{is_better_policy, policy_order};
pub use info::read_info;
pub use options::ReplicationOptions;
pub use pass::{AfterPush, Replicator, ReplicatorDeps};
pub use redundancy::Redundancy;
pub use replica::{BeforeRows, Operation, Replica, rows_since};
pub use report::Replicated;
pub use service::{ReplicationReply, ReplicationService};
pub use table::sync_point;
