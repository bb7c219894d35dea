//! Options of `[object-expirer]` in `object-server.conf`.

use std::collections::BTreeMap;
use std::time::Duration;

use apus_cluster::{AccountName, expirer, percent};
use apus_daemon::config::{ConfigError, Section, Share};
use apus_options::{OptionDeclaration, family, flag, number, options, text, whole};

options! {
    /// Options of `[object-expirer]`, with Swift's names and, but for one, its defaults.
    #[derive(Debug)]
    pub struct ObjectExpirerOptions {
        /// Time between two passes over the queue.
        interval: u64 = whole(300).unit("seconds"),
        /// Account of the queue, without its dot.
        expiring_objects_account_name: String = text("expiring_objects", "an account's name")
            .checked(is_account),
        /// Tasks that are executed at the same time.
        concurrency: usize = whole(1).from(1),
        /// Tasks a second; 0 is unlimited.
        tasks_per_second: f64 = number(50.0),
        /// Age after which a failed task is dropped.
        reclaim_age: u64 = whole(604_800).unit("seconds"),
        /// Whether this process works on the queue. Swift's default is false; here an expirer that is started is meant to work.
        dequeue_from_legacy: bool = flag(true),
    }
}

/// The options with names of accounts and containers in their names.
pub(crate) const DELAYS: &[OptionDeclaration] = &[family(
    "delay_reaping_<account>[/<container>]",
    number(0.0).unit("seconds"),
    "How long expired objects of an account, or of one of its containers, are kept. Names are percent-encoded.",
)];

fn is_account(name: &str) -> bool {
    name.is_empty() || AccountName::parse(&format!(".{name}")).is_ok()
}

/// Settings of the expirer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExpirerOptions {
    /// Time between two passes.
    pub(crate) interval: Duration,
    /// The account of the queue (`expiring_objects_account_name`, with its dot).
    pub(crate) account: AccountName,
    /// Tasks that are executed concurrently.
    pub(crate) concurrency: usize,
    /// Tasks a second; 0 for no limit.
    pub(crate) tasks_per_second: f64,
    /// This process's share of the queue.
    pub(crate) share: Share,
    /// Age in seconds after which a failed task is dropped.
    pub(crate) reclaim_age: u64,
    /// Whether this process works on the queue (`dequeue_from_legacy`).
    pub(crate) dequeues: bool,
    /// Seconds for which expired objects are kept, by account and container.
    delays: BTreeMap<(String, Option<String>), f64>,
}

const DELAY: &str = "delay_reaping_";

/// Account and container of `delay_reaping_<account>[/<container>]`, percent-encoded.
fn delayed(key: &str) -> Option<(String, Option<String>)> {
    let name = percent::decode_utf8(key)?;
    let (account, container) = match name.split_once('/') {
        Some((account, container)) => (account, Some(container)),
        None => (name.as_str(), None),
    };
    let valid = !account.is_empty()
        && container.is_none_or(|container| !container.is_empty() && !container.contains('/'));
    valid.then(|| (account.to_owned(), container.map(str::to_owned)))
}

impl ExpirerOptions {
    /// Reads the options.
    pub(crate) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let given = ObjectExpirerOptions::read(section)?;
        let account = match given.expiring_objects_account_name.as_str() {
            "" => expirer::ACCOUNT.to_owned(),
            name => format!(".{name}"),
        };
        let account = AccountName::parse(&account).map_err(|_| {
            section.refuse("expiring_objects_account_name", &account, "an account's name")
        })?;
        let mut delays = BTreeMap::new();
        for (key, value) in section.own() {
            let Some(name) = key.strip_prefix(DELAY) else { continue };
            let form = "an option delay_reaping_<account> or delay_reaping_<account>/<container>";
            let name = delayed(name).ok_or_else(|| section.refuse(key, value, form))?;
            let seconds: Option<f64> = value.parse().ok();
            let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
            let expected = "seconds, 0 or more";
            delays.insert(name, seconds.ok_or_else(|| section.refuse(key, value, expected))?);
        }
        Ok(Self {
            interval: Duration::from_secs(given.interval),
            account,
            concurrency: given.concurrency,
            tasks_per_second: given.tasks_per_second,
            share: Share::read(section)?,
            reclaim_age: given.reclaim_age,
            dequeues: given.dequeue_from_legacy,
            delays,
        })
    }

    /// Seconds for which expired objects of a container are kept.
    pub(crate) fn delay(&self, account: &str, container: &str) -> f64 {
        let of_container = (account.to_owned(), Some(container.to_owned()));
        let of_account = (account.to_owned(), None);
        let known = self.delays.get(&of_container).or_else(|| self.delays.get(&of_account));
        known.copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    fn read(text: &str) -> Result<ExpirerOptions, ConfigError> {
        let conf = Conf::parse(&format!("[object-expirer]\n{text}")).unwrap();
        ExpirerOptions::read(&conf.section("object-expirer"))
    }

    #[test]
    fn delays_are_those_of_the_container_then_of_the_account() {
        let options = read(
            "delay_reaping_AUTH_a = 10\ndelay_reaping_AUTH_a/c = 20.5\ndelay_reaping_B%20b/%C3%BC = 1\n",
        )
        .unwrap();
        assert_eq!(options.delay("AUTH_a", "x"), 10.0);
        assert_eq!(options.delay("AUTH_a", "c"), 20.5);
        assert_eq!(options.delay("B b", "ü"), 1.0);
        assert_eq!(options.delay("auth_a", "c"), 0.0);
    }

    #[test]
    fn defaults_are_swifts_and_malformed_options_are_named() {
        let options = read("").unwrap();
        assert_eq!(options.account.as_str(), ".expiring_objects");
        assert_eq!((options.concurrency, options.share), (1, Share::default()));
        assert_eq!((options.tasks_per_second, options.reclaim_age), (50.0, 604_800));
        assert_eq!(read("expiring_objects_account_name = x").unwrap().account.as_str(), ".x");
        for (text, word) in [
            ("concurrency = 0", "concurrency"),
            ("processes = 2\nprocess = 2", "process"),
            ("delay_reaping_/a = 1", "delay_reaping_/a"),
            ("delay_reaping_a/b/c = 1", "delay_reaping_a/b/c"),
            ("delay_reaping_a = -1", "0 or more"),
            ("delay_reaping_a = nan", "0 or more"),
            ("tasks_per_second = x", "tasks_per_second"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("[object-expirer]"), "{error}");
        }
    }
}
