//! Durations of updater sweeps.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking updater times");
    let server = session.server.name();
    let answers = session.ask(&format!("updater/{server}"), &mut report).await;
    let key = format!("{server}_updater_sweep");
    let sweeps = answers.iter().map(|answer| answer.number(&key));
    // An updater that has not finished a sweep reports 0 or nothing.
    let sweeps: Vec<_> = sweeps.filter(|sweep| sweep.is_some_and(|sweep| sweep != 0.0)).collect();
    let none = "[updater_last_sweep] - No hosts returned valid data.";
    report.stats("updater_last_sweep", &sweeps, none);
    report
}
