//! The locks of replication: one exchange per partition, few per device, across processes.
//!
//! Source: `swift/obj/diskfile.py`, `replication_lock`, `partition_lock`. Waiting takes no thread:
//! the lock is tried again and again.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use apus_disk::{DirectoryLock, Priority};

use super::partition::Partition;
use crate::device::DeviceError;
use crate::server::Server;

/// Held while a partition is received, or is pushed away.
pub(crate) const REPLICATION_LOCK: &str = ".lock-replication";
/// Between two tries.
const POLL: Duration = Duration::from_millis(50);

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Others hold it.
    Busy,
    /// The device is gone or has too much to do.
    Device(DeviceError),
    /// The disk did not answer.
    Io(io::Error),
}

impl From<DeviceError> for LockError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// The partition's lock and, if devices are limited, one of the device's.
#[derive(Debug)]
pub(crate) struct ReplicationLock {
    _partition: DirectoryLock,
    _device: Option<DirectoryLock>,
}

impl Server {
    /// Takes the lock of a partition and one of `per_device` of its device (0: as many as want).
    /// With `make`, the partition is made if it is not there.
    pub(crate) async fn lock_replication(
        &self,
        device: &str,
        partition: &Partition,
        make: bool,
        per_device: usize,
        wait: Duration,
    ) -> Result<ReplicationLock, LockError> {
        let until = tokio::time::Instant::now() + wait;
        if make {
            let committer = self.devices.committer(device)?;
            let (root, directory) = (partition.device.clone(), partition.directory());
            let work = move || committer.make_directories(&root, &directory).map(drop);
            self.devices.run(device, Priority::Background, work).await?.map_err(LockError::Io)?;
        }
        let names = vec![REPLICATION_LOCK.to_owned()];
        let own = self.lock_one(device, partition.directory(), names, until).await?;
        let mut of_device = None;
        if per_device > 0 {
            let name = |index: usize| match index {
                0 => ".lock".to_owned(),
                index => format!(".lock-{index}"),
            };
            let names = (0..per_device).map(name).collect();
            of_device = Some(self.lock_one(device, partition.device.clone(), names, until).await?);
        }
        Ok(ReplicationLock { _partition: own, _device: of_device })
    }

    /// Takes any of several locks.
    async fn lock_one(
        &self,
        device: &str,
        directory: PathBuf,
        names: Vec<String>,
        until: tokio::time::Instant,
    ) -> Result<DirectoryLock, LockError> {
        loop {
            let (directory, names) = (directory.clone(), names.clone());
            let work = move || {
                for name in names {
                    match DirectoryLock::take(&directory, &name, Duration::ZERO) {
                        Ok(lock) => return Ok(Some(lock)),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(None)
            };
            let taken = self.devices.run(device, Priority::Background, work).await?;
            if let Some(lock) = taken.map_err(LockError::Io)? {
                return Ok(lock);
            }
            if tokio::time::Instant::now() >= until {
                return Err(LockError::Busy);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
