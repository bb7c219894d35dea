//! Finds containers whose account row is behind: what changed just before a crash, or while the
//! account servers were away for longer than this process lived.
//!
//! Source: `swift/container/updater.py`. It looks at every database that changed since its account
//! row was found up to date, and writes to none but those that the reporter then brings up to date. Those whose accounts are gone are set aside
//! (`orphan.rs`).

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
    own: LocalClient,
    /// Databases whose account rows are up to date.
    visits: Visits<FileMark>,
}

impl Updater {
    /// Looks through the devices of `server`.
    pub(crate) fn new(server: Arc<Server>, accounts: Arc<SharedRing>, own: LocalClient) -> Self {
        Self { server, accounts, own, visits: Visits::default() }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Swept {
    /// Databases looked at.
    pub(crate) databases: u64,
    /// Of these, left behind: their accounts' servers did not take the row.
    pub(crate) behind: u64,
    /// Databases whose accounts are gone, set aside.
    pub(crate) orphans: u64,
    /// Of these, left, since too many were: an alarm.
    pub(crate) left_orphans: u64,
}

impl Updater {
    /// Has a database set aside whose account is gone.
    async fn orphan(&self, path: &Path, partition: u32, swept: &mut Swept) {
        if are_too_many(swept.orphans, swept.databases) {
            if swept.left_orphans == 0 {
                tracing::error!("ALARM: too many containers have no account; the others stay");
            }
            swept.left_orphans += 1;
            return;
        }
        let moved = self.server.set_aside_orphan(&self.accounts, &self.own, path, partition).await;
        match moved {
            Ok(true) => swept.orphans += 1,
            Ok(false) => swept.behind += 1,
            Err(error) => {
                tracing::error!(database = %path.display(), %error, "an orphan, and it stays");
                swept.behind += 1;
            }
        }
    }
}

#[async_trait]
impl Pass for Updater {
    type Report = Swept;

    fn name(&self) -> &'static str {
        "container-updater"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Swept, Stopped> {
        let devices = &self.server.databases.deps.devices;
        let mut found = Databases::find(devices, SCHEMA.directory, cx, self.name());
        let mut swept = Swept::default();
        while let Some(Located { path, partition, mark, .. }) = found.next().await {
            cx.safe_point().await?;
            swept.databases += 1;
            if mark.is_some() && self.visits.get(&path) == mark {
                continue;
            }
            // A stop does not wait for servers that are silent; what was told is told again.
            let told = cx.unless_stopped(self.server.report_one(&self.accounts, &path)).await?;
            let behind = match told {
                Ok(is_current) => {
                    if let Some(mark) = mark.filter(|_| is_current) {
                        self.visits.insert(&path, mark);
                    }
                    continue;
                }
                Err(behind) => behind,
            };
            tracing::debug!(database = %path.display(), %behind, "account row stays behind");
            if matches!(behind, Behind::NoAccount) {
                cx.unless_stopped(self.orphan(&path, partition, &mut swept)).await?;
            } else {
                swept.behind += 1;
            }
            self.server.note_behind(path, partition);
        }
        if cx.scope.devices.is_empty() && cx.scope.partitions.is_empty() {
            self.visits.end_pass();
        }
        Ok(swept)
    }

    fn recon(&self, _: &Swept, span: Span) -> Map<String, Value> {
        Map::from_iter([("container_updater_sweep".to_owned(), span.seconds().into())])
    }
}
