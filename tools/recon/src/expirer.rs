//! Object expirers.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking on expirers");
    let answers = session.ask("expirer/object", &mut report).await;
    for key in ["object_expiration_pass", "expired_last_pass"] {
        let values: Vec<_> = answers.iter().map(|answer| answer.number(key)).collect();
        report.stats(key, &values, &format!("[{key}] - No hosts returned valid data."));
    }
    report
}
