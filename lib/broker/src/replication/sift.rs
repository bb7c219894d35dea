//! Finds out which databases of a pass need not be opened: those that were in sync with all other
//! primaries at the last visit, of which no replica has changed since, and in which nothing has
//! grown old enough to go.
//!
//! The other primaries are asked about many databases with one call, [`STATES`]; each answers with
//! the marks of their files ([`FileMark`]), by which a replica that was lost or changed is noticed
//! in the pass that comes to it. Servers of Swift have no marks, so that each of their databases is
//! compared in each pass.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::PathHash;
use apus_daemon::{Pace, PassContext, Stopped};
use apus_ring::{Device, DeviceId, Ring};
use serde_json::Value;
use tokio::sync::mpsc;

use super::options::Options;
use super::pass::{Parts, Replicated, others};
use super::peer::Peer;
use super::walk::Found;
use crate::mark::FileMark;
use crate::visits::Visits;

/// The call, of ours, that asks for the marks of some databases of a device: a list of partitions
/// and hashes. The answer is a list of marks, null for a database that has none.
pub(super) const STATES: &str = "apus_states";
/// Databases in one call at most.
pub(super) const STATES_MAX: usize = 1000;
/// Databases that are sifted together.
const BATCH: usize = 32;
/// After this time a database is compared in any case.
const TRUSTED_FOR: Duration = Duration::from_secs(6 * 3600);

/// A database, and the device of the ring that it was found on.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) found: Found,
    pub(super) device: Device,
    pub(super) directory: PathBuf,
}

/// A database that was in sync with all other primaries.
#[derive(Debug, Clone, Copy)]
pub(super) struct InSync {
    /// Its own mark then.
    own: FileMark,
    /// Made of the marks of the other primaries.
    others: u64,
    /// Until when this counts, in seconds since 1970.
    until: u64,
}

impl InSync {
    /// A database with its mark from before it was compared, and the mark of each other primary in
    /// the order of [`others`]. `due` is when something in it grows old.
    pub(super) fn new(
        own: FileMark,
        marks: &[FileMark],
        due: Option<Duration>,
        now: Duration,
    ) -> Self {
        let until = due.unwrap_or(Duration::MAX).min(now + TRUSTED_FOR).as_secs();
        Self { own, others: together(marks), until }
    }

    fn holds(&self, own: Option<FileMark>, now: Duration) -> bool {
        own == Some(self.own) && now.as_secs() < self.until
    }
}

fn together(marks: &[FileMark]) -> u64 {
    let mut hasher = DefaultHasher::new();
    marks.iter().for_each(|mark| hasher.write_u64(mark.number()));
    hasher.finish()
}

/// What is remembered by all workers of a replicator.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncedDatabases(Arc<Mutex<Visits<InSync>>>);

impl SyncedDatabases {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Visits<InSync>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on the databases of a pass that have to be looked at.
#[derive(Debug)]
pub(super) struct DatabaseFilter {
    pub(super) parts: Arc<Parts>,
    pub(super) options: Arc<Options>,
    pub(super) ring: Arc<Ring>,
    pub(super) memory: SyncedDatabases,
    /// Devices that did not answer in this pass.
    pub(super) silent: HashSet<DeviceId>,
    pub(super) stats: Replicated,
}

/// A job that may be left out: its other primaries by id.
struct Candidate {
    job: Job,
    known: InSync,
    primaries: Vec<DeviceId>,
}

impl DatabaseFilter {
    /// Takes databases from `found` at the pace of the options and gives `jobs` those that have to
    /// be looked at; the others are counted.
    pub(super) async fn run(
        mut self,
        mut found: mpsc::Receiver<Job>,
        jobs: mpsc::Sender<Job>,
        cx: PassContext,
    ) -> (Replicated, Result<(), Stopped>) {
        let rate = self.options.databases_per_second;
        let mut pace = Pace::per_second(rate);
        // No more at once than a second's worth.
        let batch_max = if rate > 0.0 { (rate as usize).clamp(1, BATCH) } else { BATCH };
        let mut batch = Vec::with_capacity(batch_max);
        while found.recv_many(&mut batch, batch_max).await > 0 {
            let sift = async {
                pace.take(batch.len() as f64).await;
                self.sift(std::mem::take(&mut batch), &jobs, cx.clock.now()).await;
            };
            if cx.unless_stopped(sift).await.is_err() {
                return (self.stats, Err(Stopped));
            }
        }
        (self.stats, Ok(()))
    }

    async fn sift(&mut self, batch: Vec<Job>, jobs: &mpsc::Sender<Job>, now: Duration) {
        let (mut candidates, mut rest) = (Vec::new(), Vec::new());
        for job in batch {
            let known = self.memory.lock().get(&job.found.path);
            match known.filter(|known| known.holds(job.found.mark, now)) {
                Some(known) => {
                    let all = self.ring.primaries(job.found.partition);
                    let primaries = others(&all, job.device.id).iter().map(|at| at.id).collect();
                    candidates.push(Candidate { job, known, primaries });
                }
                None => rest.push(job),
            }
        }
        let states = self.states(&candidates).await;
        for Candidate { job, known, primaries } in candidates {
            let mark = |id| states.get(&(id, job.found.hash)).copied();
            let marks: Option<Vec<FileMark>> = primaries.iter().map(|id| mark(*id)).collect();
            if marks.is_some_and(|marks| together(&marks) == known.others) {
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

    /// The marks of replicas on other devices, as far as these answer.
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

    /// Asks one device; `None` when it gives no marks.
    async fn ask(
        &self,
        id: DeviceId,
        databases: &[(u32, PathHash)],
    ) -> Option<Vec<Option<FileMark>>> {
        let (partition, hash) = *databases.first()?;
        let primaries = self.ring.primaries(partition);
        let node = primaries.into_iter().find(|node| node.id == id)?;
        let peer = Peer {
            transport: self.parts.transport.clone(),
            node: node.for_replication(),
            partition,
            hash: hash.to_string(),
            timeout: self.options.node_timeout,
        };
        let list: Vec<(u32, String)> =
            databases.iter().map(|(partition, hash)| (*partition, hash.to_string())).collect();
        let reply = peer.call(&(STATES, list)).await.ok()?;
        if !reply.status.is_success() {
            return None;
        }
        let marks: Vec<Value> = serde_json::from_slice(&reply.body).ok()?;
        let mark = |mark: &Value| mark.as_str().and_then(FileMark::parse);
        (marks.len() == databases.len()).then(|| marks.iter().map(mark).collect())
    }
}
