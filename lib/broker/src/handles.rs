//! The cache of open databases.
//!
//! Each costs a thread of sqlx, so their number is bounded.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_disk::{DeviceThreads, DirectoryLock, FreshDirectories, Priority, make_directories};
use tokio::sync::oneshot;

use crate::counters::Counters;
use crate::database::Database;
use crate::error::DbError;
use crate::open::{self, AfterOpen, Journal, Opener, connect};
use crate::raw::Connection;

/// Opens databases and keeps the recently used ones open.
pub struct Broker {
    open: Mutex<HashMap<PathBuf, (u64, Arc<Database>)>>,
    /// One opening at a time per path, so that no two connections of ours share a file.
    opening: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    clock: AtomicU64,
    open_max: usize,
    threads: Arc<DeviceThreads>,
    counters: Arc<Counters>,
    disk: Arc<apus_disk::Counters>,
    fresh: Arc<FreshDirectories>,
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("open_max", &self.open_max).finish_non_exhaustive()
    }
}

/// Outcome of one attempt to have a database exclusively.
enum Attempt<T, W> {
    Done(Option<T>),
    /// Another connection has it open; the work was not begun.
    Busy(W),
}

impl Broker {
    /// A broker with `open_max` databases open at most. With 0 none are kept open, as in daemons
    /// outside their server: a database that they have open cannot be replaced. Must be called on a
    /// Tokio runtime.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(
        name: &str,
        open_max: usize,
        disk: Arc<apus_disk::Counters>,
    ) -> std::io::Result<Self> {
        const THREADS: usize = 4;
        const QUEUE_MAX: usize = 4096;
        Ok(Self {
            open: Mutex::default(),
            opening: Mutex::default(),
            clock: AtomicU64::new(0),
            open_max,
            threads: Arc::new(DeviceThreads::start(name, THREADS, QUEUE_MAX)?),
            counters: Arc::default(),
            fresh: Arc::new(FreshDirectories::new(disk.clone())),
            disk,
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn cached(&self, path: &Path) -> Option<Arc<Database>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, database) = open.get_mut(path)?;
        *used = self.clock.fetch_add(1, Ordering::Relaxed);
        if database.is_over() {
            open.remove(path);
            return None;
        }
        Some(database.clone())
    }

    fn remember(&self, path: &Path, database: &Arc<Database>) {
        if self.open_max == 0 {
            return;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.len() >= self.open_max {
            // Only a database that is not in use may be closed; a busy cache exceeds its bound instead.
            let idle = open
                .iter()
                .filter(|(_, (_, database))| Arc::strong_count(database) == 1)
                .min_by_key(|(_, (used, _))| *used)
                .map(|(path, _)| path.clone());
            match idle {
                Some(path) => drop(open.remove(&path)),
                None => break,
            }
        }
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        open.insert(path.to_owned(), (used, database.clone()));
    }

    pub(crate) fn gate(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.retain(|_, gate| Arc::strong_count(gate) > 1);
        opening.entry(path.to_owned()).or_default().clone()
    }

    /// An open database, or `None` when its file does not exist. `after_open` merges the `.pending`
    /// records that another program left.
    ///
    /// # Errors
    /// SQLite's or the file system's.
    pub async fn open(
        &self,
        path: &Path,
        after_open: AfterOpen,
    ) -> Result<Option<Arc<Database>>, DbError> {
        if let Some(database) = self.cached(path) {
            return Ok(Some(database));
        }
        let gate = self.gate(path);
        let _held = gate.lock().await;
        if let Some(database) = self.cached(path) {
            return Ok(Some(database));
        }
        let opener = self.opener(after_open);
        let (file, opens, fresh) = (path.to_owned(), opener.clone(), self.fresh.clone());
        let open = move || {
            let Some(opened) = opens.open(&file)? else { return Ok(None) };
            // Rows will count as durable, so its name must be durable.
            fresh.settle_left_behind(file.parent().unwrap_or(&file))?;
            Ok(Some(opened))
        };
        let Some(opened) = self.on_thread(open).await? else {
            return Ok(None);
        };
        let (threads, counters) = (self.threads.clone(), self.counters.clone());
        let database = Arc::new(Database::new(path.to_owned(), opener, opened, threads, counters));
        self.remember(path, &database);
        Ok(Some(database))
    }

    /// Creates a database: fills it by `initialize` under another name, syncs it and gives it its
    /// own name. One that was created meanwhile stays. `device` must exist.
    ///
    /// # Errors
    /// SQLite's or the file system's.
    pub async fn create(
        &self,
        device: &Path,
        path: &Path,
        initialize: impl FnOnce(&mut Connection) -> Result<(), DbError> + Send + 'static,
    ) -> Result<(), DbError> {
        let gate = self.gate(path);
        let _held = gate.lock().await;
        let (device, path) = (device.to_owned(), path.to_owned());
        let (disk, fresh) = (self.disk.clone(), self.fresh.clone());
        self.on_thread(move || {
            fresh.settle_left_behind(&device)?;
            let (directory, _lock) = claim(&fresh, &device, &path)?;
            // What a crash leaves there is removed in time; in the database's own directory it would
            // prevent the removal of a handoff.
            let folder = device.join("tmp");
            make_directories(&device, &folder, &disk)?;
            let temporary = folder.join(format!(".{}.tmp", apus_daemon::random::hex::<8>()));
            let built = (|| {
                let mut connection = connect(&temporary, Journal::Memory, true)?;
                connection.run("BEGIN", &[])?;
                initialize(&mut connection)?;
                connection.run("COMMIT", &[])?;
                connection.close()?;
                apus_disk::sync_file(&temporary, &disk)?;
                apus_fault::point("database.create.synced");
                name(&temporary, &path).map(drop)
            })();
            apus_fault::point("database.create.linked");
            // Our own temporary name: removed in any case.
            let _ = apus_disk::remove_file(&temporary);
            built?;
            Ok(fresh.sync(&device, &directory)?)
        })
        .await
    }

    /// Gives a synced file, which is not open, the name of a database that does not exist. Returns
    /// whether it did: an existing one stays.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) async fn install(
        &self,
        device: &Path,
        file: &Path,
        path: &Path,
    ) -> Result<bool, DbError> {
        let gate = self.gate(path);
        let _held = gate.lock().await;
        let (device, file, path) = (device.to_owned(), file.to_owned(), path.to_owned());
        let fresh = self.fresh.clone();
        self.on_thread(move || {
            fresh.settle_left_behind(&device)?;
            let (directory, _lock) = claim(&fresh, &device, &path)?;
            let new = name(&file, &path)?;
            apus_fault::point("replicate.database.renamed");
            fresh.sync(&device, &directory)?;
            apus_disk::remove_file(&file)?;
            Ok(new)
        })
        .await
    }

    /// Runs `work` while no other connection of any process has the database open: it may replace
    /// or remove the file. Operations that wait meanwhile continue with the file that is there then.
    /// `None` when there is no such database.
    ///
    /// # Errors
    /// Those of `work`; [`DbError::Busy`] when another process keeps it open.
    pub(crate) async fn alone<T: Send + 'static>(
        &self,
        path: &Path,
        after_open: AfterOpen,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<Option<T>, DbError> {
        const TRIES: u32 = 60;
        const BETWEEN: Duration = Duration::from_millis(50);
        let gate = self.gate(path);
        let _held = gate.lock().await;
        let mut work = work;
        for _ in 0..TRIES {
            let cached = self.cached(path);
            let (file, opener) = (path.to_owned(), self.opener(after_open));
            let tried = self
                .on_thread(move || {
                    let tried = alone(&opener, &file, cached.as_deref(), work);
                    if let Some(database) = cached.filter(|_| !file.exists()) {
                        database.set_gone();
                    }
                    tried
                })
                .await?;
            match tried {
                Attempt::Done(done) => return Ok(done),
                Attempt::Busy(again) => work = again,
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Err(DbError::Busy)
    }

    /// Opens databases for this broker.
    pub(crate) fn opener(&self, after_open: AfterOpen) -> Opener {
        let keeper = (self.open_max > 0).then(|| self.runtime.clone());
        Opener { counters: self.counters.clone(), keeper, after_open }
    }

    /// The directories that this broker made.
    pub(crate) fn fresh(&self) -> &Arc<FreshDirectories> {
        &self.fresh
    }

    /// The counters of disk operations.
    pub(crate) fn disk(&self) -> &Arc<apus_disk::Counters> {
        &self.disk
    }

    /// The cached databases that were not used since an earlier call, which returned `before`.
    pub(crate) fn unused_since(&self, before: u64) -> (u64, Vec<Arc<Database>>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = open.values().filter(|(used, _)| *used < before);
        let unused = unused.map(|(_, database)| database.clone()).collect();
        (self.clock.load(Ordering::Relaxed), unused)
    }

    /// Closes everything, so that no database keeps a write-ahead log.
    pub async fn close(&self) {
        let open: Vec<Arc<Database>> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.drain().map(|(_, (_, database))| database).collect()
        };
        let close = move || {
            for database in open {
                if let Some(connection) = database.take_connection()
                    && let Err(error) = connection.close()
                {
                    let database = database.path().display();
                    tracing::warn!(%database, %error, "Failed to close a database");
                }
            }
        };
        // A panic in it has been logged, and there is nothing left to close.
        let _ = apus_daemon::task::spawn_blocking(close).await;
    }

    /// Runs work of daemons on the databases' threads, after that of clients.
    pub(crate) async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DbError> {
        let (reply, answer) = oneshot::channel();
        self.threads
            .submit(Priority::Background, move || {
                let _ = reply.send(work());
            })
            .map_err(|_| DbError::Busy)?;
        answer.await.map_err(|_| DbError::Poisoned)
    }

    /// Runs work on the databases' threads.
    pub(crate) async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (reply, answer) = oneshot::channel();
        self.threads
            .submit(Priority::Write, move || {
                let _ = reply.send(work());
            })
            .map_err(|_| DbError::Busy)?;
        answer.await.unwrap_or(Err(DbError::Poisoned))
    }
}

