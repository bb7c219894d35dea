//! Reports of checks, as `swift-recon`'s lines and as JSON.

use std::time::Duration;

use apus_cluster::Timestamp;
use serde_json::{Map, Value, json};

/// The result of one check.
#[derive(Debug, Default)]
pub(super) struct CheckReport {
    pub(super) lines: Vec<String>,
    /// Lines below the separator.
    pub(super) after: Vec<String>,
    pub(super) values: Map<String, Value>,
    /// Whether the check failed, or could not be made.
    pub(super) failed: bool,
    now: f64,
}

/// A time as `2026-01-31 23:59:59`, UTC.
pub(super) fn format_time(seconds: f64) -> String {
    // A negative time is shown as 1970.
    let iso = Timestamp::from_seconds(seconds.max(0.0) as u64).iso();
    iso.get(..19).unwrap_or(&iso).replace('T', " ")
}

/// The largest unit of which there is at least one.
fn in_units(seconds: f64) -> (f64, &'static str) {
    let mut elapsed = (seconds, "seconds");
    for (units, name) in [(60.0, "minutes"), (60.0, "hours"), (24.0, "days")] {
        if elapsed.0 < units {
            break;
        }
        elapsed = (elapsed.0 / units, name);
    }
    elapsed
}

impl CheckReport {
    /// A report that starts with the time and a title.
    pub(super) fn begin(now: Duration, title: &str) -> Self {
        let now = now.as_secs_f64();
        let lines = vec![format!("[{}] {title}", format_time(now))];
        Self { lines, now, ..Self::default() }
    }

    /// Report of a check that cannot be made.
    pub(super) fn refuse(error: &str) -> Self {
        let mut report = Self { failed: true, ..Self::default() };
        report.line(format!("Error: {error}"));
        report.set("error", error);
        report
    }

    pub(super) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Adds a line that makes the check fail.
    pub(super) fn fail(&mut self, line: impl Into<String>) {
        self.failed = true;
        self.line(line);
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    fn set_in(&mut self, group: &str, key: &str, value: Value) {
        let group = self.values.entry(group).or_insert_with(|| json!({}));
        if let Value::Object(group) = group {
            group.insert(key.to_owned(), value);
        }
    }

    /// Adds a host that failed to respond.
    pub(super) fn host_failed(&mut self, url: &str, error: &str, is_shown: bool) {
        self.failed = true;
        self.set_in("errors", url, error.into());
        if is_shown {
            self.line(format!("-> {url}: {error}"));
        }
    }

    /// Lowest, highest, average and sum of the hosts' values; the line `none` without values.
    pub(super) fn stats(&mut self, name: &str, values: &[Option<f64>], none: &str) {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let Some(low) = known.iter().copied().reduce(f64::min) else {
            self.line(none);
            self.set_in("stats", name, Value::Null);
            return;
        };
        let high = known.iter().copied().fold(low, f64::max);
        let total: f64 = known.iter().sum();
        let (reported, silent) = (known.len(), values.len() - known.len());
        let average = total / reported as f64;
        let percent = silent as f64 * 100.0 / values.len() as f64;
        let whole = |number: f64| format!("{:.0}", number.trunc() + 0.0);
        self.line(format!(
            "[{name}] low: {}, high: {}, avg: {average:.1}, total: {}, Failed: {percent:.1}%, \
             no_result: {silent}, reported: {reported}",
            whole(low),
            whole(high),
            whole(total)
        ));
        let stats = json!({
            "low": low,
            "high": high,
            "average": average,
            "total": total,
            "reported": reported,
            "no_result": silent,
        });
        self.set_in("stats", name, stats);
    }

    /// Hosts with the newest and the oldest completion; 0 is never.
    pub(super) fn completions(&mut self, last: &[(String, Option<f64>)]) {
        let known = || last.iter().filter_map(|(host, time)| Some((host.clone(), (*time)?)));
        let ago = |time: f64, now: f64| {
            let (elapsed, unit) = in_units((now - time).max(0.0));
            format!("{} ({:.0} {unit} ago)", format_time(time), elapsed.trunc())
        };
        if let Some((host, time)) =
            known().reduce(|least, new| if new.1 < least.1 { new } else { least })
        {
            self.line(match time {
                0.0 => format!("Oldest completion was NEVER by {host}."),
                time => format!("Oldest completion was {} by {host}.", ago(time, self.now)),
            });
            self.set("oldest_completion", json!({ "host": host, "time": time }));
        }
        let newest = known().filter(|(_, time)| *time > 0.0);
        if let Some((host, time)) =
            newest.reduce(|most, new| if new.1 > most.1 { new } else { most })
        {
            self.line(format!("Most recent completion was {} by {host}.", ago(time, self.now)));
            self.set("newest_completion", json!({ "host": host, "time": time }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_swifts_lines() {
        let mut report = CheckReport::default();
        report.stats("a", &[Some(1.9), None, Some(4.0)], "none");
        report.stats("b", &[None], "none");
        report.stats("c", &[], "none");
        assert_eq!(
            report.lines,
            [
                "[a] low: 1, high: 4, avg: 3.0, total: 5, Failed: 33.3%, no_result: 1, reported: 2",
                "none",
                "none"
            ]
        );
        assert_eq!(report.values["stats"]["a"]["total"], 5.9);
        assert!(report.values["stats"]["b"].is_null() && !report.failed);
    }

    #[test]
    fn completions_are_shown_with_their_age() {
        let mut report = CheckReport::begin(Duration::from_secs(1_700_090_000), "Checking");
        let last = |hosts: &[(&str, Option<f64>)]| {
            hosts.iter().map(|(host, time)| ((*host).to_owned(), *time)).collect::<Vec<_>>()
        };
        report.completions(&last(&[
            ("a", Some(1_700_089_000.0)),
            ("b", None),
            ("c", Some(1_700_000_000.5)),
        ]));
        report.completions(&last(&[("a", Some(0.0))]));
        report.completions(&[]);
        assert_eq!(
            report.lines,
            [
                "[2023-11-15 23:13:20] Checking",
                "Oldest completion was 2023-11-14 22:13:20 (1 days ago) by c.",
                "Most recent completion was 2023-11-15 22:56:40 (16 minutes ago) by a.",
                "Oldest completion was NEVER by a."
            ]
        );
    }
}
