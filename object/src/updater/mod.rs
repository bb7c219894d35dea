//! The object updater: delivers the row updates of `async_pending` to container servers.
//!
//! Each update goes to every primary of its container, until all have it. The updater removes an
//! update only when each primary took it, or when a newer one of the same object exists. It does not
//! touch files that it cannot read. Source: `swift/obj/updater.py`.

mod container_pace;
mod delivery;
mod stats;

use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::PolicyIndex;
use apus_daemon::{Pace, Pass, PassContext, Span, Stopped};
use apus_disk::Priority;
use apus_options::{number, options, whole};
use apus_ring::SharedRing;
use apus_wire::Client;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

use self::container_pace::ContainerPace;
use self::delivery::UpdateSender;
use self::stats::Swept;
use crate::rows::pending;
use crate::store::{DeviceError, ObjectStore};

options! {
    /// Options of `[object-updater]`.
    #[derive(Debug, Clone, Copy)]
    pub struct UpdaterOptions {
        /// Time between two passes over undelivered listing rows.
        pub(crate) interval: u64 = whole(30).unit("seconds"),
        /// Updates that are sent at the same time.
        pub(crate) concurrency: usize = whole(8).from(1),
        /// Updates a second; 0 is unlimited.
        pub(crate) objects_per_second: f64 = number(50.0),
        /// Updates a second of one container; 0 is unlimited.
        pub(crate) max_objects_per_container_per_second: f64 = number(0.0),
    }
}

/// The daemon `object-updater`.
#[derive(Debug)]
pub(crate) struct Updater {
    sender: UpdateSender,
    concurrency: usize,
    pace: Pace,
    container_pace: ContainerPace,
}

impl Updater {
    /// Delivers from the devices of `store` to container servers.
    pub(crate) fn new(
        store: Arc<ObjectStore>,
        client: Arc<Client>,
        containers: Arc<SharedRing>,
        options: UpdaterOptions,
    ) -> Self {
        Self {
            sender: UpdateSender { store, client, containers },
            concurrency: options.concurrency.max(1),
            pace: Pace::per_second(options.objects_per_second),
            container_pace: ContainerPace::new(options.max_objects_per_container_per_second),
        }
    }

    async fn device(
        &mut self,
        device: &str,
        policy: PolicyIndex,
        swept: &mut Swept,
    ) -> Result<(), DeviceError> {
        let devices = self.sender.store.devices.clone();
        let directory = devices.path(device)?.join(policy.suffixed("async_pending"));
        let list = move || pending::suffixes(&directory);
        match devices.run(device, Priority::Background, list).await? {
            Ok(suffixes) => {
                for suffix in suffixes {
                    self.suffix(device, policy, suffix, swept).await?;
                }
            }
            Err(error) => swept.error(&error, device),
        }
        Ok(())
    }

    /// Delivers the updates of one suffix directory.
    async fn suffix(
        &mut self,
        device: &str,
        policy: PolicyIndex,
        suffix: PathBuf,
        swept: &mut Swept,
    ) -> Result<(), DeviceError> {
        let list = move || pending::newest_of_each(&suffix);
        let devices = &self.sender.store.devices;
        let found = match devices.run(device, Priority::Background, list).await? {
            Ok(found) => found,
            Err(error) => {
                swept.error(&error, device);
                return Ok(());
            }
        };
        swept.outdated_unlinks += found.obsolete;
        swept.errors += found.strange;
        swept.left += found.strange;
        let mut running = FuturesUnordered::new();
        for (time, path) in found.newest {
            self.pace.take(1.0).await;
            if running.len() >= self.concurrency
                && let Some((time, delivered)) = running.next().await
            {
                swept.count(device, time, delivered);
            }
            let (sender, pace) = (&self.sender, &self.container_pace);
            running.push(async move { (time, sender.deliver(device, policy, path, pace).await) });
        }
        while let Some((time, delivered)) = running.next().await {
            swept.count(device, time, delivered);
        }
        Ok(())
    }
}

#[async_trait]
impl Pass for Updater {
    type Report = Swept;

    fn name(&self) -> &'static str {
        "object-updater"
    }

    /// Runs a pass over all devices. Skips those that are missing or not mounted.
    async fn pass(&mut self, cx: &PassContext) -> Result<Swept, Stopped> {
        let store = self.sender.store.clone();
        let devices = store.devices.clone();
        // No client waits for a pass, so the shared pool may list the devices.
        let names =
            apus_daemon::task::spawn_blocking(move || devices.names()).await.unwrap_or_default();
        let mut swept = Swept::of_everything(cx.scope.devices.is_empty());
        for device in names.into_iter().filter(|name| cx.scope.has_device(name)) {
            swept.begin(&device);
            for policy in store.policies.iter() {
                if !cx.scope.has_policy(policy.index.0) {
                    continue;
                }
                // An update that a stop interrupts is still in its file.
                let pass = self.device(&device, policy.index, &mut swept);
                match cx.unless_stopped(pass).await? {
                    Ok(()) => {}
                    Err(DeviceError::Unmounted) => {
                        tracing::debug!(device, "Skipped a device that is missing or not mounted")
                    }
                    Err(error) => {
                        tracing::warn!(%error, device, "Failed to deliver the row updates of a device")
                    }
                }
            }
        }
        Ok(swept)
    }

    fn recon(&self, swept: &Swept, span: Span) -> Map<String, Value> {
        swept.recon(span)
    }
}
