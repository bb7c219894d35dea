//! Finds containers whose account row is behind: what changed just before a crash, or while the
//! account servers were away for longer than this process lived.
//!
//! Source: `swift/container/updater.py`. It looks at every database and writes to none but those
//! that the reporter then brings up to date.

use std::path::PathBuf;
use std::sync::Arc;

use apus_broker::place::each_database;
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::SharedRing;
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::server::Server;

/// Databases found and not yet looked at.
const WINDOW: usize = 64;

/// The daemon `container-updater`.
#[derive(Debug)]
pub(crate) struct Updater {
    server: Arc<Server>,
    accounts: Arc<SharedRing>,
}

impl Updater {
    /// Looks through the devices of `server`.
    pub(crate) fn new(server: Arc<Server>, accounts: Arc<SharedRing>) -> Self {
        Self { server, accounts }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Swept {
    /// Databases looked at.
    pub(crate) databases: u64,
    /// Of these, left behind: their accounts' servers did not take the row.
    pub(crate) behind: u64,
}

#[async_trait]
impl Pass for Updater {
    type Report = Swept;

    fn name(&self) -> &'static str {
        "container-updater"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Swept, Stopped> {
        let (sender, mut found) = mpsc::channel::<(PathBuf, u32)>(WINDOW);
        let devices = self.server.devices.clone();
        let scope = cx.scope.clone();
        // Nobody waits for a pass, so the shared pool may walk the directories.
        let walk = tokio::task::spawn_blocking(move || {
            for device in devices.all() {
                let name = device.file_name().unwrap_or_default().to_string_lossy();
                if !scope.has_device(&name) {
                    continue;
                }
                let known = |path, partition| sender.blocking_send((path, partition)).is_ok();
                if let Err(error) = each_database(&device, "containers", known) {
                    tracing::warn!(%error, device = %device.display(), "container updater");
                }
            }
        });
        let mut swept = Swept::default();
        while let Some((path, partition)) = found.recv().await {
            cx.safe_point().await?;
            swept.databases += 1;
            // A stop does not wait for servers that are silent; what was told is told again.
            let told = cx.unless_stopped(self.server.report_one(&self.accounts, &path)).await?;
            if let Err(reason) = told {
                tracing::debug!(database = %path.display(), reason, "account row stays behind");
                self.server.note_behind(path, partition);
                swept.behind += 1;
            }
        }
        // A walk that panicked has been reported by the panic itself.
        let _ = walk.await;
        Ok(swept)
    }

    fn recon(&self, _: &Swept, span: Span) -> Map<String, Value> {
        Map::from_iter([("container_updater_sweep".to_owned(), span.seconds().into())])
    }
}
