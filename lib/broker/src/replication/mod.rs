//! Replication of account and container databases: Swift's `REPLICATE` calls, and the daemon that
//! makes them.
//!
//! Source: `swift/common/db_replicator.py`. Replicas push: rows after the last sync point, or the
//! whole database where most of it is missing. Merging is commutative and repeatable, so any
//! number of daemons may push at once. Between servers of ours a whole database travels as the
//! body of a request instead of by rsync ([`transfer`]).
//!
//! A database file is replaced and removed by the server of its node alone, which may have it open.

mod body;
mod decide;
mod info;
mod kind;
mod options;
mod pass;
mod peer;
mod push;
mod reclaim;
mod redundancy;
mod service;
mod sift;
mod snapshot;
mod table;
mod transfer;
mod walk;

pub use decide::{is_better_policy, policy_order};
pub use info::Info;
pub use kind::{BeforeRows, Kind, Operation, Statements};
pub use options::Options;
pub use pass::{AfterPush, Parts, Replicated, Replicator};
pub use redundancy::Redundancy;
pub use service::{Answer, ORPHAN, Service, update};
pub use table::sync_point;
