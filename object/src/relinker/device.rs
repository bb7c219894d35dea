//! The relinker's walk over one device, partition by partition.
//!
//! A partition is noted as done when its links are durable. Only one relinker works on a device. A
//! ring that changes meanwhile ends the walk: work for one part power must not be continued for
//! another.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apus_disk::{Counters, DirectoryLock};

use super::links::Links;
use super::options::{RelinkerOptions, Step};
use super::progress::{Progress, Reporter, Stats};
use super::state::RelinkNotes;
use super::{Doubling, RingChanged};
use crate::diskfile::partition::REPLICATION_LOCK;
use crate::diskfile::{cleanup, relink_notes};
use crate::engine::place::{Partition, is_suffix};

/// How often the notes are written, each time with a sync of the file system.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// Limits the number of hash directories per second; zero for no limit.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    next: Option<Instant>,
}

impl RateLimit {
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second, next: None }
    }

    /// Waits until this number may be processed.
    fn take(&mut self, amount: usize) {
        if self.per_second <= 0.0 {
            return;
        }
        let now = Instant::now();
        let start = self.next.map_or(now, |next| next.max(now));
        let cost = Duration::try_from_secs_f64(amount as f64 / self.per_second);
        self.next = Some(start + cost.unwrap_or_default());
        std::thread::sleep(start - now);
    }
}

/// Why a walk ended early.
#[derive(Debug)]
enum WalkError {
    /// The ring has changed.
    Ring(RingChanged),
    Disk(io::Error),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// A walk over one device for one policy.
struct RelinkWalk<'a> {
    options: &'a RelinkerOptions,
    doubling: &'a Doubling,
    name: &'a str,
    device: &'a Path,
    state: RelinkNotes,
    progress: Progress,
    rate: &'a mut RateLimit,
    reporter: &'a mut Reporter,
    counters: &'a Arc<Counters>,
    /// Links that may not be durable.
    unsynced: bool,
    stored: Instant,
}

/// Processes one device for one policy. Failures are logged and counted.
pub(super) fn walk(
    options: &RelinkerOptions,
    doubling: &Doubling,
    name: &str,
    rate: &mut RateLimit,
    reporter: &mut Reporter,
) {
    let device = options.devices.join(name);
    let mut progress = Progress {
        begun: reporter.now(),
        powers: (doubling.part_power, doubling.next_part_power),
        stats: Stats::default(),
        parts: (0, 0),
        took: None,
    };
    let there = if options.mount_check { apus_disk::is_mount(&device) } else { device.is_dir() };
    if !there {
        tracing::warn!(device = name, "Skipped a device that is missing or not mounted");
        progress.stats.unmounted = 1;
        return reporter.update(name, doubling.policy.0, &progress, true);
    }
    let kind = doubling.policy.suffixed("objects");
    let begun = lock(&device, &kind, name).and_then(|lock| {
        let (own, next) = (doubling.part_power, doubling.next_part_power);
        Ok((lock, RelinkNotes::load(&device, &kind, own, next)?))
    });
    let (lock, state) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            tracing::error!(%error, device = name, "Failed to lock a device or to read the relinker's notes");
            progress.stats.errors = 1;
            return reporter.update(name, doubling.policy.0, &progress, true);
        }
    };
    let counters = Arc::default();
    let mut walk = RelinkWalk {
        options,
        doubling,
        name,
        device: &device,
        state,
        progress,
        rate,
        reporter,
        counters: &counters,
        unsynced: false,
        stored: Instant::now(),
    };
    match walk.run(&kind) {
        Ok(()) => {}
        Err(WalkError::Ring(error)) => {
            tracing::error!(device = name, %error, "Stopped on a device; start the step that the ring is at");
            walk.progress.stats.errors += 1;
        }
        Err(WalkError::Disk(error)) => {
            tracing::error!(%error, device = name, "Stopped on a device after a disk error");
            walk.progress.stats.errors += 1;
        }
    }
    let (begun, now) = (walk.progress.begun, walk.reporter.now());
    walk.progress.took = Some(now.saturating_sub(begun));
    walk.report(true);
    drop(lock);
}

/// Takes the lock of a device, waiting as long as another process holds it.
fn lock(device: &Path, kind: &str, name: &str) -> io::Result<DirectoryLock> {
    let file = relink_notes::lock(kind);
    match DirectoryLock::take(device, &file, Duration::ZERO) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            tracing::info!(device = name, "Waiting for another relinker or a write on this device");
            DirectoryLock::take(device, &file, Duration::MAX)
        }
        taken => taken,
    }
}

