//! Whether all servers are of one version.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Session;
use super::told::Told;

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking versions");
    let answers = session.ask("version", &mut told).await;
    let mut versions = BTreeSet::new();
    for answer in &answers {
        let version = answer.content.get("version").and_then(Value::as_str).unwrap_or("unknown");
        versions.insert(version.to_owned());
        if session.options.verbose {
            told.line(format!("-> {} installed version {version}", answer.url));
        }
    }
    let errors = session.hosts.len().saturating_sub(answers.len());
    let all = versions.iter().cloned().collect::<Vec<_>>().join(", ");
    match versions.len() {
        0 => told.line("No hosts returned valid data."),
        1 => {
            told.line(format!("Versions matched ({all}), {errors} error[s] while checking hosts."))
        }
        _ => told.amiss(format!(
            "Versions not matched ({all}), {errors} error[s] while checking hosts."
        )),
    }
    told.set("versions", versions.into_iter().collect::<Vec<_>>());
    told
}
