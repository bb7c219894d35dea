//! Objects and database rows with fewer good copies than their ring wants.
//!
//! Each replicator counts its share (`object/src/replicator/redundancy.rs` and
//! `lib/broker/src/replication/redundancy.rs` define it), so the sum over all hosts is that of the
//! cluster. When a host reports nothing the sum is a lower bound, and the check says so.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Session;
use super::options::ServerType;
use super::report::CheckReport;
use super::scout::Answer;

/// The answers that count: servers at several ports of one host may share a recon cache.
fn each_cache<'a>(answers: &'a [Answer], last: &str) -> Vec<&'a Answer> {
    let mut seen = BTreeSet::new();
    let reporting = answers.iter().filter(|answer| answer.number(last).is_some());
    reporting
        .filter(|answer| seen.insert((answer.ip.clone(), answer.content.to_string())))
        .collect()
}

fn sum(counts: &[Option<&Value>], key: &str) -> u64 {
    let numbers = counts.iter().flatten().filter_map(|counts| counts.get(key)?.as_u64());
    numbers.fold(0, u64::saturating_add)
}

fn line(report: &mut CheckReport, what: &str, below: u64, unknown: u64) {
    let line = format!("[{what}] below full redundancy: {below}, unknown: {unknown}");
    match below + unknown {
        0 => report.line(line),
        _ => report.fail(line),
    }
}

pub(super) async fn check(session: &Session<'_>) -> CheckReport {
    let server = session.server.name();
    let mut report = session.begin("Checking redundancy");
    let answers = session.ask(&format!("redundancy/{server}"), &mut report).await;
    let last = format!("{server}_redundancy_last");
    let caches = each_cache(&answers, &last);
    let counts: Vec<_> =
        caches.iter().map(|answer| answer.content.get(format!("{server}_redundancy"))).collect();
    if session.server == ServerType::Object {
        let mut policies = Map::new();
        for policy in session.policies {
            let index = policy.index.to_string();
            let of: Vec<_> = counts.iter().map(|all| all.and_then(|all| all.get(&index))).collect();
            let (below, unknown) = (sum(&of, "below"), sum(&of, "unknown"));
            match of.iter().flatten().count() {
                0 => {
                    report.fail(format!("[objects {}] No hosts returned valid data.", policy.name))
                }
                _ => line(&mut report, &format!("objects {}", policy.name), below, unknown),
            }
            let hosts = of.iter().flatten().count();
            let value = json!({ "below": below, "unknown": unknown, "reported": hosts });
            policies.insert(index, value);
        }
        report.set("policies", Value::Object(policies));
    } else if counts.iter().flatten().next().is_none() {
        report.fail(format!("[{server} rows] No hosts returned valid data."));
    } else {
        for (what, prefix) in [("rows", ""), ("databases", "databases_")] {
            let of = |state: &str| sum(&counts, &format!("{prefix}{state}"));
            let (below, unknown) = (of("below"), of("unknown"));
            line(&mut report, &format!("{server} {what}"), below, unknown);
            report.set(what, json!({ "below": below, "unknown": unknown }));
        }
    }
    let hosts = session.hosts.len();
    let silent = hosts - answers.iter().filter(|answer| answer.number(&last).is_some()).count();
    if silent > 0 {
        report.fail(format!(
            "!! {silent}/{hosts} hosts reported nothing: the real numbers are larger"
        ));
    }
    report.set("silent", silent);
    let ends: Vec<_> =
        answers.iter().map(|answer| (answer.address.clone(), answer.number(&last))).collect();
    report.completions(&ends);
    report
}
