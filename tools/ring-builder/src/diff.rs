//! `ring-builder diff A B`: what moves when a cluster goes from one ring to another.

use std::path::{Path, PathBuf};

use apus_ring::Ring;
use apus_ring::builder::file;
use apus_ring::format::{self, UncheckedRing};
use apus_ring::moves::{Amounts, Same, compare};
use clap::Parser;

use super::moves::show_moves;
use super::options::parse;
use super::output::Output;
use super::progress::Progress;
use super::quantity::bytes;
use super::{Done, Exit};

/// Tell what moves from one ring to another
#[derive(Debug, Parser)]
#[command(name = "diff", no_binary_name = true, infer_long_args = true)]
struct Options {
    /// The ring as it is: a ring file or a builder file
    old: PathBuf,
    /// The ring as it is to be
    new: PathBuf,
    /// Tell of nodes and devices, too
    #[arg(short, long)]
    verbose: bool,
    /// Devices are the same when their ids are; else when address, port and name are
    #[arg(long)]
    by_id: bool,
    /// Bytes on all devices of the ring now, such as 1.5PB
    #[arg(long, value_parser = bytes)]
    used: Option<f64>,
    /// Bytes a second that a device takes in or gives, such as 100MB
    #[arg(long, value_parser = bytes)]
    rate: Option<f64>,
}

/// Reads a ring of a ring or builder file, which is told by its first bytes.
pub(super) fn read(path: &Path) -> Result<UncheckedRing, String> {
    let named = |error: String| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| named(error.to_string()))?;
    let ring = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => format::decode(&bytes).map_err(named)?,
        false => file::decode(&bytes).map_err(named)?.ring_data(),
    };
    // Believed only when every id names a device.
    Ring::check(ring.clone()).map_err(named)?;
    Ok(ring)
}

pub(super) fn diff(out: &mut Output, arguments: &[String]) -> Done {
    let options: Options = parse(arguments)?;
    let (old, new) = (read(&options.old)?, read(&options.new)?);
    let same = if options.by_id { Same::Id } else { Same::Place };
    let progress = Progress::spinner(out, "comparing");
    let moves = compare(&old, &new, same);
    progress.end();
    let amounts = Amounts { used: options.used, rate: options.rate };
    show_moves(&moves?, out, amounts, options.verbose);
    Ok(Exit::Success)
}
