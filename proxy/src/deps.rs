//! Dependencies that every request handler shares.

use std::sync::Arc;

use apus_cluster::Policies;
use apus_cluster::constraints::Constraints;
use apus_daemon::Clock;
use apus_store::Store;

use crate::access_log::AccessLogs;
use crate::audit::AuditSink;
use crate::auth::identities::Identities;
use crate::auth::tempauth::TempAuth;
use crate::config::ProxyConfig;

/// Dependencies of a proxy server; a clone shares them.
#[derive(Clone)]
pub struct ProxyDeps {
    /// The operations on accounts, containers and objects.
    pub store: Arc<dyn Store>,
    /// Users of the configuration, and tokens.
    pub auth: Arc<TempAuth>,
    /// Users of the cluster.
    pub identities: Arc<Identities>,
    /// The storage policies, for their names.
    pub policies: Policies,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Limits of what clients may send and ask for.
    pub constraints: Arc<Constraints>,
    /// The access logs of buckets.
    pub access_logs: Arc<AccessLogs>,
    /// The audit log, if there is one.
    pub audit: Option<Arc<dyn AuditSink>>,
    /// The settings.
    pub config: Arc<ProxyConfig>,
}

impl std::fmt::Debug for ProxyDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyDeps").field("config", &self.config).finish_non_exhaustive()
    }
}
