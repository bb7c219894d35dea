//! The object server: bodies and metadata in Swift's layout on local devices.
//!
//! From bottom to top, each module importing only from those above it in this list:
//! `engine` (the seam for ways to keep objects), `diskfile` (one file per object), `store` (devices,
//! reservations, quarantine, suffix hashes), `rows` (updates of container databases), the daemons
//! (`auditor`, `expirer`, `relinker`, `replicator`, `updater`), `server`, `handlers`, `dispatch`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod auditor;
mod diskfile;
mod dispatch;
mod engine;
mod expirer;
pub mod fuzzing;
mod handlers;
pub mod options;
pub mod relinker;
mod replication;
mod replicator;
mod rows;
mod server;
mod ssync;
mod store;
mod units;
mod updater;

pub use replication::ReplicationOptions;
pub use server::{ObjectServerDeps as Parts, Server};
pub use store::quarantine_limit::QuarantineLimit;
pub use store::reservation;
pub use units::{DaemonParts, units};
