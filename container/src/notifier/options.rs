//! Options of the notifier.
//!
//! They are in `[container-notifier]` of `container-server.conf`; the webhooks are in `swift.conf`.

use std::time::Duration;

use apus_options::{number, options, whole};

options! {
    /// The options.
    #[derive(Debug, Clone, PartialEq)]
    pub struct NotifierOptions {
        /// Time between two looks at the queues.
        pub(crate) interval: Duration = number(1.0).unit("seconds"),
        /// Requests to a webhook at the same time, each with an event of another key.
        pub(crate) concurrency: usize = whole(8).from(1).to(1000),
        /// Time for one request to a webhook, with the connection.
        pub(crate) timeout: Duration = number(10.0).unit("seconds").between(0.1, 600.0),
        /// Age from which an event that cannot be delivered is dropped.
        pub(crate) max_age: Duration = number(86_400.0).unit("seconds"),
        /// Longest wait after a failed delivery; the first one is a second, and each is twice the one before.
        pub(crate) backoff_max: Duration = number(300.0).unit("seconds"),
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::{Conf, ConfigError};

    use super::*;

    fn read(text: &str) -> Result<NotifierOptions, ConfigError> {
        let conf = Conf::parse(&format!("[container-notifier]\n{text}")).unwrap();
        NotifierOptions::read(&conf.section("container-notifier"))
    }

    #[test]
    fn events_are_kept_for_a_day_by_default() {
        assert_eq!(read("").unwrap().max_age, Duration::from_secs(86_400));
        assert_eq!(read("timeout = 0.5").unwrap().timeout, Duration::from_millis(500));
        for (text, word) in [
            ("concurrency = 0", "concurrency"),
            ("timeout = 0", "timeout"),
            ("max_age = x", "max_age"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }
}
