//! The devices of a server, each with its own threads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apus_disk::{DeviceThreads, Priority, is_mount};
use tokio::sync::oneshot;

/// Why a device did no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceError {
    /// Missing or not mounted: 507.
    Gone,
    /// Too much waits: 503.
    Busy,
}

/// Threads that serve one device.
const THREADS: usize = 4;
/// Work that may wait for one device.
const QUEUE_MAX: usize = 4096;

/// All devices below one directory.
#[derive(Debug)]
pub(crate) struct Devices {
    root: PathBuf,
    mount_check: bool,
    threads: Mutex<HashMap<String, Arc<DeviceThreads>>>,
}

impl Devices {
    pub(crate) fn new(root: &Path, mount_check: bool) -> Self {
        Self { root: root.to_owned(), mount_check, threads: Mutex::default() }
    }

    /// The directory of a device that is there.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, DeviceError> {
        let path = self.root.join(name);
        let there = if self.mount_check { is_mount(&path) } else { path.is_dir() };
        if there { Ok(path) } else { Err(DeviceError::Gone) }
    }

    fn threads(&self, name: &str) -> Result<Arc<DeviceThreads>, DeviceError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = threads.get(name) {
            return Ok(known.clone());
        }
        let started = DeviceThreads::start(name, THREADS, QUEUE_MAX).map_err(|error| {
            tracing::error!(%error, device = name, "start threads");
            DeviceError::Busy
        })?;
        let started = Arc::new(started);
        threads.insert(name.to_owned(), started.clone());
        Ok(started)
    }

    /// Runs work on the threads of a device.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeviceError> {
        let (reply, answer) = oneshot::channel();
        self.threads(name)?
            .submit(priority, move || {
                // Nobody waits any more when the client went away.
                let _ = reply.send(work());
            })
            .map_err(|_| DeviceError::Busy)?;
        answer.await.map_err(|_| DeviceError::Busy)
    }
}
