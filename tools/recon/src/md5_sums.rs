//! Whether hosts have the rings and the `swift.conf` that are here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Session;
use super::options::ServerType;
use super::told::Told;

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

fn end(told: &mut Told, matched: usize, hosts: usize, errors: usize) {
    told.line(format!("{matched}/{hosts} hosts matched, {errors} error[s] while checking hosts."));
    told.set("matched", matched);
    told.set("hosts", hosts);
}

pub(super) async fn rings(session: &Session<'_>) -> Told {
    let local = match local_rings(session) {
        Ok(local) => local,
        Err(error) => return Told::refuse(&error),
    };
    let mut told = session.begin("Checking ring md5sums");
    if session.options.verbose {
        for (name, sum) in &local {
            told.line(format!("-> On disk {name} md5sum: {sum}"));
        }
    }
    let answers = session.ask("ringmd5", &mut told).await;
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
                told.amiss(format!("!! {url} ({name} => {sum}) doesn't match on disk md5sum"));
            }
        }
        if !compared {
            told.amiss(format!("!! {} tells of no {} ring", answer.url, session.server.name()));
        } else if same {
            matched += 1;
            if session.options.verbose {
                told.line(format!("-> {} matches.", answer.url));
            }
        }
    }
    let hosts = session.hosts.len();
    end(&mut told, matched, hosts, hosts - matched);
    told
}

pub(super) async fn swift_conf(session: &Session<'_>) -> Told {
    let local = match digest(&session.options.swiftdir.join("swift.conf")) {
        Ok(local) => local,
        Err(error) => return Told::refuse(&error),
    };
    let mut told = session.begin("Checking swift.conf md5sum");
    if session.options.verbose {
        told.line(format!("-> On disk swift.conf md5sum: {local}"));
    }
    let answers = session.ask("swiftconfmd5", &mut told).await;
    let mut matched = 0;
    for answer in &answers {
        let mut theirs = answer.content.as_object().into_iter().flatten();
        let sum = theirs.find(|(path, _)| base_name(path) == "swift.conf");
        let sum = sum.and_then(|(_, sum)| sum.as_str()).unwrap_or("None");
        if sum == local {
            matched += 1;
            if session.options.verbose {
                told.line(format!("-> {} matches.", answer.url));
            }
        } else {
            told.amiss(format!("!! {} ({sum}) doesn't match on disk md5sum", answer.url));
        }
    }
    let hosts = session.hosts.len();
    end(&mut told, matched, hosts, hosts.saturating_sub(answers.len()));
    told.set("md5", Value::from(local));
    told
}
