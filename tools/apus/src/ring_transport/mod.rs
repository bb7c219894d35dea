//! `apus ring`: distributes ring files to the nodes of a cluster and compares them.
//!
//! The work is `apus_wire::rings`; here are the command line and what it finds in a `swift_dir`.

mod cluster;
mod fetch;
mod push;
mod report;

use std::process::ExitCode;

use apus_daemon::runtime;
use apus_ring_manager::operate;
use clap::{Args, Subcommand};

pub(crate) use cluster::{Chosen, Cluster};

/// Options of `apus ring`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign ring files and send them to all nodes
    #[command(after_help = PUSH_HELP)]
    Push(push::Options),
    /// Compare the rings of all nodes
    #[command(after_help = REPORT_HELP)]
    Report(report::Options),
    /// Fetch all rings of a node
    #[command(after_help = FETCH_HELP)]
    Fetch(fetch::Options),
    /// Show the changes that wait at the ring manager, and their reasons
    Pending(operate::ManagerArgs),
    /// Approve pending changes, in as many steps as they take
    Approve(operate::Approve),
}

const PUSH_HELP: &str = "\
Servers are those at the addresses (not replication addresses) of the rings that are pushed and of those in
--swift-dir, so that nodes which leave a ring get it as well. Requests must be signed ([apus] cluster_key of
swift.conf). A node that is down fetches the ring when it is back, and so do proxies.

Exit code: 0 all servers have the rings, 1 some have not, 2 nothing could be sent.

Example:
  apus ring push /etc/swift/*.ring.gz";

const REPORT_HELP: &str = "\
Exit code: 0 all servers have the same rings, 1 some differ or did not answer, 2 no server could be asked.

Example:
  apus ring report --swift-dir /etc/swift";

const FETCH_HELP: &str = "\
Only rings that were pushed are taken (they are signed), and only newer ones than are here.

Exit code: 0 all rings of the node are here, 1 some are not, 2 the node could not be asked.

Example:
  apus ring fetch --from 192.0.2.7:6200 --swift-dir /etc/swift";

/// Runs `apus ring`.
pub(crate) fn main(options: &Options) -> Result<ExitCode, String> {
    let is_done = runtime::multi_thread().map_err(|error| error.to_string())?.block_on(async {
        match &options.command {
            Command::Push(options) => push::main(options).await,
            Command::Report(options) => report::main(options).await,
            Command::Fetch(options) => fetch::main(options).await,
            Command::Pending(options) => operate::pending(options).await,
            Command::Approve(options) => operate::approve(options).await,
        }
    })?;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
