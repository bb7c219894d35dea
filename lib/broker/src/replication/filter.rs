//! Filters out the databases of a pass that need not be opened.
//!
//! These were in sync with all other primaries at the last visit, no replica of them has changed
//! since, and nothing in them has become old enough to be dropped.
//!
//! The other primaries are asked about many databases with one call, [`DatabaseCall::States`]. Each returns the
//! marks of their files ([`FileMark`]), which show a replica that was lost or changed. Servers of
//! Swift have no marks, so each of their databases is compared in each pass.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::PathHash;
use apus_daemon::{Pace, PassContext, Stopped};
use apus_ring::{Device, DeviceId, Ring};
use apus_wire::message::database::{DatabaseCall, ReplicaAddress};
use tokio::sync::mpsc;

use super::options::ReplicationOptions;
use super::pass::{ReplicatorDeps, others};
use super::peer::Peer;
use super::report::Replicated;
use super::walk::DatabaseFile;
use crate::mark::FileMark;
use crate::visits::Visits;

/// Databases that are filtered together.
const BATCH: usize = 32;
/// After this time a database is compared in any case.
const TRUSTED_FOR: Duration = Duration::from_secs(6 * 3600);

/// A database, and the device of the ring that it was found on.
#[derive(Debug)]
pub(super) struct ReplicationJob {
    pub(super) found: DatabaseFile,
    pub(super) device: Device,
    pub(super) directory: PathBuf,
}

/// A database that was in sync with all other primaries.
#[derive(Debug, Clone, Copy)]
pub(super) struct InSync {
    /// Its own mark then.
    own: FileMark,
    /// A hash of the marks of the other primaries.
    others: u64,
    /// Until when this holds, in seconds since 1970.
    until: u64,
}

impl InSync {
    /// A database with its mark from before it was compared, and the mark of each other primary in
    /// the order of [`others`]. `due` is when something in it becomes old.
    pub(super) fn new(
        own: FileMark,
        marks: &[FileMark],
        due: Option<Duration>,
        now: Duration,
    ) -> Self {
        let until = due.unwrap_or(Duration::MAX).min(now + TRUSTED_FOR).as_secs();
        Self { own, others: combined(marks), until }
    }

    fn holds(&self, own: Option<FileMark>, now: Duration) -> bool {
        own == Some(self.own) && now.as_secs() < self.until
    }
}

fn combined(marks: &[FileMark]) -> u64 {
    let mut hasher = DefaultHasher::new();
    marks.iter().for_each(|mark| hasher.write_u64(mark.number()));
    hasher.finish()
}

/// The memory of all workers of a replicator.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncedDatabases(Arc<Mutex<Visits<InSync>>>);

impl SyncedDatabases {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Visits<InSync>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on the databases of a pass that have to be compared.
#[derive(Debug)]
pub(super) struct DatabaseFilter {
    pub(super) deps: Arc<ReplicatorDeps>,
    pub(super) options: Arc<ReplicationOptions>,
    pub(super) ring: Arc<Ring>,
    pub(super) memory: SyncedDatabases,
    /// Devices that did not respond in this pass.
    pub(super) silent: HashSet<DeviceId>,
    pub(super) stats: Replicated,
}

/// A job that may be left out, with its other primaries by id.
struct Candidate {
    job: ReplicationJob,
    last: InSync,
    primaries: Vec<DeviceId>,
}

impl DatabaseFilter {
    /// Takes databases from `found` at the rate of the options, sends to `jobs` those that have to be
    /// compared, and counts the others.
    pub(super) async fn run(
        mut self,
        mut found: mpsc::Receiver<ReplicationJob>,
        jobs: mpsc::Sender<ReplicationJob>,
        cx: PassContext,
    ) -> (Replicated, Result<(), Stopped>) {
        let rate = self.options.databases_per_second;
        let mut pace = Pace::per_second(rate);
        // At most those of one second at a time.
        let batch_max = if rate > 0.0 { (rate as usize).clamp(1, BATCH) } else { BATCH };
        let mut batch = Vec::with_capacity(batch_max);
        while found.recv_many(&mut batch, batch_max).await > 0 {
            let filter = async {
                pace.take(batch.len() as f64).await;
                self.filter(std::mem::take(&mut batch), &jobs, cx.clock.now()).await;
            };
            if cx.unless_stopped(filter).await.is_err() {
                return (self.stats, Err(Stopped));
            }
        }
        (self.stats, Ok(()))
    }

    async fn filter(
        &mut self,
        batch: Vec<ReplicationJob>,
        jobs: &mpsc::Sender<ReplicationJob>,
        now: Duration,
    ) {
        let (mut candidates, mut rest) = (Vec::new(), Vec::new());
        for job in batch {
            let last = self.memory.lock().get(&job.found.path);
            match last.filter(|last| last.holds(job.found.mark, now)) {
                Some(last) => {
                    let all = self.ring.primaries(job.found.partition);
                    let primaries = others(&all, job.device.id).iter().map(|at| at.id).collect();
                    candidates.push(Candidate { job, last, primaries });
                }
                None => rest.push(job),
            }
        }
        let states = self.states(&candidates).await;
        for Candidate { job, last, primaries } in candidates {
            let mark = |id| states.get(&(id, job.found.hash)).copied();
            let marks: Option<Vec<FileMark>> = primaries.iter().map(|id| mark(*id)).collect();
            if marks.is_some_and(|marks| combined(&marks) == last.others) {
                self.stats.attempted += 1;
                self.stats.success += primaries.len() as u64;
                self.stats.no_change += primaries.len() as u64;
            } else {
                rest.push(job);
            }
        }
        for job in rest {
            if jobs.send(job).await.is_err() {
                // The workers have stopped.
                return;
            }
        }
    }

    /// The marks of replicas on other devices, as far as these respond.
    async fn states(
        &mut self,
        candidates: &[Candidate],
    ) -> BTreeMap<(DeviceId, PathHash), FileMark> {
        let mut wanted: BTreeMap<DeviceId, Vec<(u32, PathHash)>> = BTreeMap::new();
        for Candidate { job, primaries, .. } in candidates {
            for id in primaries.iter().filter(|id| !self.silent.contains(id)) {
                wanted.entry(*id).or_default().push((job.found.partition, job.found.hash));
            }
        }
        let mut states = BTreeMap::new();
        for (id, databases) in wanted {
            let Some(answer) = self.ask(id, &databases).await else {
                self.silent.insert(id);
                continue;
            };
            for ((_, hash), mark) in databases.into_iter().zip(answer) {
                if let Some(mark) = mark {
                    states.insert((id, hash), mark);
                }
            }
        }
        states
    }

    /// Asks one device; `None` when it returns no marks.
    async fn ask(
        &self,
        id: DeviceId,
        databases: &[(u32, PathHash)],
    ) -> Option<Vec<Option<FileMark>>> {
        let (partition, hash) = *databases.first()?;
        let primaries = self.ring.primaries(partition);
        let node = primaries.into_iter().find(|node| node.id == id)?;
        let peer = Peer {
            transport: self.deps.transport.clone(),
            node: node.for_replication(),
            address: ReplicaAddress { partition, hash },
            timeout: self.options.node_timeout,
        };
        let reply = peer.ask(&DatabaseCall::States(databases.to_vec())).await.ok()?;
        if !reply.status.is_success() {
            return None;
        }
        let marks: Vec<Option<String>> = serde_json::from_slice(&reply.body).ok()?;
        let mark = |mark: &Option<String>| mark.as_deref().and_then(FileMark::parse);
        (marks.len() == databases.len()).then(|| marks.iter().map(mark).collect())
    }
}
