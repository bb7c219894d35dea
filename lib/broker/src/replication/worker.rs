//! One worker of a replicator: pushes databases, then reclaims or removes them.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::{PassContext, Stopped};
use apus_ring::{Device, Ring};
use apus_wire::message::database::{DatabaseCall, ReplicaAddress, ReplicaInfo};
use http::StatusCode;
use tokio::sync::{Mutex, mpsc};

use super::decide;
use super::filter::{InSync, ReplicationJob, SyncedDatabases};
use super::options::ReplicationOptions;
use super::pass::{ReplicatorDeps, is_earlier, is_primary, others};
use super::peer::Peer;
use super::push::{PushOutcome, PushSource};
use super::reclaim;
use super::redundancy::{Gap, count};
use super::replica::Replica;
use super::report::Replicated;
use crate::error::DbError;
use crate::mark::FileMark;

/// One worker of a pass.
pub(super) struct ReplicationWorker<K> {
    pub(super) deps: Arc<ReplicatorDeps>,
    pub(super) options: Arc<ReplicationOptions>,
    pub(super) ring: Arc<Ring>,
    pub(super) memory: SyncedDatabases,
    pub(super) stats: Replicated,
    pub(super) kind: PhantomData<fn() -> K>,
}

impl<K: Replica> ReplicationWorker<K> {
    /// Replicates the databases of `jobs` until there are no more, or a stop.
    pub(super) async fn run(
        mut self,
        jobs: Arc<Mutex<mpsc::Receiver<ReplicationJob>>>,
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

    fn peer(&self, node: &Device, partition: u32, job: &ReplicationJob) -> Peer {
        Peer {
            transport: self.deps.transport.clone(),
            node: node.for_replication(),
            address: ReplicaAddress { partition, hash: job.found.hash },
            timeout: self.options.node_timeout,
        }
    }

    /// The state of a database, and whether it may go; `None` when it does not exist.
    async fn state(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<(ReplicaInfo, bool)>, DbError> {
        let Some(database) = self.deps.broker.open(path, K::merge_pending).await? else {
            return Ok(None);
        };
        let then = reclaim::before(now, self.options.reclaim_age);
        let state = database
            .read(move |connection| {
                let info = K::info(connection)?;
                let spent = info.is_deleted_before(then) && K::is_spent(connection)?;
                Ok((info, spent))
            })
            .await?;
        Ok(Some(state))
    }

    /// Replicates one database.
    async fn one(&mut self, job: &ReplicationJob, time: Duration) {
        let (path, now) = (&job.found.path, Timestamp::from_duration(time));
        self.memory.lock().remove(path);
        self.stats.attempted += 1;
        let (info, spent) = match self.state(path, now).await {
            Ok(Some((info, spent))) => (info, spent),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, database = %path.display(), "Failed to read a database");
                self.fail_all(job.found.partition);
                if error.is_damage() {
                    self.quarantine(job).await;
                }
                return;
            }
        };
        if info.path_hash(&self.deps.hash) != job.found.hash {
            let (database, names) = (path.display(), info.names());
            tracing::error!(%database, ?names, "A database has the names of another path");
            self.fail_all(job.found.partition);
            self.quarantine(job).await;
            return;
        }
        let partition = self.ring.partition(&job.found.hash);
        let belongs =
            partition == job.found.partition && is_primary(&self.ring, partition, job.device.id);
        if partition != job.found.partition {
            tracing::error!(database = %path.display(), partition, "A database is in a wrong partition");
        }
        let source = PushSource {
            broker: &self.deps.broker.clone(),
            options: &self.options.clone(),
            device: &job.directory,
            path,
            info,
            spent,
            now,
        };
        let (answers, marks) = self.push(&source, job, partition).await;
        if let Some(after) = &self.deps.after {
            after.pushed(path, &source.info).await;
        }
        let all = answers.iter().all(|good| *good);
        if (spent && all)
            || (!belongs && decide::may_remove(&answers, self.options.handoff_delete()))
        {
            self.remove(job, &source.info).await;
        } else if all {
            match self.reclaim(&source).await {
                Ok(due) if belongs && marks.len() == answers.len() => {
                    self.remember(job, &source, &marks, due, time);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, database = %path.display(), "Failed to reclaim old rows");
                }
            }
        }
    }

    /// Notes that a database was in sync with all other primaries, and so need not be compared until
    /// one of them changes or something in it becomes old.
    fn remember(
        &self,
        job: &ReplicationJob,
        source: &PushSource<'_>,
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

    /// Pushes to each replica. Returns whether each is up to date, and the marks of those that
    /// already were.
    async fn push(
        &mut self,
        source: &PushSource<'_>,
        job: &ReplicationJob,
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
                Ok(PushOutcome::UpToDate(mark)) => {
                    marks.extend(mark);
                    true
                }
                Ok(PushOutcome::Deferred) => {
                    self.stats.success += 1;
                    answers.push(false);
                    next += 1;
                    continue;
                }
                Ok(PushOutcome::NotMounted) => {
                    nodes.extend(handoffs.next());
                    false
                }
                Err(error) => {
                    let (address, device) = (node.replication_address(), &node.device);
                    let database = source.path.display();
                    tracing::debug!(%error, address, device, %database, "Failed to replicate a database");
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

    /// Drops what is old. Returns when there will be more, if ever.
    async fn reclaim(&self, source: &PushSource<'_>) -> Result<Option<Duration>, DbError> {
        let opened = self.deps.broker.open(source.path, K::merge_pending).await?;
        let database = opened.ok_or(DbError::Missing)?;
        let age = self.options.reclaim_age;
        reclaim::reclaim::<K>(&database, &source.info, source.now, age).await?;
        let info = source.info.clone();
        database.read(move |connection| reclaim::next::<K>(connection, &info, age)).await
    }

    /// Asks the server of this node to remove a database.
    async fn remove(&mut self, job: &ReplicationJob, seen: &ReplicaInfo) {
        let own = self.peer(&job.device, job.found.partition, job);
        match own.ask(&DatabaseCall::Remove(Box::new(seen.clone()))).await {
            Ok(reply) if reply.status.is_success() => self.stats.remove += 1,
            // It changed meanwhile: the next pass sends that too.
            Ok(reply) if reply.status == StatusCode::CONFLICT => {}
            Ok(reply) => {
                let (status, database) = (reply.status, job.found.path.display());
                tracing::warn!(%status, %database, "The server did not remove a database");
            }
            Err(error) => {
                let database = job.found.path.display();
                tracing::warn!(%error, %database, "Failed to ask for the removal of a database");
            }
        }
    }

    /// Asks the server of this node to quarantine a damaged database.
    async fn quarantine(&mut self, job: &ReplicationJob) {
        let own = self.peer(&job.device, job.found.partition, job);
        match own.ask(&DatabaseCall::Quarantine { only_copy: false }).await {
            Ok(reply) if reply.status.is_success() => self.stats.quarantined += 1,
            Ok(reply) => {
                let (status, database) = (reply.status, job.found.path.display());
                tracing::warn!(%status, %database, "The server did not quarantine a database");
            }
            Err(error) => {
                let database = job.found.path.display();
                tracing::warn!(%error, %database, "Failed to ask for the quarantine of a database");
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
