//! The container server: the objects of a container, in Swift's databases.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod backend;
mod first_primary;
mod handlers;
mod kind;
mod lifecycle;
mod listing;
mod merge;
mod notifier;
pub mod options;
mod orphan;
mod reclaimer;
mod reconciler;
mod reporter;
mod schema;
mod server;
mod shard_range;
mod units;
mod updater;

pub use lifecycle::{DueEntry, LifecycleAction, RulesError, WalkOptions, WalkReport, apply_rules};
pub use reconciler::{Queue, QueueError};
pub use reporter::report_changes;
pub use server::{Parts, Server};
pub use units::{DaemonParts, units};
