//! Read-only accounts and rates of requests, for both dialects.
//!
//! The outermost stage: it sees the operations that clients ask for, and not those of other stages.
//! Rates are counted in this process alone. Where the metadata of an account cannot be read, the
//! settings of the cluster hold, as in Swift.
//!
//! Sources: `read_only.py` and `ratelimit.py` in `swift/common/middleware`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_bucket::quota::Usage;
use apus_bucket::rate::{AccountRate, AdmittedUntil, RateTable, WaitRules, WaitTooLong};
use apus_bucket::read_only::{Change, ReadOnlyConfig};
use apus_cluster::{AccountName, ContainerPath, Metadata, ObjectPath};

use crate::clock::HybridClock;
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::store::forward;
use crate::{
    CopyStore, Error, Kind, LinkStore, ManifestStore, Primitive, Result, Store, Subject,
    UploadStore, VersionStore,
};

/// Authority under which metadata is read.
const SYSTEM: &str = "account_rules";
/// Time before a request to a blocked account is refused.
const BLOCKED_WAIT: Duration = Duration::from_secs(1);
/// Rates that are kept before those that are over are removed.
const RATES_MIN: usize = 1024;

/// The settings of `[filter:ratelimit]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimitConfig {
    /// PUT and DELETE of containers in an account per second; 0 is no limit.
    pub account_rate: f64,
    /// Writes of objects in a container per second, by the container's size.
    pub container_rates: RateTable,
    /// Listings of a container per second, by its size.
    pub listing_rates: RateTable,
    /// How requests wait.
    pub waits: WaitRules,
    /// Waits of more than this many seconds are logged; 0 is none.
    pub log_wait_seconds: f64,
    /// Accounts without limits.
    pub unlimited: Vec<String>,
    /// Accounts whose requests are refused.
    pub blocked: Vec<String>,
}

/// What the operator forbids to accounts.
#[derive(Debug, Clone, Default)]
pub struct AccountRulesOptions {
    /// Accounts in which nothing may be changed.
    pub read_only: Option<ReadOnlyConfig>,
    /// Rates of requests.
    pub rates: Option<RateLimitConfig>,
}

impl AccountRulesOptions {
    /// Whether nothing is forbidden.
    pub fn is_empty(&self) -> bool {
        self.read_only.is_none() && self.rates.is_none()
    }
}

/// What an operation does with its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Read,
    List,
    Create,
    Update,
    Delete,
}

impl Act {
    fn change(self) -> Option<Change> {
        match self {
            Self::Read | Self::List => None,
            Self::Create | Self::Update => Some(Change::Write),
            Self::Delete => Some(Change::Delete),
        }
    }
}

/// The account, container or object of an operation.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    account: &'a AccountName,
    container: Option<&'a ContainerPath>,
    is_object: bool,
}

impl<'a> From<&'a AccountName> for Target<'a> {
    fn from(account: &'a AccountName) -> Self {
        Self { account, container: None, is_object: false }
    }
}

impl<'a> From<&'a ContainerPath> for Target<'a> {
    fn from(container: &'a ContainerPath) -> Self {
        Self { account: &container.account, container: Some(container), is_object: false }
    }
}

impl<'a> From<&'a ObjectPath> for Target<'a> {
    fn from(object: &'a ObjectPath) -> Self {
        Self { account: object.account(), container: Some(&object.container), is_object: true }
    }
}

/// The table whose rate holds for an operation, if the size of its container decides.
fn table<'a>(config: &'a RateLimitConfig, target: Target<'_>, act: Act) -> Option<&'a RateTable> {
    let table = match act {
        Act::List if target.container.is_some() => &config.listing_rates,
        Act::Create | Act::Update | Act::Delete if target.is_object => &config.container_rates,
        _ => return None,
    };
    Some(table).filter(|table| !table.steps().is_empty())
}

/// The names and values of the rates that hold for an operation, in the order of Swift.
fn rates(
    config: &RateLimitConfig,
    target: Target<'_>,
    act: Act,
    of_container: Option<f64>,
    of_writes: Option<f64>,
) -> Vec<(String, f64)> {
    let account = target.account.as_str();
    let mut rates = Vec::new();
    let is_container = target.container.is_some() && !target.is_object;
    let counts = is_container && matches!(act, Act::Create | Act::Delete);
    if counts && config.account_rate > 0.0 {
        rates.push((account.to_owned(), config.account_rate));
    }
    if let (Some(container), Some(rate)) = (target.container, of_container) {
        let what = if act == Act::List { "listing/" } else { "" };
        rates.push((format!("{what}{account}/{}", container.container.as_str()), rate));
    }
    if let (Some(_), Some(rate)) = (act.change(), of_writes) {
        rates.push((format!("writes/{account}"), rate));
    }
    rates
}

/// The limits of an account, by its name and metadata.
fn account_rate(
    config: &RateLimitConfig,
    account: &AccountName,
    headers: &Metadata,
) -> AccountRate {
    let is_in = |names: &[String]| names.iter().any(|name| name == account.as_str());
    let own = AccountRate::of(headers);
    match own {
        _ if is_in(&config.unlimited) => AccountRate::Unlimited,
        AccountRate::Unlimited => own,
        _ if is_in(&config.blocked) => AccountRate::Blocked,
        own => own,
    }
}

