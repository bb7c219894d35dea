//! Delivers the row updates that lie in `async_pending`: each to every primary of its container,
//! remembering who has it, until all do.
//!
//! An update is removed only when each primary took it, or when a newer one of the same object
//! lies beside it. Source: `swift/obj/updater.py`. Redirects to shards are not followed yet: such
//! an update stays.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apus_cluster::PolicyIndex;
use apus_daemon::http::{empty, set};
use apus_daemon::{Pass, PassContext, Stopped};
use apus_disk::Priority;
use apus_ring::SharedRing;
use apus_wire::{NodeRequest, headers};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Method};

use crate::async_pending::{self, Pending};
use crate::device::DeviceError;
use crate::server::Server;

/// Updates of one device that are sent at the same time.
const AT_ONCE: usize = 8;

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Delivered {
    /// Delivered to every primary and removed.
    pub(crate) delivered: u64,
    /// Removed since a newer update of the object is there.
    pub(crate) obsolete: u64,
    /// Left for the next pass.
    pub(crate) left: u64,
}

impl Delivered {
    fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.obsolete += other.obsolete;
        self.left += other.left;
    }
}

/// The daemon `object-updater`.
#[derive(Debug)]
pub(crate) struct Updater {
    server: Server,
    containers: Arc<SharedRing>,
}

impl Updater {
    /// Delivers from the devices of `server` to the containers' servers.
    pub(crate) fn new(server: Server, containers: Arc<SharedRing>) -> Self {
        Self { server, containers }
    }
}

#[async_trait]
impl Pass for Updater {
    type Report = Delivered;

    fn name(&self) -> &'static str {
        "object-updater"
    }

    /// One pass over all devices. A device that is missing or not mounted is left out.
    async fn pass(&mut self, cx: &PassContext) -> Result<Delivered, Stopped> {
        let (server, mut done) = (&self.server, Delivered::default());
        let devices = server.devices.clone();
        // Nobody waits for a pass, so the shared pool may list the devices.
        let names = tokio::task::spawn_blocking(move || devices.names()).await.unwrap_or_default();
        for device in names.into_iter().filter(|name| cx.scope.has_device(name)) {
            for policy in server.parts.policies.iter() {
                if !cx.scope.has_policy(policy.index.0) {
                    continue;
                }
                // What a stop cuts off is still in its file.
                let pass = pass_device(server, &self.containers, &device, policy.index);
                match cx.unless_stopped(pass).await? {
                    Ok(more) => done.add(more),
                    Err(DeviceError::Gone) => tracing::debug!(device, "object updater: not there"),
                    Err(error) => tracing::warn!(?error, device, "object updater"),
                }
            }
        }
        Ok(done)
    }
}

async fn pass_device(
    server: &Server,
    containers: &Arc<SharedRing>,
    device: &str,
    policy: PolicyIndex,
) -> Result<Delivered, DeviceError> {
    let directory = server.devices.path(device)?.join(policy.suffixed("async_pending"));
    let mut done = Delivered::default();
    let listed = {
        let directory = directory.clone();
        background(server, device, move || async_pending::suffixes(&directory)).await?
    };
    for suffix in listed {
        let found =
            background(server, device, move || async_pending::newest_of_each(&suffix)).await?;
        done.obsolete += found.obsolete;
        let sent = found
            .newest
            .into_iter()
            .map(|path| one(server.clone(), containers.clone(), device.to_owned(), policy, path));
        let mut sent = stream::iter(sent).buffer_unordered(AT_ONCE);
        while let Some(delivered) = sent.next().await {
            match delivered {
                true => done.delivered += 1,
                false => done.left += 1,
            }
        }
    }
    Ok(done)
}

/// Runs file work of the updater; an error of the disk is an empty result, told in the log.
async fn background<T: Default + Send + 'static>(
    server: &Server,
    device: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, DeviceError> {
    let result = server.devices.run(device, Priority::Background, work).await?;
    Ok(result.unwrap_or_else(|error| {
        tracing::warn!(%error, device, "object updater");
        T::default()
    }))
}

/// Sends one update to the primaries that do not have it; says whether it is done and removed.
fn one(
    server: Server,
    containers: Arc<SharedRing>,
    device: String,
    policy: PolicyIndex,
    path: PathBuf,
) -> BoxFuture<'static, bool> {
    async move {
        let read = path.clone();
        let pending = background(&server, &device, move || async_pending::read(&read)).await;
        let Ok(Some(mut pending)) = pending else { return false };
        let before = pending.successes().len();
        let complete = send(&server, &containers, policy, &mut pending).await;
        let work: Box<dyn FnOnce() -> io::Result<()> + Send> = if complete {
            Box::new(move || async_pending::remove(&path))
        } else if pending.successes().len() > before {
            let counters = server.parts.counters.clone();
            Box::new(move || async_pending::replace(&path, &pending, &counters))
        } else {
            return false;
        };
        let finished = background(&server, &device, move || work().map(|()| true)).await;
        complete && finished == Ok(true)
    }
    .boxed()
}

/// Whether every primary has the row now.
async fn send(
    server: &Server,
    containers: &SharedRing,
    policy: PolicyIndex,
    pending: &mut Pending,
) -> bool {
    let Some([account, container, object]) = pending.names() else { return false };
    let method = match pending.text("op").as_deref() {
        Some("PUT") => Method::PUT,
        Some("DELETE") => Method::DELETE,
        _ => return false,
    };
    let mut request_headers = HeaderMap::new();
    set(&mut request_headers, headers::POLICY_INDEX, &policy.to_string());
    for (name, value) in pending.headers() {
        set(&mut request_headers, &name, &value);
    }
    let (partition, nodes): (u32, Vec<_>) = {
        let ring = containers.get();
        let partition = ring.partition_of(&server.parts.hash, &[&account, &container]);
        (partition, ring.primaries(partition).into_iter().cloned().collect())
    };
    let request = NodeRequest {
        method,
        partition,
        names: vec![account, container, object],
        query: String::new(),
        headers: request_headers,
    };
    let known = pending.successes();
    let client = &server.parts.client;
    let mut complete = true;
    for node in nodes {
        let id = i64::from(node.id);
        if known.contains(&id) {
            continue;
        }
        match client.send(&node, &request, empty()).await {
            Ok(response) if response.status().is_success() => pending.succeeded(id),
            Ok(response) => {
                tracing::debug!(status = %response.status(), node = node.address(), "row update");
                complete = false;
            }
            Err(error) => {
                tracing::debug!(%error, node = node.address(), "row update");
                complete = false;
            }
        }
    }
    complete
}
