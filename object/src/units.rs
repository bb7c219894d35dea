//! The daemons of the object server and their options.

use std::sync::Arc;
use std::time::Duration;

use apus_daemon::PassRunner;
use apus_daemon::config::{Conf, ConfigError};
use apus_options::{flag, list, number, options, whole};
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
    /// The operations, as the system user (`apus_store::pipeline::expirer`).
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
pub fn units(
    server: &Server,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<Vec<PassRunner>, ConfigError> {
    let mut units = vec![updater(server, parts, conf)?, expirer(server, parts, conf)?];
    units.extend(auditors(server, parts, conf)?);
    units.push(replicator(server, parts, conf)?);
    Ok(units)
}

fn replicator(
    server: &Server,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<PassRunner, ConfigError> {
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

options! {
    /// Options of `[object-auditor]`, with Swift's names and defaults (`swift/obj/auditor.py`).
    #[derive(Debug)]
    pub struct ObjectAuditorOptions {
        /// Time between two sweeps.
        interval: u64 = whole(30).unit("seconds"),
        /// Objects a second on each device; 0 is unlimited.
        files_per_second: f64 = number(20.0),
        /// Bytes a second on each device; 0 is unlimited.
        bytes_per_second: f64 = number(10_000_000.0),
        /// Empty objects a second in a sweep of their own; 0 disables it.
        zero_byte_files_per_second: f64 = number(50.0),
        /// Devices that are swept at the same time.
        concurrency: usize = whole(1),
        /// Time after which a sweep reports, and continues from there.
        log_time: u64 = whole(3600).unit("seconds"),
        /// Add checksums of blocks to objects that Swift wrote.
        add_checksums: bool = flag(true),
        /// Watchers that see every object: `swift#dark_data`.
        pub(crate) watchers: Vec<String> = list("", "watchers between commas"),
    }
}

/// The two sweeps of the auditor.
fn auditors(
    server: &Server,
    parts: &DaemonParts,
    conf: &Conf,
) -> Result<Vec<PassRunner>, ConfigError> {
    let given = ObjectAuditorOptions::read(&conf.section("object-auditor"))?;
    let all = AuditorOptions {
        kind: SweepKind::All,
        files_per_second: given.files_per_second,
        bytes_per_second: given.bytes_per_second,
        concurrency: given.concurrency,
        log_time: Duration::from_secs(given.log_time),
        add_checksums: given.add_checksums,
    };
    let zero_byte_rate = given.zero_byte_files_per_second;
    let zero =
        AuditorOptions { kind: SweepKind::ZeroByteFiles, files_per_second: zero_byte_rate, ..all };
    let interval = Duration::from_secs(given.interval);
    // As in Swift, a rate of zero disables the fast sweep.
    let sweeps = [Some(all), (zero_byte_rate > 0.0).then_some(zero)].into_iter().flatten();
    let context = watcher::WatcherContext {
        containers: parts.rings.container.clone(),
        client: server.client.clone(),
        hash: server.store.hash.clone(),
    };
    let watchers = watcher::load(conf, &given.watchers, &context)?;
    let auditor = |options| {
        Auditor::new(server.store.clone(), parts.rings.objects.clone(), options, watchers.clone())
    };
    Ok(sweeps.map(|options| PassRunner::new(auditor(options), interval)).collect())
}

fn updater(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<PassRunner, ConfigError> {
    let options = UpdaterOptions::read(&conf.section("object-updater"))?;
    let interval = Duration::from_secs(options.interval);
    let pass = Updater::new(
        server.store.clone(),
        server.client.clone(),
        parts.rings.container.clone(),
        options,
    );
    Ok(PassRunner::new(pass, interval))
}

fn expirer(server: &Server, parts: &DaemonParts, conf: &Conf) -> Result<PassRunner, ConfigError> {
    let options = ExpirerOptions::read(&conf.section("object-expirer"))?;
    let interval = options.interval;
    let needed = ExpirerDeps {
        store: parts.store.clone(),
        client: server.client.clone(),
        containers: parts.rings.container.clone(),
        hash: server.store.hash.clone(),
    };
    Ok(PassRunner::new(Expirer::new(needed, options), interval))
}
