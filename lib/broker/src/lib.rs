//! Account and container databases, and the server that both kinds have in common.
//!
//! "Broker" is Swift's word for the owner of a database (`ContainerBroker`), not a message broker.
//! This crate opens databases, runs one batching writer per database, and implements Swift's
//! `chexor`, `.pending` records, dated metadata, replication and audits. Account and container
//! servers add their tables ([`DatabaseKind`], [`Schema`]) and their verbs ([`server::Verbs`]).
//!
//! The databases are Swift's in schema and path (`swift/common/db.py`). They are opened in WAL mode
//! with `synchronous = FULL`: a committed row survives a power cut, and the rows that waited during
//! one commit share the next.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod audit;
pub mod auditor;
mod counters;
mod database;
pub mod digest;
mod error;
mod handles;
mod idle;
mod kind;
pub mod listing;
mod local_client;
mod mark;
pub mod metadata;
mod open;
pub mod options;
pub mod path;
pub mod pending;
pub mod quarantine;
mod query;
mod raw;
pub mod replication;
pub mod response;
mod salvage;
pub mod schema;
pub mod server;
pub mod stat;
pub mod units;
mod visits;
mod wal;

pub use counters::Counters;
pub use database::Database;
pub use error::DbError;
pub use handles::Broker;
pub use idle::close_unused;
pub use kind::{DatabaseAddress, DatabaseKind, NewDatabase, Tally};
pub use local_client::{Holders, LocalClient, NoHolders};
pub use mark::FileMark;
pub use open::AfterOpen;
pub use query::{ListQueryError, list_query};
pub use raw::{Connection, Param, Row};
pub use salvage::QuarantineOutcome;
pub use schema::Schema;
pub use visits::Visits;
