//! The daemons `account-replicator` and `container-replicator`.
//!
//! They push every database of this node to all of its other primaries. A database that does not
//! belong on its device is removed once these have it, by the node's own server and only if it did
//! not change since.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::HashConf;
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::{Device, DeviceId, Local, Ring, SharedRing};
use apus_wire::Transport;
use apus_wire::message::database::ReplicaInfo;
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc};

use super::filter::{DatabaseFilter, ReplicationJob, SyncedDatabases};
use super::options::ReplicationOptions;
use super::replica::Replica;
use super::report::Replicated;
use super::walk::{DatabaseWalk, clear_temporary};
use super::worker::ReplicationWorker;
use crate::handles::Broker;
use crate::path::Devices;

/// Databases that were found and not yet begun.
const WINDOW: usize = 64;

/// Further work with a database that a pass compared.
#[async_trait]
pub trait AfterPush: std::fmt::Debug + Send + Sync {
    /// Called after the database was pushed to the replicas that could be reached, while it still
    /// exists. `info` is its state before the pushes, which may have changed it. Work that fails is
    /// left for the next pass, which does not skip the database as long as [`ReplicaInfo::queued`]
    /// is set.
    async fn pushed(&self, database: &Path, info: &ReplicaInfo);
}

/// What a replicator works with.
#[derive(Debug)]
pub struct ReplicatorDeps {
    /// The databases.
    pub broker: Arc<Broker>,
    /// The devices.
    pub devices: Devices,
    /// The cluster's hash prefix and suffix.
    pub hash: HashConf,
    /// Where databases of this kind live.
    pub ring: Arc<SharedRing>,
    /// Which devices of the ring are this node's.
    pub local: Local,
    /// Sends requests to other servers.
    pub transport: Arc<Transport>,
    /// Further work with each database.
    pub after: Option<Arc<dyn AfterPush>>,
}

/// The replicator of one kind of database.
#[derive(Debug)]
pub struct Replicator<K> {
    deps: Arc<ReplicatorDeps>,
    options: Arc<ReplicationOptions>,
    memory: SyncedDatabases,
    /// The ring that the memory belongs to.
    ring: Option<Arc<Ring>>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Replica> Replicator<K> {
    /// A replicator of the databases on the devices of `parts`.
    pub fn new(deps: ReplicatorDeps, options: ReplicationOptions) -> Self {
        let (deps, options) = (Arc::new(deps), Arc::new(options));
        Self { deps, options, memory: SyncedDatabases::default(), ring: None, kind: PhantomData }
    }
}

#[async_trait]
impl<K: Replica> Pass for Replicator<K> {
    type Report = Replicated;

    fn name(&self) -> &'static str {
        K::schema().replicator
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Replicated, Stopped> {
        let ring = Arc::clone(&self.deps.ring.get());
        // A single sweep compares everything.
        let is_same = self.ring.as_ref().is_some_and(|before| Arc::ptr_eq(before, &ring));
        if cx.once || !is_same {
            self.memory.lock().clear();
        }
        self.ring = Some(ring.clone());
        let (sender, found) = mpsc::channel(WINDOW);
        let mut report = Replicated::default();
        let mut walks = Vec::new();
        for device in ring.devices().iter().flatten() {
            if !self.deps.local.owns(device) || !cx.scope.has_device(&device.device) {
                continue;
            }
            let Ok(directory) = self.deps.devices.device(&device.device) else {
                let daemon = K::schema().replicator;
                tracing::warn!(
                    device = device.device,
                    daemon,
                    "Skipped a device that is not mounted"
                );
                report.unmounted += 1;
                continue;
            };
            walks.push(self.walk(&ring, device, directory, cx, sender.clone()));
        }
        drop(sender);
        let (filter, jobs) = (self.filter(&ring), mpsc::channel(WINDOW));
        let mut workers = vec![spawn(TaskKind::Request, filter.run(found, jobs.0, cx.clone()))];
        let jobs = Arc::new(Mutex::new(jobs.1));
        for _ in 0..self.options.concurrency {
            let worker = ReplicationWorker::<K> {
                deps: self.deps.clone(),
                options: self.options.clone(),
                ring: ring.clone(),
                memory: self.memory.clone(),
                stats: Replicated::default(),
                kind: PhantomData,
            };
            let (jobs, cx) = (jobs.clone(), cx.clone());
            workers.push(spawn(TaskKind::Request, worker.run(jobs, cx)));
        }
        let scope = &cx.scope;
        report.is_whole =
            scope.devices.is_empty() && scope.partitions.is_empty() && !self.options.handoffs_only;
        let mut stopped = false;
        for worker in workers {
            match worker.await {
                Ok((stats, done)) => {
                    report.add(stats);
                    stopped |= done.is_err();
                }
                // A panic was logged; the next pass compares the databases that it left.
                Err(_) => {
                    report.failure += 1;
                    report.is_whole = false;
                }
            }
        }
        drop(jobs);
        for walk in walks {
            report.empty += walk.await.unwrap_or(0);
        }
        if report.is_whole && !stopped {
            self.memory.lock().end_pass();
        }
        if stopped { Err(Stopped) } else { Ok(report) }
    }

