//! Metrics in Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use serde_json::Value;

use super::{BUCKETS, Requests};

/// Most numbers of one report.
const ITEMS_MAX: usize = 500;

/// The text under construction.
#[derive(Default)]
pub(super) struct Exposition {
    pub(super) text: String,
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{label}=\"{}\"", quoted(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    pub(super) fn requests(&mut self, requests: &Requests) {
        self.family(
            "apus_requests_total",
            "counter",
            "Requests answered, on sockets and within the process.",
        );
        for ((server, method, status), count) in &requests.answers {
            let status = status.to_string();
            let labels = [("server", *server), ("method", *method), ("status", status.as_str())];
            self.sample("apus_requests_total", &labels, count);
        }
        self.family("apus_request_seconds", "histogram", "Time until the head of the answer.");
        for ((server, method), latency) in &requests.latencies {
            let labels = [("server", *server), ("method", *method)];
            let mut sum = 0;
            for (end, count) in BUCKETS.iter().zip(&latency.buckets) {
                sum += count;
                self.bucket(labels, &end.to_string(), sum);
            }
            self.bucket(labels, "+Inf", latency.count);
            self.sample("apus_request_seconds_sum", &labels, latency.seconds);
            self.sample("apus_request_seconds_count", &labels, latency.count);
        }
    }

    fn bucket(&mut self, labels: [(&str, &str); 2], end: &str, count: u64) {
        let [server, method] = labels;
        self.sample("apus_request_seconds_bucket", &[server, method, ("le", end)], count);
    }

    pub(super) fn totals(&mut self, totals: &[(&'static str, u64)]) {
        for (name, value) in totals {
            let name = format!("apus_{name}_total");
            self.family(&name, "counter", "Counted in this process since its start.");
            self.sample(&name, &[], value);
        }
    }

    pub(super) fn rings(&mut self, rings: &[(String, u64)]) {
        let name = "apus_ring_version";
        self.family(name, "gauge", "Version of the ring that this process uses.");
        for (ring, version) in rings {
            self.sample(name, &[("ring", ring)], version);
        }
    }

    pub(super) fn passes(&mut self, passes: &BTreeMap<String, Value>) {
        for (field, name, help) in [
            ("ended", "apus_daemon_pass_end_seconds", "When the last pass ended, since 1970."),
            ("seconds", "apus_daemon_pass_duration_seconds", "How long the last pass took."),
        ] {
            self.family(name, "gauge", help);
            for (daemon, pass) in passes {
                if let Some(value) = pass.get(field).and_then(Value::as_f64) {
                    self.sample(name, &[("daemon", daemon)], value);
                }
            }
        }
        self.family("apus_daemon_report", "gauge", "What the last pass reported.");
        for (daemon, pass) in passes {
            let mut items = Vec::new();
            numbers(pass.get("report").unwrap_or(&Value::Null), String::new(), &mut items);
            for (item, value) in items {
                self.sample("apus_daemon_report", &[("daemon", daemon), ("item", &item)], value);
            }
        }
    }
}

impl Exposition {
    /// Counts of the replicators of this node, to be summed over all nodes.
    pub(super) fn redundancy(&mut self, servers: &BTreeMap<&'static str, Value>) {
        let no_policies = serde_json::Map::new();
        for (state, help) in [
            ("below", "Of which a primary lacks the newest state, counted once in the cluster."),
            ("unknown", "Of which no primary is known to lack it, but one could not be asked."),
        ] {
            let name = format!("apus_{state}_redundancy");
            self.family(&name, "gauge", help);
            let policies = servers.get("object").and_then(Value::as_object);
            for (policy, counts) in policies.unwrap_or(&no_policies) {
                if let Some(count) = counts.get(state).and_then(Value::as_u64) {
                    self.sample(&name, &[("kind", "objects"), ("policy", policy)], count);
                }
            }
            for server in ["account", "container"] {
                let count = |key: &str| servers.get(server)?.get(key)?.as_u64();
                for (kind, key) in
                    [("rows", state.to_owned()), ("databases", format!("databases_{state}"))]
                {
                    if let Some(count) = count(&key) {
                        self.sample(&name, &[("kind", &format!("{server}_{kind}"))], count);
                    }
                }
            }
        }
    }
}

/// All numbers of a report; nested ones have both names with a dot between them.
fn numbers(value: &Value, name: String, items: &mut Vec<(String, f64)>) {
    if items.len() >= ITEMS_MAX {
        return;
    }
    match value {
        Value::Object(inner) => {
            for (key, value) in inner {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                numbers(value, name, items);
            }
        }
        Value::Bool(value) => items.push((name, f64::from(u8::from(*value)))),
        Value::Number(value) => items.extend(value.as_f64().map(|value| (name, value))),
        Value::Null | Value::String(_) | Value::Array(_) => {}
    }
}
