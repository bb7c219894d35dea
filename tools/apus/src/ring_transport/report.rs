//! `apus ring report`: who runs which ring.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use apus_wire::rings::{Entry, Manifest, RingClientError, RingName, RingServer, manifests};
use serde_json::json;

use super::{Chosen, Cluster};

/// Servers that are asked at once.
const AT_ONCE: usize = 30;

/// Options of `apus ring report`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    chosen: Chosen,
    /// Directory of swift.conf and the rings of this machine
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

type Answers = [(RingServer, Result<Manifest, RingClientError>)];

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
                    "{address}: {name}: the server uses version {loaded}, not its file"
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

#[cfg(test)]
mod tests {
    use apus_wire::rings::manifest::Facts;

    use super::*;

    fn entry(name: &str, version: u64, content: &str) -> Entry {
        Entry {
            name: RingName::parse(name).unwrap(),
            length: 1,
            sha256: content.repeat(64),
            md5: content.repeat(32),
            ring: Some(Facts {
                version,
                part_power: 4,
                next_part_power: None,
                replicas: 3.0,
                devices: 3,
            }),
            loaded_version: Some(version),
            statement: None,
            fault: None,
        }
    }

    fn lines_of(answers: &Answers) -> Vec<String> {
        troubles(answers, &groups(answers))
    }

    fn at(address: &str, rings: Vec<Entry>) -> (RingServer, Result<Manifest, RingClientError>) {
        (RingServer::at(address).unwrap(), Ok(Manifest { rings }))
    }

    #[test]
    fn servers_that_have_the_same_rings_are_not_reported() {
        let same = || vec![entry("account.ring.gz", 7, "a"), entry("object.ring.gz", 8, "b")];
        assert_eq!(lines_of(&[at("10.0.0.1:1", same()), at("10.0.0.2:1", same())]), [""; 0]);
    }

    #[test]
    fn a_server_that_differs_from_the_newest_is_named_with_its_fault() {
        let newest = entry("object.ring.gz", 8, "b");
        let unread =
            Entry { ring: None, fault: Some("torn".to_owned()), ..entry("object.ring.gz", 0, "d") };
        let away = RingClientError::Unreachable("no route".to_owned());
        let answers = [
            at("10.0.0.1:1", vec![newest.clone()]),
            // More servers are no reason to be right.
            at("10.0.0.2:1", vec![entry("object.ring.gz", 7, "a")]),
            at("10.0.0.3:1", vec![entry("object.ring.gz", 7, "a")]),
            at("10.0.0.4:1", vec![entry("object.ring.gz", 8, "c")]),
            at("10.0.0.5:1", vec![]),
            at("10.0.0.6:1", vec![Entry { loaded_version: Some(6), ..newest.clone() }]),
            at("10.0.0.7:1", vec![unread]),
            (RingServer::at("10.0.0.8:1").unwrap(), Err(away)),
        ];
        let found = lines_of(&answers);
        let of = |number: u32| -> Vec<&String> {
            found.iter().filter(|line| line.starts_with(&format!("10.0.0.{number}:1: "))).collect()
        };
        assert_eq!(of(1), [""; 0]);
        for (number, words) in [
            (2, vec!["version 7", "version 8"]),
            (3, vec!["version 7", "version 8"]),
            (4, vec!["version 8", "cccc"]),
            (5, vec!["not there"]),
            (6, vec!["uses version 6"]),
            (8, vec!["no route"]),
        ] {
            let lines = of(number);
            assert_eq!(lines.len(), 1, "{found:?}");
            assert!(words.iter().all(|word| lines[0].contains(word)), "{lines:?}");
        }
        assert!(of(7).iter().any(|line| line.contains("torn")), "{found:?}");
        assert!(of(7).iter().any(|line| line.contains("no ring")), "{found:?}");
    }
}
