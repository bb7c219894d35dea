//! `apus config`: checks configurations and this machine, and shows where each effective option comes from.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod cluster;
mod files;
mod machine;
mod report;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use files::Configuration;
pub use files::FILES;
use report::Report;

/// Options of `apus config`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Check files, rings and this machine
    #[command(after_help = CHECK_HELP)]
    Check(CheckOptions),
    /// Print each option that is in effect
    Show(ShowOptions),
}

const CHECK_HELP: &str = "\
Errors are values that are refused, names that are probably misspelt, and what prevents a start.

Exit code: 0 no errors, 1 errors, 2 the check could not run.

Example:
  apus config check --files-only etc/";

#[derive(Debug, clap::Args)]
struct CheckOptions {
    /// Directory with swift.conf, rings and *-server.conf, or one file
    path: PathBuf,
    /// Without ports, devices, clock and limits of this machine
    #[arg(long)]
    files_only: bool,
    /// Also compare rings, swift.conf and clocks with the other nodes
    #[arg(long)]
    nodes: bool,
}

#[derive(Debug, clap::Args)]
struct ShowOptions {
    /// Directory with swift.conf and *-server.conf, or one file
    path: PathBuf,
    /// With the file and line of each option, or "default"
    #[arg(long)]
    origin: bool,
}

/// The checks of `swift-recon` that compare nodes.
#[derive(clap::Parser)]
struct ReconWords {
    #[command(flatten)]
    options: apus_recon::Options,
}

/// Runs `apus config`.
///
/// # Errors
/// The configuration cannot be read at all.
pub fn main(options: &Options) -> Result<ExitCode, String> {
    match &options.command {
        ConfigCommand::Check(options) => check(options),
        ConfigCommand::Show(options) => {
            let configuration = Configuration::read(&options.path)?;
            if let Some(error) = configuration.unreadable.first() {
                return Err(error.clone());
            }
            for file in &configuration.files {
                show::show(file, options.origin).iter().for_each(|line| println!("{line}"));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(options: &CheckOptions) -> Result<ExitCode, String> {
    let configuration = Configuration::read(&options.path)?;
    let mut report = Report::default();
    files::check(&configuration, &mut report);
    let rings = cluster::check(&configuration, &mut report);
    if !options.files_only {
        machine::check(&configuration, rings.as_ref(), &mut report);
    }
    let mut failed = report.print();
    if options.nodes {
        let words = ["recon", "account", "container", "object", "--md5", "--time", "--swiftdir"];
        let words = words.map(PathBuf::from).into_iter().chain([configuration.swift_dir()]);
        let words = ReconWords::try_parse_from(words).map_err(|error| error.to_string())?;
        failed |= apus_recon::main(&words.options)? != ExitCode::SUCCESS;
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
