//! The relinker: gives what lies on the devices of this node its paths by the next part power, and
//! removes the old ones when the ring has been changed.
//!
//! Source: `swift/cli/relinker.py`. It works beside the running servers, which link themselves what
//! they write meanwhile (`diskfile/other_path.rs`). *relink* makes links only. *cleanup* makes those
//! that are missing, and then removes the old names; also the new ones, where an increase was
//! cancelled. Nothing is copied or moved between nodes. Blocking: not for a server's process.

mod device;
mod links;
mod progress;
pub(crate) mod state;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PolicyIndex;
use apus_daemon::Clock;
use apus_daemon::recon::ReconCache;
use apus_ring::SharedRing;

use self::device::Rate;
use self::progress::Reporter;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// After the increase was prepared: link.
    Relink,
    /// After it was done or cancelled: remove what is no longer used.
    Cleanup,
}

impl Step {
    /// Swift's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relink => "relink",
            Self::Cleanup => "cleanup",
        }
    }
}

/// A policy whose ring has a next part power.
#[derive(Debug, Clone)]
pub struct Doubling {
    /// Its index.
    pub policy: PolicyIndex,
    /// Its name, for the log.
    pub name: String,
    ring: Arc<SharedRing>,
    part_power: u32,
    next_part_power: u32,
}

impl Doubling {
    /// Of a policy's ring; `None` when it is not at `step`.
    pub fn of(policy: PolicyIndex, name: &str, ring: Arc<SharedRing>, step: Step) -> Option<Self> {
        let (part_power, next) = (ring.get().part_power(), ring.get().next_part_power());
        let next_part_power = next?;
        let is_increased = next_part_power == part_power;
        let is_its_turn = is_increased == (step == Step::Cleanup);
        let name = name.to_owned();
        is_its_turn.then_some(Self { policy, name, ring, part_power, next_part_power })
    }

    /// Whether the ring is still as it was.
    fn check(&self) -> Result<(), String> {
        if let Err(error) = self.ring.refresh() {
            tracing::warn!(%error, "the ring before is gone by");
        }
        let ring = self.ring.get();
        if (ring.part_power(), ring.next_part_power())
            == (self.part_power, Some(self.next_part_power))
        {
            return Ok(());
        }
        let next = ring.next_part_power().map_or("none".to_owned(), |next| next.to_string());
        Err(format!(
            "{}: part power was {} and the next one {}, now they are {} and {next}",
            self.ring.path().display(),
            self.part_power,
            self.next_part_power,
            ring.part_power(),
        ))
    }
}

/// What to do, where, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is to be done.
    pub step: Step,
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points.
    pub mount_check: bool,
    /// Only these devices; all when empty.
    pub only_devices: Vec<String>,
    /// Only these partitions; all when empty.
    pub partitions: BTreeSet<u32>,
    /// Hash directories a second and worker; 0 is no limit.
    pub files_per_second: f64,
    /// Devices that are worked on at the same time; `None` is all.
    pub workers: Option<usize>,
    /// Also partitions that are noted as done.
    pub again: bool,
    /// Whether a file that is in the way of a link is moved aside.
    pub clobber_hardlink_collisions: bool,
    /// How often recon is told, beside the beginning and the end of a device.
    pub stats_interval: Duration,
    /// Where recon is told.
    pub recon: ReconCache,
    /// The clock.
    pub clock: Arc<dyn Clock>,
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

fn device_names(options: &Options) -> std::io::Result<Vec<String>> {
    let mut names = options.only_devices.clone();
    if names.is_empty() {
        for entry in std::fs::read_dir(&options.devices)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        // What is no directory is no device, mounted or not.
        names.retain(|name| options.devices.join(name).is_dir());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Runs a step on the devices of this node for all policies that are at it.
pub fn run(options: &Options, policies: &[Doubling]) -> Outcome {
    progress::reset(&options.recon);
    let names = match device_names(options) {
        Ok(names) => names,
        Err(error) => {
            tracing::error!(%error, devices = %options.devices.display(), "devices");
            return Outcome::Failed;
        }
    };
    if policies.is_empty() {
        tracing::warn!("No policy found to increase the partition power.");
        return Outcome::NoPolicy;
    }
    let workers = options.workers.unwrap_or(names.len()).clamp(1, names.len().max(1));
    tracing::info!(step = options.step.name(), workers, devices = ?names, "relinker begins");
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
    tracing::info!(step = options.step.name(), ?outcome, "relinker ends");
    outcome
}

/// One worker, over its devices one after another.
fn work(options: &Options, policies: &[Doubling], name: String, devices: &[String]) -> Outcome {
    let (step, interval) = (options.step.name(), options.stats_interval);
    let clock = options.clock.clone();
    let mut reporter = Reporter::new(&options.recon, name, devices.to_vec(), step, interval, clock);
    let mut rate = Rate::new(options.files_per_second);
    for doubling in policies {
        for device in devices {
            device::walk(options, doubling, device, &mut rate, &mut reporter);
        }
    }
    let total = reporter.total();
    let outcome = if total.any_error() { Outcome::Failed } else { Outcome::Done };
    if total.unmounted > 0 {
        tracing::warn!("{} disks were unmounted", total.unmounted);
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
    reporter.tell(Some(outcome.code()));
    outcome
}

#[cfg(test)]
mod tests;
