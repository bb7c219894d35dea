//! Options of the relinker.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::Clock;
use apus_daemon::recon::ReconCache;
use apus_options::{flag, number, options, whole};

/// Step of the relinker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// After the increase was prepared: link.
    Relink,
    /// After it was done or cancelled: remove what is no longer used.
    Cleanup,
}

impl Step {
    /// Swift's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relink => "relink",
            Self::Cleanup => "cleanup",
        }
    }
}

options! {
    /// Options of `[object-relinker]`, with Swift's names and defaults.
    #[derive(Debug)]
    pub struct RelinkerFileOptions {
        /// Hash directories of a worker in a second; 0 is unlimited.
        pub files_per_second: f64 = number(0.0),
        /// Time between two reports.
        pub stats_interval: f64 = number(300.0).unit("seconds"),
        /// Devices at the same time; `auto` for all.
        pub workers: String = whole(0).or_word("auto"),
        /// Where another file has the new name: when relinking, quarantine it; when cleaning up, keep it and remove the old one.
        pub clobber_hardlink_collisions: bool = flag(false),
    }
}

/// Options of a run.
#[derive(Debug, Clone)]
pub struct RelinkerOptions {
    /// The step.
    pub step: Step,
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points.
    pub mount_check: bool,
    /// Only these devices; all when empty.
    pub only_devices: Vec<String>,
    /// Only these partitions; all when empty.
    pub partitions: BTreeSet<u32>,
    /// Hash directories per second and worker; 0 for no limit.
    pub files_per_second: f64,
    /// Devices that are processed concurrently; `None` for all.
    pub workers: Option<usize>,
    /// Whether partitions that are noted as done are processed again.
    pub again: bool,
    /// Whether a file that has the name of a link is quarantined.
    pub clobber_hardlink_collisions: bool,
    /// How often recon entries are written, in addition to the beginning and end of a device.
    pub stats_interval: Duration,
    /// Cache of recon entries.
    pub recon: ReconCache,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}
