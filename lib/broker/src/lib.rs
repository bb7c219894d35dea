//! What is true of account *and* container databases: opening, one batching writer per database,
//! Swift's `chexor`, `.pending` records, metadata with dated removal.
//!
//! The databases are Swift's, byte for byte in schema and place (`swift/common/db.py`). They are
//! opened in WAL mode with `synchronous = FULL`: a committed row survives a power cut, and the
//! rows that waited during one commit share the next.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod answer;
pub mod audit;
pub mod auditor;
mod database;
pub mod digest;
mod error;
mod handles;
mod log;
mod mark;
pub mod metadata;
mod open;
mod own_server;
pub mod pending;
pub mod place;
mod query;
mod raw;
pub mod replication;
mod salvage;
pub mod schema;
pub mod set_aside;
pub mod stat;
mod unused;
mod visits;

pub use database::Database;
pub use error::DbError;
pub use handles::{Broker, Counters};
pub use mark::FileMark;
pub use open::AfterOpen;
pub use own_server::{Holders, NoHolders, OwnServer};
pub use query::{ListQueryError, list_query};
pub use raw::{Connection, Param, Row};
pub use salvage::SetAside;
pub use unused::close_unused;
pub use visits::Visits;
