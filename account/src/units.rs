//! The daemons of the account server: which there are, and their options.

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::PolicyIndex;
use apus_daemon::Unit;
use apus_daemon::config::Conf;
use apus_ring::{Local, SharedRing};

use crate::server::Server;

/// What the daemons need beside their server.
#[derive(Debug, Clone)]
pub struct DaemonParts {
    /// Where accounts live.
    pub accounts: Arc<SharedRing>,
    /// Where containers live.
    pub containers: Arc<SharedRing>,
    /// Where the objects of each policy live.
    pub objects: BTreeMap<PolicyIndex, Arc<SharedRing>>,
    /// Which devices of the accounts' ring are this node's.
    pub local: Local,
}

/// All daemons that work on the devices of `server`, with their options from the account server's
/// configuration.
///
/// # Errors
/// Names an option, its value and what was expected.
pub fn units(_: &Arc<Server>, _: &DaemonParts, _: &Conf) -> Result<Vec<Unit>, String> {
    Ok(Vec::new())
}
