//! The container server: which objects a container holds, in Swift's databases.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod audit;
mod backend;
mod handlers;
mod listing;
mod merge;
mod orphan;
mod reconciler;
mod replica;
mod reporter;
mod schema;
mod server;
mod shard_range;
mod units;
mod updater;

pub use reconciler::{Queue, QueueError};
pub use reporter::report_changes;
pub use server::{Parts, Server};
pub use units::{DaemonParts, units};
