//! The daemons of the container server, with their options.

use std::sync::Arc;
use std::time::Duration;

use apus_broker::{LocalClient, units};
use apus_cluster::webhooks::Webhooks;
use apus_daemon::PassRunner;
use apus_daemon::config::{Conf, ConfigError, Share};
use apus_options::{options, whole};
use apus_ring::Local;
use apus_store::quorum::Rings;
use apus_store::{Primitive, UploadStore};

use crate::lifecycle::{Lifecycle, LifecycleOptions};
use crate::notifier::{Notifier, NotifierDeps, NotifierOptions};
use crate::reclaimer::{Reclaimer, ReclaimerDeps, ReclaimerOptions};
use crate::reconciler::{Feeder, Queue, Reconciler, ReconcilerDeps, ReconcilerOptions};
use crate::server::Server;
use crate::updater::Updater;

/// What the daemons need in addition to their server.
#[derive(Clone)]
pub struct DaemonParts {
    /// The rings of the cluster.
    pub rings: Rings,
    /// Which devices of the containers' ring are this node's.
    pub local: Local,
    /// The store, for operations of the system (`apus_store::pipeline::internal`).
    pub store: Arc<dyn Primitive>,
    /// The store with what clients see of objects (`apus_store::pipeline::lifecycle`).
    pub uploads: Arc<dyn UploadStore>,
    /// The webhooks that receive events.
    pub webhooks: Arc<Webhooks>,
}

impl std::fmt::Debug for DaemonParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonParts").field("local", &self.local).finish_non_exhaustive()
    }
}

/// All daemons that work on the devices of `server`, with their options from the container
/// server's configuration.
///
/// # Errors
/// See [`ConfigError`].
pub fn units(
    server: &Arc<Server>,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<Vec<PassRunner>, ConfigError> {
    let local = LocalClient {
        client: server.client.clone(),
        ring: parts.rings.container.clone(),
        local: parts.local.clone(),
    };
    let queue = queue(server, parts);
    let feeder = Feeder { broker: server.databases.deps.broker.clone(), queue: queue.clone() };
    let databases = &server.databases;
    Ok(vec![
        updater(server, parts, local.clone(), conf)?,
        lifecycle(server, parts, local.clone(), conf)?,
        notifier(server, parts, local.clone(), conf)?,
        reconciler(parts, queue, conf)?,
        reclaimer(server, parts, conf)?,
        units::replicator(databases, &local, Some(Arc::new(feeder)), conf)?,
        units::auditor(databases, local, units::AuditRate::of_containers(conf)?),
    ])
}

options! {
    /// Options of `[container-updater]`, with Swift's names and defaults.
    #[derive(Debug)]
    pub struct ContainerUpdaterOptions {
        /// Time between two searches for account rows that are behind.
        interval: u64 = whole(300).unit("seconds"),
    }
}

fn updater(
    server: &Arc<Server>,
    parts: &DaemonParts,
    local: LocalClient,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
    let options = ContainerUpdaterOptions::read(&conf.section("container-updater"))?;
    let pass = Updater::new(server.clone(), parts.rings.account.clone(), local);
    Ok(PassRunner::new(pass, Duration::from_secs(options.interval)))
}

fn lifecycle(
    server: &Arc<Server>,
    parts: &DaemonParts,
    local: LocalClient,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
    let options = LifecycleOptions::read(&conf.section("container-lifecycle"))?;
    let pass = Lifecycle::new(server.clone(), local, parts.uploads.clone(), &options);
    Ok(PassRunner::new(pass, options.interval))
}

fn notifier(
    server: &Arc<Server>,
    parts: &DaemonParts,
    local: LocalClient,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
    let options = NotifierOptions::read(&conf.section("container-notifier"))?;
    let deps = NotifierDeps {
        server: server.clone(),
        local,
        store: parts.store.clone(),
        webhooks: parts.webhooks.clone(),
    };
    let pass = Notifier::new(deps, options);
    let interval = pass.interval();
    Ok(PassRunner::new(pass, interval))
}

fn queue(server: &Server, parts: &DaemonParts) -> Queue {
    Queue {
        client: server.client.clone(),
        containers: parts.rings.container.clone(),
        hash: server.databases.deps.hash.clone(),
        clock: server.databases.deps.clock.clone(),
    }
}

fn reclaimer(
    server: &Arc<Server>,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
    let options = ReclaimerOptions::read(&conf.section("container-reclaimer"))?;
    let deps = ReclaimerDeps {
        server: server.clone(),
        ring: parts.rings.container.clone(),
        local: parts.local.clone(),
        store: parts.store.clone(),
    };
    let interval = options.interval;
    Ok(PassRunner::new(Reclaimer::new(deps, options), interval))
}

fn reconciler(parts: &DaemonParts, queue: Queue, conf: &Conf) -> Result<PassRunner, ConfigError> {
    let section = conf.section("container-reconciler");
    let options = ReconcilerOptions::read(&section)?;
    let share = Share::read(&section)?;
    let needed =
        ReconcilerDeps { store: parts.store.clone(), queue, objects: parts.rings.objects.clone() };
    let interval = options.interval;
    let pass = Reconciler::new(needed, options, share);
    Ok(PassRunner::new(pass, interval))
}
