//! Counts of an updater sweep, and their recon entries.
//!
//! Names are Swift's (`SweepStats` and `OldestAsyncPendingTracker` in `swift/obj/updater.py`).

use std::collections::BTreeMap;

use apus_cluster::Timestamp;
use apus_cluster::timestamp::STEPS_PER_SECOND;
use apus_daemon::Span;
use serde_json::{Map, Value, json};

use super::delivery::{Delivered, DeliveryOutcome};

/// Containers that are kept of those with old updates (`async_tracker_max_entries`).
const TRACKED_MAX: usize = 100;
/// Containers that are reported (`async_tracker_dump_count`).
const REPORTED: usize = 5;

/// Counts of a pass.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Swept {
    /// Delivered to every primary and removed.
    pub(crate) successes: u64,
    /// Left in place, since a primary did not take it.
    pub(crate) failures: u64,
    /// Removed, since a newer update of the object exists.
    pub(crate) outdated_unlinks: u64,
    /// Redirected to a shard.
    pub(crate) redirects: u64,
    /// Left in place, since the rate limit of their container was reached.
    pub(crate) skips: u64,
    /// Files and directories that could not be read.
    pub(crate) errors: u64,
    /// Files that remain after the pass.
    pub(crate) left: u64,
    /// Whether it was a sweep of all devices.
    #[serde(skip)]
    everything: bool,
    /// The oldest updates left, by device.
    #[serde(skip)]
    devices: BTreeMap<String, Oldest>,
}

impl Swept {
    /// Empty counts; `everything` when all devices will be swept.
    pub(super) fn of_everything(everything: bool) -> Self {
        Self { everything, ..Self::default() }
    }

    /// Begins a device.
    pub(super) fn begin(&mut self, device: &str) {
        self.devices.insert(device.to_owned(), Oldest::default());
    }

    /// Counts a directory that could not be read.
    pub(super) fn error(&mut self, error: &std::io::Error, device: &str) {
        tracing::warn!(%error, device, "Failed to read a directory of row updates");
        self.errors += 1;
    }

    /// Counts an update of this time.
    pub(super) fn count(&mut self, device: &str, time: Timestamp, delivered: Delivered) {
        self.redirects += delivered.redirects;
        self.left += u64::from(!matches!(
            delivered.outcome,
            DeliveryOutcome::Delivered | DeliveryOutcome::Gone
        ));
        match delivered.outcome {
            DeliveryOutcome::Delivered => self.successes += 1,
            DeliveryOutcome::Gone => {}
            DeliveryOutcome::Skipped => self.skips += 1,
            DeliveryOutcome::Unreadable => self.errors += 1,
            DeliveryOutcome::Left(account, container) => {
                self.failures += 1;
                let oldest = self.devices.entry(device.to_owned()).or_default();
                oldest.add(account, container, time);
            }
        }
    }

    /// The entries of the recon cache.
    pub(super) fn recon(&self, span: Span) -> Map<String, Value> {
        let now = span.ended.as_secs_f64();
        let mut all = Oldest::default();
        for (time, account, container) in self.devices.values().flat_map(|device| &device.entries) {
            all.add(account.clone(), container.clone(), *time);
        }
        let devices = self.devices.iter().map(|(name, oldest)| (name.clone(), oldest.to_json(now)));
        let mut entries = Map::from_iter([
            ("object_updater_sweep".to_owned(), span.seconds().into()),
            ("object_updater_stats".to_owned(), all.to_json(now)),
            ("object_updater_last".to_owned(), now.into()),
            ("object_updater_per_device".to_owned(), Value::Object(devices.collect())),
        ]);
        if self.everything {
            entries.insert("async_pending".to_owned(), self.left.into());
            entries.insert("async_pending_last".to_owned(), now.into());
        }
        entries
    }
}

/// The containers with the oldest updates left, the oldest first.
#[derive(Default)]
struct Oldest {
    entries: Vec<(Timestamp, String, String)>,
}

impl std::fmt::Debug for Oldest {
    /// Their number only: the report of a pass is a line of the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} containers", self.entries.len())
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.steps() as f64 / STEPS_PER_SECOND as f64
}

impl Oldest {
    fn add(&mut self, account: String, container: String, time: Timestamp) {
        let same = |entry: &(_, String, String)| entry.1 == account && entry.2 == container;
        if let Some(at) = self.entries.iter().position(same) {
            if self.entries.get(at).is_some_and(|known| known.0 <= time) {
                return;
            }
            self.entries.remove(at);
        }
        let at = self.entries.partition_point(|known| known.0 <= time);
        self.entries.insert(at, (time, account, container));
        self.entries.truncate(TRACKED_MAX);
    }

    fn to_json(&self, now: f64) -> Value {
        let oldest = self.entries.first().map(|(time, ..)| seconds(*time));
        let entries = self.entries.iter().take(REPORTED).map(|(time, account, container)| {
            json!({ "timestamp": seconds(*time), "account": account, "container": container })
        });
        let entries: Vec<Value> = entries.collect();
        let size = |entry: &(Timestamp, String, String)| {
            size_of_val(entry) + entry.1.capacity() + entry.2.capacity()
        };
        json!({
            "failures_oldest_timestamp": oldest,
            "failures_oldest_timestamp_age": oldest.map(|oldest| now - oldest),
            "failures_account_container_count": self.entries.len(),
            "failures_oldest_timestamp_account_containers": {
                "oldest_count": entries.len(),
                "oldest_entries": entries,
            },
            "tracker_memory_usage": self.entries.iter().map(size).sum::<usize>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_remaining_updates_are_reported_by_container() {
        let mut swept = Swept::of_everything(true);
        let left = |container: &str| Delivered {
            outcome: DeliveryOutcome::Left("a".to_owned(), container.to_owned()),
            redirects: 0,
        };
        for (container, time) in [("x", 7), ("y", 5), ("x", 3), ("x", 9), ("z", 4)] {
            swept.count("sd1", Timestamp::from_seconds(time), left(container));
        }
        let delivered = Delivered { outcome: DeliveryOutcome::Delivered, redirects: 1 };
        swept.count("sd1", Timestamp::from_seconds(1), delivered);
        let span = Span { began: Duration::from_secs(8), ended: Duration::from_secs(10) };
        let entries = Value::Object(swept.recon(span));
        assert_eq!(entries["async_pending"], 5);
        assert_eq!(entries["object_updater_sweep"], 2.0);
        assert_eq!(entries["object_updater_last"], 10.0);
        let stats = &entries["object_updater_stats"];
        assert_eq!(stats["failures_oldest_timestamp"], 3.0);
        assert_eq!(stats["failures_oldest_timestamp_age"], 7.0);
        assert_eq!(stats["failures_account_container_count"], 3);
        let oldest = &stats["failures_oldest_timestamp_account_containers"]["oldest_entries"];
        assert_eq!(oldest[0], json!({"timestamp": 3.0, "account": "a", "container": "x"}));
        assert_eq!(oldest[2]["container"], "y");
        assert_eq!(entries["object_updater_per_device"]["sd1"], *stats);
        assert_eq!((swept.successes, swept.failures, swept.redirects), (1, 5, 1));
    }

    #[test]
    fn a_hundred_containers_are_enough() {
        let mut oldest = Oldest::default();
        for number in (0..500).rev() {
            let time = Timestamp::from_seconds(number);
            oldest.add("a".to_owned(), number.to_string(), time);
        }
        assert_eq!(oldest.entries.len(), TRACKED_MAX);
        assert_eq!(oldest.entries[0].2, "0");
    }
}
