//! Counts of quarantined objects and databases.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking quarantine");
    let answers = session.ask("quarantined", &mut report).await;
    let none = "No hosts returned valid data.";
    let mut policies: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for answer in &answers {
        let of_host = answer.content.get("policies").and_then(Value::as_object);
        for (policy, counts) in of_host.into_iter().flatten() {
            let count = counts.get("objects").and_then(Value::as_f64);
            policies.entry(policy.clone()).or_default().push(count);
        }
    }
    for (policy, counts) in policies {
        report.stats(&format!("quarantined_objects_{policy}"), &counts, none);
    }
    for key in ["objects", "containers", "accounts"] {
        let counts: Vec<_> = answers.iter().map(|answer| answer.number(key)).collect();
        report.stats(&format!("quarantined_{key}"), &counts, none);
    }
    report
}
