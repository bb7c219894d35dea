//! Auditors of databases.

use serde_json::json;

use super::Session;
use super::report::{CheckReport, format_time};

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking auditor stats");
    let server = session.server.name();
    let answers = session.ask(&format!("auditor/{server}"), &mut report).await;
    if answers.is_empty() {
        report.fail("Error: No hosts available");
        return report;
    }
    let values = |end: &str| -> (String, Vec<Option<f64>>) {
        let key = format!("{server}_{end}");
        let values = answers.iter().map(|answer| answer.number(&key));
        let values = values.filter(Option::is_some).collect();
        (key, values)
    };
    for end in ["auditor_pass_completed", "audits_failed", "audits_passed"] {
        let (key, values) = values(end);
        report.stats(&key, &values, &format!("[{key}] - No hosts returned valid data."));
    }
    let (key, since) = values("audits_since");
    let since: Vec<f64> = since.into_iter().flatten().collect();
    let (Some(low), Some(high)) =
        (since.iter().copied().reduce(f64::min), since.iter().copied().reduce(f64::max))
    else {
        report.line(format!("[{key}] - No hosts returned valid data."));
        return report;
    };
    let average = since.iter().sum::<f64>() / since.len() as f64;
    report.line(format!(
        "[last_pass] oldest: {}, newest: {}, avg: {}",
        format_time(low),
        format_time(high),
        format_time(average)
    ));
    report.set("last_pass", json!({ "oldest": low, "newest": high, "average": average }));
    report
}
