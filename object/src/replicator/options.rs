//! ReplicatorOptions of `[object-replicator]`, with Swift's names and defaults.

use std::time::Duration;

use apus_daemon::config::Section;

use crate::replication::RECLAIM_AGE_SECONDS;

/// Time between two sweeps.
const INTERVAL_SECONDS: u64 = 30;

/// Options of the replicator.
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
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, String> {
        let seconds = |name: &str, default: u64| {
            section.parse(name, default, "whole seconds").map(Duration::from_secs)
        };
        // Whole suffix directories are never copied: each object is verified.
        match section.get("sync_method").unwrap_or("ssync") {
            "ssync" => {}
            "rsync" => tracing::warn!(
                "[object-replicator] sync_method = rsync: transfers are done with ssync"
            ),
            other => return Err(section.refuse("sync_method", other, "ssync or rsync").into()),
        }
        let handoff_delete = match section.get("handoff_delete").unwrap_or("auto") {
            text if text.eq_ignore_ascii_case("auto") => 0,
            text => text.parse().map_err(|_| {
                section.refuse("handoff_delete", text, "auto or a number of replicas")
            })?,
        };
        let options = Self {
            interval: seconds("interval", INTERVAL_SECONDS)?,
            concurrency: section.parse("concurrency", 1_usize, "a whole number")?.max(1),
            node_timeout: seconds("node_timeout", 10)?,
            http_timeout: seconds("http_timeout", 60)?,
            handoffs_first: section.flag("handoffs_first", false)?,
            handoffs_only: section.flag("handoffs_only", false)?,
            handoff_delete,
            reclaim_age: seconds("reclaim_age", RECLAIM_AGE_SECONDS)?,
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

    fn read(text: &str) -> Result<ReplicatorOptions, String> {
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
            let error = read(bad).unwrap_err();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
    }
}
