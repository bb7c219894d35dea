//! Reconstructors of erasure-coded policies.

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking on reconstructors");
    let answers = session.ask("reconstruction/object", &mut report).await;
    let name = "object_reconstruction_time";
    let times: Vec<_> = answers.iter().map(|answer| answer.number(name)).collect();
    report.stats(name, &times, &format!("[{name}] - No hosts returned valid data."));
    let key = "object_reconstruction_last";
    let last: Vec<_> = answers
        .iter()
        .map(|answer| (answer.address.clone(), answer.first_number([key, key])))
        .collect();
    report.completions(&last);
    report
}
