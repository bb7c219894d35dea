//! Access keys of the cluster's own users, read through a short cache.
//!
//! Only keys that the configuration does not know come here. A change in the directory is effective
//! after at most [`KNOWN_SECONDS`]; an unknown key is asked for again after [`UNKNOWN_SECONDS`]. Ids
//! that the cluster cannot have made are refused without a request, so that guessing costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::AccountName;
use apus_identity::{
    AccessKeyId, AccountUser, FoundKey, IdentityDirectory, IdentityError, SecretKey, UserName,
};
use apus_policy::{DocumentKind, IdentityPolicies, PolicyDocument};
use apus_store::access::Identity;
use apus_store::{Error, Result};
use tokio::sync::Semaphore;

/// Lifetime of a cached key, in seconds.
const KNOWN_SECONDS: u64 = 3;
/// Lifetime of the fact that a key does not exist, in seconds.
const UNKNOWN_SECONDS: u64 = 1;
/// Most keys in the cache.
const ENTRIES_MAX: usize = 10_000;
/// Most keys that are read at the same time.
const READS_MAX: usize = 64;

/// What was read, and when, since 1970.
#[derive(Debug)]
struct CachedKey {
    at: Duration,
    found: Option<Arc<CompiledKey>>,
}

/// A key with its user and the compiled policies of the user and its groups.
#[derive(Debug)]
struct CompiledKey {
    found: FoundKey,
    policies: Arc<IdentityPolicies>,
}

/// Compiles the policies of a user; `None` if one of them cannot be evaluated.
fn compile(found: FoundKey) -> Option<CompiledKey> {
    let of_groups = found.groups.iter().flat_map(|group| &group.head.policies);
    let mut attached = Vec::new();
    for (name, document) in found.user.head.policies.iter().chain(of_groups) {
        match PolicyDocument::parse(document, DocumentKind::Identity) {
            Ok(document) => attached.push(Arc::new(document)),
            Err(error) => {
                let user = &found.user.head.name;
                tracing::error!(%error, user, policy = name, "Refused a user with a damaged policy");
                return None;
            }
        }
    }
    let is_administrator = found.user.admin;
    let policies = IdentityPolicies { is_administrator, attached, ..IdentityPolicies::default() };
    Some(CompiledKey { found, policies: Arc::new(policies) })
}

impl CachedKey {
    fn is_fresh(&self, now: Duration) -> bool {
        let seconds = if self.found.is_some() { KNOWN_SECONDS } else { UNKNOWN_SECONDS };
        // A clock that was set back makes no entry last longer.
        now.checked_sub(self.at).is_some_and(|age| age < Duration::from_secs(seconds))
    }
}

/// One key: its lock lets one request read it while others wait for the result.
type Slot = Arc<tokio::sync::Mutex<Option<CachedKey>>>;

/// The user of an access key, as requests need it.
#[derive(Debug, Clone)]
pub struct KeyUser {
    /// The key's secret.
    pub secret: SecretKey,
    /// The user.
    pub identity: Identity,
    /// The user's account.
    pub account: AccountName,
}

/// The cluster's own users, for one proxy.
#[derive(Debug)]
pub struct Identities {
    directory: IdentityDirectory,
    reseller_prefix: String,
    slots: Mutex<HashMap<AccessKeyId, Slot>>,
    reads: Semaphore,
}

/// An error of the directory as one of the store. What only an operator can repair is logged.
pub(crate) fn store_error(error: IdentityError) -> Error {
    match error {
        IdentityError::Store(error) => error,
        other => {
            tracing::error!(error = %other, "Failed to read an identity");
            Error::unavailable(other)
        }
    }
}

