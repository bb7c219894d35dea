//! The daemon `object-auditor`: reads everything again and again, and moves aside what is not as
//! it was written, so that replication brings a good copy.
//!
//! Two sweeps, as Swift's (`swift/obj/auditor.py`): `ALL` reads bodies and metadata, suffix hashes
//! and pending row updates; `ZBF` looks faster at everything but the bodies, which finds the empty
//! files that a crash leaves behind. It relies on what lies on the device alone, never on rings,
//! and deletes nothing but a damaged `hashes.pkl`; only watchers, which an operator has to ask for,
//! look further ([`watcher`]).

mod body;
mod pending;
mod status;
mod sweep;
#[cfg(test)]
mod tests;
pub(crate) mod watcher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PolicyIndex;
use apus_cluster::policy::PolicyType;
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::SharedRing;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value, json};

use self::sweep::{Sweep, SweepEnd};
use self::watcher::Watcher;
use crate::store::ObjectStore;

/// The objects' rings, only to know in which partition of a device an object lies.
pub(crate) type ObjectRings = BTreeMap<PolicyIndex, Arc<SharedRing>>;

/// Which sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepKind {
    /// Everything.
    All,
    /// Everything but bodies.
    ZeroByteFiles,
}

impl SweepKind {
    /// Swift's name.
    fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::ZeroByteFiles => "ZBF",
        }
    }
}

/// The options of a sweep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditorOptions {
    pub(crate) kind: SweepKind,
    /// Zero is as fast as it goes.
    pub(crate) files_per_second: f64,
    /// Zero is as fast as it goes.
    pub(crate) bytes_per_second: f64,
    /// Devices that are swept at the same time, each at these rates.
    pub(crate) concurrency: usize,
    /// After this time a sweep tells what it did, and goes on from there.
    pub(crate) log_time: Duration,
    /// Whether bodies that Swift wrote get checksums of their blocks.
    pub(crate) add_checksums: bool,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Audited {
    /// Objects looked at.
    pub(crate) passes: u64,
    /// Of these, damaged and moved aside.
    pub(crate) quarantined: u64,
    /// Of these, damaged and left, since too many were: an alarm.
    pub(crate) left_damaged: u64,
    /// What could not be looked at.
    pub(crate) errors: u64,
    /// Bytes of bodies that were read.
    pub(crate) bytes_processed: u64,
    /// Objects that got checksums.
    pub(crate) checksums_added: u64,
    /// Objects that a watcher had removed.
    pub(crate) deleted: u64,
    /// Damaged `hashes.pkl` that are to be made anew.
    pub(crate) hashes_removed: u64,
    /// Suffixes of which `hashes.pkl` said what was not so.
    pub(crate) hashes_stale: u64,
    /// Damaged row updates that were moved aside.
    pub(crate) updates_quarantined: u64,
    /// Of these, mended or written anew from their objects.
    pub(crate) updates_announced: u64,
}

impl Audited {
    fn add(&mut self, other: Self) {
        self.passes += other.passes;
        self.quarantined += other.quarantined;
        self.left_damaged += other.left_damaged;
        self.errors += other.errors;
        self.bytes_processed += other.bytes_processed;
        self.checksums_added += other.checksums_added;
        self.deleted += other.deleted;
        self.hashes_removed += other.hashes_removed;
        self.hashes_stale += other.hashes_stale;
        self.updates_quarantined += other.updates_quarantined;
        self.updates_announced += other.updates_announced;
    }
}

/// One of the two sweeps of the daemon.
#[derive(Debug)]
pub(crate) struct Auditor {
    store: Arc<ObjectStore>,
    objects: ObjectRings,
    options: AuditorOptions,
    watchers: Vec<Arc<dyn Watcher>>,
}

impl Auditor {
    /// Sweeps the devices of `store`.
    pub(crate) fn new(
        store: Arc<ObjectStore>,
        objects: ObjectRings,
        options: AuditorOptions,
        watchers: Vec<Arc<dyn Watcher>>,
    ) -> Self {
        Self { store, objects, options, watchers }
    }

    async fn device(
        &self,
        cx: &PassContext,
        device: String,
        policies: Vec<PolicyIndex>,
        until: Option<Duration>,
    ) -> Result<(Audited, SweepEnd), Stopped> {
        let mut sweep = Sweep::new(self, cx, device, until);
        for policy in policies {
            match sweep.policy(policy).await? {
                SweepEnd::Whole => {}
                end => return Ok((sweep.done, end)),
            }
        }
        Ok((sweep.done, SweepEnd::Whole))
    }

    /// The status files of this sweep.
    fn status_files(&self, devices: &[String]) -> Vec<PathBuf> {
        let policies: Vec<_> = self.store.policies.iter().map(|policy| policy.index).collect();
        let files = devices.iter().flat_map(|device| {
            let device = self.store.devices.path(device).ok();
            policies
                .iter()
                .filter_map(move |policy| Some(device.as_ref()?.join(policy.suffixed("objects"))))
        });
        files.map(|objects| status::path(&objects, self.options.kind.name())).collect()
    }
}

#[async_trait]
impl Pass for Auditor {
    type Report = Audited;

    fn name(&self) -> &'static str {
        "object-auditor"
    }

    /// A whole sweep when it was asked for; else as much as `log_time` allows, from where the last
    /// one ended. A device that is missing or not mounted is left out.
    async fn pass(&mut self, cx: &PassContext) -> Result<Audited, Stopped> {
        let devices = self.store.devices.clone();
        // Nobody waits for a pass, so the shared pool may list the devices.
        let mut names =
            tokio::task::spawn_blocking(move || devices.names()).await.unwrap_or_default();
        names.retain(|name| cx.scope.has_device(name));
        let until = (!cx.once).then(|| cx.clock.now() + self.options.log_time);
        let policies = self.store.policies.iter();
        let replicated = policies.filter(|policy| policy.policy_type == PolicyType::Replication);
        let policies: Vec<_> = replicated
            .map(|policy| policy.index)
            .filter(|index| cx.scope.has_policy(index.0))
            .collect();
        let sweeps: Vec<BoxFuture<'_, _>> = names
            .iter()
            .map(|device| self.device(cx, device.clone(), policies.clone(), until).boxed())
            .collect();
        self.watchers.iter().for_each(|watcher| watcher.start(self.options.kind));
        let mut sweeps = stream::iter(sweeps).buffer_unordered(self.options.concurrency.max(1));
        let (mut audited, mut whole) = (Audited::default(), true);
        while let Some(swept) = sweeps.next().await {
            let (done, end) = swept?;
            audited.add(done);
            whole &= end != SweepEnd::TimeIsUp;
        }
        drop(sweeps);
        self.watchers.iter().for_each(|watcher| watcher.end(self.options.kind));
        if whole && !cx.once {
            let files = self.status_files(&names);
            let cleared = tokio::task::spawn_blocking(move || {
                files.iter().filter_map(|file| status::clear(file).err()).next()
            });
            if let Ok(Some(error)) = cleared.await {
                tracing::warn!(%error, "object auditor: status");
            }
        }
        Ok(audited)
    }

    fn recon(&self, report: &Audited, span: Span) -> Map<String, Value> {
        let stats = json!({
            "passes": report.passes,
            "quarantined": report.quarantined,
            "errors": report.errors,
            "bytes_processed": report.bytes_processed,
            "start_time": span.began.as_secs_f64(),
            "audit_time": span.seconds(),
            "left_damaged": report.left_damaged,
        });
        Map::from_iter([(format!("object_auditor_stats_{}", self.options.kind.name()), stats)])
    }
}
