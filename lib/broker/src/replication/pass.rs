//! The daemons `account-replicator` and `container-replicator`: every database of this node to all
//! of its other primaries.
//!
//! A database that does not belong on its device goes once they have it. It is the node's own
//! server that removes it, and only if nothing happened to it since.

use std::collections::{BTreeMap, HashSet};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{HashConf, Timestamp};
use apus_daemon::task::{TaskKind, spawn};
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_ring::{Device, DeviceId, Local, Ring, SharedRing};
use apus_wire::Transport;
use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc};

use super::decide;
use super::info::Info;
use super::kind::Kind;
use super::options::Options;
use super::peer::Peer;
use super::push::{Sent, Source};
use super::reclaim;
use super::redundancy::{Gap, Redundancy, count};
use super::sift::{DatabaseFilter, InSync, Job, SyncedDatabases};
use super::walk::{Walk, clear_temporary};
use crate::error::DbError;
use crate::handles::Broker;
use crate::mark::FileMark;
use crate::place::Devices;

/// Databases found and not yet begun.
const WINDOW: usize = 64;

/// What else is done with a database that a pass looked at.
#[async_trait]
pub trait AfterPush: std::fmt::Debug + Send + Sync {
    /// The database was pushed to its other replicas, as far as they could be reached, and is still
    /// here. `info` is what was found before. What cannot be done is left for the next pass, which
    /// comes to it again as long as [`Info::queued`] is something.
    async fn pushed(&self, database: &Path, info: &Info);
}

/// What a replicator works with.
#[derive(Debug)]
pub struct Parts {
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
    /// The way to other servers.
    pub transport: Arc<Transport>,
    /// What else is done with each database.
    pub after: Option<Arc<dyn AfterPush>>,
}

/// What a pass did, under Swift's names where there are any.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Replicated {
    /// Databases looked at.
    pub attempted: u64,
    /// Replicas that are up to date now.
    pub success: u64,
    /// Replicas that are not.
    pub failure: u64,
    /// Replicas that had everything, as their sync points say.
    pub no_change: u64,
    /// Replicas that had everything, as their hashes say.
    pub hashmatch: u64,
    /// Replicas that had nothing and were sent the whole database.
    pub rsync: u64,
    /// Replicas that had little and were sent the whole database.
    pub remote_merge: u64,
    /// Replicas that were sent rows.
    pub diff: u64,
    /// Replicas that lack more rows than a pass sends.
    pub diff_capped: u64,
    /// Replicas of sharded containers, which get no rows.
    pub deferred: u64,
    /// Databases removed.
    pub remove: u64,
    /// Empty directories removed.
    pub empty: u64,
    /// Databases with something wrong, set aside.
    pub quarantined: u64,
    /// Databases with a primary that could not be brought up to date.
    pub behind: u64,
    /// Rows that replicas are known to lack still.
    pub rows_behind: u64,
    /// Devices that were to be looked at and are not there.
    pub unmounted: u64,
    /// Failures by address and device.
    pub failure_nodes: BTreeMap<String, BTreeMap<String, u64>>,
    /// What this node counts of rows below full redundancy.
    pub redundancy: Redundancy,
    /// Whether all databases here were compared.
    #[serde(skip)]
    pub is_whole: bool,
}

impl Replicated {
    fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.success += other.success;
        self.failure += other.failure;
        self.no_change += other.no_change;
        self.hashmatch += other.hashmatch;
        self.rsync += other.rsync;
        self.remote_merge += other.remote_merge;
        self.diff += other.diff;
        self.diff_capped += other.diff_capped;
        self.deferred += other.deferred;
        self.remove += other.remove;
        self.empty += other.empty;
        self.quarantined += other.quarantined;
        self.behind += other.behind;
        self.rows_behind += other.rows_behind;
        self.unmounted += other.unmounted;
        self.redundancy.add(other.redundancy);
        for (address, devices) in other.failure_nodes {
            let known = self.failure_nodes.entry(address).or_default();
            for (device, count) in devices {
                *known.entry(device).or_default() += count;
            }
        }
    }

    fn failed(&mut self, node: &Device) {
        self.failure += 1;
        let address = node.replication_ip.as_ref().unwrap_or(&node.ip).clone();
        let devices = self.failure_nodes.entry(address).or_default();
        *devices.entry(node.device.clone()).or_default() += 1;
    }
}

