//! Errors of the object store.

use std::io;

use apus_cluster::Timestamp;

/// Why a device did no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeviceError {
    /// Missing or not mounted: 507.
    #[error("the device is missing or not mounted")]
    Unmounted,
    /// Too many operations wait: 503.
    #[error("too many operations wait for the device")]
    Busy,
}

impl From<DeviceError> for io::Error {
    fn from(error: DeviceError) -> Self {
        Self::other(error)
    }
}

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
    /// The place holds an object of another name with the same hash.
    #[error("another object has this hash")]
    HashCollision,
    /// The object's name was promised to a write at this time, or a later one.
    #[error("the name is promised to a write at {0}")]
    Promised(Timestamp),
}
