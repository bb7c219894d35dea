//! Composition of a process: servers and daemons by role, from configuration files.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod audit;
mod client_limits;
mod conf;
pub mod counts;
pub mod declarations;
mod device_lock;
mod encryption;
mod filters;
mod middleware;
mod node;
mod operator;
mod overseer;
mod owners;
mod previous_rings;
mod private_servers;
mod proxy;
mod request_filters;
mod rings;
mod role;
pub mod saio;
mod start;
mod storage;
mod worker;

use std::path::Path;
use std::time::Duration;

use apus_daemon::Scope;
use apus_daemon::drain::Signals;
use apus_daemon::runtime;
use apus_daemon::systemd::{State, notify};

pub use conf::Place;
pub use node::Node;
pub use operator::{OperatorIdentities, OperatorStore, operator_identities, operator_store};
pub use role::{DAEMONS, Roles, Server};
pub use start::{ProcessOptions, RunOptions, become_named};

/// A walk through a disk that hangs must not keep a process for longer.
const HANGING_MAX: Duration = Duration::from_secs(5);

/// A task of a process: roles, configuration and options.
#[derive(Debug)]
pub struct Task<'a> {
    /// Of the role or group.
    pub name: &'a str,
    /// A place of configuration.
    pub path: &'a Path,
    /// Servers and daemons to run.
    pub roles: &'a Roles,
    /// Devices, partitions and policies of daemons.
    pub scope: Scope,
    /// How they run.
    pub options: RunOptions,
}

/// Runs roles until a signal, in this process or in workers of it.
pub fn run(task: &Task<'_>) -> Result<(), String> {
    if worker::is_one() {
        let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
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
    let runtime = runtime::multi_thread().map_err(|error| error.to_string())?;
    let result = runtime.block_on(alone(task));
    runtime.shutdown_timeout(HANGING_MAX);
    result
}

async fn alone(task: &Task<'_>) -> Result<(), String> {
    let mut signals = Signals::catch().map_err(|error| format!("signals: {error}"))?;
    if task.options.test {
        return Node::prepare_unheard(task.path, task.roles).await.map(drop);
    }
    let mut node = Node::prepare(task.path, task.roles).await?;
    if !task.options.once {
        node.own_for_daemons(&task.scope).await?;
    }
    tracing::info!(conf = %task.path.display(), "ready: {}", node.running());
    if task.options.detached {
        start::detach()?;
    }
    notify(State::Ready);
    if task.options.once {
        return node.once(task.scope.clone(), signals).await;
    }
    node.run(task.scope.clone(), &mut signals).await;
    Ok(())
}
