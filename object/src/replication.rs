//! Replication in the object server: its options, and the writes that it brings.
//!
//! A replicated write keeps every header of the sender's copy, is compared with body and tombstone
//! only, and sends no rows.

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Metadata;
use apus_cluster::metadata::title_case;
use apus_daemon::config::value::flag;
use apus_daemon::config::{ConfigError, Section};
use apus_daemon::http::header;
use apus_options::{number, options, whole};
use apus_wire::headers;
use http::request::Parts;
use tokio::sync::Semaphore;

/// Header with the names of the headers that are stored.
pub(crate) const REPLICATION_HEADERS: &str = "x-backend-replication-headers";
/// Swift's default `reclaim_age`.
pub(crate) const RECLAIM_AGE_SECONDS: u64 = 604_800;

options! {
    /// Options of `[app:object-server]` for replication.
    #[derive(Debug)]
    pub struct ObjectReplicationOptions {
        /// How long tombstones are kept.
        reclaim_age: u64 = whole(RECLAIM_AGE_SECONDS).unit("seconds"),
        /// `SSYNC` requests that are served at the same time; 0 is unlimited.
        replication_concurrency: usize = whole(4),
        /// The same for each device; 0 is unlimited.
        replication_concurrency_per_device: usize = whole(1),
        /// How long an `SSYNC` request waits for its locks.
        replication_lock_timeout: u64 = whole(15).unit("seconds"),
        /// Number of failures from which an exchange may be ended.
        replication_failure_threshold: u64 = whole(100),
        /// Ratio of failures to successes above which an exchange is ended.
        replication_failure_ratio: f64 = number(1.0),
        /// How long the sender of a body may send nothing.
        client_timeout: u64 = whole(60).unit("seconds"),
    }
}

/// Settings of `[app:object-server]` for replication.
#[derive(Debug, Clone)]
pub struct ReplicationOptions {
    /// How long tombstones are kept (`reclaim_age`).
    pub reclaim_age: Duration,
    /// `SSYNC` requests that are served concurrently (`replication_concurrency`).
    pub concurrency: Arc<Semaphore>,
    /// The same for each device, 0 for no limit (`replication_concurrency_per_device`).
    pub concurrency_per_device: usize,
    /// How long a request waits for its locks (`replication_lock_timeout`).
    pub lock_timeout: Duration,
    /// Number of failures from which an exchange may be ended (`replication_failure_threshold`).
    pub failure_threshold: u64,
    /// Ratio of failures to successes above which it is ended (`replication_failure_ratio`).
    pub failure_ratio: f64,
    /// How long the sender may send nothing (`client_timeout`).
    pub client_timeout: Duration,
}

impl ReplicationOptions {
    /// Reads Swift's options.
    ///
    /// # Errors
    /// An option, its value and what was expected.
    pub fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let given = ObjectReplicationOptions::read(section)?;
        // 0 stands for no limit, as in Swift.
        let permits = match given.replication_concurrency {
            0 => Semaphore::MAX_PERMITS,
            number => number.min(Semaphore::MAX_PERMITS),
        };
        Ok(Self {
            reclaim_age: Duration::from_secs(given.reclaim_age),
            concurrency: Arc::new(Semaphore::new(permits)),
            concurrency_per_device: given.replication_concurrency_per_device,
            lock_timeout: Duration::from_secs(given.replication_lock_timeout),
            failure_threshold: given.replication_failure_threshold,
            failure_ratio: given.replication_failure_ratio,
            client_timeout: Duration::from_secs(given.client_timeout),
        })
    }
}

/// Headers of the sender's copy in a replicated write, spelled as they are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replicated(pub(crate) Metadata);

impl Replicated {
    /// Takes them from a request; `None` for a client's. SSYNC attaches the headers unchanged, since
    /// HTTP cannot carry every name that may be stored.
    pub(crate) fn of(head: &mut Parts) -> Option<Self> {
        if let Some(given) = head.extensions.remove::<Self>() {
            return Some(given);
        }
        let flag = header(&head.headers, headers::REPLICATION).and_then(flag);
        if !flag.unwrap_or(false) {
            return None;
        }
        let listed = header(&head.headers, REPLICATION_HEADERS).unwrap_or_default();
        let stored = listed.split_whitespace().filter_map(|name| {
            let value = head.headers.get(name)?;
            Some((title_case(name), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        });
        Some(Self(stored.collect()))
    }

    /// Adds those that the write itself does not set.
    pub(crate) fn add_to(&self, stored: &mut Metadata) {
        for (name, value) in &self.0 {
            if !stored.contains_key(name) {
                stored.insert(name.clone(), value.clone());
            }
        }
    }
}
