//! `ring-builder analyze`: applies a scenario of changes and shows the result of each round.
//!
//! Source: `swift/cli/ring_builder_analyzer.py`; scenarios are the same JSON. Only the `save` of a
//! scenario writes a file.

use std::path::{Path, PathBuf};

use apus_ring::builder::place;
use apus_ring::builder::{NewDevice, RingBuilder, file};
use apus_ring::python;
use apus_ring::search::DeviceSpec;
use clap::Parser;
use serde_json::{Value, json};

use super::options::parse;
use super::output::{CommandError, Output};
use super::progress::Progress;
use super::rebalance::seed_of;
use super::session::put;
use super::{CommandResult, Exit};

/// Balance of a ring with a device that has partitions but no weight.
const BALANCE_MAX: f64 = 999.99;
/// Rebalances of one round; a ring that does not settle by then never will.
const REBALANCES_MAX: usize = 1000;

/// Put the ring builder through its paces
#[derive(Debug, Parser)]
#[command(name = "analyze", no_binary_name = true, infer_long_args = true)]
struct Options {
    /// Just check the scenario, don't execute it
    #[arg(short, long)]
    check: bool,
    /// Path to the scenario file
    scenario_path: PathBuf,
}

/// One change of a round.
#[derive(Debug, Clone, PartialEq)]
enum Change {
    Add(NewDevice),
    Remove(u32),
    SetWeight(u32, f64),
    Save(PathBuf),
}

#[derive(Debug, PartialEq)]
struct Scenario {
    builder: RingBuilder,
    seed: u64,
    rounds: Vec<Vec<Change>>,
}

/// A number, or text that holds one.
fn number(value: &Value, name: &str) -> Result<f64, CommandError> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => python::float(text).ok(),
        _ => None,
    };
    found.ok_or_else(|| format!("{name} not a number: {value}").into())
}

fn change(value: &Value) -> Result<Change, CommandError> {
    let words = value.as_array().ok_or("expected an array")?;
    let length = |wanted: usize| -> Result<(), CommandError> {
        match words.len() == wanted {
            true => Ok(()),
            false => Err(format!("expected array of length {wanted}, but got {value}").into()),
        }
    };
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    let text = |at: usize| word(at).as_str().map(str::to_owned);
    let id = || -> Result<u32, CommandError> {
        let id = number(&word(1), "device ID")?;
        if id.fract() != 0.0 || !(0.0..f64::from(u32::MAX)).contains(&id) {
            return Err(format!("device ID {id}: expected a whole number").into());
        }
        Ok(id as u32)
    };
    let weight = || -> Result<f64, CommandError> {
        match number(&word(2), "weight")? {
            weight if weight < 0.0 => Err("weight cannot be negative".into()),
            weight => Ok(weight),
        }
    };
    match text(0).as_deref() {
        Some("add") => {
            length(3)?;
            let mut wanted = DeviceSpec::add(&text(1).ok_or("device specifier is not a text")?)?;
            wanted.region = wanted.region.or(Some(1));
            wanted.weight = Some(weight()?);
            Ok(Change::Add(wanted.new_device()?))
        }
        Some("remove") => length(2).and_then(|()| Ok(Change::Remove(id()?))),
        Some("set_weight") => length(3).and_then(|()| Ok(Change::SetWeight(id()?, weight()?))),
        Some("save") => {
            length(2)?;
            Ok(Change::Save(text(1).ok_or("path is not a text")?.into()))
        }
        _ => Err(format!("{} should be one of add, remove, set_weight, save", word(0)).into()),
    }
}

