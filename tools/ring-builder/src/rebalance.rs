//! `rebalance`: assigns partitions to devices, and writes builder and ring.

use apus_daemon::seed;
use apus_ring::BuilderError;
use apus_ring::builder::{Placed, RingBuilder, place};
use apus_ring::search::format_device;
use clap::Parser;
use serde_json::json;

use super::options::{FormatOptions, parse};
use super::output::{CommandError, Output};
use super::progress::Progress;
use super::session::Session;
use super::{CommandResult, Exit};

const RULE: &str =
    "-------------------------------------------------------------------------------";
/// Placing, checking, writing the ring, writing the builder.
const PARTS: usize = 4;
/// Swift's figure for a device that holds partitions without weight.
const BALANCE_MAX: f64 = 999.99;

#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
struct Options {
    /// Save even if less than 1 % of the partitions changed
    #[arg(short, long)]
    force: bool,
    /// Seed of random choices; any text
    #[arg(short, long, allow_hyphen_values = true)]
    seed: Option<String>,
    /// Show what each device holds and lacks
    #[arg(short, long)]
    debug: bool,
    #[command(flatten)]
    format: FormatOptions,
    /// The seed, as an argument
    positional_seed: Option<String>,
}

/// A number from any text.
pub(super) fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The given seed, or a random one.
pub(super) fn seed_or_random(given: Option<&str>) -> u64 {
    given.map_or_else(|| u64::from_le_bytes(seed::bytes()), seed_of)
}

fn validation_error(error: &BuilderError) -> CommandError {
    CommandError::Message(format!(
        "{RULE}\nAn error has occurred during ring validation. Common\ncauses of failure are rings that are empty or do not\nhave enough devices to accommodate the replica count.\nOriginal exception message:\n {error}\n{RULE}"
    ))
}

pub(super) fn rebalance(session: &mut Session, arguments: &[String]) -> CommandResult {
    let options: Options = parse(arguments)?;
    let (version, note) = options.format.version();
    if let Some(note) = note {
        session.out.show(note);
    }
    if session.builder.next_part_power.is_some() {
        return Err("Partition power increase in progress.\n\
                    You need to finish the increase first before rebalancing."
            .into());
    }
    let seed = seed_or_random(options.seed.or(options.positional_seed).as_deref());
    let (devices_changed, last) =
        (session.builder.devices_changed, session.builder.balance().percent);
    let last_dispersion = session.builder.dispersion_is_known.then_some(session.builder.dispersion);
    let seconds_left = session.builder.seconds_until_rebalance(session.now_seconds);
    let progress = Progress::bar(session.out.is_json(), PARTS);
    progress.at(0, "placing partitions");
    let outcome = place(&mut session.builder, session.now_seconds, seed);
    let Placed { moved, removed, balance } = outcome.map_err(|error| validation_error(&error))?;
    if options.debug {
        progress.suspend(|| debug(session));
    }
    session.out.set("moved", moved);
    session.out.set("removed_devices", removed);
    session.out.set("balance", balance);
    session.out.set("dispersion", session.builder.dispersion);
    session.out.set("saved", false);
    if moved == 0 && removed == 0 && !options.force {
        progress.end();
        session.out.say("No partitions could be reassigned.");
        let text = match seconds_left {
            0 => "There is no need to do so at this time".to_owned(),
            _ => format!(
                "The time between rebalances must be at least min_part_hours: {} hours ({} remaining)",
                session.builder.min_part_hours,
                session.remaining()
            ),
        };
        session.out.say(text);
        return Ok(Exit::Warning);
    }
    // A device without weight holds the balance at its worst until it is empty.
    let balance_changed =
        (last - balance).abs() >= 1.0 || (last == BALANCE_MAX && balance == BALANCE_MAX);
    let dispersion_changed =
        last_dispersion.is_none_or(|last| (last - session.builder.dispersion).abs() >= 1.0);
    if !options.force && !devices_changed && !balance_changed && !dispersion_changed {
        progress.end();
        session.out.say("Cowardly refusing to save rebalance as it did not change at least 1%.");
        return Ok(Exit::Warning);
    }
    progress.at(1, "checking the ring");
    session.builder.validate().map_err(|error| validation_error(&error))?;
    let exit = progress.suspend(|| show_result(&mut session.out, &session.builder, moved, balance));
    progress.at(2, "writing the ring");
    session.save_ring(&session.builder.ring_data(), version)?;
    progress.at(3, "writing the builder");
    session.save_with_backup()?;
    progress.end();
    session.out.set("saved", !session.dry_run);
    Ok(exit)
}

/// Shows the result of a rebalance, with notes on balance and dispersion.
pub(super) fn show_result(
    out: &mut Output,
    builder: &RingBuilder,
    moved: u64,
    balance: f64,
) -> Exit {
    let (dispersion, overload, hours) =
        (builder.dispersion, builder.overload, builder.min_part_hours);
    let share = 100.0 * moved as f64 / builder.partitions() as f64;
    out.say(format!(
        "Reassigned {moved} ({share:.2}%) partitions. Balance is now {balance:.2}.  Dispersion is now {dispersion:.2}"
    ));
    if dispersion > 0.0 {
        out.say(format!(
            "{RULE}\nNOTE: Dispersion of {dispersion:.6} indicates some parts are not\n      optimally dispersed.\n\n      You may want to adjust some device weights, increase\n      the overload or review the dispersion report.\n{RULE}"
        ));
        Exit::Warning
    } else if balance > 5.0 && balance / 100.0 > overload {
        out.say(format!(
            "{RULE}\nNOTE: Balance of {balance:.2} indicates you should push this \n      ring, wait at least {hours} hours, and rebalance/repush.\n{RULE}"
        ));
        Exit::Warning
    } else {
        Exit::Success
    }
}

fn debug(session: &mut Session) {
    let lines: Vec<String> = session
        .builder
        .devices()
        .map(|known| {
            let name = format_device(&known.device);
            format!("DEBUG: {name} holds {} and lacks {}", known.parts, known.parts_wanted)
        })
        .collect();
    session.out.set("debug", json!(lines));
    lines.into_iter().for_each(|line| session.out.show(line));
}
