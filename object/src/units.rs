//! The daemons of the object server: which there are, and their options.

use std::time::Duration;

use apus_daemon::Unit;
use apus_daemon::config::Conf;
use apus_ring::Local;
use apus_store::quorum::Rings;

use crate::server::Server;
use crate::updater::Updater;

/// What the daemons need beside their server.
#[derive(Debug, Clone)]
pub struct DaemonParts {
    /// The rings of the cluster.
    pub rings: Rings,
    /// Which devices of the objects' rings are this node's.
    pub local: Local,
}

/// All daemons that work on the devices of `server`, with their options from the object server's
/// configuration.
///
/// # Errors
/// Names an option, its value and what was expected.
pub fn units(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<Vec<Unit>, String> {
    Ok(vec![updater(server, parts, conf)?])
}

/// How often undelivered listing rows are tried again, in seconds.
const UPDATE_INTERVAL_SECONDS: u64 = 30;

fn updater(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("object-updater");
    let interval = section.parse("interval", UPDATE_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Updater::new(server.clone(), parts.rings.container.clone());
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}