/// The daemon of one kind of database.
#[derive(Debug)]
pub struct Replicator<K> {
    parts: Arc<Parts>,
    options: Arc<Options>,
    memory: SyncedDatabases,
    /// To which what is remembered belongs.
    ring: Option<Arc<Ring>>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Replicator<K> {
    /// A replicator of the databases on the devices of `parts`.
    pub fn new(parts: Parts, options: Options) -> Self {
        let (parts, options) = (Arc::new(parts), Arc::new(options));
        Self { parts, options, memory: SyncedDatabases::default(), ring: None, kind: PhantomData }
    }
}

#[async_trait]
impl<K: Kind> Pass for Replicator<K> {
    type Report = Replicated;

    fn name(&self) -> &'static str {
        K::DAEMON
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Replicated, Stopped> {
        let ring = Arc::clone(&self.parts.ring.get());
        // Who asks for one sweep has everything compared.
        let is_same = self.ring.as_ref().is_some_and(|before| Arc::ptr_eq(before, &ring));
        if cx.once || !is_same {
            self.memory.lock().clear();
        }
        self.ring = Some(ring.clone());
        let (sender, found) = mpsc::channel(WINDOW);
        let mut report = Replicated::default();
        let mut walks = Vec::new();
        for device in ring.devices().iter().flatten() {
            if !self.parts.local.owns(device) || !cx.scope.has_device(&device.device) {
                continue;
            }
            let Ok(directory) = self.parts.devices.device(&device.device) else {
                tracing::warn!(device = device.device, daemon = K::DAEMON, "not mounted, skipped");
                report.unmounted += 1;
                continue;
            };
            walks.push(self.walk(&ring, device, directory, cx, sender.clone()));
        }
        drop(sender);
        let (sieve, jobs) = (self.sieve(&ring), mpsc::channel(WINDOW));
        let mut workers = vec![spawn(TaskKind::Request, sieve.run(found, jobs.0, cx.clone()))];
        let jobs = Arc::new(Mutex::new(jobs.1));
        for _ in 0..self.options.concurrency {
            let work = Work::<K> {
                parts: self.parts.clone(),
                options: self.options.clone(),
                ring: ring.clone(),
                memory: self.memory.clone(),
                stats: Replicated::default(),
                kind: PhantomData,
            };
            let (jobs, cx) = (jobs.clone(), cx.clone());
            workers.push(spawn(TaskKind::Request, work.run(jobs, cx)));
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
                // A panic has been told; the databases that it left are met in the next pass.
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
        // After a pass over a part of the node the numbers of the last whole one stay.
        if report.is_whole {
            let server = K::DAEMON.split('-').next().unwrap_or_default();
            let counts = serde_json::to_value(report.redundancy).unwrap_or_default();
            entries.insert(format!("{server}_redundancy"), counts);
            entries.insert(format!("{server}_redundancy_last"), ended);
        }
        entries
    }
}

impl<K: Kind> Replicator<K> {
    fn sieve(&self, ring: &Arc<Ring>) -> DatabaseFilter {
        DatabaseFilter {
            parts: self.parts.clone(),
            options: self.options.clone(),
            ring: ring.clone(),
            memory: self.memory.clone(),
            silent: HashSet::new(),
            stats: Replicated::default(),
        }
    }