    fn recon(&self, report: &Replicated, span: Span) -> Map<String, Value> {
        let mut stats = serde_json::to_value(report).unwrap_or_default();
        if let Value::Object(stats) = &mut stats {
            stats.insert("start".to_owned(), span.began.as_secs_f64().into());
            stats.remove("redundancy");
        }
        let ended = Value::from(span.ended.as_secs_f64());
        let mut entries = Map::from_iter([
            ("replication_stats".to_owned(), stats),
            ("replication_time".to_owned(), span.seconds().into()),
            ("replication_last".to_owned(), ended.clone()),
        ]);
        // A pass over a part of the node keeps the counts of the last whole one.
        if report.is_whole {
            let server = K::schema().replicator.split('-').next().unwrap_or_default();
            let counts = serde_json::to_value(report.redundancy).unwrap_or_default();
            entries.insert(format!("{server}_redundancy"), counts);
            entries.insert(format!("{server}_redundancy_last"), ended);
        }
        entries
    }
}

impl<K: Replica> Replicator<K> {
    fn filter(&self, ring: &Arc<Ring>) -> DatabaseFilter {
        DatabaseFilter {
            deps: self.deps.clone(),
            options: self.options.clone(),
            ring: ring.clone(),
            memory: self.memory.clone(),
            silent: HashSet::new(),
            stats: Replicated::default(),
        }
    }

    /// Finds the databases of a device. No client waits for a pass, so the shared pool may walk.
    fn walk(
        &self,
        ring: &Arc<Ring>,
        device: &Device,
        directory: PathBuf,
        cx: &PassContext,
        sender: mpsc::Sender<ReplicationJob>,
    ) -> tokio::task::JoinHandle<u64> {
        let (ring, device, scope) = (ring.clone(), device.clone(), cx.scope.clone());
        let handoffs_only = self.options.handoffs_only;
        let (clock, age) = (Arc::clone(&cx.clock), self.options.reclaim_age);
        apus_daemon::task::spawn_blocking(move || {
            let cleared = clear_temporary(&directory, clock.now(), age);
            let wants = |partition| {
                scope.has_partition(partition)
                    && !(handoffs_only && is_primary(&ring, partition, device.id))
            };
            let kind = K::schema().directory;
            let walk =
                DatabaseWalk { device: &directory, kind, wants: &wants, clock: clock.as_ref() };
            let walked = walk.run(|found| {
                let job =
                    ReplicationJob { found, device: device.clone(), directory: directory.clone() };
                sender.blocking_send(job).is_ok()
            });
            match cleared.and(walked) {
                Ok(removed) => removed,
                Err(error) => {
                    let (device, daemon) = (&device.device, K::schema().replicator);
                    tracing::warn!(%error, device, daemon, "Failed to walk the databases of a device");
                    0
                }
            }
        })
    }
}

pub(super) fn is_primary(ring: &Ring, partition: u32, device: DeviceId) -> bool {
    partition < ring.partitions() && ring.primaries(partition).iter().any(|at| at.id == device)
}

/// The replicas to push to, beginning after our own place, so that not all nodes send to the same one
/// first.
pub(super) fn others<'a>(primaries: &[&'a Device], own: DeviceId) -> Vec<&'a Device> {
    match primaries.iter().position(|device| device.id == own) {
        None => primaries.to_vec(),
        Some(place) => {
            let mut turned = primaries.to_vec();
            turned.rotate_left(place);
            turned.into_iter().filter(|device| device.id != own).collect()
        }
    }
}

/// Whether a primary comes before a device in the ring's order; all come before a handoff.
pub(super) fn is_earlier(primaries: &[&Device], node: DeviceId, own: DeviceId) -> bool {
    let place = |id| primaries.iter().position(|primary| primary.id == id);
    place(own).is_none_or(|own| place(node).is_some_and(|node| node < own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_pushes_to_those_after_it_first_and_a_handoff_to_all() {
        let devices: Vec<Device> = (0..3)
            .map(|id| Device { id, ..Device::at("127.0.0.1:6201", "sd1").unwrap() })
            .collect();
        let primaries: Vec<&Device> = devices.iter().collect();
        let ids = |own| others(&primaries, own).iter().map(|at| at.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [1, 2]);
        assert_eq!(ids(1), [2, 0]);
        assert_eq!(ids(9), [0, 1, 2]);
        assert!(others(&primaries[..1], 0).is_empty());
    }
}
