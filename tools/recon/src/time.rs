//! Difference of clocks. The duration of a request counts in favour of the host.

use serde_json::json;

use super::Session;
use super::report::{CheckReport, format_time};

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let mut report = session.begin("Checking time-sync");
    let answers = session.ask("time", &mut report).await;
    let jitter = session.options.jitter.abs();
    let (mut matched, mut silent) = (0, session.hosts.len().saturating_sub(answers.len()));
    let mut differing = Vec::new();
    for answer in &answers {
        let (url, (asked, answered)) = (&answer.url, answer.span);
        let Some(remote) = answer.content.as_f64() else {
            silent += 1;
            report.host_failed(url, "reports no time", true);
            continue;
        };
        if remote + jitter < asked || remote - jitter > answered {
            let apart = (answered - remote).abs();
            report.fail(format!(
                "!! {url} current time is {}, but remote is {}, differs by {apart:.4} sec",
                format_time(answered),
                format_time(remote)
            ));
            differing.push(json!({ "url": url, "seconds": apart }));
            continue;
        }
        matched += 1;
        if session.options.verbose {
            report.line(format!("-> {url} matches."));
        }
    }
    let hosts = session.hosts.len();
    report
        .line(format!("{matched}/{hosts} hosts matched, {silent} error[s] while checking hosts."));
    report.set("matched", matched);
    report.set("hosts", hosts);
    report.set("differing", differing);
    report
}