fn scenario(bytes: &[u8]) -> Result<Scenario, CommandError> {
    let raw: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("Invalid JSON in scenario file: {error}"))?;
    if !raw.is_object() {
        return Err("Scenario must be a JSON object, not array or string".into());
    }
    let get = |name: &str| raw.get(name).ok_or_else(|| format!("{name} missing"));
    let part_power = number(get("part_power")?, "part_power")?;
    if !(1.0..=32.0).contains(&part_power) {
        return Err(format!("part_power must be between 1 and 32, but was {part_power}").into());
    }
    let replicas = number(get("replicas")?, "replicas")?;
    let overload = number(get("overload")?, "overload")?;
    if overload < 0.0 {
        return Err(format!("overload must be non-negative, but is {overload:.6}").into());
    }
    let seed = get("random_seed")?;
    number(seed, "random_seed")?;
    let mut builder = RingBuilder::new(part_power as u32, replicas, 1)?;
    builder.overload = overload;
    let mut rounds = Vec::new();
    let raw_rounds = get("rounds")?.as_array().ok_or("rounds must be an array")?;
    for (round, commands) in raw_rounds.iter().enumerate() {
        let commands = commands.as_array().ok_or_else(|| format!("round {round} not an array"))?;
        let mut changes = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            changes.push(change(command).map_err(|error| {
                format!("Invalid command (round {round}, command {at}): {error}")
            })?);
        }
        rounds.push(changes);
    }
    Ok(Scenario { builder, seed: seed_of(&seed.to_string()), rounds })
}

fn apply(builder: &mut RingBuilder, change: Change) -> Result<(), CommandError> {
    match change {
        Change::Add(device) => {
            builder.add(device);
            Ok(())
        }
        Change::Remove(id) => Ok(builder.remove(id)?),
        Change::SetWeight(id, weight) => Ok(builder.set_weight(id, weight)?),
        Change::Save(path) => put(&path, &file::encode(builder)),
    }
}

fn play(scenario: Scenario, out: &mut Output, now_seconds: u64) -> Result<(), CommandError> {
    let Scenario { mut builder, seed, rounds } = scenario;
    let mut entries = Vec::new();
    for (round, changes) in rounds.into_iter().enumerate() {
        out.show(format!("Round {}", round + 1));
        for change in changes {
            apply(&mut builder, change)?;
        }
        let (mut last, mut turns) = (None, Vec::new());
        for turn in 1..=REBALANCES_MAX {
            let progress = Progress::spinner(out, "placing partitions");
            let outcome = place(&mut builder, now_seconds, seed);
            progress.end();
            let outcome = outcome?;
            builder.pretend_min_part_hours_passed();
            let (moved, removed, balance) = (outcome.moved, outcome.removed, outcome.balance);
            out.show(format!(
                "\tRebalance {turn}: moved {moved} parts, balance is {balance:.6}, {removed} removed devs"
            ));
            turns.push(json!({ "moved": moved, "balance": balance, "removed_devices": removed }));
            let is_worst = last == Some(BALANCE_MAX) && balance == BALANCE_MAX;
            let is_settled =
                last.is_some_and(|last: f64| (last - balance).abs() < 1.0) && !is_worst;
            if turn > 1 && ((moved == 0 && removed == 0) || is_settled) {
                break;
            }
            last = Some(balance);
        }
        entries.push(json!({ "round": round + 1, "rebalances": turns }));
    }
    out.set("rounds", entries);
    Ok(())
}

pub(super) fn analyze(out: &mut Output, arguments: &[String], now_seconds: u64) -> CommandResult {
    let options: Options = parse(arguments)?;
    let path: &Path = &options.scenario_path;
    let read = std::fs::read(path)
        .map_err(|error| format!("Error opening scenario {}: {error}", path.display()))
        .and_then(|bytes| {
            scenario(&bytes)
                .map_err(|error| format!("Invalid scenario {}: {error}", path.display()))
        });
    let scenario = match read {
        Ok(scenario) => scenario,
        Err(text) => {
            out.warn(&text);
            out.set("error", text);
            // As Swift's analyzer ends.
            return Ok(Exit::Warning);
        }
    };
    if !options.check {
        play(scenario, out, now_seconds).map_err(CommandError::uncaught)?;
    }
    Ok(Exit::Success)
}
