//! Options of the reconciler.
//!
//! They are in `[container-reconciler]` of `container-server.conf` or of a file of its own.

use apus_daemon::config::{ConfigError, Section, Share};

/// The options, with Swift's names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReconcilerOptions {
    /// Entries that are processed at the same time.
    pub(crate) concurrency: usize,
    /// The part of the queue that is this process's.
    pub(crate) share: Share,
    /// Seconds after which an object that no server has is given up, and an empty container of the
    /// queue is removed.
    pub(crate) reclaim_age: u64,
}

impl ReconcilerOptions {
    /// Reads them.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            concurrency: section.concurrency(1)?,
            share: Share::read(section)?,
            reclaim_age: section.parse("reclaim_age", 604_800, "whole seconds")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    fn read(text: &str) -> Result<ReconcilerOptions, ConfigError> {
        let conf = Conf::parse(&format!("[container-reconciler]\n{text}")).unwrap();
        ReconcilerOptions::read(&conf.section("container-reconciler"))
    }

    #[test]
    fn defaults_are_swifts_and_invalid_values_are_named() {
        let expected =
            ReconcilerOptions { concurrency: 1, share: Share::default(), reclaim_age: 604_800 };
        assert_eq!(read("").unwrap(), expected);
        for (text, word) in [
            ("concurrency = 0", "concurrency"),
            ("processes = 2\nprocess = 2", "process"),
            ("processes = -1", "processes"),
            ("reclaim_age = soon", "reclaim_age"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("[container-reconciler]"), "{error}");
        }
    }
}
