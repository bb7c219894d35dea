//! The relinker: links objects to their paths by the next part power.
//!
//! When the ring has been changed, it removes the old paths. Source: `swift/cli/relinker.py`. It works
//! while the servers run, which make their own links for what they write (`diskfile/other_path.rs`).
//! *relink* makes links only. *cleanup* makes those that are missing, and then removes the old names,
//! or the new ones, where an increase was cancelled. Nothing is copied or moved between nodes. It
//! blocks, and does not belong into the process of a server.

mod device;
mod links;
mod options;
mod progress;
pub(crate) mod state;

use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::{PartPower, PolicyIndex};
use apus_ring::SharedRing;

use self::device::RateLimit;
pub use self::options::{RelinkerFileOptions, RelinkerOptions, RelinkerOptions as Options, Step};
use self::progress::Reporter;

/// A policy whose ring has a next part power.
#[derive(Debug, Clone)]
pub struct Doubling {
    /// Its index.
    pub policy: PolicyIndex,
    /// Its name, for the log.
    pub name: String,
    ring: Arc<SharedRing>,
    part_power: PartPower,
    next_part_power: PartPower,
}

/// A ring that was changed while the relinker worked.
#[derive(Debug, thiserror::Error)]
#[error("{}: part power and next part power were {before:?}, now they are {now:?}", .ring.display())]
struct RingChanged {
    ring: PathBuf,
    before: (u32, u32),
    now: (u32, Option<u32>),
}

impl Doubling {
    /// Describes a policy's ring; `None` when it is not at `step`.
    pub fn of(policy: PolicyIndex, name: &str, ring: Arc<SharedRing>, step: Step) -> Option<Self> {
        let (part_power, next) = (ring.get().part_power(), ring.get().next_part_power());
        let next_part_power = next?;
        let is_increased = next_part_power == part_power;
        let is_its_turn = is_increased == (step == Step::Cleanup);
        let name = name.to_owned();
        is_its_turn.then_some(Self { policy, name, ring, part_power, next_part_power })
    }

    /// Checks that the ring has not changed.
    fn check(&self) -> Result<(), RingChanged> {
        if let Err(error) = self.ring.refresh() {
            tracing::warn!(%error, "Failed to read the ring again; continuing with the loaded one");
        }
        let ring = self.ring.get();
        if (ring.part_power(), ring.next_part_power())
            == (self.part_power, Some(self.next_part_power))
        {
            return Ok(());
        }
        Err(RingChanged {
            ring: self.ring.path().to_owned(),
            before: (self.part_power.get(), self.next_part_power.get()),
            now: (ring.part_power().get(), ring.next_part_power().map(PartPower::get)),
        })
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything is done.
    Done,
    /// No policy's ring is at this step.
    NoPolicy,
    /// Something failed, or a device is missing.
    Failed,
}

impl Outcome {
    /// Swift's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::NoPolicy => 2,
        }
    }
}

fn device_names(options: &RelinkerOptions) -> std::io::Result<Vec<String>> {
    let mut names = options.only_devices.clone();
    if names.is_empty() {
        for entry in std::fs::read_dir(&options.devices)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        // Only directories are devices, mounted or not.
        names.retain(|name| options.devices.join(name).is_dir());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Runs a step on the devices of this node for all policies that are at it.
pub fn run(options: &RelinkerOptions, policies: &[Doubling]) -> Outcome {
    progress::reset(&options.recon);
    let names = match device_names(options) {
        Ok(names) => names,
        Err(error) => {
            tracing::error!(%error, devices = %options.devices.display(), "Failed to list the devices");
            return Outcome::Failed;
        }
    };
    if policies.is_empty() {
        tracing::warn!("No policy found to increase the partition power.");
        return Outcome::NoPolicy;
    }
    let workers = options.workers.unwrap_or(names.len()).clamp(1, names.len().max(1));
    tracing::info!(step = options.step.name(), workers, devices = ?names, "Relinker started");
    let pid = std::process::id();
    let outcome = std::thread::scope(|scope| {
        let start = |index: usize| {
            let own: Vec<String> = names.iter().skip(index).step_by(workers).cloned().collect();
            let name = if index == 0 { pid.to_string() } else { format!("{pid}-{index}") };
            scope.spawn(move || work(options, policies, name, &own))
        };
        let running: Vec<_> = (0..workers).map(start).collect();
        let ended = running.into_iter().map(|worker| worker.join().unwrap_or(Outcome::Failed));
        ended.max().unwrap_or(Outcome::Done)
    });
    tracing::info!(step = options.step.name(), ?outcome, "Relinker finished");
    outcome
}

/// Runs one worker, over its devices one after another.
fn work(
    options: &RelinkerOptions,
    policies: &[Doubling],
    name: String,
    devices: &[String],
) -> Outcome {
    let mut reporter = Reporter::new(options, name, devices.to_vec());
    let mut rate = RateLimit::new(options.files_per_second);
    for doubling in policies {
        for device in devices {
            device::walk(options, doubling, device, &mut rate, &mut reporter);
        }
    }
    let total = reporter.total();
    let outcome = if total.any_error() { Outcome::Failed } else { Outcome::Done };
    if total.unmounted > 0 {
        tracing::warn!(count = total.unmounted, "Some devices were missing or not mounted");
    }
    let errors = total.errors + total.unlistable_partitions;
    let text = format!(
        "{} hash dirs processed ({} files, {} linked, {} removed, {errors} errors)",
        total.hash_dirs, total.files, total.linked, total.removed
    );
    match outcome {
        Outcome::Done => tracing::info!("{text}"),
        _ => tracing::warn!("{text}"),
    }
    reporter.write(Some(outcome.code()));
    outcome
}

#[cfg(test)]
mod tests;
