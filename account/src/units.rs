//! The daemons of the account server: which there are, and their options.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::OwnServer;
use apus_broker::auditor::{self, Auditor};
use apus_broker::replication::{self, Options, Replicator};
use apus_cluster::PolicyIndex;
use apus_daemon::Unit;
use apus_daemon::config::Conf;
use apus_ring::{Local, SharedRing};
use apus_wire::Client;

use crate::audit::TABLES;
use crate::reaper::{self, Reaper};
use crate::replica::Accounts;
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
    /// To other servers.
    pub client: Arc<Client>,
}

/// All daemons that work on the devices of `server`, with their options from the account server's
/// configuration.
///
/// # Errors
/// Names an option, its value and what was expected.
pub fn units(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Vec<Unit>, String> {
    Ok(vec![
        reaper(server, parts, conf)?,
        replicator(server, parts, conf)?,
        auditor(server, parts, conf)?,
    ])
}

/// How often deleted accounts are looked for, in seconds (Swift's).
const REAP_INTERVAL_SECONDS: u64 = 3600;
/// How long a deleted account may take before it is told of, in seconds (Swift's): 30 days.
const REAP_WARN_SECONDS: u64 = 30 * 86_400;

fn reaper(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("account-reaper");
    let seconds = |key, default| section.parse(key, default, "whole seconds");
    let interval = seconds("interval", REAP_INTERVAL_SECONDS)?;
    let options = reaper::Options {
        concurrency: section.concurrency(25)?,
        delay: Duration::from_secs(seconds("delay_reaping", 0)?),
        warn_after: Duration::from_secs(seconds("reap_warn_after", REAP_WARN_SECONDS)?),
    };
    let pass = Reaper::new(server.clone(), parts.clone(), options);
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}

fn replicator(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let options = Options::read(&conf.section("account-replicator"))?;
    let interval = options.interval;
    let parts = replication::Parts {
        broker: server.parts.broker.clone(),
        devices: server.devices.clone(),
        hash: server.parts.hash.clone(),
        ring: parts.accounts.clone(),
        local: parts.local.clone(),
        transport: parts.client.transport().clone(),
        after: None,
    };
    Ok(Unit::new(Replicator::<Accounts>::new(parts, options), interval))
}

/// How often all databases are audited, in seconds (Swift's).
const AUDIT_INTERVAL_SECONDS: u64 = 1800;

/// Options and defaults are Swift's (`swift/common/db_auditor.py`).
fn auditor(server: &Arc<Server>, parts: &DaemonParts, conf: &Conf) -> Result<Unit, String> {
    let section = conf.section("account-auditor");
    let interval = section.parse("interval", AUDIT_INTERVAL_SECONDS, "whole seconds")?;
    let pass = Auditor::new(auditor::Parts {
        server: "account",
        name: "account-auditor",
        tables: &TABLES,
        devices: server.devices.clone(),
        broker: server.parts.broker.clone(),
        after_open: crate::backend::merge_pending,
        hash: server.parts.hash.clone(),
        own_server: OwnServer {
            client: parts.client.clone(),
            ring: parts.accounts.clone(),
            local: parts.local.clone(),
        },
        per_second: section.parse("accounts_per_second", 200.0, "a number")?,
    });
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}
