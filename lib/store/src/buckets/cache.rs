//! The accounts of buckets that were looked up, for ten seconds.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use apus_cluster::{AccountName, ContainerName, ContainerPath};

/// Lifetime of an entry.
const KEEP_SECONDS: u64 = 10;
/// Maximum number of entries of each kind.
const ENTRIES_MAX: usize = 10_000;

/// Entries with the second at which they were made.
#[derive(Debug)]
struct Entries<K, V>(Mutex<HashMap<K, (u64, V)>>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Entries<K, V> {
    fn get(&self, key: &K, now: u64) -> Option<V> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, value) = entries.get(key)?;
        (now < at + KEEP_SECONDS && now >= *at).then(|| value.clone())
    }

    fn put(&self, key: K, value: V, now: u64) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (at, _)| now < *at + KEEP_SECONDS);
            if entries.len() >= ENTRIES_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (now, value));
    }

    fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The names that one proxy looked up. Names without a row are not kept, so that a new bucket is
/// found at once.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    accounts: Entries<ContainerName, AccountName>,
    /// Containers that callers of an account do not have, where another account has the bucket.
    absent: Entries<ContainerPath, ()>,
}

impl NameCache {
    /// The account of a bucket, if it was looked up shortly before `now` (seconds since 1970).
    pub(super) fn account(&self, name: &ContainerName, now: u64) -> Option<AccountName> {
        self.accounts.get(name, now)
    }

    pub(super) fn put(&self, name: ContainerName, account: AccountName, now: u64) {
        self.accounts.put(name, account, now);
    }

    /// Removes a name that we changed.
    pub(super) fn forget(&self, name: &ContainerName) {
        self.accounts.forget(name);
    }

    pub(super) fn is_absent(&self, container: &ContainerPath, now: u64) -> bool {
        self.absent.get(container, now).is_some()
    }

    pub(super) fn put_absent(&self, container: ContainerPath, now: u64) {
        self.absent.put(container, (), now);
    }

    /// Removes a container that we made.
    pub(super) fn forget_absent(&self, container: &ContainerPath) {
        self.absent.forget(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_for_ten_seconds_and_until_it_is_forgotten() {
        let (name, cache) = (ContainerName::parse("photos").unwrap(), NameCache::default());
        let account = AccountName::parse("AUTH_a").unwrap();
        cache.put(name.clone(), account.clone(), 100);
        assert_eq!(cache.account(&name, 109), Some(account.clone()));
        assert_eq!((cache.account(&name, 110), cache.account(&name, 99)), (None, None));
        cache.forget(&name);
        assert_eq!(cache.account(&name, 100), None);
        let container = ContainerPath::new(account, name);
        cache.put_absent(container.clone(), 100);
        assert!(cache.is_absent(&container, 109) && !cache.is_absent(&container, 110));
        cache.forget_absent(&container);
        assert!(!cache.is_absent(&container, 100));
    }
}
