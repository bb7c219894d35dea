//! The store for commands of operators, from `swift.conf` and the rings of a directory.

use std::path::Path;
use std::sync::Arc;

use apus_cluster::RootSecrets;
use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_identity::{IdentityDirectory, Sealing};
use apus_proxy::auth::tempauth::TempAuth;
use apus_store::UploadStore;
use apus_store::clock::HybridClock;
use apus_store::quorum::Quorum;
use apus_wire::signed::Signer;
use apus_wire::{Client, Deadlines, Transport};

use super::conf::Place;
use super::encryption::local_keys;
use super::filters::{Pipeline, tempauth_options};
use super::private_servers::through_socket;
use super::role::{Roles, Server};

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

/// The operations on the nodes of a cluster, and what its nodes agree on.
struct OperatorQuorum {
    quorum: Quorum,
    identity_roots: RootSecrets,
    clock: Arc<dyn Clock>,
}

fn operator_quorum(place: &Place) -> Result<OperatorQuorum, String> {
    let cluster = place.swift_conf()?;
    let rings = place.rings(&cluster)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = Transport::new(Signer::new(&cluster.backend_auth, clock.clone()));
    let transport = Arc::new(through_socket(transport, place.swift_dir())?);
    let client = Arc::new(Client::new(transport, clock.clone(), Deadlines::default()));
    let stamps = Arc::new(HybridClock::new(clock.clone()));
    let quorum = Quorum::new(client, rings, cluster.hash, cluster.policies, stamps);
    Ok(OperatorQuorum { quorum, identity_roots: cluster.identity_roots, clock })
}

/// The store of a cluster. Must be called on a Tokio runtime.
///
/// # Errors
/// What is wrong with the directory.
pub fn operator_store(swift_dir: &Path) -> Result<OperatorStore, String> {
    let place = Place::find(swift_dir, &Roles::default())?;
    let OperatorQuorum { quorum, clock, .. } = operator_quorum(&place)?;
    let keys = Arc::new(local_keys(&place));
    Ok(OperatorStore { store: apus_store::pipeline::lifecycle(quorum, keys), clock })
}

/// The users of a cluster, for commands of operators.
#[derive(Debug)]
pub struct OperatorIdentities {
    /// Users, groups and access keys.
    pub directory: IdentityDirectory,
    /// The users of `proxy-server.conf`, and the prefix of accounts.
    pub configured: TempAuth,
}

/// The users of a cluster. Must be called on a Tokio runtime.
///
/// # Errors
/// What is wrong with the directory.
pub fn operator_identities(swift_dir: &Path) -> Result<OperatorIdentities, String> {
    let place = Place::find(swift_dir, &Roles::default())?;
    let OperatorQuorum { quorum, identity_roots, clock } = operator_quorum(&place)?;
    let store = apus_store::pipeline::internal(quorum);
    let directory = IdentityDirectory::new(store, clock, Sealing::new(&identity_roots));
    // Without the file, the prefix is the default.
    let conf = place.server_conf(Server::Proxy)?;
    let users = tempauth_options(&conf, &Pipeline::read(&conf)?, true)?;
    let configured = TempAuth::from_options(users.into_iter(), &place.swift_conf()?.hash)
        .map_err(|error| format!("proxy-server.conf: {error}"))?;
    Ok(OperatorIdentities { directory, configured })
}
