//! Replicators of objects or databases.

use serde_json::Value;

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking on replication");
    let answers = session.ask(&format!("replication/{}", session.server.name()), &mut report).await;
    // Old servers report objects under other keys.
    let took: Vec<_> = answers
        .iter()
        .map(|answer| answer.first_number(["replication_time", "object_replication_time"]))
        .collect();
    let none = |key: &str| format!("[{key}] - No hosts returned valid data.");
    report.stats("replication_time", &took, &none("replication_time"));
    let stats = answers.iter().filter_map(|answer| answer.content.get("replication_stats"));
    let stats: Vec<_> =
        stats.filter(|stats| stats.as_object().is_some_and(|stats| !stats.is_empty())).collect();
    for key in ["failure", "success", "attempted"] {
        let values: Vec<_> = stats.iter().map(|of| of.get(key).and_then(Value::as_f64)).collect();
        report.stats(&format!("replication_{key}"), &values, &none(key));
    }
    let last: Vec<_> = answers
        .iter()
        .map(|answer| {
            let last = answer.first_number(["replication_last", "object_replication_last"]);
            (answer.address.clone(), last)
        })
        .collect();
    report.completions(&last);
    report
}
