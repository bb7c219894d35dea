//! A cache of the metadata of containers and accounts, so that an object request needs no request for
//! them.
//!
//! Only existing containers are cached: one that another proxy creates is found at once. A deletion
//! or change by another proxy is noticed after [`KEEP_SECONDS`].

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::access::BucketAccess;
use crate::operation::ContainerHead;

/// Lifetime of an entry.
const KEEP_SECONDS: u64 = 10;
/// Maximum number of entries.
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

/// The cache of one proxy: of containers or of accounts, by name.
#[derive(Debug)]
pub struct InfoCache<K, V> {
    entries: Mutex<HashMap<K, (u64, Arc<V>)>>,
}

impl<K, V> Default for InfoCache<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash, V> InfoCache<K, V> {
    /// An entry, if it is fresh at `now` (seconds since 1970).
    pub fn get(&self, name: &K, now: u64) -> Option<Arc<V>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, known) = entries.get(name)?;
        (now < at + KEEP_SECONDS && now >= *at).then(|| known.clone())
    }

    /// Stores an entry.
    pub fn put(&self, name: &K, known: Arc<V>, now: u64) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (at, _)| now < *at + KEEP_SECONDS);
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(name.clone(), (now, known));
    }

    /// Removes an entry that we changed.
    pub fn forget(&self, name: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
