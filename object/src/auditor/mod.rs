//! The daemon `object-auditor`: verifies stored data and quarantines what is damaged.
//!
//! Replication then brings a good copy. There are two sweeps, as in Swift (`swift/obj/auditor.py`):
//! `ALL` reads bodies and metadata, suffix hashes and pending row updates; `ZBF` checks everything
//! but the bodies at a higher rate, which finds the empty files that a crash leaves behind. The
//! auditor relies on the contents of the device alone, never on rings, and deletes only a damaged
//! `hashes.pkl`. Watchers, which an operator enables, may check more ([`watcher`]).

mod batch;
mod body;
mod options;
mod pending;
mod report;
mod status;
mod sweep;
#[cfg(test)]
mod tests;
pub(crate) mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::PolicyIndex;
use apus_cluster::policy::PolicyType;
use apus_daemon::{Pass, PassContext, Span, Stopped};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value, json};

pub(crate) use self::options::{AuditorOptions, ObjectRings, SweepKind};
use self::report::AuditReport;
use self::sweep::{Sweep, SweepEnd};
use self::watcher::Watcher;
use crate::store::ObjectStore;

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
    ) -> Result<(AuditReport, SweepEnd), Stopped> {
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
    type Report = AuditReport;

    fn name(&self) -> &'static str {
        "object-auditor"
    }

    /// Runs a whole sweep on request; otherwise as much as `log_time` allows, from where the last one
    /// ended. Skips devices that are missing or not mounted.
    async fn pass(&mut self, cx: &PassContext) -> Result<AuditReport, Stopped> {
        let devices = self.store.devices.clone();
        // No client waits for a pass, so the shared pool may list the devices.
        let mut names =
            apus_daemon::task::spawn_blocking(move || devices.names()).await.unwrap_or_default();
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
        let (mut audited, mut whole) = (AuditReport::default(), true);
        while let Some(swept) = sweeps.next().await {
            let (done, end) = swept?;
            audited.add(done);
            whole &= end != SweepEnd::TimeIsUp;
        }
        drop(sweeps);
        self.watchers.iter().for_each(|watcher| watcher.end(self.options.kind));
        if whole && !cx.once {
            let files = self.status_files(&names);
            let cleared = apus_daemon::task::spawn_blocking(move || {
                files.iter().filter_map(|file| status::clear(file).err()).next()
            });
            if let Ok(Some(error)) = cleared.await {
                tracing::warn!(%error, "Failed to remove a status file of the auditor");
            }
        }
        Ok(audited)
    }

    fn recon(&self, report: &AuditReport, span: Span) -> Map<String, Value> {
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
