//! Versions of the servers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Session;
use super::report::CheckReport;

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking versions");
    let answers = session.ask("version", &mut report).await;
    let mut versions = BTreeSet::new();
    for answer in &answers {
        let version = answer.content.get("version").and_then(Value::as_str).unwrap_or("unknown");
        versions.insert(version.to_owned());
        if session.options.verbose {
            report.line(format!("-> {} installed version {version}", answer.url));
        }
    }
    let errors = session.hosts.len().saturating_sub(answers.len());
    let all = versions.iter().cloned().collect::<Vec<_>>().join(", ");
    match versions.len() {
        0 => report.line("No hosts returned valid data."),
        1 => report
            .line(format!("Versions matched ({all}), {errors} error[s] while checking hosts.")),
        _ => report
            .fail(format!("Versions not matched ({all}), {errors} error[s] while checking hosts.")),
    }
    report.set("versions", versions.into_iter().collect::<Vec<_>>());
    report
}
