//! `ring-builder`, `ring-composer` and the ring analyzer.
//!
//! Commands, output and exit codes (0 done, 1 warning, 2 error) are those of `swift-ring-builder`.
//! `--json` prints the result of any command as one object. Files are written durably, under the
//! lock that Swift's own tool takes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod analyze;
mod commands;
mod composite;
mod cooperative;
mod devices;
mod diff;
mod dispersion;
mod dry_run;
mod moves;
mod options;
mod output;
mod plot;
pub mod progress;
mod quantity;
mod rebalance;
mod session;
mod settings;
mod show;
mod table;
mod weigh;
mod write;

use std::process::ExitCode;

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_ring::builder::lock;

use self::commands::{Effect, RingFileContext, Run};
use self::dry_run::DryRun;
use self::output::{CommandError, Output};
use self::session::{BuilderReadError, Names, Session};

/// Exit code of a command.
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

type CommandResult = Result<Exit, CommandError>;

const USAGE: &str = include_str!("usage.txt");

/// The lines of [`USAGE`] about a command.
fn usage(command: &str) -> CommandError {
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
    CommandError::Message(text)
}

/// Runs one command line (without the program's name).
pub fn main(arguments: Vec<String>) -> ExitCode {
    let (json, arguments) = take_json(arguments);
    let Some((first, rest)) = arguments.split_first() else {
        println!("{}", USAGE.trim_end());
        return ExitCode::SUCCESS;
    };
    if matches!(first.as_str(), "--help" | "-h") {
        println!("{}", USAGE.trim_end());
        return ExitCode::SUCCESS;
    }
    if first == "composer" {
        return composite::main(rest, json);
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
    let (json, arguments) = take_json(arguments);
    composite::main(&arguments, json)
}

/// Takes `--json`, which may stand anywhere, out of a command line.
fn take_json(arguments: Vec<String>) -> (bool, Vec<String>) {
    let (json, rest): (Vec<String>, Vec<String>) =
        arguments.into_iter().partition(|argument| argument == "--json");
    (!json.is_empty(), rest)
}

fn run(
    given: &str,
    arguments: &[String],
    mut out: Output,
    now_seconds: u64,
) -> (Output, CommandResult) {
    let names = Names::of(given);
    let (name, arguments) = match arguments.split_first() {
        Some((name, rest)) => (Some(name.as_str()), rest),
        None => (None, arguments),
    };
    let command = commands::find(name);
    let starts_from_ring = command.is_some_and(|command| matches!(command.run, Run::Ring(_)));
    if names.builder.as_os_str() != given && !starts_from_ring {
        let builder = names.builder.display();
        out.say(format!("Note: using {builder} instead of {given} as builder file"));
    }
    let effect = command.map_or(Effect::Reads, |command| command.effect);
    let (dry, arguments) = match DryRun::take(arguments) {
        Ok((dry, _)) if dry.dry_run && effect == Effect::Reads => {
            let name = name.unwrap_or("showing a builder");
            return (out, Err(CommandError::Message(format!("--dry-run: {name} changes nothing"))));
        }
        Ok(taken) => taken,
        Err(error) => return (out, Err(error)),
    };
    let (arguments, dry_run) = (arguments.as_slice(), dry.dry_run);
    // No other process may write between the command's reading and its writing.
    let folder = session::folder(&names.builder);
    let _lock = if effect != Effect::Reads && folder.is_dir() && !dry_run {
        match lock::take(folder) {
            Ok(lock) => Some(lock),
            Err(error) => return (out, Err(error.into())),
        }
    } else {
        None
    };
    let builder = match (session::read_builder(&names.builder), command.map(|known| known.run)) {
        (Ok(_) | Err(BuilderReadError::Missing(_)), Some(Run::Create)) => write::create(arguments),
        (Ok(_) | Err(BuilderReadError::Missing(_)), Some(Run::Ring(run))) => {
            let done =
                run(&RingFileContext { names: &names, arguments, now_seconds, dry_run }, &mut out);
            if dry_run && done.is_ok() {
                dry_run::nothing_written(&mut out);
            }
            return (out, done);
        }
        (Ok(builder), _) => Ok(builder),
        (Err(BuilderReadError::Missing(text) | BuilderReadError::Bad(text)), _) => Err(text.into()),
    };
    let builder = match builder {
        Ok(builder) => builder,
        Err(error) => return (out, Err(error)),
    };
    let Some(command) = command else {
        let name = name.unwrap_or_default();
        return (out, Err(CommandError::Message(format!("Unknown command: {name}"))));
    };
    let before = dry_run.then(|| builder.clone());
    let mut session = Session { names, builder, out, now_seconds, dry_run };
    let done = match command.run {
        Run::Builder(run) => run(&mut session, arguments).and_then(|exit| {
            if let Some(before) = before {
                dry.show(&mut session, &before, effect)?;
            }
            Ok(exit)
        }),
        Run::Create | Run::Ring(_) => write::save_created(&mut session),
    };
    (session.out, done)
}