/// The rates that requests had lately.
#[derive(Debug, Default)]
struct RecentRates {
    rates: HashMap<String, AdmittedUntil>,
    /// Number of rates at which those that are over are removed.
    full: usize,
}

impl RecentRates {
    fn admit(
        &mut self,
        rules: &WaitRules,
        now: Duration,
        (key, rate): (String, f64),
    ) -> std::result::Result<Duration, WaitTooLong> {
        if self.rates.len() >= self.full.max(RATES_MIN) {
            self.rates.retain(|_, until| !until.is_over(rules, now));
            self.full = self.rates.len() * 2;
        }
        self.rates.entry(key).or_default().admit(rules, now, rate)
    }
}

/// The stage.
pub struct AccountRules {
    next: Arc<dyn Store>,
    options: AccountRulesOptions,
    clock: Arc<HybridClock>,
    recent: Mutex<RecentRates>,
}

impl std::fmt::Debug for AccountRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRules").field("options", &self.options).finish_non_exhaustive()
    }
}

impl AccountRules {
    /// Creates the stage above `next`.
    pub fn new(
        next: Arc<dyn Store>,
        options: AccountRulesOptions,
        clock: Arc<HybridClock>,
    ) -> Self {
        Self { next, options, clock, recent: Mutex::default() }
    }

    /// Waits until an operation may run.
    async fn admit(&self, cx: &Context, target: Target<'_>, act: Act) -> Result<()> {
        let is_ours = cx.authority != Authority::Caller || target.account.is_internal();
        let read_only = self.options.read_only.zip(act.change());
        if is_ours || (read_only.is_none() && self.options.rates.is_none()) {
            return Ok(());
        }
        let system = cx.as_system(SYSTEM);
        let account = HeadAccount { account: target.account.clone() };
        let info = self.next.account_info(&system, account).await.ok();
        let none = Metadata::new();
        let headers = info.as_ref().map_or(&none, |info| &info.headers);
        if read_only.is_some_and(|(config, change)| config.forbids(headers, change)) {
            let text = "Writes are disabled for this account.";
            return Err(Error::new(Kind::ReadOnly, Subject::Account).text(text));
        }
        match &self.options.rates {
            None => Ok(()),
            Some(config) => match account_rate(config, target.account, headers) {
                AccountRate::Unlimited => Ok(()),
                AccountRate::Blocked => {
                    let (account, trans_id) = (target.account.as_str(), &cx.trans_id);
                    tracing::info!(account, %trans_id, "Refused a request to a blocked account");
                    tokio::time::sleep(BLOCKED_WAIT).await;
                    let text = "Your account has been blacklisted";
                    Err(Error::new(Kind::Blocked, Subject::Account).text(text))
                }
                AccountRate::Limited(of_writes) => {
                    let of_container = self.container_rate(&system, config, target, act).await;
                    let rates = rates(config, target, act, of_container, of_writes);
                    self.wait(cx, config, target.account, rates).await
                }
            },
        }
    }

    /// The rate of a container by its size, at most ten seconds old. Nothing limits one that cannot be
    /// read.
    async fn container_rate(
        &self,
        system: &Context,
        config: &RateLimitConfig,
        target: Target<'_>,
        act: Act,
    ) -> Option<f64> {
        let table = table(config, target, act)?;
        let head = HeadContainer { container: target.container?.clone() };
        let info = self.next.container_info(system, head).await.ok()?;
        table.rate_of(Usage::of_container(&info.headers).objects)
    }

    /// Waits for each of the rates of an account's request.
    async fn wait(
        &self,
        cx: &Context,
        config: &RateLimitConfig,
        account: &AccountName,
        rates: Vec<(String, f64)>,
    ) -> Result<()> {
        let (account, trans_id) = (account.as_str(), &cx.trans_id);
        for rate in rates {
            let now = self.clock.now();
            let admitted = {
                let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                recent.admit(&config.waits, now, rate)
            };
            let wait = admitted.map_err(|error| {
                tracing::info!(account, %trans_id, %error, "Refused a request over the rate limit");
                Error::new(Kind::RateLimited, Subject::Request).text("Slow down").because(error)
            })?;
            if config.log_wait_seconds > 0.0 && wait.as_secs_f64() > config.log_wait_seconds {
                let duration_ms = wait.as_millis();
                tracing::info!(account, %trans_id, duration_ms, "Delayed a request to the rate limit");
            }
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }
}

/// Operations that are forwarded when they are admitted, each with the field that has its target.
macro_rules! admitted {
    ($act:ident: $($name:ident($($field:ident).+)),+ $(,)?) => {
        $(crate::store::operation!($name(self, cx, op) {
            Box::pin(async move {
                self.admit(cx, Target::from(&op.$($field).+), Act::$act).await?;
                self.next.$name(cx, op).await
            })
        });)+
    };
}

impl Primitive for AccountRules {
    forward!(next: authorize, container_info, account_info, update_queue);
    admitted!(Read:
        head_account(account), list_containers(account), head_container(container),
        head_object(object), get_object(head.object),
    );
    admitted!(List: list_objects(container));
    admitted!(Create: put_account(account), put_container(container), put_object(object));
    admitted!(Update:
        post_account(account), post_container(container), post_object(object),
        update_object(object),
    );
    admitted!(Delete:
        delete_account(account), delete_container(container), delete_object(object),
        queue_deletions(manifest),
    );
}

impl LinkStore for AccountRules {
    admitted!(Create: put_symlink(object));
}

impl VersionStore for AccountRules {
    admitted!(List: list_versions(container));
    admitted!(Create: restore_version(object));
}

impl ManifestStore for AccountRules {
    admitted!(Create: put_manifest(object));
}

impl UploadStore for AccountRules {
    admitted!(Create:
        create_upload(object), put_part(put.object), put_part_copy(object),
        complete_upload(object),
    );
    admitted!(Read: list_parts(object));
    admitted!(List: list_uploads(container));
    admitted!(Delete: abort_upload(object));
}

impl CopyStore for AccountRules {
    admitted!(Create: copy_object(target));
}

impl Store for AccountRules {
    forward!(next: find_bucket);
    admitted!(Create: create_bucket(container.container));
}

#[cfg(test)]
mod tests {
    use apus_bucket::rate::GLOBAL_WRITES;

