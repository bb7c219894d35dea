//! Which buckets a node walks: those with rules for which its device is the first primary that answers.
//!
//! All replicas of a container know its rules, and one walk is enough. Two nodes that cannot reach each
//! other may both walk it, which is correct: every deletion has a condition.

use std::path::Path;
use std::sync::Arc;

use apus_broker::LocalClient;
use apus_bucket::ConfigKind;
use apus_cluster::name::NameError;
use apus_cluster::{AccountName, ContainerName, ContainerPath};

use crate::backend::{self, ContainerInfo};
use crate::first_primary::is_first_primary;
use crate::server::Server;

/// The part of the daemon that chooses buckets.
#[derive(Debug, Clone)]
pub(super) struct Duty {
    pub(super) server: Arc<Server>,
    pub(super) local: LocalClient,
}

fn container_of(info: &ContainerInfo) -> Result<ContainerPath, NameError> {
    let account = AccountName::parse(&info.account)?;
    Ok(ContainerPath::new(account, ContainerName::parse(&info.container)?))
}

impl Duty {
    /// The container of a database, if this replica has rules for it.
    pub(super) async fn container_with_rules(&self, path: &Path) -> Option<ContainerPath> {
        // A database that cannot be read is the auditor's.
        let database = self.server.databases.open(path).await.ok()??;
        let info = database.read(backend::info).await.ok()?;
        let rules = info.metadata.get(ConfigKind::Lifecycle.header());
        let has_rules = rules.is_some_and(|(value, _)| !value.is_empty());
        (has_rules && !info.is_deleted()).then(|| container_of(&info).ok()).flatten()
    }

    /// Whether this node's `device` is the first primary that answers for the container.
    pub(super) async fn is_first(
        &self,
        container: &ContainerPath,
        partition: u32,
        device: &str,
    ) -> bool {
        is_first_primary(&self.local, container, partition, device).await
    }
}
