//! `apus ring fetch`: for a node that is new.

use std::path::PathBuf;
use std::time::Duration;

use apus_wire::rings::{Fetched, fetch_from};
use serde_json::json;

use super::Cluster;

/// Options of `apus ring fetch`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The storage server to ask
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    /// Directory for the rings, with swift.conf
    #[arg(long, default_value = "/etc/swift", value_name = "DIR")]
    swift_dir: PathBuf,
    /// The cluster key, if swift.conf does not exist yet
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Seconds for an answer; a file may take ten times as long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn main(options: &Options) -> Result<bool, String> {
    let timeout = Duration::from_secs(options.timeout);
    let cluster = Cluster::read(&options.swift_dir, options.key_file.as_deref(), timeout)?;
    let fetched = fetch_from(&cluster.courier, &cluster.folder(), &options.from).await;
    let fetched = fetched.map_err(|failure| format!("{}: {failure}", options.from))?;
    if fetched.is_empty() {
        return Err(format!("{}: has no rings", options.from));
    }
    let is_done = |fetched: &Fetched| matches!(fetched, Fetched::Installed(_) | Fetched::HasIt(_));
    if options.json {
        let rings = fetched.iter().map(|(name, fetched)| {
            json!({ "ring": name, "is_here": is_done(fetched), "outcome": words(fetched) })
        });
        println!("{}", json!({ "from": options.from, "rings": rings.collect::<Vec<_>>() }));
    } else {
        for (name, fetched) in &fetched {
            println!("{:<20} {}", name.to_string(), words(fetched));
        }
    }
    Ok(fetched.iter().all(|(_, fetched)| is_done(fetched)))
}

fn words(fetched: &Fetched) -> String {
    match fetched {
        Fetched::Installed(said) => format!("installed: {}", said.rank()),
        Fetched::HasIt(said) => format!("has it: {} or newer", said.rank()),
        Fetched::NotSigned(why) => format!("not passed on: {why}"),
        Fetched::Refused(refusal) => format!("refused: {refusal}"),
        Fetched::Failed(failure) => format!("did not come: {failure}"),
    }
}
