//! `apus reconciler-enqueue`: adds an object to the container reconciler's queue.
//!
//! Source: `swift/cli/reconciler_enqueue.py`. The reconciler then checks the object's policy, and
//! does nothing if it is right.

use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::reconciler::{Entry, Operation};
use apus_cluster::{PolicyIndex, SwiftConf, Timestamp};
use apus_container::Queue;
use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_ring::SharedRing;
use apus_wire::signed::Signer;
use apus_wire::{Client, Deadlines, Transport};

use apus_daemon::runtime;
use apus_membership::swift_conf;

/// Options of `apus reconciler-enqueue`; those that Swift's has are the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Index of the policy that the object is in
    policy: u32,
    /// Path of the object
    #[arg(value_name = "/ACCOUNT/CONTAINER/OBJECT")]
    path: String,
    /// Time of the data file or tombstone, as in its name
    timestamp: String,
    /// Operation in the wrong policy
    #[arg(short = 'X', long, default_value = "PUT", value_parser = ["PUT", "DELETE"])]
    op: String,
    /// Even if the queue has this entry already
    #[arg(short, long)]
    force: bool,
    /// Directory with swift.conf and rings
    #[arg(long, default_value = "/etc/swift", value_name = "DIR")]
    swiftdir: PathBuf,
}

/// The queue entry and the time of its object.
fn entry(options: &Options, cluster: &SwiftConf) -> Result<(Entry, Timestamp), String> {
    if cluster.policies.get(PolicyIndex(options.policy)).is_none() {
        return Err(format!("policy {}: no policy has this index", options.policy));
    }
    let entry = Entry::parse(&format!("{}:{}", options.policy, options.path))
        .ok_or_else(|| format!("path {:?}: expected /account/container/object", options.path))?;
    let written = Timestamp::parse(&options.timestamp).ok_or_else(|| {
        format!("timestamp {:?}: expected seconds such as 1700000000.12345", options.timestamp)
    })?;
    Ok((entry, written))
}

/// Adds the entry, and prints the queue's container.
pub(crate) fn main(options: &Options) -> Result<(), String> {
    apus_daemon::log::start("warn");
    let cluster = swift_conf(&options.swiftdir)?;
    let (entry, written) = entry(options, &cluster)?;
    let ring = SharedRing::load(&options.swiftdir.join("container.ring.gz"));
    let containers = Arc::new(ring.map_err(|error| error.to_string())?);
    let operation = if options.op == "DELETE" { Operation::Delete } else { Operation::Put };
    runtime::multi_thread().map_err(|error| error.to_string())?.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let signer = Signer::new(&cluster.backend_auth, clock.clone());
        let transport = Arc::new(Transport::new(signer));
        let client = Arc::new(Client::new(transport, clock.clone(), Deadlines::default()));
        let queue = Queue { client, containers, hash: cluster.hash.clone(), clock };
        let queued = queue.enqueue(&entry, operation, written, options.force).await;
        let container = queued.map_err(|error| error.to_string())?;
        println!("{container}");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    #[test]
    fn invalid_options_are_named() {
        let conf = Conf::parse("[swift-hash]\nswift_hash_path_prefix = a\n").unwrap();
        let cluster = SwiftConf::from_sections(conf.sections()).unwrap();
        let ask = |policy: u32, path: &str, timestamp: &str| {
            let options = Options {
                policy,
                path: path.to_owned(),
                timestamp: timestamp.to_owned(),
                op: "PUT".to_owned(),
                force: false,
                swiftdir: PathBuf::new(),
            };
            entry(&options, &cluster)
        };
        let (entry, written) = ask(0, "/a/c/o/x", "1700000000.12345").unwrap();
        assert_eq!(entry.to_string(), "0:/a/c/o/x");
        assert_eq!(written.normal(), "1700000000.12345");
        assert!(ask(7, "/a/c/o", "1").unwrap_err().contains("policy 7"));
        assert!(ask(0, "a/c/o", "1").unwrap_err().contains("a/c/o"));
        assert!(ask(0, "/a/c", "1").unwrap_err().contains("/a/c"));
        assert!(ask(0, "/a/c/o", "now").unwrap_err().contains("now"));
    }
}
