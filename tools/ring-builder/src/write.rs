//! `create`, `write_ring`, and `write_builder`, which recovers a lost builder.

use std::collections::HashMap;

use apus_daemon::seed;
use apus_ring::Ring;
use apus_ring::builder::{BuilderDevice, RingBuilder};
use apus_ring::format;
use apus_ring::python;
use clap::Parser;

use super::commands::RingFileContext;
use super::dry_run::nothing_written;
use super::options::{FormatOptions, parse};
use super::output::{CommandError, Output};
use super::session::{Names, Session};
use super::{CommandResult, Exit, usage};

/// `min_part_hours` of a recovered builder.
const LOST_HOURS: i64 = 24;

/// A new builder.
pub(super) fn create(arguments: &[String]) -> Result<RingBuilder, CommandError> {
    let [part_power, replicas, hours, ..] = arguments else { return Err(usage("create")) };
    let (part_power, replicas, hours) =
        (python::int(part_power)?, python::float(replicas)?, python::int(hours)?);
    if part_power > 32 {
        return Err(CommandError::Message(format!(
            "part_power must be at most 32 (was {part_power})"
        )));
    }
    let part_power = u32::try_from(part_power)
        .map_err(|_| format!("part_power must be at least 0 (was {part_power})"))?;
    if replicas < 1.0 {
        return Err(CommandError::Message(format!(
            "replicas must be at least 1 (was {replicas:.6})"
        )));
    }
    let hours = u64::try_from(hours)
        .map_err(|_| format!("min_part_hours must be non-negative (was {hours})"))?;
    let mut builder = RingBuilder::new(part_power, replicas, hours)?;
    builder.id = Some(seed::hex::<16>());
    Ok(builder)
}

/// Saves a new builder.
pub(super) fn save_created(session: &mut Session) -> CommandResult {
    session.save_with_backup()?;
    if session.dry_run {
        nothing_written(&mut session.out);
    }
    Ok(Exit::Success)
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true, infer_long_args = true, args_override_self = true)]
struct WriteRing {
    #[command(flatten)]
    format: FormatOptions,
    /// Bytes of a device id in the file (format 2 only)
    #[arg(long, value_parser = ["2", "4"])]
    dev_id_bytes: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

pub(super) fn write_ring(session: &mut Session, arguments: &[String]) -> CommandResult {
    let options: WriteRing = parse(arguments)?;
    let (version, note) = options.format.version();
    if let Some(note) = note {
        session.out.show(note);
    }
    if let Some(word) = options.rest.first() {
        return Err(CommandError::Message(format!(
            "write_ring does not take {}",
            python::repr(word)
        )));
    }
    if session.builder.devices.is_empty() {
        return Err("Unable to write empty ring.".into());
    }
    if let Some(width) = options.dev_id_bytes.as_deref() {
        session.builder.set_id_width(if width == "4" { 4 } else { 2 })?;
    }
    if session.builder.rows.is_empty() {
        session.out.warn(
            "WARNING: Writing a ring with no partition assignments but with devices; did you \
             forget to run \"rebalance\"?",
        );
    }
    session.save_ring(&session.builder.ring_data(), version)?;
    session.out.set("format_version", version);
    session.out.set("dev_id_bytes", session.builder.id_width());
    Ok(Exit::Success)
}

/// Recovers a builder from its ring file, without the data that only builders have.
pub(super) fn write_builder(context: &RingFileContext<'_>, out: &mut Output) -> CommandResult {
    let builder = rebuilt(context.names, context.arguments, out)?;
    let (names, out) = (context.names.clone(), Output::new(false));
    let RingFileContext { now_seconds, dry_run, .. } = *context;
    Session { names, builder, out, now_seconds, dry_run }.save()?;
    Ok(Exit::Success)
}

fn rebuilt(
    names: &Names,
    arguments: &[String],
    out: &mut Output,
) -> Result<RingBuilder, CommandError> {
    if names.builder.exists() {
        return Err(CommandError::Message(format!(
            "Cowardly refusing to overwrite existing Ring Builder file: {}",
            names.builder.display()
        )));
    }
    let hours = match arguments.first() {
        Some(text) => python::int(text).map_err(CommandError::uncaught)?,
        None => {
            out.warn(
                "WARNING: default min_part_hours may not match the value in the lost builder.\n",
            );
            LOST_HOURS
        }
    };
    let hours = u64::try_from(hours)
        .map_err(|_| format!("min_part_hours must be non-negative (was {hours})"))?;
    let uncaught = |error: &dyn std::fmt::Display| {
        CommandError::Uncaught(format!("{}: {error}", names.ring.display()))
    };
    let bytes = std::fs::read(&names.ring).map_err(|error| uncaught(&error))?;
    let ring = format::decode(&bytes).map_err(|error| uncaught(&error))?;
    // Every id must name a device.
    Ring::check(ring.clone()).map_err(|error| uncaught(&error))?;
    let mut held: HashMap<u32, u64> = HashMap::new();
    for id in ring.rows.iter().flatten() {
        *held.entry(*id).or_default() += 1;
    }
    let mut builder = RingBuilder::new(ring.part_power, ring.replica_count(), hours)?;
    builder.devices = ring
        .devices
        .into_iter()
        .map(|slot| {
            slot.map(|device| BuilderDevice {
                parts: held.get(&device.id).copied().unwrap_or(0),
                parts_wanted: 0,
                device,
            })
        })
        .collect();
    builder.last_moves = vec![0; builder.partitions()];
    builder.rows = ring.rows;
    builder.version = ring.version;
    builder.id_width = Some(ring.id_width);
    builder.dispersion_is_known = false;
    builder.id = Some(seed::hex::<16>());
    Ok(builder)
}
