//! Roles → servers and daemons of one process.

mod client_limits;
mod conf;
pub(crate) mod device_lock;
mod door;
mod filters;
mod former;
mod node;
mod overseer;
mod owners;
mod proxy;
mod rings;
mod role;
mod start;
mod storage;
mod worker;

use std::path::Path;
use std::time::Duration;

use apus_daemon::Scope;
use apus_daemon::drain::Signals;
use apus_daemon::systemd::{State, notify};

pub(crate) use conf::{Place, swift_conf};
pub(crate) use filters::ALLOW_SAMPLE_KEYS;
pub use node::Node;
pub(crate) use owners::this_process;
pub use role::{DAEMONS, Roles, Server};
pub(crate) use start::{Manner, be};

/// A walk through a disk that hangs must not keep a process for longer.
const HANGING_MAX: Duration = Duration::from_secs(5);

/// A runtime for servers.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("runtime: {error}"))
}

/// What a process was started for.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    /// Of the role or group.
    pub(crate) name: &'a str,
    /// A place of configuration.
    pub(crate) path: &'a Path,
    pub(crate) roles: &'a Roles,
    pub(crate) scope: Scope,
    pub(crate) manner: Manner,
}

/// Runs roles until a signal, in this process or in workers of it.
pub(crate) fn run(task: &Task<'_>) -> Result<(), String> {
    if worker::is_one() {
        let runtime = runtime()?;
        let result = runtime.block_on(worker::run(task));
        runtime.shutdown_timeout(HANGING_MAX);
        return result;
    }
    let oversight = start::begin(task)?;
    if oversight.workers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
        return runtime.block_on(overseer::run(task));
    }
    let runtime = runtime()?;
    let result = runtime.block_on(alone(task));
    runtime.shutdown_timeout(HANGING_MAX);
    result
}

async fn alone(task: &Task<'_>) -> Result<(), String> {
    let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    if task.manner.test {
        return Node::prepare_unheard(task.path, task.roles).await.map(drop);
    }
    let mut node = Node::prepare(task.path, task.roles).await?;
    if !task.manner.once {
        node.own_for_daemons(&task.scope).await?;
    }
    tracing::info!(conf = %task.path.display(), "ready: {}", node.running());
    if task.manner.detached {
        start::detach()?;
    }
    notify(State::Ready);
    if task.manner.once {
        return node.once(task.scope.clone(), signals).await;
    }
    node.run(task.scope.clone(), &mut signals).await;
    Ok(())
}
