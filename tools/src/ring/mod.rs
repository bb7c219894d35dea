//! `ring-builder`, in `swift-ring-builder`'s words and exit codes.
//!
//! 0 done, 1 warning, 2 error. One file per subject; `--json` beside the reports.

mod change;
mod report;
mod search;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_disk::{AtomicFile, Counters, DirectoryLock};
use apus_ring::builder::{RingBuilder, file};
use apus_ring::format;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Success,
    Warning,
    Error,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Warning => Self::from(1),
            Exit::Error => Self::from(2),
        }
    }
}

/// What a command works on.
struct Session {
    builder_file: PathBuf,
    ring_file: PathBuf,
    builder: RingBuilder,
    json: bool,
    now_seconds: u64,
}

type Done = Result<Exit, String>;

const USAGE: &str = "\
Usage: ring-builder <builder_file> [<command> [<arguments>]] [--json]

Commands:
  create <part_power> <replicas> <min_part_hours>
  add [r<region>]z<zone>-<ip>:<port>[R<r_ip>:<r_port>]/<device>[_<meta>] <weight> ...
  add --region <region> --zone <zone> --ip <ip> --port <port> --device <device> --weight <weight>
  set_weight <search-value> <weight> ...
  set_info <search-value> <ip>:<port>[R<r_ip>:<r_port>]/<device>_<meta> ...
  remove <search-value> ...
  search <search-value> ...
  list_parts <search-value> ...
  rebalance [--force] [--seed <seed>] [--format-version 1|2]
  validate
  write_ring [--format-version 1|2]
  dispersion
  pretend_min_part_hours_passed
  set_min_part_hours <hours>
  set_replicas <replicas>
  set_overload <overload>[%]

Without a command the builder's devices are shown.
Exit codes: 0 = done, 1 = warning, 2 = error

Example:
  ring-builder object.builder create 10 3 1
  ring-builder object.builder add r1z1-127.0.0.1:6200/sdb1 100
  ring-builder object.builder rebalance";

/// Runs one command line (without the program's name).
pub fn main(arguments: Vec<String>) -> ExitCode {
    let mut json = false;
    let arguments: Vec<String> = arguments
        .into_iter()
        .filter(|argument| {
            json |= argument == "--json";
            argument != "--json"
        })
        .collect();
    let Some((builder_file, rest)) = arguments.split_first() else {
        println!("{USAGE}");
        return Exit::Error.into();
    };
    if matches!(builder_file.as_str(), "--help" | "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(Path::new(builder_file), rest, json) {
        Ok(exit) => exit.into(),
        Err(text) => {
            println!("{text}");
            Exit::Error.into()
        }
    }
}

fn run(builder_file: &Path, arguments: &[String], json: bool) -> Done {
    let (command, arguments) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("default", arguments),
    };
    let directory = builder_file.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // Two operators must not write one builder.
    let _lock = DirectoryLock::take(directory, ".ring-builder.lock", Duration::from_secs(10))
        .map_err(|error| format!("Ring Builder file {}: {error}", builder_file.display()))?;
    let ring_file = match builder_file.to_str().and_then(|path| path.strip_suffix(".builder")) {
        Some(stem) => PathBuf::from(format!("{stem}.ring.gz")),
        None => PathBuf::from(format!("{}.ring.gz", builder_file.display())),
    };
    let now_seconds = SystemClock.now().as_secs();
    if command == "create" {
        let builder = change::create(arguments)?;
        let builder_file = builder_file.to_owned();
        let session = Session { builder_file, ring_file, builder, json, now_seconds };
        session.save()?;
        return Ok(Exit::Success);
    }
    let bytes = std::fs::read(builder_file)
        .map_err(|_| format!("Ring Builder file does not exist: {}", builder_file.display()))?;
    let builder = file::decode(&bytes).map_err(|error| {
        format!("Problem occurred while reading builder file: {}. {error}", builder_file.display())
    })?;
    let builder_file = builder_file.to_owned();
    let mut session = Session { builder_file, ring_file, builder, json, now_seconds };
    match command {
        "default" => report::default(&session),
        "add" => change::add(&mut session, arguments),
        "set_weight" => change::set_weight(&mut session, arguments),
        "set_info" => change::set_info(&mut session, arguments),
        "remove" => change::remove(&mut session, arguments),
        "search" => report::search(&session, arguments),
        "list_parts" => report::list_parts(&session, arguments),
        "rebalance" => change::rebalance(&mut session, arguments),
        "validate" => report::validate(&session),
        "write_ring" => change::write_ring(&session, arguments),
        "dispersion" => report::dispersion(&session),
        "pretend_min_part_hours_passed" => {
            session.builder.pretend_min_part_hours_passed();
            session.save().map(|()| Exit::Success)
        }
        "set_min_part_hours" => change::set_min_part_hours(&mut session, arguments),
        "set_replicas" => change::set_replicas(&mut session, arguments),
        "set_overload" => change::set_overload(&mut session, arguments),
        other => Err(format!("Unknown command: {other}\n\n{USAGE}")),
    }
}

/// Writes a file durably, with a dated copy in `backups` beside it.
fn write(path: &Path, bytes: &[u8], now_seconds: u64) -> Result<(), String> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let backups = directory.join("backups");
    let counters: Arc<Counters> = Arc::default();
    let put = |directory: &Path, name: &str| {
        let mut file = AtomicFile::create(directory, directory, &counters)?;
        file.append(bytes)?;
        file.sync()?;
        file.publish(&directory.join(name), &[])
    };
    (|| {
        std::fs::create_dir_all(&backups)?;
        put(&backups, &format!("{now_seconds}.{name}"))?;
        put(directory, &name)
    })()
    .map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}

impl Session {
    fn save(&self) -> Result<(), String> {
        write(&self.builder_file, &file::encode(&self.builder), self.now_seconds)
    }

    fn save_ring(&self, version: u8) -> Result<(), String> {
        let bytes = format::encode(&self.builder.ring_data(), version)?;
        write(&self.ring_file, &bytes, self.now_seconds)
    }
}
