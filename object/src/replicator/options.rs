//! Options of `[object-replicator]`, with Swift's names and defaults.

use std::time::Duration;

use apus_daemon::config::{ConfigError, Section};
use apus_options::{OptionValue, choice, flag, options, whole};

use crate::replication::RECLAIM_AGE_SECONDS;

options! {
    /// Options of `[object-replicator]`.
    #[derive(Debug)]
    pub struct ObjectReplicatorOptions {
        /// Time between two passes.
        interval: u64 = whole(30).unit("seconds"),
        /// Partitions that are processed at the same time.
        concurrency: usize = whole(1),
        /// How objects are transferred. `rsync` is accepted for files of Swift; transfers are done with ssync.
        sync_method: String = choice("ssync", &["ssync", "rsync"]),
        /// Time from sending a request to the head of its response.
        node_timeout: u64 = whole(10).unit("seconds"),
        /// Time for hashes to be computed, and between two lines of an exchange.
        http_timeout: u64 = whole(60).unit("seconds"),
        /// Let primary partitions wait until no handoff is left. For emergencies.
        handoffs_first: bool = flag(false),
        /// Do not replicate primary partitions. For emergencies.
        handoffs_only: bool = flag(false),
        /// Primaries that must have an object before its handoff copy is removed; `auto` for all.
        handoff_delete: String = whole(0).or_word("auto"),
        /// How long tombstones are kept.
        reclaim_age: u64 = whole(RECLAIM_AGE_SECONDS).unit("seconds"),
    }
}

/// Settings of the replicator.
#[derive(Debug, Clone)]
pub(crate) struct ReplicatorOptions {
    /// Time between two sweeps.
    pub(crate) interval: Duration,
    /// Partitions that are processed concurrently.
    pub(crate) concurrency: usize,
    /// From sending a request to the head of its response.
    pub(crate) node_timeout: Duration,
    /// For hashes to be computed, and between two lines of an exchange.
    pub(crate) http_timeout: Duration,
    /// Primary partitions wait until no handoff is left.
    pub(crate) handoffs_first: bool,
    /// Primary partitions are not replicated.
    pub(crate) handoffs_only: bool,
    /// Primaries that must have an object before its handoff copy is removed; 0 for all.
    pub(crate) handoff_delete: usize,
    /// How long tombstones are kept.
    pub(crate) reclaim_age: Duration,
}

impl ReplicatorOptions {
    /// # Errors
    /// An option, its value and what was expected.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let given = ObjectReplicatorOptions::read(section)?;
        // Whole suffix directories are never copied: each object is verified.
        if given.sync_method == "rsync" {
            tracing::warn!(
                "[object-replicator] sync_method = rsync: transfers are done with ssync"
            );
        }
        let options = Self {
            interval: Duration::from_secs(given.interval),
            concurrency: given.concurrency.max(1),
            node_timeout: Duration::from_secs(given.node_timeout),
            http_timeout: Duration::from_secs(given.http_timeout),
            handoffs_first: given.handoffs_first,
            handoffs_only: given.handoffs_only,
            // `auto` is not a number.
            handoff_delete: usize::from_text(&given.handoff_delete).unwrap_or(0),
            reclaim_age: Duration::from_secs(given.reclaim_age),
        };
        if options.handoffs_first || options.handoffs_only || options.handoff_delete > 0 {
            tracing::warn!(
                "[object-replicator] handoffs_first, handoffs_only and handoff_delete are for \
                 emergencies: remove them afterwards"
            );
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    fn read(text: &str) -> Result<ReplicatorOptions, ConfigError> {
        let conf = Conf::parse(&format!("[object-replicator]\n{text}")).unwrap();
        ReplicatorOptions::read(&conf.section("object-replicator"))
    }

    #[test]
    fn defaults_are_swifts_and_bad_values_are_named() {
        let options = read("").unwrap();
        assert_eq!((options.concurrency, options.handoff_delete), (1, 0));
        assert_eq!(options.reclaim_age.as_secs(), 604_800);
        assert_eq!(read("handoff_delete = 2\n").unwrap().handoff_delete, 2);
        for bad in ["sync_method = ftp", "handoff_delete = some", "concurrency = many"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
    }
}
