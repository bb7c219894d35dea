//! The daemons that both kinds of database have, with their options.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::PassRunner;
use apus_daemon::config::{Conf, ConfigError};
use apus_options::{number, options, whole};

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
) -> Result<PassRunner, ConfigError> {
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
    Ok(PassRunner::new(Replicator::<K>::new(deps, options), interval))
}

options! {
    /// Options of `[account-auditor]`.
    #[derive(Debug)]
    pub struct AccountAuditorOptions {
        /// Time between two audits of all databases.
        interval: u64 = whole(1800).unit("seconds"),
        /// Databases per second at most; 0 is unlimited.
        accounts_per_second: f64 = number(200.0),
    }
}

options! {
    /// Options of `[container-auditor]`.
    #[derive(Debug)]
    pub struct ContainerAuditorOptions {
        /// Time between two audits of all databases.
        interval: u64 = whole(1800).unit("seconds"),
        /// Databases per second at most; 0 is unlimited.
        containers_per_second: f64 = number(200.0),
    }
}

/// Options of a database auditor of either kind.
#[derive(Debug, Clone, Copy)]
pub struct AuditRate {
    /// Time between two audits of all databases.
    interval: Duration,
    /// Databases per second at most; 0 is unlimited.
    per_second: f64,
}

impl AuditRate {
    /// Reads `[account-auditor]`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn of_accounts(conf: &Conf) -> Result<Self, ConfigError> {
        let options = AccountAuditorOptions::read(&conf.section("account-auditor"))?;
        let interval = Duration::from_secs(options.interval);
        Ok(Self { interval, per_second: options.accounts_per_second })
    }

    /// Reads `[container-auditor]`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn of_containers(conf: &Conf) -> Result<Self, ConfigError> {
        let options = ContainerAuditorOptions::read(&conf.section("container-auditor"))?;
        let interval = Duration::from_secs(options.interval);
        Ok(Self { interval, per_second: options.containers_per_second })
    }
}

/// The auditor of a kind, on the devices of `server`. Options and defaults are Swift's
/// (`swift/common/db_auditor.py`).
pub fn auditor<K: Replica>(
    server: &DatabaseServer<K>,
    local: LocalClient,
    rate: AuditRate,
) -> PassRunner {
    let pass = Auditor::<K>::new(AuditorDeps {
        devices: server.deps.devices.clone(),
        broker: server.deps.broker.clone(),
        hash: server.deps.hash.clone(),
        local,
        per_second: rate.per_second,
    });
    PassRunner::new(pass, rate.interval)
}
