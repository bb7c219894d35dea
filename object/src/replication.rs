//! Replication in the object server: its options, and the writes that it brings.
//!
//! A replicated write keeps every header of the sender's copy, is compared with body and tombstone
//! only, and sends no rows.

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Metadata;
use apus_cluster::metadata::title_case;
use apus_daemon::config::Section;
use apus_daemon::config::value::flag;
use apus_daemon::http::header;
use apus_wire::headers;
use http::request::Parts;
use tokio::sync::Semaphore;

/// Header with the names of the headers that are stored.
pub(crate) const REPLICATION_HEADERS: &str = "x-backend-replication-headers";
/// Swift's default `reclaim_age`.
pub(crate) const RECLAIM_AGE_SECONDS: u64 = 604_800;

/// Options of `[app:object-server]` for replication.
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
    pub fn read(section: &Section<'_>) -> Result<Self, String> {
        let whole = "a whole number";
        let concurrency: usize = section.parse("replication_concurrency", 4, whole)?;
        // 0 stands for no limit, as in Swift.
        let permits = if concurrency == 0 { Semaphore::MAX_PERMITS } else { concurrency };
        let seconds = |name: &str, default: u64| {
            section.parse(name, default, "whole seconds").map(Duration::from_secs)
        };
        Ok(Self {
            reclaim_age: seconds("reclaim_age", RECLAIM_AGE_SECONDS)?,
            concurrency: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            concurrency_per_device: section.parse(
                "replication_concurrency_per_device",
                1,
                whole,
            )?,
            lock_timeout: seconds("replication_lock_timeout", 15)?,
            failure_threshold: section.parse("replication_failure_threshold", 100, whole)?,
            failure_ratio: section.parse("replication_failure_ratio", 1.0, "a number")?,
            client_timeout: seconds("client_timeout", 60)?,
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
