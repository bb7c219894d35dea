//! Typed requests and replies between servers.
//!
//! One struct per message, `encode` and `decode` next to each other, so that sender and receiver
//! cannot disagree. Header names and spellings are those of OpenStack Swift 2.38
//! (`swift/{account,container,obj}/server.py`, `swift/proxy/controllers/*.py`); those that begin
//! with `X-Backend-Apus-` are ours and are ignored by Swift's servers.

pub mod account;
pub mod container;
pub mod database;
mod fields;
mod invalid;
pub mod object;
mod received;
mod row_targets;

pub use invalid::InvalidRequest;
pub use received::Received;
pub use row_targets::RowTargets;
