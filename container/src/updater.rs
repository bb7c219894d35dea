//! Finds containers whose account row is behind: what changed just before a crash, or while the
//! account servers were away for longer than this process lived.
//!
//! Source: `swift/container/updater.py`. It looks at every database and writes to none but those
//! that the reporter then brings up to date.

use std::sync::Arc;

use apus_broker::place::{Databases, Located};
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::SharedRing;
use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::server::Server;

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
        let devices = &self.server.devices;
        let mut found = Databases::find(devices, "containers", &cx.scope, self.name());
        let mut swept = Swept::default();
        while let Some(Located { path, partition, .. }) = found.next().await {
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
        Ok(swept)
    }

    fn recon(&self, _: &Swept, span: Span) -> Map<String, Value> {
        Map::from_iter([("container_updater_sweep".to_owned(), span.seconds().into())])
    }
}
