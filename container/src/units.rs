//! The daemons of the container server: which there are, and their options.

use std::sync::Arc;
use std::time::Duration;

use apus_broker::OwnServer;
use apus_broker::auditor::{self, Auditor};
use apus_broker::replication::{self, Options, Replicator};
use apus_daemon::Unit;
use apus_daemon::config::Conf;
use apus_ring::Local;
use apus_store::Primitive;
use apus_store::quorum::Rings;

use crate::audit::TABLES;
use crate::reconciler::{self, Feeder, Queue, Reconciler};
use crate::replica::Containers;
use crate::server::Server;
use crate::updater::Updater;

/// What the daemons need beside their server.
#[derive(Clone)]
pub struct DaemonParts {
    /// The rings of the cluster.
    pub rings: Rings,
    /// Which devices of the containers' ring are this node's.
    pub local: Local,
    /// The operations, in the system's name (`apus_store::pipeline::internal`).
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
/// Names an option, its value and what was expected.
pub fn units(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Vec<Unit>, String> {
    Ok(vec![
        updater(server, parts, conf)?,
        reconciler(server, parts, conf)?,
        replicator(server, parts, conf)?,
        auditor(server, parts, conf)?,
    ])
}

/// How often all containers are looked at for account rows that are behind, in seconds (Swift's).
const UPDATE_INTERVAL_SECONDS: u64 = 300;

fn updater(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("container-updater");
    let interval = section.parse("interval", UPDATE_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Updater::new(server.clone(), parts.rings.account.clone(), own_server(server, parts));
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}

fn queue(server: &Server, parts: &DaemonParts) -> Queue {
    Queue {
        client: server.parts.client.clone(),
        containers: parts.rings.container.clone(),
        hash: server.parts.hash.clone(),
        clock: server.parts.clock.clone(),
    }
}

/// How often the queue of misplaced objects is worked off, in seconds (Swift's).
const RECONCILE_INTERVAL_SECONDS: f64 = 30.0;

fn reconciler(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("container-reconciler");
    let interval = section.parse("interval", RECONCILE_INTERVAL_SECONDS, "seconds")?;
    let interval = Duration::try_from_secs_f64(interval)
        .map_err(|_| section.refuse("interval", &interval.to_string(), "seconds, 0 or more"))?;
    let needed = reconciler::Parts {
        store: parts.store.clone(),
        queue: queue(server, parts),
        objects: parts.rings.objects.clone(),
    };
    let pass = Reconciler::new(needed, reconciler::Options::read(&section)?);
    Ok(Unit::new(pass, interval))
}

fn replicator(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let options = Options::read(&conf.section("container-replicator"))?;
    let interval = options.interval;
    let feeder = Feeder { broker: server.parts.broker.clone(), queue: queue(server, parts) };
    let parts = replication::Parts {
        broker: server.parts.broker.clone(),
        devices: server.devices.clone(),
        hash: server.parts.hash.clone(),
        ring: parts.rings.container.clone(),
        local: parts.local.clone(),
        transport: server.parts.client.transport().clone(),
        after: Some(Arc::new(feeder)),
    };
    Ok(Unit::new(Replicator::<Containers>::new(parts, options), interval))
}

fn own_server(server: &Server, parts: &DaemonParts) -> OwnServer {
    let (ring, local) = (parts.rings.container.clone(), parts.local.clone());
    OwnServer { client: server.parts.client.clone(), ring, local }
}

/// How often all databases are audited, in seconds (Swift's).
const AUDIT_INTERVAL_SECONDS: u64 = 1800;

/// Options and defaults are Swift's (`swift/common/db_auditor.py`).
fn auditor(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("container-auditor");
    let interval = section.parse("interval", AUDIT_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Auditor::new(auditor::Parts {
        server: "container",
        name: "container-auditor",
        tables: &TABLES,
        devices: server.devices.clone(),
        broker: server.parts.broker.clone(),
        after_open: crate::backend::merge_pending,
        hash: server.parts.hash.clone(),
        own_server: own_server(server, parts),
        per_second: section.parse("containers_per_second", 200.0, "a number")?,
    });
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}