    /// Finds the databases of a device. Nobody waits for a pass, so the shared pool may walk.
    fn walk(
        &self,
        ring: &Arc<Ring>,
        device: &Device,
        directory: PathBuf,
        cx: &PassContext,
        sender: mpsc::Sender<Job>,
    ) -> tokio::task::JoinHandle<u64> {
        let (ring, device, scope) = (ring.clone(), device.clone(), cx.scope.clone());
        let handoffs_only = self.options.handoffs_only;
        let (clock, age) = (Arc::clone(&cx.clock), self.options.reclaim_age);
        tokio::task::spawn_blocking(move || {
            let cleared = clear_temporary(&directory, clock.now(), age);
            let wants = |partition| {
                scope.has_partition(partition)
                    && !(handoffs_only && is_primary(&ring, partition, device.id))
            };
            let kind = K::DIRECTORY;
            let walk = Walk { device: &directory, kind, wants: &wants, clock: clock.as_ref() };
            let walked = walk.run(|found| {
                let job = Job { found, device: device.clone(), directory: directory.clone() };
                sender.blocking_send(job).is_ok()
            });
            match cleared.and(walked) {
                Ok(removed) => removed,
                Err(error) => {
                    tracing::warn!(%error, device = device.device, daemon = K::DAEMON, "walk");
                    0
                }
            }
        })
    }
}

fn is_primary(ring: &Ring, partition: u32, device: DeviceId) -> bool {
    partition < ring.partitions() && ring.primaries(partition).iter().any(|at| at.id == device)
}

/// One worker of a pass.
struct Work<K> {
    parts: Arc<Parts>,
    options: Arc<Options>,
    ring: Arc<Ring>,
    memory: SyncedDatabases,
    stats: Replicated,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Work<K> {
    async fn run(
        mut self,
        jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
        cx: PassContext,
    ) -> (Replicated, Result<(), Stopped>) {
        loop {
            let job = jobs.lock().await.recv().await;
            let Some(job) = job else { return (self.stats, Ok(())) };
            if cx.safe_point().await.is_err() {
                return (self.stats, Err(Stopped));
            }
            let now = cx.clock.now();
            // A stop does not wait for a large database on a slow network.
            if cx.unless_stopped(self.one(&job, now)).await.is_err() {
                return (self.stats, Err(Stopped));
            }
        }
    }

    fn peer(&self, node: &Device, partition: u32, job: &Job) -> Peer {
        Peer {
            transport: self.parts.transport.clone(),
            node: node.for_replication(),
            partition,
            hash: job.found.hash.to_string(),
            timeout: self.options.node_timeout,
        }
    }

    async fn look(&self, path: &Path, now: Timestamp) -> Result<Option<(Info, bool)>, DbError> {
        let Some(database) = self.parts.broker.open(path, K::merge_pending).await? else {
            return Ok(None);
        };
        let then = reclaim::before(now, self.options.reclaim_age);
        let look = database
            .read(move |connection| {
                let info = K::info(connection)?;
                let spent = info.is_deleted_before(then) && K::is_spent(connection)?;
                Ok((info, spent))
            })
            .await?;
        Ok(Some(look))
    }

    /// Replicates one database.
    async fn one(&mut self, job: &Job, time: Duration) {
        let (path, now) = (&job.found.path, Timestamp::from_duration(time));
        self.memory.lock().remove(path);
        self.stats.attempted += 1;
        let (info, spent) = match self.look(path, now).await {
            Ok(Some((info, spent))) => (info, spent),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, database = %path.display(), "cannot be read");
                self.fail_all(job.found.partition);
                if error.is_damage() {
                    self.quarantine(job).await;
                }
                return;
            }
        };
        if info.path_hash(&self.parts.hash) != job.found.hash {
            tracing::error!(database = %path.display(), names = ?info.names(), "under a wrong hash");
            self.fail_all(job.found.partition);
            self.quarantine(job).await;
            return;
        }
        let partition = self.ring.partition(&job.found.hash);
        let belongs =
            partition == job.found.partition && is_primary(&self.ring, partition, job.device.id);
        if partition != job.found.partition {
            tracing::error!(database = %path.display(), partition, "lies in a wrong partition");
        }
        let source = Source {
            broker: &self.parts.broker.clone(),
            options: &self.options.clone(),
            device: &job.directory,
            path,
            info,
            spent,
            now,
        };
        let (answers, marks) = self.push(&source, job, partition).await;
        if let Some(after) = &self.parts.after {
            after.pushed(path, &source.info).await;
        }
        let all = answers.iter().all(|good| *good);
        if (spent && all) || (!belongs && decide::may_remove(&answers, self.options.handoff_delete))
        {
            self.remove(job, &source.info).await;
        } else if all {
            match self.reclaim(&source).await {
                Ok(due) if belongs && marks.len() == answers.len() => {
                    self.remember(job, &source, &marks, due, time);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, database = %path.display(), "reclaim");
                }
            }
        }
    }

    /// Notes that a database was in sync with all other primaries, and so needs no look until one
    /// of them changes or something in it grows old.
    fn remember(
        &self,
        job: &Job,
        source: &Source<'_>,
        marks: &[FileMark],
        due: Option<Duration>,
        now: Duration,
    ) {
        if let Some(own) = job.found.mark
            && source.info.queued.is_none()
        {
            let found = InSync::new(own, marks, due, now);
            self.memory.lock().insert(&job.found.path, found);
        }
    }

