//! A cache of container metadata, so that an object request needs no request for its container.
//!
//! Only existing containers are cached: one that another proxy creates is found at once. A deletion
//! or change by another proxy is noticed after [`KEEP_SECONDS`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use apus_cluster::ContainerPath;

use crate::access::BucketAccess;
use crate::operation::ContainerHead;

/// Lifetime of an entry.
const KEEP_SECONDS: u64 = 10;
/// Maximum number of containers in the cache.
const ENTRIES_MAX: usize = 10_000;

/// A container as the cache has it.
#[derive(Debug)]
pub struct KnownContainer {
    /// Its metadata.
    pub head: Arc<ContainerHead>,
    access: OnceLock<BucketAccess>,
}

impl KnownContainer {
    /// Metadata that was just read.
    pub fn new(head: Arc<ContainerHead>) -> Self {
        Self { head, access: OnceLock::new() }
    }

    /// The rules of the bucket, parsed on first use.
    pub fn access(&self) -> &BucketAccess {
        self.access.get_or_init(|| BucketAccess::of(&self.head.headers))
    }
}

/// The container cache of one proxy.
#[derive(Debug, Default)]
pub struct InfoCache {
    containers: Mutex<HashMap<ContainerPath, (u64, Arc<KnownContainer>)>>,
}

impl InfoCache {
    /// A container, if its entry is fresh at `now` (seconds since 1970).
    pub fn get(&self, container: &ContainerPath, now: u64) -> Option<Arc<KnownContainer>> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, known) = containers.get(container)?;
        (now < at + KEEP_SECONDS && now >= *at).then(|| known.clone())
    }

    /// Stores a container.
    pub fn put(&self, container: &ContainerPath, known: Arc<KnownContainer>, now: u64) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        if containers.len() >= ENTRIES_MAX {
            containers.retain(|_, (at, _)| now < *at + KEEP_SECONDS);
            if containers.len() >= ENTRIES_MAX {
                containers.clear();
            }
        }
        containers.insert(container.clone(), (now, known));
    }

    /// Removes a container that we changed.
    pub fn forget(&self, container: &ContainerPath) {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }
}
