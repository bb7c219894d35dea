//! The daemons of the object server and their options.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::PassRunner;
use apus_daemon::config::Conf;
use apus_ring::Local;
use apus_store::Primitive;
use apus_store::quorum::Rings;

use crate::auditor::{Auditor, AuditorOptions, SweepKind, watcher};
use crate::expirer::{Expirer, ExpirerDeps, ExpirerOptions};
use crate::replicator::{Replicator, ReplicatorOptions};
use crate::server::Server;
use crate::updater::{Updater, UpdaterOptions};

/// Dependencies of the daemons in addition to their server.
#[derive(Clone)]
pub struct DaemonParts {
    /// The rings of the cluster.
    pub rings: Rings,
    /// Identifies this node's devices in the rings.
    pub local: Local,
    /// The operations, as the system user (`apus_store::pipeline::internal`).
    pub store: Arc<dyn Primitive>,
}

impl std::fmt::Debug for DaemonParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonParts").field("local", &self.local).finish_non_exhaustive()
    }
}

/// All daemons for the devices of `server`, with their options from the object server's
/// configuration.
///
/// # Errors
/// An option, its value and what was expected.
pub fn units(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<Vec<PassRunner>, String> {
    let mut units = vec![updater(server, parts, conf)?, expirer(server, parts, conf)?];
    units.extend(auditors(server, parts, conf)?);
    units.push(replicator(server, parts, conf)?);
    Ok(units)
}

fn replicator(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<PassRunner, String> {
    let options = ReplicatorOptions::read(&conf.section("object-replicator"))?;
    let interval = options.interval;
    let pass = Replicator::new(
        server.store.clone(),
        server.client.clone(),
        parts.rings.clone(),
        parts.local.clone(),
        options,
    );
    Ok(PassRunner::new(pass, interval))
}

/// The two sweeps of the auditor; options and defaults are Swift's (`swift/obj/auditor.py`).
fn auditors(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<Vec<PassRunner>, String> {
    let section = conf.section("object-auditor");
    let all = AuditorOptions {
        kind: SweepKind::All,
        files_per_second: section.parse("files_per_second", 20.0, "a number")?,
        bytes_per_second: section.parse("bytes_per_second", 10_000_000.0, "a number")?,
        concurrency: section.parse("concurrency", 1, "a whole number")?,
        log_time: Duration::from_secs(section.parse("log_time", 3600, "whole seconds")?),
        add_checksums: section.flag("add_checksums", true)?,
    };
    let zero_byte_rate = section.parse("zero_byte_files_per_second", 50.0, "a number")?;
    let zero =
        AuditorOptions { kind: SweepKind::ZeroByteFiles, files_per_second: zero_byte_rate, ..all };
    let interval = Duration::from_secs(section.parse("interval", 30, "whole seconds")?);
    // As in Swift, a rate of zero disables the fast sweep.
    let sweeps = [Some(all), (zero_byte_rate > 0.0).then_some(zero)].into_iter().flatten();
    let context = watcher::WatcherContext {
        containers: parts.rings.container.clone(),
        client: server.client.clone(),
        hash: server.store.hash.clone(),
    };
    let watchers = watcher::load(conf, &context)?;
    let auditor = |options| {
        Auditor::new(server.store.clone(), parts.rings.objects.clone(), options, watchers.clone())
    };
    Ok(sweeps.map(|options| PassRunner::new(auditor(options), interval)).collect())
}

/// How often undelivered listing rows are retried, in seconds.
const UPDATE_INTERVAL_SECONDS: u64 = 30;

fn updater(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<PassRunner, String> {
    let section = conf.section("object-updater");
    let interval = section.parse("interval", UPDATE_INTERVAL_SECONDS, "whole seconds")?;
    let rate = |key, default| section.parse(key, default, "updates a second");
    let options = UpdaterOptions {
        concurrency: section.concurrency(8)?,
        objects_per_second: rate("objects_per_second", 50.0)?,
        per_container_per_second: rate("max_objects_per_container_per_second", 0.0)?,
    };
    let pass = Updater::new(
        server.store.clone(),
        server.client.clone(),
        parts.rings.container.clone(),
        options,
    );
    Ok(PassRunner::new(pass, Duration::from_secs(interval)))
}

/// How often the expirer's queue is processed, in seconds (Swift's).
const EXPIRE_INTERVAL_SECONDS: u64 = 300;

fn expirer(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<PassRunner, String> {
    let section = conf.section("object-expirer");
    let interval = section.parse("interval", EXPIRE_INTERVAL_SECONDS, "whole seconds")?;
    let needed = ExpirerDeps {
        store: parts.store.clone(),
        client: server.client.clone(),
        containers: parts.rings.container.clone(),
        hash: server.store.hash.clone(),
    };
    let pass = Expirer::new(needed, ExpirerOptions::read(&section)?);
    Ok(PassRunner::new(pass, Duration::from_secs(interval)))
}