    use super::super::memory_store::container;
    use super::*;

    fn config() -> RateLimitConfig {
        RateLimitConfig {
            account_rate: 3.0,
            container_rates: RateTable::new(vec![(0, 5.0)]),
            listing_rates: RateTable::default(),
            waits: WaitRules { units_per_second: 1000, wait_max_seconds: 60.0, buffer_seconds: 5 },
            log_wait_seconds: 0.0,
            unlimited: vec!["free".to_owned(), "both".to_owned()],
            blocked: vec!["bad".to_owned(), "both".to_owned()],
        }
    }

    #[test]
    fn each_operation_has_its_rates() {
        let config = config();
        let container = container("c");
        let account = container.account.clone();
        let object = container.clone().object(apus_cluster::ObjectName::parse("o").unwrap());
        let name = account.as_str();
        let own = (name.to_owned(), 3.0);
        let of_objects = (format!("{name}/c"), 5.0);
        let of_listings = (format!("listing/{name}/c"), 5.0);
        let of_writes = (format!("writes/{name}"), 7.0);
        for (target, act, expected) in [
            (Target::from(&account), Act::Read, vec![]),
            (Target::from(&account), Act::Update, vec![of_writes.clone()]),
            (Target::from(&container), Act::Read, vec![]),
            (Target::from(&container), Act::Create, vec![own.clone(), of_writes.clone()]),
            (Target::from(&container), Act::Delete, vec![own, of_writes.clone()]),
            (Target::from(&container), Act::Update, vec![of_writes.clone()]),
            (Target::from(&container), Act::List, vec![of_listings]),
            (Target::from(&object), Act::Read, vec![]),
            (Target::from(&object), Act::Create, vec![of_objects.clone(), of_writes.clone()]),
            (Target::from(&object), Act::Update, vec![of_objects.clone(), of_writes.clone()]),
            (Target::from(&object), Act::Delete, vec![of_objects, of_writes]),
        ] {
            let is_sized = act == Act::List || target.is_object && act.change().is_some();
            let of_container = is_sized.then_some(5.0);
            let found = rates(&config, target, act, of_container, Some(7.0));
            assert_eq!(found, expected, "{target:?} {act:?}");
            // Listings have no rates in this configuration.
            let has_table = is_sized && act != Act::List;
            assert_eq!(table(&config, target, act).is_some(), has_table, "{target:?} {act:?}");
        }
    }

    #[test]
    fn names_and_metadata_free_or_block_accounts() {
        for (name, own, expected) in [
            ("a", "", AccountRate::Limited(None)),
            ("a", "2", AccountRate::Limited(Some(2.0))),
            ("a", "BLACKLIST", AccountRate::Blocked),
            ("bad", "", AccountRate::Blocked),
            ("bad", "WHITELIST", AccountRate::Unlimited),
            ("free", "BLACKLIST", AccountRate::Unlimited),
            ("both", "", AccountRate::Unlimited),
        ] {
            let headers = Metadata::from([(GLOBAL_WRITES.to_owned(), own.to_owned())]);
            let account = AccountName::parse(name).unwrap();
            assert_eq!(account_rate(&config(), &account, &headers), expected, "{name} {own}");
        }
    }

    #[test]
    fn rates_that_are_over_are_removed() {
        let mut recent = RecentRates::default();
        let waits = config().waits;
        let start = Duration::from_secs(1_700_000_000);
        for number in 0..RATES_MIN {
            recent.admit(&waits, start, (number.to_string(), 1.0)).unwrap();
        }
        assert_eq!(recent.rates.len(), RATES_MIN);
        let later = start + Duration::from_secs(60);
        recent.admit(&waits, later, ("late".to_owned(), 1.0)).unwrap();
        assert_eq!(recent.rates.len(), 1);
    }
}
