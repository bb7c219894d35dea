//! One phase: every worker has one connection and sends one request after the other.
//!
//! What costs the client CPU (hashing, signing) is done before the clock starts, up to a limit;
//! beyond it, and when a signature has become old, a worker does it before it looks at its watch.
//! In the open loop that time counts, since the request is due.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use apus_daemon::task::{TaskKind, spawn};
use indicatif::{ProgressBar, ProgressStyle};

use super::connection::Connection;
use super::latency::Histogram;
use super::options::{Operation, Options};
use super::pace::{Bounds, Pace};
use super::process;
use super::work::{Failure, Prepared, Work};

/// How much is prepared ahead: requests (about 1 KiB of memory each) and bytes to be hashed.
const PREPARED_MAX: u64 = 100_000;
const HASHED_BYTES_MAX: u64 = 4 << 30;
/// How often the server's memory is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Keeps a worker from asking a server that is down as fast as it can.
const PAUSE_AFTER_BREAK: Duration = Duration::from_millis(10);
const BAR_LENGTH: u64 = 1000;

/// What happened to the requests of one worker, or of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Of the requests that succeeded.
    pub(super) latencies: Histogram,
    pub(super) bytes: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) corrupt: u64,
    pub(super) transport: u64,
    pub(super) reconnects: u64,
    pub(super) first_error: Option<String>,
}

/// CPU and memory of the server during a phase.
#[derive(Debug)]
pub(super) struct ServerUse {
    pub(super) cpu: Duration,
    pub(super) rss_peak_bytes: u64,
    pub(super) rss_end_bytes: u64,
}

/// What a phase found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) started: u64,
    pub(super) unsent: u64,
    pub(super) elapsed: Duration,
    pub(super) client_cpu: Duration,
    pub(super) server: Option<ServerUse>,
}

impl Tally {
    pub(super) fn errors(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.corrupt + self.transport
    }

    fn add(&mut self, result: Result<u64, Failure>, latency: Duration) {
        let text = match result {
            Ok(bytes) => {
                self.latencies.add(latency);
                self.bytes += bytes;
                return;
            }
            Err(Failure::Status(status, text)) => {
                *self.statuses.entry(status.as_u16()).or_default() += 1;
                format!("answered {status} {text}")
            }
            Err(Failure::Corrupt(text)) => {
                self.corrupt += 1;
                text
            }
            Err(Failure::Transport(text)) => {
                self.transport += 1;
                text
            }
        };
        self.first_error.get_or_insert(text);
    }

    fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        self.bytes += other.bytes;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.corrupt += other.corrupt;
        self.transport += other.transport;
        self.reconnects += other.reconnects;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// What all workers of a phase share.
#[derive(Debug)]
struct Shared {
    work: Work,
    pace: Pace,
    /// By index of the object.
    prepared: Vec<Prepared>,
    objects: u64,
    timeout: Duration,
}

impl Shared {
    fn prepared(&self, index: u64) -> Result<Cow<'_, Prepared>, String> {
        match self.prepared.get(index as usize) {
            Some(prepared) if prepared.ticket.is_stale() => {
                self.work.renew(index, prepared).map(Cow::Owned)
            }
            Some(prepared) => Ok(Cow::Borrowed(prepared)),
            None => self.work.prepare(index).map(Cow::Owned),
        }
    }

    async fn request(
        &self,
        connection: &mut Connection,
        index: u64,
        prepared: &Prepared,
    ) -> Result<u64, Failure> {
        let work = self.work.perform(connection, index, prepared);
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Transport(format!("no answer within {:?}", self.timeout))),
        }
    }
}

async fn worker(shared: Arc<Shared>, mut connection: Connection) -> Tally {
    let mut tally = Tally::default();
    while let Some(turn) = shared.pace.next().await {
        let index = turn.number % shared.objects;
        let prepared = match shared.prepared(index) {
            Ok(prepared) => prepared,
            Err(error) => {
                tally.add(Err(Failure::Transport(error)), Duration::ZERO);
                continue;
            }
        };
        let begin = turn.due.unwrap_or_else(Instant::now);
        let result = shared.request(&mut connection, index, &prepared).await;
        let latency = begin.elapsed();
        if matches!(result, Err(Failure::Corrupt(_) | Failure::Transport(_))) {
            connection.close();
        }
        let broke = matches!(result, Err(Failure::Transport(_)));
        tally.add(result, latency);
        if broke {
            tokio::time::sleep(PAUSE_AFTER_BREAK).await;
        }
    }
    tally.reconnects = connection.reopened();
    tally
}

