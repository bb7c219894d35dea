//! The daemon `container-updater`: finds containers whose account row is behind.
//!
//! These changed just before a crash, or while the account servers were unavailable for longer than
//! this process lived. Source: `swift/container/updater.py`. It checks every database that changed
//! since its account row was found up to date, and writes only to those that it then reports.
//! Those whose accounts are gone are quarantined (`orphan.rs`).

use std::path::Path;
use std::sync::Arc;

use apus_broker::path::{Databases, Located};
use apus_broker::quarantine::are_too_many;
use apus_broker::{FileMark, LocalClient, Visits};
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::SharedRing;
use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::reporter::Behind;
use crate::schema::SCHEMA;
use crate::server::Server;

/// The daemon `container-updater`.
#[derive(Debug)]
pub(crate) struct Updater {
    server: Arc<Server>,
    accounts: Arc<SharedRing>,
    local: LocalClient,
    /// Databases whose account rows are up to date.
    visits: Visits<FileMark>,
}

impl Updater {
    /// An updater of the databases on the devices of `server`.
    pub(crate) fn new(server: Arc<Server>, accounts: Arc<SharedRing>, local: LocalClient) -> Self {
        Self { server, accounts, local, visits: Visits::default() }
    }
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct UpdaterReport {
    /// Databases that were found.
    pub(crate) databases: u64,
    /// Of these, left behind: their accounts' servers did not accept the row.
    pub(crate) behind: u64,
    /// Databases whose accounts are gone, quarantined.
    pub(crate) orphans: u64,
    /// Of these, left, since too many were: an alarm.
    pub(crate) left_orphans: u64,
}

impl Updater {
    /// Quarantines a database whose account is gone.
    async fn orphan(&self, path: &Path, partition: u32, report: &mut UpdaterReport) {
        if are_too_many(report.orphans, report.databases) {
            if report.left_orphans == 0 {
                tracing::error!("ALARM: too many containers have no account; the others stay");
            }
            report.left_orphans += 1;
            return;
        }
        let moved =
            self.server.quarantine_orphan(&self.accounts, &self.local, path, partition).await;
        match moved {
            Ok(true) => report.orphans += 1,
            Ok(false) => report.behind += 1,
            Err(error) => {
                let database = path.display();
                tracing::error!(%database, %error, "Failed to quarantine a container without account");
                report.behind += 1;
            }
        }
    }
}

#[async_trait]
impl Pass for Updater {
    type Report = UpdaterReport;

    fn name(&self) -> &'static str {
        "container-updater"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<UpdaterReport, Stopped> {
        let devices = &self.server.databases.deps.devices;
        let mut found = Databases::find(devices, SCHEMA.directory, cx, self.name());
        let mut report = UpdaterReport::default();
        while let Some(Located { path, partition, mark, .. }) = found.next().await {
            cx.safe_point().await?;
            report.databases += 1;
            if mark.is_some() && self.visits.get(&path) == mark {
                continue;
            }
            // A stop does not wait for silent servers; a row that was sent is sent again.
            let sent = cx.unless_stopped(self.server.report_one(&self.accounts, &path)).await?;
            let behind = match sent {
                Ok(is_current) => {
                    if let Some(mark) = mark.filter(|_| is_current) {
                        self.visits.insert(&path, mark);
                    }
                    continue;
                }
                Err(behind) => behind,
            };
            tracing::debug!(database = %path.display(), %behind, "An account row stays behind");
            if matches!(behind, Behind::NoAccount) {
                cx.unless_stopped(self.orphan(&path, partition, &mut report)).await?;
            } else {
                report.behind += 1;
            }
            self.server.note_behind(path, partition);
        }
        if cx.scope.devices.is_empty() && cx.scope.partitions.is_empty() {
            self.visits.end_pass();
        }
        Ok(report)
    }

    fn recon(&self, _: &UpdaterReport, span: Span) -> Map<String, Value> {
        Map::from_iter([("container_updater_sweep".to_owned(), span.seconds().into())])
    }
}
