//! One open database: reads one at a time, writes in batches.
//!
//! A write is a closure that runs inside a transaction. Writes that arrive while a transaction
//! commits form the next one, and each returns after the commit that contains it: rows of many
//! clients share one sync, and a write that returned is durable.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apus_disk::{DeviceThreads, Priority};
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::error::DbError;
use crate::open::{Opened, Opener};
use crate::raw::Connection;

/// Writes in one transaction at most.
const BATCH_MAX: usize = 1000;

/// A queued write: runs in the transaction, and returns what to do after the commit.
type Write = Box<dyn FnOnce(&mut Connection) -> Outcome + Send>;
type Outcome = Box<dyn FnOnce(Result<(), DbError>) + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Write>,
    scheduled: bool,
}

/// A database in the cache of open ones.
pub struct Database {
    path: PathBuf,
    opener: Opener,
    /// Empty while the file is replaced, and until the next use after that.
    opened: Mutex<Option<Opened>>,
    queue: Mutex<Queue>,
    poisoned: AtomicBool,
    gone: AtomicBool,
    threads: Arc<DeviceThreads>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    pub(crate) fn new(
        path: PathBuf,
        opener: Opener,
        opened: Opened,
        threads: Arc<DeviceThreads>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            path,
            opener,
            opened: Mutex::new(Some(opened)),
            queue: Mutex::new(Queue::default()),
            poisoned: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            threads,
            counters,
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a commit failed since it was opened.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Whether it must be opened again to be used: a commit failed, or its file is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.is_poisoned() || self.gone.load(Ordering::Relaxed)
    }

    /// Notes that its file is gone.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// The connection, for the holder of the guard only.
    pub(crate) fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Takes the connection; the database is over then.
    pub(crate) fn take_connection(&self) -> Option<Connection> {
        let opened = self.opened().take();
        self.set_gone();
        opened.map(|opened| opened.connection)
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        if self.is_poisoned() {
            return Err(DbError::Poisoned);
        }
        let mut opened = self.opened();
        if self.is_over() {
            return Err(DbError::Missing);
        }
        if let Some(old) = opened.take_if(|opened| !opened.is_current(&self.path)) {
            let database = self.path.display();
            tracing::warn!(%database, "Another program replaced a database that is open");
            self.opener.abandon(&self.path, old)?;
        }
        if opened.is_none() {
            *opened = self.opener.open(&self.path)?;
        }
        match opened.as_mut() {
            Some(opened) => work(&mut opened.connection),
            None => {
                self.set_gone();
                Err(DbError::Missing)
            }
        }
    }

    /// Runs a read on the database's threads.
    ///
    /// # Errors
    /// The closure's; [`DbError::Busy`] when too much waits.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (reply, done) = oneshot::channel();
        let database = self.clone();
        self.threads
            .submit(Priority::Read, move || {
                // The caller may have been dropped.
                let _ = reply.send(database.with(work));
            })
            .map_err(|_| DbError::Busy)?;
        done.await.unwrap_or(Err(DbError::Poisoned))
    }

    /// Queues a write and waits until the transaction that holds it is committed and synced.
    ///
    /// An error of the closure rolls back its own changes only.
    ///
    /// # Errors
    /// The closure's or the commit's; [`DbError::Busy`] when too much waits.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (reply, done) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            let result = savepoint(connection, work);
            Box::new(move |commit| {
                let _ = reply.send(commit.and(result));
            })
        });
        let schedule = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.push_back(write);
            !std::mem::replace(&mut queue.scheduled, true)
        };
        if schedule {
            let database = self.clone();
            let submitted = self.threads.submit(Priority::Write, move || database.drain());
            if submitted.is_err() {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.scheduled = false;
                queue.waiting.clear();
                return Err(DbError::Busy);
            }
        }
        done.await.unwrap_or(Err(DbError::Busy))
    }

    /// Commits batch after batch until nothing waits.
    fn drain(&self) {
        loop {
            let batch: Vec<Write> = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.waiting.is_empty() {
                    queue.scheduled = false;
                    return;
                }
                let count = queue.waiting.len().min(BATCH_MAX);
                queue.waiting.drain(..count).collect()
            };
            let mut outcomes = Vec::with_capacity(batch.len());
            let result = self.with(|connection| {
                connection.run("BEGIN IMMEDIATE", &[])?;
                for write in batch {
                    outcomes.push(write(connection));
                }
                self.counters.transaction(outcomes.len() as u64);
                apus_fault::point("database.batch.written");
                if apus_fault::planted("bug.acknowledge-before-row-commit") {
                    outcomes.drain(..).for_each(|outcome| outcome(Ok(())));
                    apus_fault::point("database.bug.acknowledged");
                }
                connection.run("COMMIT", &[]).inspect_err(|_| {
                    // After a failed sync the kernel may have dropped the pages: neither this
                    // connection nor its file cache can be trusted after that.
                    self.poisoned.store(true, Ordering::Relaxed);
                })
            });
            apus_fault::point("database.commit.done");
            if let Err(error) = &result {
                let database = self.path.display();
                tracing::error!(%database, %error, "Failed to commit to a database");
            }
            for outcome in outcomes {
                outcome(result.clone());
            }
        }
    }
}

fn savepoint<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    connection.run("SAVEPOINT one_write", &[])?;
    let result = work(connection);
    if result.is_err() {
        connection.run("ROLLBACK TO one_write", &[])?;
    }
    connection.run("RELEASE one_write", &[])?;
    result
}
