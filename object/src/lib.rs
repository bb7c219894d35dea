//! The object server: bodies and metadata in Swift's layout on local devices.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod async_pending;
mod auditor;
mod conditions;
mod container_update;
mod delete_at_update;
mod device;
mod diskfile;
mod expirer;
mod handlers;
mod redirect;
mod rehash;
pub mod relinker;
mod replication;
mod replicator;
pub mod reservation;
mod server;
mod ssync;
mod units;
mod updater;

pub use diskfile::flood::QuarantineLimit;
pub use replication::ReplicationOptions;
pub use server::{Parts, Server};
pub use units::{DaemonParts, units};
