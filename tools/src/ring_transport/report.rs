//! `apus ring report`: who runs which ring.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use apus_wire::rings::{Entry, Failure, Manifest, RingName, Target, manifests};
use serde_json::json;

use super::{Chosen, Cluster};

/// Servers that are asked at once.
const AT_ONCE: usize = 30;

/// Options of `apus ring report`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    chosen: Chosen,
    /// Where swift.conf and the rings of this machine are
    #[arg(long, default_value = "/etc/swift", value_name = "DIR")]
    swift_dir: PathBuf,
    /// Seconds for an answer
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Servers that have one and the same file of a name.
#[derive(Debug)]
struct Group<'a> {
    entry: &'a Entry,
    servers: Vec<&'a str>,
}

type Answers = [(Target, Result<Manifest, Failure>)];

/// Each ring with those that have it, the newest first.
fn groups(answers: &Answers) -> BTreeMap<&RingName, Vec<Group<'_>>> {
    let mut rings: BTreeMap<&RingName, Vec<Group<'_>>> = BTreeMap::new();
    for (target, answer) in answers {
        for entry in answer.iter().flat_map(|manifest| &manifest.rings) {
            let groups = rings.entry(&entry.name).or_default();
            match groups.iter_mut().find(|group| group.entry.sha256 == entry.sha256) {
                Some(group) => group.servers.push(&target.address),
                None => groups.push(Group { entry, servers: vec![&target.address] }),
            }
        }
    }
    for groups in rings.values_mut() {
        groups.sort_by_key(|group| std::cmp::Reverse(group.entry.rank()));
    }
    rings
}

/// What is not as it should be, a line each.
fn troubles(answers: &Answers, rings: &BTreeMap<&RingName, Vec<Group<'_>>>) -> Vec<String> {
    let mut troubles = Vec::new();
    for (target, answer) in answers {
        let address = &target.address;
        let manifest = match answer {
            Ok(manifest) => manifest,
            Err(failure) => {
                troubles.push(format!("{address}: {failure}"));
                continue;
            }
        };
        for (name, groups) in rings {
            let Some(entry) = manifest.get(name) else {
                troubles.push(format!("{address}: {name}: not there"));
                continue;
            };
            let newest = groups.first().map(|group| group.entry);
            if let Some(newest) = newest.filter(|newest| newest.sha256 != entry.sha256) {
                troubles.push(format!(
                    "{address}: {name}: {}, others have {}",
                    version(entry),
                    version(newest)
                ));
            }
            if let Some(fault) = &entry.fault {
                troubles.push(format!("{address}: {name}: not passed on: {fault}"));
            }
            let here = entry.ring.as_ref().map(|ring| ring.version);
            if let Some(loaded) = entry.loaded_version.filter(|loaded| Some(*loaded) != here) {
                troubles.push(format!(
                    "{address}: {name}: the server goes by version {loaded}, not by its file"
                ));
            }
        }
    }
    troubles
}

fn version(entry: &Entry) -> String {
    let shown = match entry.rank() {
        Some(rank) => rank.to_string(),
        None => "no ring".to_owned(),
    };
    format!("{shown} (md5 {})", entry.md5)
}

pub(super) async fn main(options: &Options) -> Result<bool, String> {
    let timeout = Duration::from_secs(options.timeout);
    let cluster = Cluster::read(&options.swift_dir, None, timeout)?;
    let targets = cluster.targets(&[], &options.chosen)?;
    let answers = manifests(&cluster.courier, &targets, AT_ONCE).await;
    let rings = groups(&answers);
    let troubles = troubles(&answers, &rings);
    if options.json {
        let servers = answers.iter().map(|(target, answer)| match answer {
            Ok(manifest) => json!({ "address": target.address, "rings": manifest.rings }),
            Err(failure) => json!({ "address": target.address, "error": failure.to_string() }),
        });
        let servers: Vec<_> = servers.collect();
        println!("{}", json!({ "servers": servers, "troubles": troubles }));
    } else {
        for (name, groups) in &rings {
            for group in groups {
                let count = group.servers.len();
                println!("{name}: {} on {count} of {}", version(group.entry), answers.len());
            }
        }
        for trouble in &troubles {
            println!("!! {trouble}");
        }
    }
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        return Err("no server answered".to_owned());
    }
    Ok(troubles.is_empty())
}
