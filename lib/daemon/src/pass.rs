//! A pass: one sweep of a daemon over its part of this node.
//!
//! A pass is idempotent, does not depend on hints about changes, and keeps no state between sweeps
//! that others rely on, so that any number may run at once on any node. Intervals, panics, signals
//! and recon files are the work of its runner ([`crate::PassRunner`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::drain::Drain;

/// One daemon's sweep.
#[async_trait]
pub trait Pass: Send + Sync + 'static {
    /// Counts of a sweep, for its log line, its recon entry and tests.
    type Report: serde::Serialize + std::fmt::Debug + Send;

    /// The name of the daemon, its role and its section in the server's configuration:
    /// `object-auditor`.
    fn name(&self) -> &'static str;

    /// One sweep. Failed work is counted in the report and tried again by the next sweep.
    ///
    /// # Errors
    /// [`Stopped`] when a stop is requested; nothing else ends a sweep.
    async fn pass(&mut self, cx: &PassContext) -> Result<Self::Report, Stopped>;

    /// The entries of Swift's recon for this daemon (`swift/common/recon.py`). They are merged into
    /// `<server>.recon`, where the server is the first word of the name.
    fn recon(
        &self,
        _report: &Self::Report,
        _span: Span,
    ) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }
}

/// The process must stop; the rest of the work is for the next sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// The time of a sweep, since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Its beginning.
    pub began: Duration,
    /// Its end.
    pub ended: Duration,
}

impl Span {
    /// Its duration in seconds.
    pub fn seconds(self) -> f64 {
        self.ended.saturating_sub(self.began).as_secs_f64()
    }
}

/// The span of a daemon's pass, whose fields are on each of its log lines.
pub(crate) fn pass_span(daemon: &'static str) -> tracing::Span {
    tracing::error_span!("pass", %daemon)
}

/// The span of a pass's work on one device.
pub fn device_span(device: &str) -> tracing::Span {
    tracing::error_span!("device", device = tracing::field::display(device))
}

/// The part of a node for a sweep; an empty set means everything.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Names of devices.
    pub devices: BTreeSet<String>,
    /// Partitions.
    pub partitions: BTreeSet<u32>,
    /// Indexes of policies.
    pub policies: BTreeSet<u32>,
}

impl Scope {
    /// Whether a device is in it.
    pub fn has_device(&self, name: &str) -> bool {
        self.devices.is_empty() || self.devices.contains(name)
    }

    /// Whether a partition is in it.
    pub fn has_partition(&self, partition: u32) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }

    /// Whether a policy is in it.
    pub fn has_policy(&self, index: u32) -> bool {
        self.policies.is_empty() || self.policies.contains(&index)
    }
}

/// The context of a sweep.
#[derive(Debug, Clone)]
pub struct PassContext {
    /// The part of the node to sweep.
    pub scope: Scope,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The stop of the process.
    pub drain: Drain,
    /// Whether an operator runs one sweep and waits for its end.
    pub once: bool,
}

impl PassContext {
    /// Marks a place where the sweep may stop, and lets other tasks run.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn safe_point(&self) -> Result<(), Stopped> {
        if self.drain.has_begun() {
            return Err(Stopped);
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Waits for a future until a stop is requested.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn unless_stopped<T>(
        &self,
        future: impl Future<Output = T> + Send,
    ) -> Result<T, Stopped> {
        tokio::select! {
            done = future => Ok(done),
            () = self.drain.begun() => Err(Stopped),
        }
    }
}