impl Identities {
    /// Users of the accounts with this prefix.
    pub fn new(directory: IdentityDirectory, reseller_prefix: &str) -> Self {
        Self {
            directory,
            reseller_prefix: reseller_prefix.to_owned(),
            slots: Mutex::default(),
            reads: Semaphore::new(READS_MAX),
        }
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &IdentityDirectory {
        &self.directory
    }

    fn slot(&self, id: &AccessKeyId, now: Duration) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(id) {
            return slot.clone();
        }
        if slots.len() >= ENTRIES_MAX {
            let is_fresh = |slot: &Slot| {
                // A locked one is in use.
                slot.try_lock().map_or(true, |cached| {
                    cached.as_ref().is_some_and(|cached| cached.is_fresh(now))
                })
            };
            slots.retain(|_, slot| is_fresh(slot));
            if slots.len() >= ENTRIES_MAX {
                slots.clear();
            }
        }
        slots.entry(id.clone()).or_default().clone()
    }

    /// A key, whatever its state is.
    async fn find(&self, id: &AccessKeyId, now: Duration) -> Result<Option<Arc<CompiledKey>>> {
        if !self.directory.can_have_made(id) {
            return Ok(None);
        }
        let slot = self.slot(id, now);
        let mut cached = slot.lock().await;
        if let Some(known) = cached.as_ref().filter(|known| known.is_fresh(now)) {
            return Ok(known.found.clone());
        }
        // The semaphore is never closed.
        let _share = self.reads.acquire().await.ok();
        let found = self.directory.find_key(id).await.map_err(store_error)?;
        let found = found.and_then(compile).map(Arc::new);
        *cached = Some(CachedKey { at: now, found: found.clone() });
        Ok(found)
    }

    /// The user of a key that may be used now.
    ///
    /// # Errors
    /// Those of the cluster.
    pub async fn user_of(&self, id: &AccessKeyId, now: Duration) -> Result<Option<KeyUser>> {
        let Some(found) = self.find(id, now).await? else { return Ok(None) };
        let key = &found.found;
        if let Some(refusal) = key.user.refusal_of(&key.key, now.as_secs()) {
            tracing::debug!(?refusal, key = %id, "Refused an access key");
            return Ok(None);
        }
        Ok(self.key_user(&found))
    }

    /// Name of a user as Swift's dialect has it: `account:user`, without the prefix of the account.
    pub(crate) fn name_of(&self, account: &str, user: &str) -> Option<String> {
        let short =
            account.strip_prefix(&self.reseller_prefix).filter(|short| !short.is_empty())?;
        Some(format!("{short}:{user}"))
    }

    /// The user and identity of a key; `None` for an account that is not this proxy's.
    fn key_user(&self, key: &CompiledKey) -> Option<KeyUser> {
        let FoundKey { user, secret, .. } = &key.found;
        let account = AccountName::parse(&user.head.account).ok()?;
        let name = self.name_of(&user.head.account, &user.head.name)?;
        let (short, _) = name.split_once(':')?;
        let mut groups = vec![short.to_owned(), name.clone()];
        if user.admin {
            groups.push(user.head.account.clone());
        }
        let identity = Identity {
            user: Some(name),
            account: Some(account.clone()),
            groups,
            policies: Some(key.policies.clone()),
            ..Identity::default()
        };
        Some(KeyUser { secret: secret.clone(), identity, account })
    }

    /// The user that a name in Swift's dialect stands for, if it can be one.
    pub(crate) fn parse_name(&self, name: &str) -> Option<AccountUser> {
        let (short, user) = name.split_once(':')?;
        let account = AccountName::parse(&format!("{}{short}", self.reseller_prefix)).ok()?;
        AccountUser::new(account, UserName::parse(user).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_fresh_for_seconds_only_and_never_after_a_clock_was_set_back() {
        let at = |seconds: u64| Duration::from_secs(seconds);
        let unknown = CachedKey { at: at(100), found: None };
        assert!(unknown.is_fresh(at(100)));
        assert!(!unknown.is_fresh(at(100 + UNKNOWN_SECONDS)));
        assert!(!unknown.is_fresh(at(99)));
    }
}
