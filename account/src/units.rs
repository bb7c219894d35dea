//! The daemons of the account server, with their options.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::{LocalClient, units};
use apus_cluster::PolicyIndex;
use apus_daemon::Unit;
use apus_daemon::config::{Conf, ConfigError};
use apus_ring::{Local, SharedRing};
use apus_wire::Client;

use crate::reaper::{Reaper, ReaperOptions};
use crate::server::Server;

/// What the daemons need in addition to their server.
#[derive(Debug, Clone)]
pub struct DaemonParts {
    /// The ring of accounts.
    pub accounts: Arc<SharedRing>,
    /// The ring of containers.
    pub containers: Arc<SharedRing>,
    /// The rings of objects by policy.
    pub objects: BTreeMap<PolicyIndex, Arc<SharedRing>>,
    /// Which devices of the accounts' ring are this node's.
    pub local: Local,
    /// Sends requests to other servers.
    pub client: Arc<Client>,
}

/// All daemons that work on the devices of `server`, with their options from the account server's
/// configuration.
///
/// # Errors
/// See [`ConfigError`].
pub fn units(
    server: &Arc<Server>,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<Vec<Unit>, ConfigError> {
    let local = LocalClient {
        client: parts.client.clone(),
        ring: parts.accounts.clone(),
        local: parts.local.clone(),
    };
    Ok(vec![
        reaper(server, parts, conf)?,
        units::replicator(&server.databases, &local, None, conf)?,
        units::auditor(&server.databases, local, conf)?,
    ])
}

/// Seconds between two passes over deleted accounts (Swift's).
const REAP_INTERVAL_SECONDS: u64 = 3600;
/// Seconds after which an account that still has containers is logged (Swift's): 30 days.
const REAP_WARN_SECONDS: u64 = 30 * 86_400;

fn reaper(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, ConfigError> {
    let section = conf.section("account-reaper");
    let seconds = |key, default| section.parse(key, default, "whole seconds");
    let interval = seconds("interval", REAP_INTERVAL_SECONDS)?;
    let options = ReaperOptions {
        concurrency: section.concurrency(25)?,
        delay: Duration::from_secs(seconds("delay_reaping", 0)?),
        warn_after: Duration::from_secs(seconds("reap_warn_after", REAP_WARN_SECONDS)?),
    };
    let pass = Reaper::new(server.clone(), parts.clone(), options);
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}
