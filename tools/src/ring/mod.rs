//! `ring-builder`, in `swift-ring-builder`'s words and exit codes.
//!
//! 0 done, 1 warning, 2 error. One file per subject; `--json` gives any command's answer as one
//! object. What a command changes is written durably, under the lock that Swift's own tool takes.

mod analyze;
mod composite;
mod devices;
mod diff;
mod dispersion;
mod foresight;
mod lock;
mod moves;
mod options;
mod output;
mod plot;
mod progress;
mod python;
mod quantity;
mod rebalance;
mod search;
mod session;
mod settings;
mod show;
mod weigh;
mod write;

use std::process::ExitCode;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;

use self::foresight::Foresight;
use self::output::{Output, Problem};
use self::session::{Names, Session, Unread};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Success,
    Warning,
    Error,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Warning => 1,
            Self::Error => 2,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

type Done = Result<Exit, Problem>;

const USAGE: &str = include_str!("usage.txt");

/// The lines of [`USAGE`] that tell of a command.
fn usage(command: &str) -> Problem {
    let mine = |line: &&str| {
        let words = line.trim_start().strip_prefix("<builder_file> ").unwrap_or(line.trim_start());
        words.split(' ').next() == Some(command)
    };
    let mut text = String::from("Usage:");
    let mut lines = USAGE.lines().peekable();
    while let Some(line) = lines.next() {
        if mine(&line) {
            text.push('\n');
            text.push_str(line);
            while let Some(more) = lines.next_if(|line| line.starts_with("      ")) {
                text.push('\n');
                text.push_str(more);
            }
        }
    }
    Problem::Told(text)
}

/// Commands that may write.
const WRITERS: [&str; 20] = [
    "add",
    "cancel_increase_partition_power",
    "create",
    "dispersion",
    "finish_increase_partition_power",
    "increase_partition_power",
    "prepare_increase_partition_power",
    "pretend_min_part_hours_passed",
    "rebalance",
    "remove",
    "set_info",
    "set_min_part_hours",
    "set_overload",
    "set_region",
    "set_replicas",
    "set_weight",
    "set_zone",
    "weigh",
    "write_builder",
    "write_ring",
];

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
    let Some((first, rest)) = arguments.split_first() else {
        println!("{}", USAGE.trim_end());
        return ExitCode::SUCCESS;
    };
    if matches!(first.as_str(), "--help" | "-h") {
        println!("{}", USAGE.trim_end());
        return ExitCode::SUCCESS;
    }
    if first == "composer" {
        return composite::main(rest.to_vec());
    }
    let mut out = Output::new(json);
    let now_seconds = SystemClock.now().as_secs();
    let (out, done) = match first.as_str() {
        "analyze" => {
            let done = analyze::analyze(&mut out, rest, now_seconds);
            (out, done)
        }
        "diff" => {
            let done = diff::diff(&mut out, rest);
            (out, done)
        }
        _ => run(first, rest, out, now_seconds),
    };
    out.end(done).into()
}

/// Runs the analyzer under its own name.
pub fn analyzer(mut arguments: Vec<String>) -> ExitCode {
    arguments.insert(0, "analyze".to_owned());
    main(arguments)
}

/// Runs the composer under its own name.
pub fn composer(arguments: Vec<String>) -> ExitCode {
    composite::main(arguments)
}

fn run(given: &str, arguments: &[String], mut out: Output, now_seconds: u64) -> (Output, Done) {
    let names = Names::of(given);
    let (command, arguments) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("default", arguments),
    };
    if names.builder.as_os_str() != given && !matches!(command, "write_builder" | "version") {
        let builder = names.builder.display();
        out.say(format!("Note: using {builder} instead of {given} as builder file"));
    }
    let (foresight, arguments) = match Foresight::take(arguments) {
        Ok((foresight, _)) if foresight.dry_run && !WRITERS.contains(&command) => {
            return (out, Err(Problem::Told(format!("--dry-run: {command} changes nothing"))));
        }
        Ok(taken) => taken,
        Err(error) => return (out, Err(error)),
    };
    let arguments = arguments.as_slice();
    // What it reads it writes: nobody else may write in between.
    let folder = session::folder(&names.builder);
    let _lock = if WRITERS.contains(&command) && folder.is_dir() && !foresight.dry_run {
        match lock::take(folder) {
            Ok(lock) => Some(lock),
            Err(error) => return (out, Err(error.into())),
        }
    } else {
        None
    };
    let builder = match (session::read_builder(&names.builder), command) {
        (Ok(_), "create") | (Err(Unread::Missing(_)), "create") => write::create(arguments),
        (Err(Unread::Missing(_)), "version") | (Ok(_), "version") => {
            let done = show::version(&names, &mut out);
            return (out, done);
        }
        (Err(Unread::Missing(_)), "write_builder") | (Ok(_), "write_builder") => {
            return write::write_builder(&names, arguments, out, now_seconds, foresight.dry_run);
        }
        (Ok(builder), _) => Ok(builder),
        (Err(Unread::Missing(text) | Unread::Bad(text)), _) => Err(text.into()),
    };
    let builder = match builder {
        Ok(builder) => builder,
        Err(error) => return (out, Err(error)),
    };
    let before = foresight.dry_run.then(|| builder.clone());
    let mut session = Session { names, builder, out, now_seconds, dry_run: foresight.dry_run };
    let done = perform(&mut session, command, arguments).and_then(|exit| {
        if let Some(before) = before.filter(|_| command != "create") {
            foresight.tell(&mut session, &before, command)?;
        }
        Ok(exit)
    });
    (session.out, done)
}

fn perform(session: &mut Session, command: &str, arguments: &[String]) -> Done {
    match command {
        "default" => show::default(session),
        "create" => {
            session.save_with_backup()?;
            Ok(Exit::Success)
        }
        "search" => devices::search(session, arguments),
        "list_parts" => devices::list_parts(session, arguments),
        "add" => devices::add(session, arguments),
        "set_weight" => devices::set_weight(session, arguments),
        "set_region" => devices::set_region(session, arguments),
        "set_zone" => devices::set_zone(session, arguments),
        "set_info" => devices::set_info(session, arguments),
        "remove" => devices::remove(session, arguments),
        "rebalance" => rebalance::rebalance(session, arguments),
        "plot" => plot::plot(session, arguments),
        "dispersion" => dispersion::dispersion(session, arguments),
        "validate" => dispersion::validate(session),
        "weigh" => weigh::weigh(session, arguments),
        "write_ring" => write::write_ring(session, arguments),
        "pretend_min_part_hours_passed" => settings::pretend_min_part_hours_passed(session),
        "set_min_part_hours" => settings::set_min_part_hours(session, arguments),
        "set_replicas" => settings::set_replicas(session, arguments),
        "set_overload" => settings::set_overload(session, arguments),
        "prepare_increase_partition_power" => settings::prepare_increase_partition_power(session),
        "increase_partition_power" => settings::increase_partition_power(session),
        "cancel_increase_partition_power" => settings::cancel_increase_partition_power(session),
        "finish_increase_partition_power" => settings::finish_increase_partition_power(session),
        other => Err(Problem::Told(format!("Unknown command: {other}"))),
    }
}
