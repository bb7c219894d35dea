//! The one number: how much of what is stored has fewer good copies than it should.
//!
//! Each replicator counts its share (`object/src/replicator/redundancy.rs`,
//! `lib/broker/src/replication/redundancy.rs` say exactly what), so the sum over all hosts is the
//! cluster's. A host that does not tell makes the sum a lower bound, which is said.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Session;
use super::options::ServerType;
use super::scout::Answer;
use super::told::Told;

/// The answers that count: servers at several ports of one host may share a recon cache.
fn each_cache<'a>(answers: &'a [Answer], last: &str) -> Vec<&'a Answer> {
    let mut seen = BTreeSet::new();
    let has_told = answers.iter().filter(|answer| answer.number(last).is_some());
    has_told.filter(|answer| seen.insert((answer.ip.clone(), answer.content.to_string()))).collect()
}

fn sum(counts: &[Option<&Value>], key: &str) -> u64 {
    let numbers = counts.iter().flatten().filter_map(|counts| counts.get(key)?.as_u64());
    numbers.fold(0, u64::saturating_add)
}

fn line(told: &mut Told, what: &str, below: u64, unknown: u64) {
    let line = format!("[{what}] below full redundancy: {below}, unknown: {unknown}");
    match below + unknown {
        0 => told.line(line),
        _ => told.amiss(line),
    }
}

pub(super) async fn check(session: &Session<'_>) -> Told {
    let server = session.server.name();
    let mut told = session.begin("Checking redundancy");
    let answers = session.ask(&format!("redundancy/{server}"), &mut told).await;
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
                0 => told.amiss(format!("[objects {}] No hosts returned valid data.", policy.name)),
                _ => line(&mut told, &format!("objects {}", policy.name), below, unknown),
            }
            let hosts = of.iter().flatten().count();
            let value = json!({ "below": below, "unknown": unknown, "reported": hosts });
            policies.insert(index, value);
        }
        told.set("policies", Value::Object(policies));
    } else if counts.iter().flatten().next().is_none() {
        told.amiss(format!("[{server} rows] No hosts returned valid data."));
    } else {
        for (what, prefix) in [("rows", ""), ("databases", "databases_")] {
            let of = |state: &str| sum(&counts, &format!("{prefix}{state}"));
            let (below, unknown) = (of("below"), of("unknown"));
            line(&mut told, &format!("{server} {what}"), below, unknown);
            told.set(what, json!({ "below": below, "unknown": unknown }));
        }
    }
    let hosts = session.hosts.len();
    let silent = hosts - answers.iter().filter(|answer| answer.number(&last).is_some()).count();
    if silent > 0 {
        told.amiss(format!("!! {silent}/{hosts} hosts told nothing: the real numbers are larger"));
    }
    told.set("silent", silent);
    let ends: Vec<_> =
        answers.iter().map(|answer| (answer.address.clone(), answer.number(&last))).collect();
    told.completions(&ends);
    told
}