impl RelinkWalk<'_> {
    fn run(&mut self, kind: &str) -> Result<(), WalkError> {
        let there: Vec<u32> = match apus_disk::names(&self.device.join(kind)) {
            Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
            Err(error) => {
                tracing::error!(%error, device = self.name, "Failed to list the partitions of a device");
                self.progress.stats.unlistable_partitions = 1;
                return Ok(());
            }
        };
        let mut left = self.state.choose(there, self.options.again);
        if !self.options.partitions.is_empty() {
            left.retain(|number| self.options.partitions.contains(number));
        }
        if self.options.step == Step::Cleanup {
            // Links that another process made, and did not sync.
            apus_disk::sync_file_system(self.device, self.counters)?;
            // From now on servers make no links into the old partitions.
            self.store()?;
        }
        self.report(false);
        for number in left {
            self.doubling.check().map_err(WalkError::Ring)?;
            let policy = self.doubling.policy;
            let partition = Partition { device: self.device.to_owned(), policy, number };
            self.partition(&partition)?;
            if self.stored.elapsed() >= STORE_EVERY {
                self.store()?;
            }
            self.report(false);
        }
        self.store()?;
        Ok(())
    }

    fn partition(&mut self, partition: &Partition) -> io::Result<()> {
        let errors = self.progress.stats.errors;
        let number = partition.number;
        match partition.suffixes(self.counters) {
            Ok(suffixes) => {
                for suffix in suffixes {
                    self.suffix(partition, &suffix);
                }
            }
            Err(error) => self.failed(partition, &error),
        }
        if self.options.step == Step::Cleanup
            && let Err(error) = self.remove_if_empty(partition)
        {
            // The replicators remove it as well.
            tracing::info!(%error, device = self.name, partition = number, "An old partition was not removed");
        }
        if self.progress.stats.errors == errors {
            self.state.done(number);
        }
        let (done, all) = self.state.counts();
        let policy = &self.doubling.name;
        tracing::info!(device = self.name, policy, done, all, "Processed a partition");
        Ok(())
    }

    fn suffix(&mut self, partition: &Partition, suffix: &str) {
        let mut links = Links {
            cleanup: self.options.step == Step::Cleanup,
            clobber: self.options.clobber_hardlink_collisions,
            power: self.doubling.next_part_power,
            stats: &mut self.progress.stats,
            counters: self.counters,
        };
        match links.misplaced(partition, suffix) {
            Ok(hashes) if hashes.is_empty() => {}
            Ok(hashes) => {
                self.rate.take(hashes.len());
                self.unsynced |= links.suffix(partition, &hashes);
            }
            Err(error) => return self.failed(partition, &error),
        }
        if self.options.step == Step::Cleanup {
            // A directory that is not empty stays.
            let _ = apus_disk::remove_directory(&partition.directory().join(suffix));
        }
    }

    fn failed(&mut self, partition: &Partition, error: &io::Error) {
        tracing::error!(%error, partition = %partition.directory().display(), "Failed to process a partition");
        self.progress.stats.errors += 1;
    }

    /// Removes an old partition that is empty, so that it is not replicated as a handoff.
    fn remove_if_empty(&self, partition: &Partition) -> io::Result<()> {
        let names = cleanup::names(&partition.directory(), self.counters)?;
        if names.is_empty() {
            return match apus_disk::remove_directory(&partition.directory()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let own = |name: &String| !is_suffix(name);
        if !names.iter().all(own) {
            return Ok(());
        }
        let directory = partition.directory();
        let _lock = DirectoryLock::take(&directory, REPLICATION_LOCK, Duration::ZERO)?;
        partition.remove_if_empty(self.counters).map(drop)
    }

    /// Makes the links durable, and stores the notes.
    fn store(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            apus_disk::sync_file_system(self.device, self.counters)?;
        }
        self.state.store(self.counters)?;
        self.stored = Instant::now();
        apus_fault::point("relink.state.stored");
        Ok(())
    }

    fn report(&mut self, now: bool) {
        self.progress.parts = self.state.counts();
        self.reporter.update(self.name, self.doubling.policy.0, &self.progress, now);
    }
}