/// Looks at the server's memory and moves the bar until the sender is gone; gives the highest.
fn watch(shared: &Shared, pids: &[u32], bar: &ProgressBar, end: &Receiver<()>) -> u64 {
    let mut peak = 0;
    loop {
        peak = peak.max(process::rss_bytes(pids).unwrap_or(0));
        bar.set_position((shared.pace.progress() * BAR_LENGTH as f64) as u64);
        let rate = shared.pace.started() as f64 / shared.pace.elapsed().as_secs_f64();
        bar.set_message(format!("{} requests, {rate:.0}/s", shared.pace.started()));
        if end.recv_timeout(SAMPLE_INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return peak.max(process::rss_bytes(pids).unwrap_or(0));
        }
    }
}

/// A bar on stderr when that is a terminal.
fn bar(options: &Options, operation: Operation) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(BAR_LENGTH).with_prefix(operation.name());
    match ProgressStyle::with_template("{prefix:>6} {bar:40} {percent:>3}%  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn prepare(work: &Work, objects: u64) -> Result<Vec<Prepared>, String> {
    let requests = match work.operation {
        Operation::List => 1,
        Operation::Put => objects.min((HASHED_BYTES_MAX / work.size.max(1)).max(1)),
        Operation::Get | Operation::Head | Operation::Delete => objects,
    };
    (0..requests.min(PREPARED_MAX)).map(|index| work.prepare(index)).collect()
}

/// Runs one phase over `objects` objects.
pub(super) async fn run(work: Work, options: &Options, objects: u64) -> Result<Outcome, String> {
    let operation = work.operation;
    let once = options.duration.is_none() || operation == Operation::Delete;
    let requests = match operation {
        Operation::Delete => objects,
        Operation::Put | Operation::Get | Operation::Head | Operation::List => options.count,
    };
    let bounds = Bounds {
        requests: once.then_some(requests),
        duration: options.duration,
        rate: options.rate,
    };
    let prepared = prepare(&work, objects)?;
    let mut connections = Vec::new();
    for _ in 0..options.concurrency {
        connections.push(Connection::open(&work.target.endpoint).await?);
    }
    // Every listing is the same request.
    let objects = if operation == Operation::List { 1 } else { objects };
    let own = [std::process::id()];
    let cpu_at = |pids: &[u32]| process::cpu(pids).unwrap_or_default();
    let (client_before, server_before) = (cpu_at(&own), cpu_at(&options.server_pid));
    let pace = Pace::start(&bounds);
    let shared = Arc::new(Shared { work, pace, prepared, objects, timeout: options.timeout });
    let releasing = shared.clone();
    let releaser = std::thread::spawn(move || releasing.pace.release());
    let (stop, end) = channel();
    let (watched, pids, bar) =
        (shared.clone(), options.server_pid.clone(), bar(options, operation));
    let watcher = std::thread::spawn(move || {
        let peak = watch(&watched, &pids, &bar, &end);
        bar.finish_and_clear();
        peak
    });
    let workers: Vec<_> = connections
        .into_iter()
        .map(|connection| spawn(TaskKind::Request, worker(shared.clone(), connection)))
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.merge(worker.await.map_err(|error| format!("worker: {error}"))?);
    }
    let elapsed = shared.pace.elapsed();
    let (client_after, server_after) = (cpu_at(&own), cpu_at(&options.server_pid));
    drop(stop);
    let rss_peak_bytes = watcher.join().map_err(|_| "watcher: panicked")?;
    releaser.join().map_err(|_| "releaser: panicked")?;
    // A server that has ended meanwhile is left out.
    let rss_end =
        process::rss_bytes(&options.server_pid).filter(|_| !options.server_pid.is_empty());
    let server = rss_end.map(|rss_end_bytes| ServerUse {
        cpu: server_after.saturating_sub(server_before),
        rss_peak_bytes,
        rss_end_bytes,
    });
    Ok(Outcome {
        tally,
        started: shared.pace.started(),
        unsent: shared.pace.unsent(),
        elapsed,
        client_cpu: client_after.saturating_sub(client_before),
        server,
    })
}
