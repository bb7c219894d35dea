//! The daemon `container-reclaimer`: deletes the parts of multipart uploads that no object needs.
//!
//! Aborted uploads and overwritten, expired or deleted objects leave parts, and so do requests whose
//! server was killed. The hidden containers of this node are read, and each upload is decided by
//! `apus_store::upload_parts`, so that a pass that ends early loses nothing. The primaries of a
//! container take turns: one of them reads it in an interval. Swift's uploads are left alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::path::{Databases, Located};
use apus_cluster::{AccountName, ContainerName, ContainerPath, Timestamp};
use apus_daemon::http::new_trans_id;
use apus_daemon::{Pass, PassContext, Stopped};
use apus_options::{options, whole};
use apus_ring::{Local, SharedRing};
use apus_store::upload_parts::{self, ReclaimedUploads};
use apus_store::{Context, Primitive};
use async_trait::async_trait;

use crate::backend;
use crate::schema::SCHEMA;
use crate::server::Server;

options! {
    /// Options of `[container-reclaimer]`.
    #[derive(Debug, Clone, Copy)]
    pub struct ReclaimerOptions {
        /// Time between two passes. The primaries of a container take turns.
        pub(crate) interval: Duration = whole(86_400).unit("seconds"),
        /// Time for which parts without an object are kept; longer than any request takes.
        delay: Duration = whole(86_400).unit("seconds"),
    }
}

/// What the reclaimer works with.
pub(crate) struct ReclaimerDeps {
    /// The databases of this node.
    pub(crate) server: Arc<Server>,
    /// The ring of containers.
    pub(crate) ring: Arc<SharedRing>,
    /// Which of its devices are this node's.
    pub(crate) local: Local,
    /// Objects and listings.
    pub(crate) store: Arc<dyn Primitive>,
}

/// The daemon `container-reclaimer`.
pub(crate) struct Reclaimer {
    deps: ReclaimerDeps,
    options: ReclaimerOptions,
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct ReclaimerReport {
    /// Hidden containers that were read.
    containers: u64,
    #[serde(flatten)]
    reclaimed: ReclaimedUploads,
    /// Containers that could not be read.
    errors: u64,
}

/// Index of the primary whose turn a partition is: each in one interval.
fn turn(now_seconds: u64, interval: u64, partition: u32, primaries: usize) -> usize {
    let round = (now_seconds / interval.max(1)).wrapping_add(u64::from(partition));
    usize::try_from(round % primaries.max(1) as u64).unwrap_or(0)
}

impl Reclaimer {
    pub(crate) fn new(deps: ReclaimerDeps, options: ReclaimerOptions) -> Self {
        Self { deps, options }
    }

    /// Whether it is the turn of this database's device.
    fn is_ours(&self, located: &Located, now_seconds: u64) -> bool {
        let ring = self.deps.ring.get();
        let primaries = ring.primaries(located.partition);
        let turn =
            turn(now_seconds, self.options.interval.as_secs(), located.partition, primaries.len());
        primaries
            .get(turn)
            .is_some_and(|device| self.deps.local.owns(device) && device.device == located.device)
    }

    /// The hidden container in a database; `None` for another container.
    async fn hidden(&self, path: &Path) -> Option<ContainerPath> {
        // A damaged database is found by the auditor.
        let database = self.deps.server.databases.open(path).await.ok()??;
        let info = database.read(backend::info).await.ok()?;
        if !upload_parts::is_hidden(&info.container) || info.is_deleted() {
            return None;
        }
        let account = AccountName::parse(&info.account).ok()?;
        Some(ContainerPath::new(account, ContainerName::parse(&info.container).ok()?))
    }

    async fn reclaim(
        &self,
        cx: &PassContext,
        hidden: &ContainerPath,
        report: &mut ReclaimerReport,
    ) {
        report.containers += 1;
        let before = Timestamp::from_duration(cx.clock.now().saturating_sub(self.options.delay));
        let system = Context::system("reclaimer", new_trans_id(cx.clock.as_ref(), ""));
        match upload_parts::reclaim(&*self.deps.store, &system, hidden, before).await {
            Ok(reclaimed) => report.reclaimed.add(reclaimed),
            Err(error) => {
                tracing::warn!(%error, container = %hidden, "Failed to list the parts of multipart uploads");
                report.errors += 1;
            }
        }
    }
}

#[async_trait]
impl Pass for Reclaimer {
    type Report = ReclaimerReport;

    fn name(&self) -> &'static str {
        "container-reclaimer"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<ReclaimerReport, Stopped> {
        let devices = &self.deps.server.databases.deps.devices;
        let mut found = Databases::find(devices, SCHEMA.directory, cx, self.name());
        let mut report = ReclaimerReport::default();
        while let Some(located) = found.next().await {
            cx.safe_point().await?;
            if !self.is_ours(&located, cx.clock.now().as_secs()) {
                continue;
            }
            if let Some(hidden) = self.hidden(&located.path).await {
                // Parts that a stop leaves are found by the next pass.
                cx.unless_stopped(self.reclaim(cx, &hidden, &mut report)).await?;
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_primary_has_its_turn() {
        let turns =
            |partition| [0, 1, 2, 3].map(|day| turn(day * 86_400 + 7, 86_400, partition, 3));
        assert_eq!(turns(0), [0, 1, 2, 0]);
        assert_eq!(turns(5), [2, 0, 1, 2]);
        assert_eq!(turn(7, 0, 0, 0), 0, "no interval and no primaries");
    }
}