fn alone<T, W: FnOnce(&mut Connection) -> Result<T, DbError>>(
    opener: &Opener,
    path: &Path,
    cached: Option<&Database>,
    work: W,
) -> Result<Attempt<T, W>, DbError> {
    let mut held = cached.map(Database::opened);
    let Some(_lock) = open::lock(path)? else { return Ok(Attempt::Done(None)) };
    let kept = held.as_mut().and_then(|opened| opened.take());
    let kept = kept.filter(|opened| opened.is_current(path));
    let opened = match kept {
        Some(opened) => Some(opened),
        None => opener.open_locked(path)?,
    };
    let Some(mut opened) = opened else { return Ok(Attempt::Done(None)) };
    crate::pending::merge(path, &mut opened.connection, opener.after_open)?;
    let done = match open::make_alone(&mut opened.connection) {
        Ok(()) => work(&mut opened.connection),
        Err(DbError::Busy) => {
            // The connection is as it was: in WAL mode.
            if let Some(held) = held.as_mut() {
                **held = Some(opened);
            }
            return Ok(Attempt::Busy(work));
        }
        Err(error) => Err(error),
    };
    opened.connection.close()?;
    done.map(|done| Attempt::Done(Some(done)))
}

/// Makes the directory of a database and takes its lock. Without the lock, a replicator's pass would
/// remove the directory as an empty one that was left. Returns both.
pub(crate) fn claim(
    fresh: &FreshDirectories,
    device: &Path,
    path: &Path,
) -> Result<(PathBuf, DirectoryLock), DbError> {
    /// A pass may remove it between the two, but not every time.
    const TRIES: u32 = 16;
    let directory = path.parent().unwrap_or(device);
    for _ in 0..TRIES {
        match fresh.make(device, directory) {
            Err(error) if error.kind() == ErrorKind::NotFound && device.is_dir() => continue,
            made => made?,
        };
        if let Some(lock) = open::lock(path)? {
            return Ok((directory.to_owned(), lock));
        }
    }
    Err(std::io::Error::from(ErrorKind::NotFound).into())
}

/// Gives a file the name of a database, whose directory the caller has locked. Returns whether the
/// name was free.
pub(crate) fn name(file: &Path, path: &Path) -> Result<bool, DbError> {
    if path.exists() {
        return Ok(false);
    }
    open::clear_leftovers(path)?;
    // A hard link does not replace an existing file, unlike a rename.
    match apus_disk::hard_link(file, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}