    /// Pushes to each replica; gives whether each is up to date, and the marks of those that were so
    /// before.
    async fn push(
        &mut self,
        source: &Source<'_>,
        job: &Job,
        partition: u32,
    ) -> (Vec<bool>, Vec<FileMark>) {
        let own = job.device.id;
        let ring = self.ring.clone();
        let mut handoffs = ring.handoffs(partition).filter(|device| device.id != own);
        let all = ring.primaries(partition);
        let mut nodes = others(&all, own);
        let primaries = nodes.len();
        let mut gaps = Vec::new();
        let (mut answers, mut marks) = (Vec::new(), Vec::new());
        let mut behind = false;
        let mut next = 0;
        while let Some(node) = nodes.get(next).copied() {
            let peer = self.peer(node, partition, job);
            let mut gap = Gap::default();
            let pushed = source.push::<K>(&peer, &mut self.stats, &mut gap).await;
            if next < primaries {
                gaps.push((gap, is_earlier(&all, node.id, own)));
            }
            let good = match pushed {
                Ok(Sent::UpToDate(mark)) => {
                    marks.extend(mark);
                    true
                }
                Ok(Sent::Deferred) => {
                    self.stats.success += 1;
                    answers.push(false);
                    next += 1;
                    continue;
                }
                Ok(Sent::NotMounted) => {
                    nodes.extend(handoffs.next());
                    false
                }
                Err(error) => {
                    let (address, device) = (node.replication_address(), &node.device);
                    tracing::debug!(%error, address, device, database = %source.path.display(), "replicate");
                    false
                }
            };
            if good {
                self.stats.success += 1;
            } else {
                self.stats.failed(node);
                behind |= next < primaries;
            }
            answers.push(good);
            next += 1;
        }
        self.stats.behind += u64::from(behind);
        if !source.spent {
            self.stats.redundancy.add(count(source.info.rows(), &gaps));
        }
        (answers, marks)
    }

    /// Drops what is old; gives when there will be more, if ever.
    async fn reclaim(&self, source: &Source<'_>) -> Result<Option<Duration>, DbError> {
        let opened = self.parts.broker.open(source.path, K::merge_pending).await?;
        let database = opened.ok_or(DbError::Missing)?;
        let age = self.options.reclaim_age;
        reclaim::reclaim::<K>(&database, &source.info, source.now, age).await?;
        let info = source.info.clone();
        database.read(move |connection| reclaim::next::<K>(connection, &info, age)).await
    }

    /// Has our own server remove a database.
    async fn remove(&mut self, job: &Job, seen: &Info) {
        let own = self.peer(&job.device, job.found.partition, job);
        match own.call(&("apus_remove", seen)).await {
            Ok(reply) if reply.status.is_success() => self.stats.remove += 1,
            // Something happened to it: the next pass sends that too.
            Ok(reply) if reply.status == StatusCode::CONFLICT => {}
            Ok(reply) => {
                tracing::warn!(status = %reply.status, database = %job.found.path.display(), "not removed");
            }
            Err(error) => {
                tracing::warn!(%error, database = %job.found.path.display(), "not removed");
            }
        }
    }

    /// Has our own server set a broken database aside.
    async fn quarantine(&mut self, job: &Job) {
        let own = self.peer(&job.device, job.found.partition, job);
        match own.call(&["apus_quarantine"]).await {
            Ok(reply) if reply.status.is_success() => self.stats.quarantined += 1,
            Ok(reply) => {
                tracing::warn!(status = %reply.status, database = %job.found.path.display(), "not quarantined");
            }
            Err(error) => {
                tracing::warn!(%error, database = %job.found.path.display(), "not quarantined");
            }
        }
    }

    fn fail_all(&mut self, partition: u32) {
        if partition >= self.ring.partitions() {
            self.stats.failure += 1;
            return;
        }
        let ring = self.ring.clone();
        for node in ring.primaries(partition) {
            self.stats.failed(node);
        }
    }
}

/// The replicas to push to, beginning after our own place: nodes that are all far apart do not all
/// send to the same one first.
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
fn is_earlier(primaries: &[&Device], node: DeviceId, own: DeviceId) -> bool {
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
