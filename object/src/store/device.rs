//! The devices of a node: threads of each, and a committer per file system.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apus_cluster::Timestamp;
use apus_daemon::Clock;
use apus_disk::{Committer, Counters, DeviceThreads, Priority, is_mount};
use tokio::sync::oneshot;

use super::error::DeviceError;
use super::reservation::Reservations;

/// Threads that serve one device.
const THREADS: usize = 4;
/// Operations that may wait for one device.
const QUEUE_MAX: usize = 4096;

/// All devices below one directory.
#[derive(Debug)]
pub(crate) struct Devices {
    root: PathBuf,
    mount_check: bool,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    table: Mutex<DeviceTable>,
    /// By the number of the file system.
    committers: Mutex<HashMap<u64, Arc<Committer>>>,
}

/// The devices in use.
#[derive(Debug, Default)]
struct DeviceTable {
    devices: HashMap<String, Arc<Device>>,
    /// Whether another process reserves names now.
    sealed: bool,
}

/// Threads, committer and reservations of one device.
#[derive(Debug)]
struct Device {
    threads: DeviceThreads,
    /// Shared by all devices of one file system.
    committer: Arc<Committer>,
    reservations: Arc<Reservations>,
}

impl Devices {
    pub(crate) fn new(
        root: &Path,
        mount_check: bool,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            mount_check,
            counters,
            clock,
            table: Mutex::default(),
            committers: Mutex::default(),
        }
    }

    /// Names in the directory of devices, usable or not.
    pub(crate) fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort_unstable();
        names
    }

    /// The directory of a device that is present.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, DeviceError> {
        let path = self.root.join(name);
        let there = if self.mount_check && !apus_fault::planted("bug.skip-mount-check") {
            is_mount(&path)
        } else {
            path.is_dir()
        };
        if there { Ok(path) } else { Err(DeviceError::Unmounted) }
    }

    fn device(&self, name: &str) -> Result<Arc<Device>, DeviceError> {
        if let Some(device) = self.table().devices.get(name) {
            return Ok(device.clone());
        }
        // Not under the lock: a device that hangs must not stop the others.
        let started = self.start(name).map_err(|error| {
            tracing::error!(%error, device = name, "Failed to start the threads of a device");
            DeviceError::Busy
        })?;
        let mut table = self.table();
        if table.sealed {
            started.reservations.begin_sealed();
        }
        Ok(table.devices.entry(name.to_owned()).or_insert_with(|| Arc::new(started)).clone())
    }

    fn table(&self) -> MutexGuard<'_, DeviceTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals the reservations of all devices.
    pub(crate) async fn seal(&self) {
        let devices: Vec<Arc<Device>> = {
            let mut table = self.table();
            table.sealed = true;
            table.devices.values().cloned().collect()
        };
        for device in devices {
            device.reservations.seal().await;
        }
    }

    fn start(&self, name: &str) -> io::Result<Device> {
        let path = self.root.join(name);
        let file_system = std::fs::metadata(&path)?.dev();
        let threads = DeviceThreads::start(name, THREADS, QUEUE_MAX)?;
        let now = Timestamp::from_duration(self.clock.now());
        let reservations = Arc::new(Reservations::open(&path, self.counters.clone(), now)?);
        let mut committers = self.committers.lock().unwrap_or_else(PoisonError::into_inner);
        let committer = match committers.get(&file_system) {
            Some(committer) => committer.clone(),
            None => {
                let started = Arc::new(Committer::start(name, self.counters.clone())?);
                committers.insert(file_system, started.clone());
                started
            }
        };
        Ok(Device { threads, committer, reservations })
    }

    /// The committer of a device's file system.
    pub(crate) fn committer(&self, name: &str) -> Result<Arc<Committer>, DeviceError> {
        Ok(self.device(name)?.committer.clone())
    }

    /// The reservations of a device.
    pub(crate) fn reservations(&self, name: &str) -> Result<Arc<Reservations>, DeviceError> {
        Ok(self.device(name)?.reservations.clone())
    }

    /// Runs work on the threads of a device.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeviceError> {
        let (reply, answer) = oneshot::channel();
        self.device(name)?
            .threads
            .submit(priority, move || {
                // No receiver is left when the client disconnected.
                let _ = reply.send(work());
            })
            .map_err(|_| DeviceError::Busy)?;
        answer.await.map_err(|_| DeviceError::Busy)
    }
}
