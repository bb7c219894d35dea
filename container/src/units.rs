//! The daemons of the container server: which there are, and their options.

use std::sync::Arc;
use std::time::Duration;

use apus_broker::OwnServer;
use apus_broker::auditor::{self, Auditor};
use apus_broker::replication::{self, Options, Replicator};
use apus_daemon::Unit;
use apus_daemon::config::Conf;
use apus_ring::{Local, SharedRing};

use crate::audit::TABLES;
use crate::replica::Containers;
use crate::server::Server;
use crate::updater::Updater;

/// What the daemons need beside their server.
#[derive(Debug, Clone)]
pub struct DaemonParts {
    /// Where accounts live.
    pub accounts: Arc<SharedRing>,
    /// Where containers live.
    pub containers: Arc<SharedRing>,
    /// Which devices of the containers' ring are this node's.
    pub local: Local,
}

/// All daemons that work on the devices of `server`, with their options from the container
/// server's configuration.
///
/// # Errors
/// Names an option, its value and what was expected.
pub fn units(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Vec<Unit>, String> {
    Ok(vec![
        updater(server, parts, conf)?,
        replicator(server, parts, conf)?,
        auditor(server, parts, conf)?,
    ])
}

/// How often all containers are looked at for account rows that are behind, in seconds (Swift's).
const UPDATE_INTERVAL_SECONDS: u64 = 300;

fn updater(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("container-updater");
    let interval = section.parse("interval", UPDATE_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Updater::new(server.clone(), parts.accounts.clone(), own_server(server, parts));
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}

fn replicator(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let options = Options::read(&conf.section("container-replicator"))?;
    let interval = options.interval;
    let parts = replication::Parts {
        broker: server.parts.broker.clone(),
        devices: server.devices.clone(),
        hash: server.parts.hash.clone(),
        ring: parts.containers.clone(),
        local: parts.local.clone(),
        transport: server.parts.client.transport().clone(),
    };
    Ok(Unit::new(Replicator::<Containers>::new(parts, options), interval))
}

fn own_server(server: &Server, parts: &DaemonParts) -> OwnServer {
    let (ring, local) = (parts.containers.clone(), parts.local.clone());
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
