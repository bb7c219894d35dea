//! Reports the progress of the relinker: `relinker.recon`, for `/recon/relinker`.
//!
//! Source: `swift/cli/relinker.py`, `_update_recon`, `_update_worker_stats`. A recon file that cannot
//! be written does not stop the relinker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PartPower;
use apus_daemon::Clock;
use apus_daemon::recon::ReconCache;
use serde_json::{Map, Value, json};

use super::options::RelinkerOptions;

/// Swift's name of the file.
const FILE: &str = "relinker.recon";

/// Counts of one policy on one device, by Swift's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) hash_dirs: u64,
    pub(super) files: u64,
    pub(super) linked: u64,
    pub(super) removed: u64,
    pub(super) errors: u64,
    /// The device is missing or not mounted.
    pub(super) unmounted: u64,
    /// The device's partitions could not be listed.
    pub(super) unlistable_partitions: u64,
}

impl Stats {
    pub(super) fn add(&mut self, other: &Self) {
        self.hash_dirs += other.hash_dirs;
        self.files += other.files;
        self.linked += other.linked;
        self.removed += other.removed;
        self.errors += other.errors;
        self.unmounted += other.unmounted;
        self.unlistable_partitions += other.unlistable_partitions;
    }

    pub(super) fn any_error(&self) -> bool {
        self.errors + self.unmounted + self.unlistable_partitions > 0
    }

    fn to_json(self) -> Value {
        let mut entry = json!({
            "hash_dirs": self.hash_dirs,
            "files": self.files,
            "linked": self.linked,
            "removed": self.removed,
            "errors": self.errors,
        });
        let more =
            [("unmounted", self.unmounted), ("unlistable_partitions", self.unlistable_partitions)];
        for (name, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            if let Some(entry) = entry.as_object_mut() {
                entry.insert(name.to_owned(), count.into());
            }
        }
        entry
    }
}

/// One policy on one device.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) begun: Duration,
    /// The power of the ring, and the one that it is to have.
    pub(super) powers: (PartPower, PartPower),
    pub(super) stats: Stats,
    /// Partitions that are done, and all.
    pub(super) parts: (usize, usize),
    /// How long it took, once it has ended.
    pub(super) took: Option<Duration>,
}

/// Reporter of one worker.
#[derive(Debug)]
pub(super) struct Reporter {
    cache: ReconCache,
    /// Name of the worker, as in Swift after its process.
    name: String,
    /// The devices assigned to it.
    given: Vec<String>,
    step: &'static str,
    interval: Duration,
    clock: Arc<dyn Clock>,
    last: Duration,
    /// By device and policy.
    devices: BTreeMap<String, BTreeMap<u32, Progress>>,
}

/// Removes the entries of the last run.
pub(super) fn reset(cache: &ReconCache) {
    merge(cache, json!({"devices": {}, "workers": {}}));
}

fn merge(cache: &ReconCache, entries: Value) {
    let Value::Object(entries) = entries else { return };
    if let Err(error) = cache.merge(FILE, entries) {
        tracing::warn!(%error, file = FILE, "Failed to write a recon file");
    }
}

impl Reporter {
    pub(super) fn new(options: &RelinkerOptions, name: String, given: Vec<String>) -> Self {
        let clock = options.clock.clone();
        let reporter = Self {
            cache: options.recon.clone(),
            name,
            given,
            step: options.step.name(),
            interval: options.stats_interval,
            last: clock.now(),
            clock,
            devices: BTreeMap::new(),
        };
        merge(&reporter.cache, json!({"workers": reporter.worker(None)}));
        reporter
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Records the progress of a device; writes the recon file at its interval, or `now`.
    pub(super) fn update(&mut self, device: &str, policy: u32, progress: &Progress, now: bool) {
        self.devices.entry(device.to_owned()).or_default().insert(policy, progress.clone());
        if now || self.clock.now().saturating_sub(self.last) >= self.interval {
            self.write(None);
        }
    }

    /// All counts together.
    pub(super) fn total(&self) -> Stats {
        let mut total = Stats::default();
        self.devices.values().flat_map(BTreeMap::values).for_each(|one| total.add(&one.stats));
        total
    }

    /// Writes the recon file, with the exit code of a worker that ended.
    pub(super) fn write(&mut self, code: Option<u8>) {
        self.last = self.clock.now();
        let devices: Map<String, Value> =
            self.devices.iter().map(|(name, of)| (name.clone(), self.device(of))).collect();
        merge(&self.cache, json!({"devices": devices, "workers": self.worker(code)}));
    }

    fn worker(&self, code: Option<u8>) -> Value {
        let at = self.clock.now().as_secs_f64();
        let entry = json!({"devices": self.given, "timestamp": at, "return_code": code});
        Value::Object(Map::from_iter([(self.name.clone(), entry)]))
    }

    fn device(&self, of: &BTreeMap<u32, Progress>) -> Value {
        let (mut stats, mut parts, mut took) = (Stats::default(), (0, 0), Duration::ZERO);
        let mut policies = Map::new();
        for (policy, progress) in of {
            stats.add(&progress.stats);
            parts = (parts.0 + progress.parts.0, parts.1 + progress.parts.1);
            took = took.max(progress.took.unwrap_or_default());
            let mut entry = json!({
                "start_time": progress.begun.as_secs_f64(),
                "part_power": progress.powers.0.get(),
                "next_part_power": progress.powers.1.get(),
                "stats": progress.stats.to_json(),
                "step": self.step,
                "parts_done": progress.parts.0,
                "total_parts": progress.parts.1,
                "timestamp": self.clock.now().as_secs_f64(),
            });
            if let (Some(took), Some(entry)) = (progress.took, entry.as_object_mut()) {
                entry.insert("total_time".to_owned(), took.as_secs_f64().into());
            }
            policies.insert(policy.to_string(), entry);
        }
        json!({
            "policies": policies,
            "parts_done": parts.0,
            "total_parts": parts.1,
            "total_time": took.as_secs_f64(),
            "stats": stats.to_json(),
        })
    }
}
