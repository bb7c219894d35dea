//! Checksums of rings and `swift.conf`, compared with the local files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Session;
use super::options::ServerType;
use super::report::CheckReport;

fn digest(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("{:x}", md5::compute(bytes)))
}

/// The rings of the servers that are asked, by file name.
fn local_rings(session: &Session<'_>) -> Result<BTreeMap<String, String>, String> {
    let directory = &session.options.swiftdir;
    let own = format!("{}.ring.gz", session.server.name());
    let mut names = vec![own];
    if session.server == ServerType::Object {
        let found = apus_disk::names(directory);
        names = found.map_err(|error| format!("{}: {error}", directory.display()))?;
        names.retain(|name| name.starts_with("object") && name.ends_with(".ring.gz"));
    }
    names.into_iter().map(|name| Ok((name.clone(), digest(&directory.join(&name))?))).collect()
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn end(report: &mut CheckReport, matched: usize, hosts: usize, errors: usize) {
    report
        .line(format!("{matched}/{hosts} hosts matched, {errors} error[s] while checking hosts."));
    report.set("matched", matched);
    report.set("hosts", hosts);
}

pub(super) async fn rings(session: &Session<'_>) -> CheckReport {
    let local = match local_rings(session) {
        Ok(local) => local,
        Err(error) => return CheckReport::refuse(&error),
    };
    let mut report = session.begin("Checking ring md5sums");
    if session.options.verbose {
        for (name, sum) in &local {
            report.line(format!("-> On disk {name} md5sum: {sum}"));
        }
    }
    let answers = session.ask("ringmd5", &mut report).await;
    let mut matched = 0;
    for answer in &answers {
        let theirs = answer.content.as_object().into_iter().flatten();
        let theirs = theirs.map(|(path, sum)| (base_name(path), sum.as_str()));
        let (mut same, mut compared) = (true, false);
        for (name, sum) in theirs.filter(|(name, _)| name.starts_with(session.server.name())) {
            compared = true;
            if sum.is_none() || sum != local.get(name).map(String::as_str) {
                same = false;
                let sum = sum.unwrap_or("None");
                let url = &answer.url;
                report.fail(format!("!! {url} ({name} => {sum}) doesn't match on disk md5sum"));
            }
        }
        if !compared {
            report.fail(format!("!! {} reports no {} ring", answer.url, session.server.name()));
        } else if same {
            matched += 1;
            if session.options.verbose {
                report.line(format!("-> {} matches.", answer.url));
            }
        }
    }
    let hosts = session.hosts.len();
    end(&mut report, matched, hosts, hosts - matched);
    report
}

pub(super) async fn swift_conf(session: &Session<'_>) -> CheckReport {
    let local = match digest(&session.options.swiftdir.join("swift.conf")) {
        Ok(local) => local,
        Err(error) => return CheckReport::refuse(&error),
    };
    let mut report = session.begin("Checking swift.conf md5sum");
    if session.options.verbose {
        report.line(format!("-> On disk swift.conf md5sum: {local}"));
    }
    let answers = session.ask("swiftconfmd5", &mut report).await;
    let mut matched = 0;
    for answer in &answers {
        let mut theirs = answer.content.as_object().into_iter().flatten();
        let sum = theirs.find(|(path, _)| base_name(path) == "swift.conf");
        let sum = sum.and_then(|(_, sum)| sum.as_str()).unwrap_or("None");
        if sum == local {
            matched += 1;
            if session.options.verbose {
                report.line(format!("-> {} matches.", answer.url));
            }
        } else {
            report.fail(format!("!! {} ({sum}) doesn't match on disk md5sum", answer.url));
        }
    }
    let hosts = session.hosts.len();
    end(&mut report, matched, hosts, hosts.saturating_sub(answers.len()));
    report.set("md5", Value::from(local));
    report
}
