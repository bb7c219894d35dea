//! The daemons of the account server, with their options.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::{LocalClient, units};
use apus_cluster::PolicyIndex;
use apus_daemon::PassRunner;
use apus_daemon::config::{Conf, ConfigError};
use apus_options::{options, whole};
use apus_ring::{Local, SharedRing};
use apus_wire::Client;

use crate::reaper::Reaper;
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
) -> Result<Vec<PassRunner>, ConfigError> {
    let local = LocalClient {
        client: parts.client.clone(),
        ring: parts.accounts.clone(),
        local: parts.local.clone(),
    };
    Ok(vec![
        reaper(server, parts, conf)?,
        units::replicator(&server.databases, &local, None, conf)?,
        units::auditor(&server.databases, local, units::AuditRate::of_accounts(conf)?),
    ])
}

options! {
    /// Options of `[account-reaper]`, with Swift's names and defaults.
    #[derive(Debug, Clone, Copy)]
    pub struct ReaperOptions {
        /// Time between two passes over deleted accounts.
        interval: u64 = whole(3600).unit("seconds"),
        /// Objects that are removed at the same time at most: in the square root of it of containers, as many objects each.
        pub(crate) concurrency: usize = whole(25).from(1),
        /// Time before a deleted account is reaped.
        pub(crate) delay_reaping: u64 = whole(0).unit("seconds"),
        /// Time after that until an account that still has containers is logged: 30 days.
        pub(crate) reap_warn_after: u64 = whole(2_592_000).unit("seconds"),
    }
}

fn reaper(
    server: &Arc<Server>,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
    let options = ReaperOptions::read(&conf.section("account-reaper"))?;
    let interval = Duration::from_secs(options.interval);
    Ok(PassRunner::new(Reaper::new(server.clone(), parts.clone(), options), interval))
}
