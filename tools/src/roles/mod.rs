//! Roles → servers and daemons of one process.

mod conf;
mod door;
mod node;
mod proxy;
mod role;
mod start;
mod storage;

use std::path::Path;
use std::time::Duration;

use apus_daemon::Scope;
use apus_daemon::drain::Signals;

pub use node::Node;
pub use role::{DAEMONS, Roles, Server};
pub(crate) use start::Manner;

/// A runtime for servers.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))
}

/// Runs the roles of a place of configuration until a signal. `name` is that of the role or group.
pub(crate) fn run(
    name: &str,
    path: &Path,
    roles: &Roles,
    scope: Scope,
    manner: Manner,
) -> Result<(), String> {
    start::begin(name, path, roles, manner)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
        if manner.test {
            return Node::prepare_unheard(path, roles).await.map(drop);
        }
        let node = Node::prepare(path, roles).await?;
        tracing::info!(conf = %path.display(), "ready");
        if manner.detached {
            start::detach()?;
        }
        if manner.once {
            node.once(scope, signals).await
        } else {
            node.run(scope, &mut signals).await;
            Ok(())
        }
    });
    // A walk through a disk that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}
