//! The locks of replication: one exchange per partition, few per device, across processes.
//!
//! Source: `swift/obj/diskfile.py`, `replication_lock`, `partition_lock`. Waiting occupies no thread:
//! the lock is tried repeatedly.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use apus_disk::DirectoryLock;

use super::{ObjectStore, StoreError};
use crate::diskfile::partition::REPLICATION_LOCK;
use crate::engine::place::Partition;

/// Time between two attempts.
const POLL: Duration = Duration::from_millis(50);

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Other exchanges hold it.
    #[error("another exchange holds the lock")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How the lock of a partition is acquired.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockOptions {
    /// Whether the partition is created if it does not exist.
    pub(crate) create: bool,
    /// Exchanges per device; 0 for no limit.
    pub(crate) per_device: usize,
    /// How long to wait.
    pub(crate) wait: Duration,
}

/// Held locks: the partition's and, if devices are limited, one of the device's.
#[derive(Debug)]
pub(crate) struct ReplicationLock {
    _partition: DirectoryLock,
    _device: Option<DirectoryLock>,
}

impl ObjectStore {
    /// Acquires the lock of a partition and, if devices are limited, one of its device.
    pub(crate) async fn lock_replication(
        &self,
        device: &str,
        partition: &Partition,
        options: LockOptions,
    ) -> Result<ReplicationLock, LockError> {
        let LockOptions { create, per_device, wait } = options;
        let until = tokio::time::Instant::now() + wait;
        if create {
            let committer = self.devices.committer(device).map_err(StoreError::from)?;
            let (root, directory) = (partition.device.clone(), partition.directory());
            let work = move || committer.make_directories(&root, &directory).map(drop);
            self.background(device, work).await?;
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

    /// Acquires any of several locks.
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
            if let Some(lock) = self.background(device, work).await? {
                return Ok(lock);
            }
            if tokio::time::Instant::now() >= until {
                return Err(LockError::Busy);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
