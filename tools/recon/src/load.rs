//! Load averages.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking load averages");
    let answers = session.ask("load", &mut report).await;
    for key in ["1m", "5m", "15m"] {
        let loads: Vec<_> = answers.iter().map(|answer| answer.number(key)).collect();
        let name = format!("{key}_load_avg");
        report.stats(&name, &loads, &format!("[{name}] - No hosts returned valid data."));
    }
    report
}
