//! Audit watchers: see every good object, and may ask for its removal.
//!
//! Swift loads them as plug-ins (`swift/obj/auditor.py`, `WatcherWrapper`); ours are built in, one
//! per file, under the same names. A watcher changes nothing itself: the sweep carries out its
//! verdict, and only if the object is unchanged since the watcher saw it.

mod dark_data;

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, PolicyIndex, Timestamp};
use apus_daemon::config::{Conf, ConfigError, Section};
use apus_ring::SharedRing;
use apus_wire::Client;
use async_trait::async_trait;

use self::dark_data::DarkData;
pub(crate) use self::dark_data::DarkDataOptions;
use super::options::SweepKind;

/// A watcher. Sweeps of several devices may call it at the same time.
#[async_trait]
pub(crate) trait Watcher: std::fmt::Debug + Send + Sync {
    /// Its name in `watchers`.
    fn name(&self) -> &'static str;

    /// A sweep begins.
    fn start(&self, sweep: SweepKind);

    /// Judges an undamaged object; in `ZBF` sweeps its body was not read.
    async fn see_object(&self, sweep: SweepKind, seen: &AuditedObject<'_>) -> WatcherVerdict;

    /// A sweep ended.
    fn end(&self, sweep: SweepKind);
}

/// An object that was audited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditedObject<'a> {
    /// `/account/container/object`.
    pub(crate) name: &'a str,
    pub(crate) policy: PolicyIndex,
    /// When its body was written.
    pub(crate) time: Timestamp,
    /// Since 1970.
    pub(crate) now: Duration,
}

/// Verdict of a watcher on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatcherVerdict {
    Keep,
    /// Quarantine it, as if it were damaged.
    Quarantine,
    /// Remove it from this device, without a tombstone.
    Delete,
}

/// Dependencies of watchers.
#[derive(Debug, Clone)]
pub(crate) struct WatcherContext {
    /// The ring of containers.
    pub(crate) containers: Arc<SharedRing>,
    pub(crate) client: Arc<Client>,
    pub(crate) hash: HashConf,
}

/// Creates a watcher from its section.
type Make = fn(&Section<'_>, &WatcherContext) -> Result<Arc<dyn Watcher>, ConfigError>;

/// All watchers. Swift finds one without a package name in its own package.
const KNOWN: [(&str, &[&str], Make); 1] = [(
    dark_data::NAME,
    &["swift#dark_data", "egg:swift#dark_data", "dark_data"],
    |section, around| Ok(Arc::new(DarkData::new(section, around)?)),
)];

/// The watchers that `[object-auditor] watchers` names, each with the options of
/// `[object-auditor:watcher:<name>]`.
///
/// # Errors
/// An unknown watcher, or an option, its value and what was expected.
pub(crate) fn load(
    conf: &Conf,
    names: &[String],
    around: &WatcherContext,
) -> Result<Vec<Arc<dyn Watcher>>, ConfigError> {
    let mut watchers: Vec<Arc<dyn Watcher>> = Vec::new();
    for name in names {
        let is_known = |(_, known, _): &&(&str, &[&str], Make)| known.contains(&name.as_str());
        let Some((own, _, make)) = KNOWN.iter().find(is_known) else {
            let known: Vec<_> = KNOWN.iter().map(|(own, ..)| *own).collect();
            let expected = format!(
                "watchers that are built in ({}), not {name:?}: those of other packages cannot be \
                 loaded",
                known.join(", ")
            );
            let section = conf.section("object-auditor");
            return Err(section.refuse("watchers", &names.join(", "), &expected));
        };
        if watchers.iter().all(|watcher| watcher.name() != *own) {
            let section = conf.section(&format!("object-auditor:watcher:{name}"));
            watchers.push(make(&section, around)?);
        }
    }
    Ok(watchers)
}
