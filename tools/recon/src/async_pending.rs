//! Listing updates that wait on object servers.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking async pendings");
    let answers = session.ask("async", &mut report).await;
    let waiting: Vec<_> = answers.iter().map(|answer| answer.number("async_pending")).collect();
    report.stats("async_pending", &waiting, "[async_pending] - No hosts returned valid data.");
    report
}
