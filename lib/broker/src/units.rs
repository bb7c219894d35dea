//! The daemons that both kinds of database have, with their options.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Unit;
use apus_daemon::config::{Conf, ConfigError};

use crate::auditor::{Auditor, AuditorDeps};
use crate::local_client::LocalClient;
use crate::replication::{AfterPush, Replica, ReplicationOptions, Replicator, ReplicatorDeps};
use crate::server::DatabaseServer;

/// The replicator of a kind, on the devices of `server`.
///
/// # Errors
/// See [`ConfigError`].
pub fn replicator<K: Replica>(
    server: &DatabaseServer<K>,
    local: &LocalClient,
    after: Option<Arc<dyn AfterPush>>,
    conf: &Conf,
) -> Result<Unit, ConfigError> {
    let options = ReplicationOptions::read(&conf.section(K::schema().replicator))?;
    let interval = options.interval;
    let deps = ReplicatorDeps {
        broker: server.deps.broker.clone(),
        devices: server.deps.devices.clone(),
        hash: server.deps.hash.clone(),
        ring: local.ring.clone(),
        local: local.local.clone(),
        transport: local.client.transport().clone(),
        after,
    };
    Ok(Unit::new(Replicator::<K>::new(deps, options), interval))
}

/// Seconds between two audits of all databases (Swift's).
const AUDIT_INTERVAL_SECONDS: u64 = 1800;

/// The auditor of a kind, on the devices of `server`. Options and defaults are Swift's
/// (`swift/common/db_auditor.py`).
///
/// # Errors
/// See [`ConfigError`].
pub fn auditor<K: Replica>(
    server: &DatabaseServer<K>,
    local: LocalClient,
    conf: &Conf,
) -> Result<Unit, ConfigError> {
    let section = conf.section(K::schema().auditor);
    let interval = section.parse("interval", AUDIT_INTERVAL_SECONDS, "whole seconds")?;
    let per_second = format!("{}_per_second", K::schema().directory);
    let pass = Auditor::<K>::new(AuditorDeps {
        devices: server.deps.devices.clone(),
        broker: server.deps.broker.clone(),
        hash: server.deps.hash.clone(),
        local,
        per_second: section.parse(&per_second, 200.0, "a number")?,
    });
    Ok(Unit::new(pass, Duration::from_secs(interval)))
}
