//! `ring-composer FILE rebalance`: rebalances the builders of a composite ring together, so that
//! no partition moves in two of them.
//!
//! Swift has this as `CompositeRingBuilder.rebalance`, without a command. No builder is saved when
//! one fails; `compose` makes the ring of them.

use std::path::{Path, PathBuf};

use apus_daemon::Clock;
use apus_daemon::clock::SystemClock;
use apus_ring::BuilderError;
use apus_ring::builder::rebalance_together;
use serde_json::{Value, json};

use super::Exit;
use super::composite::{Composite, joined, load, lock_folders, show_ring_moves};
use super::dry_run::{DryRun, nothing_written};
use super::output::{CommandError, Output};
use super::progress::Progress;
use super::rebalance::{seed_or_random, show_result};
use super::session::{Names, Session};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Paths to component ring builder files; those of the composite builder file when there are
    /// none
    builder_files: Vec<PathBuf>,
    /// Accept builders that do not match the composite builder file
    #[arg(long)]
    force: bool,
    /// Seed of random choices; any text
    #[arg(short, long, allow_hyphen_values = true)]
    seed: Option<String>,
}

pub(super) fn rebalance(
    old: &Composite,
    path: &Path,
    options: &Options,
    dry: &DryRun,
    out: &mut Output,
) -> Result<Exit, CommandError> {
    let files: Vec<PathBuf> = match options.builder_files.is_empty() {
        true => old.components.iter().map(|known| known.file.clone()).collect(),
        false => options.builder_files.clone(),
    };
    // The composite file as well: no process may compose builders that are half saved.
    let path = path.to_path_buf();
    let locked = files.iter().chain([&path]).filter(|_| !dry.dry_run);
    let _locks = lock_folders(locked)?;
    let (mut builders, components) = load(&files)?;
    if !old.components.is_empty() && !options.force {
        old.check_against(&components)?;
    }
    for (builder, component) in builders.iter().zip(&components) {
        if builder.next_part_power.is_some() {
            return Err(format!(
                "{}: partition power increase in progress.\n\
                 You need to finish the increase first before rebalancing.",
                component.file.display()
            )
            .into());
        }
    }
    let before = builders.clone();
    let now_seconds = SystemClock.now().as_secs();
    let progress = Progress::spinner(out, "placing partitions");
    let seed = seed_or_random(options.seed.as_deref());
    let done = rebalance_together(&mut builders, now_seconds, seed);
    progress.end();
    let failed = |index: usize, error: BuilderError| {
        let file = components.get(index).map_or(&path, |component| &component.file);
        format!("An error occurred while rebalancing component {}: {error}", file.display())
    };
    let done = done.map_err(|(index, error)| failed(index, error))?;
    for (index, builder) in builders.iter_mut().enumerate() {
        builder.close_gaps();
        builder.validate().map_err(|error| failed(index, error))?;
    }
    let mut exit = Exit::Success;
    let mut entries: Vec<Value> = Vec::new();
    for ((component, builder), done) in components.iter().zip(&builders).zip(&done) {
        let balance = builder.balance().percent;
        out.say(component.file.display().to_string());
        if show_result(out, builder, done.moved, balance) != Exit::Success {
            exit = Exit::Warning;
        }
        entries.push(json!({
            "id": component.id,
            "file": component.file,
            "moved": done.moved,
            "removed_devices": done.removed,
            "balance": balance,
            "dispersion": builder.dispersion,
        }));
    }
    out.set("components", entries);
    if dry.dry_run {
        nothing_written(out);
        show_ring_moves(dry, out, &before, &joined(&before), &joined(&builders))?;
        return Ok(exit);
    }
    for (component, builder) in components.iter().zip(builders) {
        let names = Names::of(&component.file.to_string_lossy());
        let session =
            Session { names, builder, out: Output::new(false), now_seconds, dry_run: false };
        session.save_with_backup()?;
    }
    Ok(exit)
}
