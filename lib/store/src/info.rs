//! A cache of container metadata, so that an object request needs no request for its container.
//!
//! Only existing containers are cached: one that another proxy creates is found at once. A deletion
//! or change by another proxy is noticed after [`KEEP_SECONDS`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::ContainerPath;

use crate::operation::ContainerHead;

/// Lifetime of an entry.
const KEEP_SECONDS: u64 = 10;
/// Maximum number of containers in the cache.
const ENTRIES_MAX: usize = 10_000;

/// The container cache of one proxy.
#[derive(Debug, Default)]
pub struct InfoCache {
    containers: Mutex<HashMap<ContainerPath, (u64, Arc<ContainerHead>)>>,
}

impl InfoCache {
    /// A container, if its entry is fresh at `now` (seconds since 1970).
    pub fn get(&self, container: &ContainerPath, now: u64) -> Option<Arc<ContainerHead>> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, head) = containers.get(container)?;
        (now < at + KEEP_SECONDS && now >= *at).then(|| head.clone())
    }

    /// Stores a container.
    pub fn put(&self, container: &ContainerPath, head: Arc<ContainerHead>, now: u64) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        if containers.len() >= ENTRIES_MAX {
            containers.retain(|_, (at, _)| now < *at + KEEP_SECONDS);
            if containers.len() >= ENTRIES_MAX {
                containers.clear();
            }
        }
        containers.insert(container.clone(), (now, head));
    }

    /// Removes a container that we changed.
    pub fn forget(&self, container: &ContainerPath) {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }
}
