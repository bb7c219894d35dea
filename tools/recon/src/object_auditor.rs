//! Auditors of objects: the sweep over everything and the fast one over empty files.

use serde_json::Value;

use super::Session;
use super::report::CheckReport;

/// The sum of an entry at any depth: sweeps of single devices are reported by device.
fn sum(key: &str, of: &Value) -> f64 {
    let Value::Object(entries) = of else { return 0.0 };
    let inner = entries.iter().map(|(name, value)| match value {
        Value::Object(_) => sum(key, value),
        value if name == key => value.as_f64().unwrap_or(0.0),
        _ => 0.0,
    });
    inner.sum()
}

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking auditor stats ");
    let answers = session.ask("auditor/object", &mut report).await;
    let all = ["audit_time", "bytes_processed", "passes", "errors", "quarantined"];
    let zero = ["audit_time", "bytes_processed", "errors", "quarantined"];
    for (sweep, keys) in [("ALL", all.as_slice()), ("ZBF", zero.as_slice())] {
        let key = format!("object_auditor_stats_{sweep}");
        let found = answers.iter().filter_map(|answer| answer.content.get(&key));
        let found: Vec<_> =
            found.filter(|of| of.as_object().is_some_and(|of| !of.is_empty())).collect();
        let none = format!("[{sweep}_auditor] - No hosts returned valid data.");
        if found.is_empty() {
            report.line(none);
            continue;
        }
        for key in keys {
            let values: Vec<_> = found.iter().map(|of| Some(sum(key, of))).collect();
            report.stats(&format!("{sweep}_{key}_last_path"), &values, &none);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sweeps_of_single_devices_are_summed() {
        let report =
            json!({"errors": 1, "sd1": {"errors": 2, "passes": 9}, "sd2": {"errors": "x"}});
        assert_eq!(
            (sum("errors", &report), sum("none", &report), sum("errors", &json!(7))),
            (3.0, 0.0, 0.0)
        );
    }
}
