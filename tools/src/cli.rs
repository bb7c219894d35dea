//! The command line of `apus`: parse, dispatch, exit codes.
//!
//! 0 done, 1 warning, 2 usage or error, as Swift's tools.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench;
use crate::roles::{Role, run};
use crate::saio;

/// Object storage: Swift and S3 over one ring.
#[derive(Parser)]
#[command(name = "apus", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole cluster in one process
    #[command(after_help = "Example:\n  apus saio --data ./apus-data --port 8080")]
    Saio(saio::Options),
    /// Run the proxy server of a configuration directory
    ProxyServer(ConfDir),
    /// Run the account server of a configuration directory
    AccountServer(ConfDir),
    /// Run the container server of a configuration directory
    ContainerServer(ConfDir),
    /// Run the object server of a configuration directory
    ObjectServer(ConfDir),
    /// Run all four servers of a configuration directory in one process
    All(ConfDir),
    /// Build and inspect rings, as `ring-builder`
    RingBuilder {
        /// `ring-builder`'s own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Load a server over S3 or Swift and tell rates, latencies and CPU
    #[command(after_help = BENCH_HELP)]
    Bench(Box<bench::Options>),
}

const BENCH_HELP: &str = "\
Latencies and rates are of the requests that succeeded. S3 requests are hashed and signed before the
clock starts (the first 100000, and 4 GiB of bodies; later ones between requests). CPU is counted by the kernel in
steps of 10 ms, so short phases tell little about it.

Exit code: 0 all requests succeeded, 1 some failed, 2 the bench could not run.

Example:
  apus bench --op put,get,head,list,delete --access-key test:tester --secret-key testing";

#[derive(clap::Args)]
struct ConfDir {
    /// Directory with swift.conf, the server's conf file and the rings
    conf_dir: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A pipe that is closed early is not our error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Saio(options) => saio::main(&options),
        Command::ProxyServer(conf) => run(&conf.conf_dir, &[Role::Proxy]),
        Command::AccountServer(conf) => run(&conf.conf_dir, &[Role::Account]),
        Command::ContainerServer(conf) => run(&conf.conf_dir, &[Role::Container]),
        Command::ObjectServer(conf) => run(&conf.conf_dir, &[Role::Object]),
        Command::All(conf) => run(&conf.conf_dir, &Role::ALL),
        Command::RingBuilder { arguments } => return crate::ring::main(arguments),
        Command::Bench(options) => return bench::main(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apus: {error}");
            ExitCode::from(2)
        }
    }
}
