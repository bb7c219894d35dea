//! The daemons of the container server, with their options.

use std::sync::Arc;
use std::time::Duration;

use apus_broker::{LocalClient, units};
use apus_daemon::Unit;
use apus_daemon::config::{Conf, ConfigError};
use apus_ring::Local;
use apus_store::Primitive;
use apus_store::quorum::Rings;

use crate::reconciler::{Feeder, Queue, Reconciler, ReconcilerDeps, ReconcilerOptions};
use crate::server::Server;
use crate::updater::Updater;

/// What the daemons need in addition to their server.
#[derive(Clone)]
pub struct DaemonParts {
    /// The rings of the cluster.
    pub rings: Rings,
    /// Which devices of the containers' ring are this node's.
    pub local: Local,
    /// The store, for operations of the system (`apus_store::pipeline::internal`).
    pub store: Arc<dyn Primitive>,
}

impl std::fmt::Debug for DaemonParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonParts").field("local", &self.local).finish_non_exhaustive()
    }
}

/// All daemons that work on the devices of `server`, with their options from the container
/// server's configuration.
///
/// # Errors
/// See [`ConfigError`].
pub fn units(
    server: &Arc<Server>,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<Vec<Unit>, ConfigError> {
    let local = LocalClient {
        client: server.client.clone(),
        ring: parts.rings.container.clone(),
        local: parts.local.clone(),
    };
    let queue = queue(server, parts);
    let feeder = Feeder { broker: server.databases.deps.broker.clone(), queue: queue.clone() };
    let databases = &server.databases;
    Ok(vec![
        updater(server, parts, local.clone(), conf)?,
        reconciler(parts, queue, conf)?,
        units::replicator(databases, &local, Some(Arc::new(feeder)), conf)?,
        units::auditor(databases, local, conf)?,
    ])
}

/// Seconds between two searches for account rows that are behind (Swift's).
const UPDATE_INTERVAL_SECONDS: u64 = 300;

fn updater(
    server: &Arc<Server>,
    parts: &DaemonParts,
    local: LocalClient,
    conf: &Conf,
) -> Result<Unit, ConfigError> {
    let section = conf.section("container-updater");
    let interval = section.parse("interval", UPDATE_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Updater::new(server.clone(), parts.rings.account.clone(), local);
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}

fn queue(server: &Server, parts: &DaemonParts) -> Queue {
    Queue {
        client: server.client.clone(),
        containers: parts.rings.container.clone(),
        hash: server.databases.deps.hash.clone(),
        clock: server.databases.deps.clock.clone(),
    }
}

/// Seconds between two passes over the queue of misplaced objects (Swift's).
const RECONCILE_INTERVAL_SECONDS: f64 = 30.0;

fn reconciler(parts: &DaemonParts, queue: Queue, conf: &Conf) -> Result<Unit, ConfigError> {
    let section = conf.section("container-reconciler");
    let interval = section.parse("interval", RECONCILE_INTERVAL_SECONDS, "seconds")?;
    let interval = Duration::try_from_secs_f64(interval)
        .map_err(|_| section.refuse("interval", &interval.to_string(), "seconds, 0 or more"))?;
    let needed =
        ReconcilerDeps { store: parts.store.clone(), queue, objects: parts.rings.objects.clone() };
    let pass = Reconciler::new(needed, ReconcilerOptions::read(&section)?);
    Ok(Unit::new(pass, interval))
}
