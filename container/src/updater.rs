//! Finds containers whose account row is behind: what changed just before a crash, or while the
//! account servers were away for longer than this process lived.
//!
//! Source: `swift/container/updater.py`. It looks at every database and writes to none but those
//! that the reporter then brings up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apus_broker::place::each_database;
use apus_daemon::Drain;
use apus_ring::SharedRing;
use tokio::sync::mpsc;

use crate::server::Server;

/// Databases found and not yet looked at.
const WINDOW: usize = 64;

/// Looks through all devices now and every `interval`, until the drain begins.
pub async fn update_accounts(
    server: Arc<Server>,
    ring: Arc<SharedRing>,
    interval: Duration,
    drain: Drain,
) {
    loop {
        tokio::select! {
            () = pass(&server, &ring) => {}
            () = drain.begun() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = drain.begun() => return,
        }
    }
}

async fn pass(server: &Server, ring: &SharedRing) {
    let (sender, mut found) = mpsc::channel::<(PathBuf, u32)>(WINDOW);
    let devices = server.devices.clone();
    // Nobody waits for a pass, so the shared pool may walk the directories.
    let walk = tokio::task::spawn_blocking(move || {
        for device in devices.all() {
            let known = |path, partition| sender.blocking_send((path, partition)).is_ok();
            if let Err(error) = each_database(&device, "containers", known) {
                tracing::warn!(%error, device = %device.display(), "container updater");
            }
        }
    });
    while let Some((path, partition)) = found.recv().await {
        if let Err(reason) = server.report_one(ring, &path).await {
            tracing::debug!(database = %path.display(), reason, "account row stays behind");
            server.note_behind(path, partition);
        }
    }
    // A walk that panicked has been reported by the panic itself.
    let _ = walk.await;
}
