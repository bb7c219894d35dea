//! Roles → servers and daemons of one process.

mod conf;
mod door;
mod node;
mod proxy;
mod role;
mod storage;

use std::path::Path;
use std::time::Duration;

use apus_daemon::{Scope, drain};

pub use node::Node;
pub use role::{DAEMONS, Roles, Server};

/// A runtime for servers.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))
}

/// Runs the roles of a place of configuration until a signal; with `once`, each daemon's pass one
/// time.
pub(crate) fn run(path: &Path, roles: &Roles, scope: Scope, once: bool) -> Result<(), String> {
    apus_daemon::log::start("info");
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let node = Node::prepare(path, roles).await?;
        tracing::info!(conf = %path.display(), "ready");
        if once {
            node.once(scope, drain::stop_signal()).await
        } else {
            node.run(scope, drain::stop_signal()).await
        }
    });
    // A walk through a disk that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
