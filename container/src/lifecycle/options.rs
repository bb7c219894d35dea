//! Options of the lifecycle daemon.
//!
//! They are in `[container-lifecycle]` of `container-server.conf`.

use std::time::Duration;

use apus_options::{number, options, whole};

options! {
    /// The options.
    #[derive(Debug, Clone, PartialEq)]
    pub struct LifecycleOptions {
        /// Time between two walks over the buckets with rules, whose unit is a day.
        pub(crate) interval: Duration = number(3600.0).unit("seconds"),
        /// Deletions at the same time.
        pub(crate) concurrency: usize = whole(4).from(1),
        /// Deletions a second; 0 for no limit.
        pub(crate) deletions_per_second: f64 = number(100.0),
        /// Rows that are read a second; 0 for no limit.
        pub(crate) rows_per_second: f64 = number(20_000.0),
        /// Length of a day of the rules: other than 24 hours only for tests.
        pub(crate) seconds_per_day: u64 = whole(86_400).from(1).unit("seconds"),
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::{Conf, ConfigError};

    use super::*;

    fn read(text: &str) -> Result<LifecycleOptions, ConfigError> {
        let conf = Conf::parse(&format!("[container-lifecycle]\n{text}")).unwrap();
        LifecycleOptions::read(&conf.section("container-lifecycle"))
    }

    #[test]
    fn days_have_24_hours_unless_a_test_says_otherwise() {
        assert_eq!(read("").unwrap().seconds_per_day, 86_400);
        assert_eq!(read("seconds_per_day = 10").unwrap().seconds_per_day, 10);
        for (text, word) in [
            ("seconds_per_day = 0", "seconds_per_day"),
            ("concurrency = 0", "concurrency"),
            ("deletions_per_second = many", "deletions_per_second"),
            ("rows_per_second = x", "rows_per_second"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }
}
