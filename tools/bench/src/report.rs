//! What is printed about a phase: one JSON object, or one line of a table.

use serde_json::{Map, Value, json};

use super::options::{Dialect, Options, Payload};
use super::phase::Outcome;
use super::work::Work;

/// A quotient that JSON can hold.
fn per(amount: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| (amount / count * 1000.0).round() / 1000.0)
}

/// The parameters of a phase.
pub(super) fn parameters(options: &Options, work: &Work) -> Map<String, Value> {
    let s3 = options.dialect == Dialect::S3;
    let payload = match options.payload {
        Payload::Signed => "signed",
        Payload::Unsigned => "unsigned",
    };
    let parameters = json!({
        "op": work.operation.name(),
        "dialect": options.dialect.name(),
        "endpoint": format!("http://{}", work.target.endpoint.authority),
        "bucket": options.bucket,
        "size_bytes": options.size,
        "part_size_bytes": work.part_bytes,
        "payload": s3.then_some(payload),
        "concurrency": options.concurrency,
        "threads": options.threads,
        "target_rate_per_s": options.rate,
        "verify": work.verify,
    });
    match parameters {
        Value::Object(parameters) => parameters,
        _ => Map::new(),
    }
}

/// All figures of a phase, with their units in their names.
pub(super) fn figures(outcome: &Outcome) -> Map<String, Value> {
    let tally = &outcome.tally;
    let latencies = &tally.latencies;
    let succeeded = latencies.total() as f64;
    let seconds = outcome.elapsed.as_secs_f64();
    let client_ms = outcome.client_cpu.as_millis() as f64;
    let statuses: Map<String, Value> =
        tally.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let mut figures = Map::new();
    let mut add = |name: &str, value: Value| {
        figures.insert(name.to_owned(), value);
    };
    add("requests", json!(outcome.started));
    add("succeeded", json!(latencies.total()));
    add("errors", json!(tally.errors()));
    add("corrupt", json!(tally.corrupt));
    add("transport_errors", json!(tally.transport));
    add("statuses", Value::Object(statuses));
    add("first_error", json!(tally.first_error));
    add("unsent", json!(outcome.unsent));
    add("reconnects", json!(tally.reconnects));
    add("duration_s", json!(per(seconds, 1.0)));
    add("rate_per_s", json!(per(succeeded, seconds)));
    add("bytes", json!(tally.bytes));
    add("bytes_per_s", json!((tally.bytes as f64 / seconds).round()));
    for (name, per_mille) in [("p50_us", 500), ("p90_us", 900), ("p99_us", 990), ("p99_9_us", 999)]
    {
        add(name, json!(latencies.percentile_us(per_mille)));
    }
    add("max_us", json!(latencies.max_us()));
    add("mean_us", json!(latencies.mean_us().and_then(|mean| per(mean, 1.0))));
    add("client_cpu_ms", json!(client_ms));
    add("client_cpu_ms_per_op", json!(per(client_ms, succeeded)));
    if let Some(server) = &outcome.server {
        let server_ms = server.cpu.as_millis() as f64;
        add("server_cpu_ms", json!(server_ms));
        add("server_cpu_ms_per_op", json!(per(server_ms, succeeded)));
        add("server_cpu_cores", json!(per(server_ms / 1000.0, seconds)));
        add("server_rss_peak_bytes", json!(server.rss_peak_bytes));
        add("server_rss_end_bytes", json!(server.rss_end_bytes));
    }
    figures
}

/// A latency in milliseconds.
fn milliseconds(microseconds: Option<u64>) -> String {
    microseconds.map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us as f64 / 1000.0))
}

/// Names over the columns of `row`.
pub(super) fn heading(with_server: bool) -> String {
    let mut line = format!(
        "{:<6} {:>9} {:>7} {:>7} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "op",
        "requests",
        "errors",
        "corrupt",
        "ops/s",
        "MiB/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "client ms"
    );
    if with_server {
        line += &format!(" {:>9} {:>9} {:>9}", "server ms", "peak MiB", "end MiB");
    }
    line
}

/// One line of the table. CPU is per successful operation.
pub(super) fn row(operation: &str, outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let latencies = &tally.latencies;
    let seconds = outcome.elapsed.as_secs_f64();
    let each = |milliseconds: u128| milliseconds as f64 / latencies.total().max(1) as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut line = format!(
        "{operation:<6} {:>9} {:>7} {:>7} {:>9.1} {:>8.1} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9.3}",
        outcome.started,
        tally.errors(),
        tally.corrupt,
        latencies.total() as f64 / seconds,
        mib(tally.bytes) / seconds,
        milliseconds(latencies.percentile_us(500)),
        milliseconds(latencies.percentile_us(900)),
        milliseconds(latencies.percentile_us(990)),
        milliseconds(latencies.percentile_us(999)),
        milliseconds(latencies.max_us()),
        each(outcome.client_cpu.as_millis()),
    );
    if let Some(server) = &outcome.server {
        line += &format!(
            " {:>9.3} {:>9.1} {:>9.1}",
            each(server.cpu.as_millis()),
            mib(server.rss_peak_bytes),
            mib(server.rss_end_bytes)
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::phase::{ServerUse, Tally};

    fn outcome(server: Option<ServerUse>) -> Outcome {
        let mut tally = Tally { bytes: 2 << 20, corrupt: 1, ..Tally::default() };
        for _ in 0..4 {
            tally.latencies.add(Duration::from_millis(2));
        }
        tally.statuses.insert(503, 2);
        Outcome {
            tally,
            started: 7,
            unsent: 0,
            elapsed: Duration::from_secs(2),
            client_cpu: Duration::from_millis(10),
            server,
        }
    }

    #[test]
    fn rates_count_what_succeeded_and_errors_count_the_rest() {
        let figures = figures(&outcome(None));
        assert_eq!(figures["requests"], 7);
        assert_eq!(figures["rate_per_s"], 2.0);
        assert_eq!(figures["bytes_per_s"], f64::from(1 << 20));
        assert_eq!(figures["errors"], 3);
        assert_eq!(figures["statuses"]["503"], 2);
        assert_eq!(figures["client_cpu_ms_per_op"], 2.5);
        assert!(!figures.contains_key("server_cpu_ms"));
    }

    #[test]
    fn headings_stand_over_their_columns() {
        let server = ServerUse {
            cpu: Duration::from_millis(40),
            rss_peak_bytes: 3 << 20,
            rss_end_bytes: 2 << 20,
        };
        let outcome = outcome(Some(server));
        assert_eq!(heading(true).len(), row("delete", &outcome).len());
        assert_eq!(figures(&outcome)["server_cpu_ms_per_op"], 10.0);
    }
}
