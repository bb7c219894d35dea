//! Options of the replicators of account and container databases, with Swift's names.

use std::time::Duration;

use apus_options::{flag, number, options, whole};

options! {
    /// Options of a replicator.
    #[derive(Debug, Clone)]
    pub struct ReplicationOptions {
        /// Time between the end of a pass and the beginning of the next.
        pub interval: Duration = number(30.0).unit("seconds"),
        /// Databases that are replicated at the same time.
        pub concurrency: usize = whole(8).from(1),
        /// Databases per second at most; 0 is unlimited.
        pub databases_per_second: f64 = number(50.0),
        /// Rows in one call.
        pub per_diff: usize = whole(1000).from(1),
        /// Calls with rows for one database and replica in a pass.
        pub max_diffs: usize = whole(100).from(1),
        /// Age after which a deletion may be dropped.
        pub reclaim_age: f64 = number(604_800.0).unit("seconds"),
        /// Replicate only databases that do not belong on this node. For emergencies.
        pub handoffs_only: bool = flag(false),
        /// Replicas that must have a handoff database before it is removed; `auto` for all.
        handoff_delete: HandoffDelete = whole(0).or_word("auto"),
        /// Timeout of a call.
        pub node_timeout: Duration = number(10.0).unit("seconds"),
    }
}

/// Replicas that must have a handoff before it is removed; 0 for all.
#[derive(Debug, Clone, Copy)]
struct HandoffDelete(usize);

impl apus_options::OptionValue for HandoffDelete {
    fn from_text(text: &str) -> Option<Self> {
        match text.eq_ignore_ascii_case("auto") {
            true => Some(Self(0)),
            false => usize::from_text(text).map(Self),
        }
    }
}

impl ReplicationOptions {
    /// Replicas that must have a handoff database before it is removed; 0 for all.
    pub fn handoff_delete(&self) -> usize {
        self.handoff_delete.0
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    #[test]
    fn defaults_are_swifts_and_bad_values_are_named() {
        let read = |text: &str| {
            let conf = Conf::parse(text).unwrap();
            ReplicationOptions::read(&conf.section("container-replicator"))
        };
        let defaults = read("").unwrap();
        assert_eq!((defaults.per_diff, defaults.max_diffs, defaults.concurrency), (1000, 100, 8));
        assert_eq!((defaults.interval.as_secs(), defaults.reclaim_age), (30, 604_800.0));
        assert_eq!(defaults.handoff_delete(), 0);
        for bad in ["per_diff = 0", "interval = -1", "handoff_delete = some", "reclaim_age = inf"] {
            let error = read(&format!("[container-replicator]\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
    }
}
