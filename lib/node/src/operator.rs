//! The store for commands of operators, from `swift.conf` and the rings of a directory.

use std::path::Path;
use std::sync::Arc;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_store::UploadStore;
use apus_store::clock::HybridClock;
use apus_store::quorum::Quorum;
use apus_wire::signed::Signer;
use apus_wire::{Client, Deadlines, Transport};

use super::conf::Place;
use super::role::Roles;

/// What a command of operators works with.
pub struct OperatorStore {
    /// The store in the system's name, with the stages that clients' deletions pass.
    pub store: Arc<dyn UploadStore>,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for OperatorStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorStore").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// The store of a cluster. Must be called on a Tokio runtime.
///
/// # Errors
/// What is wrong with the directory.
pub fn operator_store(swift_dir: &Path) -> Result<OperatorStore, String> {
    let place = Place::find(swift_dir, &Roles::default())?;
    let cluster = place.swift_conf()?;
    let rings = place.rings(&cluster)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = Arc::new(Transport::new(Signer::new(&cluster.backend_auth, clock.clone())));
    let client = Arc::new(Client::new(transport, clock.clone(), Deadlines::default()));
    let stamps = Arc::new(HybridClock::new(clock.clone()));
    let quorum = Quorum::new(client, rings, cluster.hash, cluster.policies, stamps);
    Ok(OperatorStore { store: apus_store::pipeline::lifecycle(quorum), clock })
}
