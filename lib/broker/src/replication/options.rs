//! ReplicationOptions of the two replicators, named as Swift's.

use std::time::Duration;

use apus_daemon::config::{ConfigError, Section};

/// Options of a replicator.
#[derive(Debug, Clone)]
pub struct ReplicationOptions {
    /// Between the end of a pass and the beginning of the next.
    pub interval: Duration,
    /// Databases at a time.
    pub concurrency: usize,
    /// Databases per second at most; 0 is unlimited.
    pub databases_per_second: f64,
    /// Rows in one call.
    pub per_diff: usize,
    /// Calls with rows for one database and replica in a pass.
    pub max_diffs: usize,
    /// Seconds after which a deletion may be dropped.
    pub reclaim_age: f64,
    /// Only databases that do not belong here.
    pub handoffs_only: bool,
    /// Replicas that must have a handoff database before it is removed; 0 for all.
    pub handoff_delete: usize,
    /// Timeout of a call.
    pub node_timeout: Duration,
}

impl ReplicationOptions {
    /// Reads `[account-replicator]` or `[container-replicator]`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let seconds = |name: &str, default: f64| -> Result<f64, ConfigError> {
            let value: f64 = section.parse(name, default, "seconds")?;
            if value.is_finite() && value >= 0.0 {
                return Ok(value);
            }
            Err(section.refuse(name, &value.to_string(), "seconds"))
        };
        let least_one = |name: &str, default: usize| -> Result<usize, ConfigError> {
            let value: usize = section.parse(name, default, "a whole number from 1")?;
            if value > 0 {
                return Ok(value);
            }
            Err(section.refuse(name, "0", "a whole number from 1"))
        };
        let handoff_delete = match section.get("handoff_delete") {
            None | Some("auto") => 0,
            Some(_) => section.parse("handoff_delete", 0, "a whole number or auto")?,
        };
        Ok(Self {
            interval: duration(seconds("interval", 30.0)?),
            concurrency: least_one("concurrency", 8)?,
            databases_per_second: seconds("databases_per_second", 50.0)?,
            per_diff: least_one("per_diff", 1000)?,
            max_diffs: least_one("max_diffs", 100)?,
            reclaim_age: seconds("reclaim_age", 604_800.0)?,
            handoffs_only: section.flag("handoffs_only", false)?,
            handoff_delete,
            node_timeout: duration(seconds("node_timeout", 10.0)?),
        })
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
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
        assert_eq!(defaults.handoff_delete, 0);
        for bad in ["per_diff = 0", "interval = -1", "handoff_delete = some", "reclaim_age = inf"] {
            let error = read(&format!("[container-replicator]\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(bad.split(' ').next().unwrap()), "{error}");
        }
    }
}
