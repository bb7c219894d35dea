//! Sharders of containers.

use serde_json::Value;

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking on sharders");
    let answers = session.ask("sharding", &mut report).await;
    let none = |key: &str| format!("[{key}] - No hosts returned valid data.");
    let took: Vec<_> = answers
        .iter()
        .map(|answer| answer.first_number(["sharding_time", "sharding_time"]))
        .collect();
    report.stats("sharding_time", &took, &none("sharding_time"));
    let stats = answers.iter().filter_map(|answer| answer.content.get("sharding_stats"));
    let stats: Vec<_> =
        stats.filter(|stats| stats.as_object().is_some_and(|stats| !stats.is_empty())).collect();
    for key in ["attempted", "failure", "success"] {
        let values: Vec<_> = stats.iter().map(|of| of.get(key).and_then(Value::as_f64)).collect();
        report.stats(key, &values, &none(key));
    }
    let last: Vec<_> = answers
        .iter()
        .map(|answer| {
            (answer.address.clone(), answer.first_number(["sharding_last", "sharding_last"]))
        })
        .collect();
    report.completions(&last);
    report
}
