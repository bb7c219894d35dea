//! `apus ring push`.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use apus_ring_builder::progress::Progress;
use apus_wire::rings::{PushOptions, PushOutcome, PushReport, RingFile, push};

use super::{Chosen, Cluster};

/// Interval of progress updates.
const LOOK: Duration = Duration::from_millis(200);

/// Options of `apus ring push`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Ring files, under their names on servers
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
    /// Directory of swift.conf and the rings of this machine
    #[arg(long, default_value = "/etc/swift", value_name = "DIR")]
    swift_dir: PathBuf,
    /// Also install an older ring
    #[arg(long)]
    force: bool,
    /// Ask the servers, but send nothing
    #[arg(long)]
    dry_run: bool,
    /// Time limit of a request in seconds; a file may take ten times as long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn main(options: &Options) -> Result<bool, String> {
    let cluster = Cluster::read(&options.swift_dir, None, Duration::from_secs(options.timeout))?;
    let mut files: Vec<RingFile> = Vec::new();
    for path in &options.files {
        let file = RingFile::read(path)?;
        if files.iter().any(|known| known.name() == file.name()) {
            return Err(format!("{}: a second {}", path.display(), file.name()));
        }
        files.push(file);
    }
    let targets = cluster.targets(&files, &options.chosen)?;
    let how =
        PushOptions { force: options.force, dry_run: options.dry_run, ..PushOptions::default() };
    let progress = Progress::bar(options.json, targets.len());
    let pushed = push(&cluster.courier, &cluster.keys, &files, &targets, &how);
    tokio::pin!(pushed);
    let report = loop {
        tokio::select! {
            report = &mut pushed => break report?,
            () = tokio::time::sleep(LOOK) => progress.at(how.servers_done.load(Ordering::Relaxed), "servers"),
        }
    };
    progress.end();
    if options.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        show(&report);
    }
    let foreseen = |outcome: &PushOutcome| matches!(outcome, PushOutcome::Would { .. });
    let is_done = report.missing().all(|server| options.dry_run && foreseen(&server.outcome));
    Ok(is_done)
}

/// One line for each ring of each server, and the sum.
fn show(report: &PushReport) {
    for ring in &report.rings {
        println!("{}: {}, {} bytes, md5 {}", ring.name, ring.rank(), ring.length, ring.md5);
    }
    for server in &report.outcomes {
        println!(
            "{:<22} {:<20} {}",
            server.address,
            server.ring.to_string(),
            words(&server.outcome)
        );
    }
    let all = report.outcomes.len();
    let missing = report.missing().count();
    if report.dry_run {
        println!("nothing was sent; {} of {all} have it", all - missing);
    } else {
        println!("{} of {all} have it", all - missing);
    }
}

fn words(outcome: &PushOutcome) -> String {
    let before = |version: &Option<u64>| match version {
        Some(version) => format!(" (before: version {version})"),
        None => " (none before)".to_owned(),
    };
    match outcome {
        PushOutcome::Installed { before: version } => format!("installed{}", before(version)),
        PushOutcome::HasIt => "has it".to_owned(),
        PushOutcome::Would { before: version } => format!("would be installed{}", before(version)),
        PushOutcome::Refused { status, reason } => format!("refused: {status} {reason}"),
        PushOutcome::Unreachable { reason } => format!("unreachable: {reason}"),
    }
}
