//! `ring-builder diff A B`: what moves when a cluster goes from one ring to another.

use std::path::{Path, PathBuf};

use apus_ring::Ring;
use apus_ring::builder::file;
use apus_ring::format::{self, UncheckedRing};
use apus_ring::moves::{Amounts, MatchBy, compare};
use clap::Parser;

use super::moves::show_moves;
use super::options::parse;
use super::output::{CommandError, Output};
use super::progress::Progress;
use super::quantity::bytes;
use super::{CommandResult, Exit};

/// Show what moves from one ring to another
#[derive(Debug, Parser)]
#[command(name = "diff", no_binary_name = true, infer_long_args = true)]
struct Options {
    /// The ring as it is: a ring file or a builder file
    old: PathBuf,
    /// The ring as it is to be
    new: PathBuf,
    /// Also show nodes and devices
    #[arg(short, long)]
    verbose: bool,
    /// Match devices by id instead of address, port and name
    #[arg(long)]
    by_id: bool,
    /// Bytes on all devices of the ring now, such as 1.5PB
    #[arg(long, value_parser = bytes)]
    used: Option<f64>,
    /// Bytes a second that a device takes in or gives, such as 100MB
    #[arg(long, value_parser = bytes)]
    rate: Option<f64>,
}

/// Reads the ring of a ring or builder file, which differ in their first bytes.
pub(super) fn read(path: &Path) -> Result<UncheckedRing, CommandError> {
    let named =
        |error: &dyn std::fmt::Display| CommandError::from(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| named(&error))?;
    let ring = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => format::decode(&bytes).map_err(|error| named(&error))?,
        false => file::decode(&bytes).map_err(|error| named(&error))?.ring_data(),
    };
    // Every id must name a device.
    Ring::check(ring.clone()).map_err(|error| named(&error))?;
    Ok(ring)
}

pub(super) fn diff(out: &mut Output, arguments: &[String]) -> CommandResult {
    let options: Options = parse(arguments)?;
    let (old, new) = (read(&options.old)?, read(&options.new)?);
    let same = if options.by_id { MatchBy::Id } else { MatchBy::Place };
    let progress = Progress::spinner(out, "comparing");
    let moves = compare(&old, &new, same);
    progress.end();
    let amounts = Amounts { used: options.used, rate: options.rate };
    show_moves(&moves?, out, amounts, options.verbose);
    Ok(Exit::Success)
}
