//! Options of the reconciler.
//!
//! They are in `[container-reconciler]` of `container-server.conf` or of a file of its own.

use std::time::Duration;

use apus_options::{number, options, whole};

options! {
    /// The options, with Swift's names and defaults.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ReconcilerOptions {
        /// Time between two passes over the queue of misplaced objects.
        pub(crate) interval: Duration = number(30.0).unit("seconds"),
        /// Entries that are processed at the same time.
        pub(crate) concurrency: usize = whole(1).from(1),
        /// Age after which an object that no server has is given up, and an empty container of the queue is removed.
        pub(crate) reclaim_age: u64 = whole(604_800).unit("seconds"),
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::{Conf, ConfigError, Share};

    use super::*;

    fn read(text: &str) -> Result<(ReconcilerOptions, Share), ConfigError> {
        let conf = Conf::parse(&format!("[container-reconciler]\n{text}")).unwrap();
        let section = conf.section("container-reconciler");
        Ok((ReconcilerOptions::read(&section)?, Share::read(&section)?))
    }

    #[test]
    fn defaults_are_swifts_and_invalid_values_are_named() {
        let interval = Duration::from_secs(30);
        let expected = ReconcilerOptions { interval, concurrency: 1, reclaim_age: 604_800 };
        assert_eq!(read("").unwrap(), (expected, Share::default()));
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
