//! Whether clocks agree with ours. What a request takes counts for the host.

use serde_json::json;

use super::Session;
use super::told::{Told, written};

pub(super) async fn check(session: &Session<'_>) -> Told {
    let mut told = session.begin("Checking time-sync");
    let answers = session.ask("time", &mut told).await;
    let jitter = session.options.jitter.abs();
    let (mut matched, mut silent) = (0, session.hosts.len().saturating_sub(answers.len()));
    let mut differing = Vec::new();
    for answer in &answers {
        let (url, (asked, answered)) = (&answer.url, answer.span);
        let Some(remote) = answer.content.as_f64() else {
            silent += 1;
            told.failed(url, "tells no time", true);
            continue;
        };
        if remote + jitter < asked || remote - jitter > answered {
            let apart = (answered - remote).abs();
            told.amiss(format!(
                "!! {url} current time is {}, but remote is {}, differs by {apart:.4} sec",
                written(answered),
                written(remote)
            ));
            differing.push(json!({ "url": url, "seconds": apart }));
            continue;
        }
        matched += 1;
        if session.options.verbose {
            told.line(format!("-> {url} matches."));
        }
    }
    let hosts = session.hosts.len();
    told.line(format!("{matched}/{hosts} hosts matched, {silent} error[s] while checking hosts."));
    told.set("matched", matched);
    told.set("hosts", hosts);
    told.set("differing", differing);
    told
}
