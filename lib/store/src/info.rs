//! What is known of containers, kept for a moment so that an object request costs no extra one.
//!
//! Only what exists is kept: a container made by another proxy is seen at once. One deleted or
//! changed there is seen after [`KEEP_SECONDS`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apus_cluster::ContainerPath;

use crate::operation::ContainerHead;

/// How long a container's facts are believed.
const KEEP_SECONDS: u64 = 10;
/// Containers kept at most.
const ENTRIES_MAX: usize = 10_000;

/// The cache of one proxy.
#[derive(Debug, Default)]
pub struct InfoCache {
    containers: Mutex<HashMap<ContainerPath, (u64, Arc<ContainerHead>)>>,
}

impl InfoCache {
    /// A container's facts, if they are fresh at `now` (seconds since 1970).
    pub fn get(&self, container: &ContainerPath, now: u64) -> Option<Arc<ContainerHead>> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, head) = containers.get(container)?;
        (now < at + KEEP_SECONDS && now >= *at).then(|| head.clone())
    }

    /// Keeps a container's facts.
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

    /// Forgets a container that we changed.
    pub fn forget(&self, container: &ContainerPath) {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(container);
    }
}
