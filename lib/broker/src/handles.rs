//! The cache of open databases. Each costs a thread under sqlx, so their number is bounded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_disk::{DeviceThreads, DirectoryLock, Priority, make_directories, sync_directory};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::oneshot;

use crate::database::Database;
use crate::error::DbError;
use crate::raw::Connection;

/// What the databases were asked to do, for budgets and metrics.
#[derive(Debug, Default)]
pub struct Counters {
    transactions: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(crate) fn transaction(&self, writes: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes, Ordering::Relaxed);
    }

    /// Committed transactions.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Writes in them.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

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
    runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("open_max", &self.open_max).finish_non_exhaustive()
    }
}

/// What a freshly opened database still has to take in: its `.pending` records.
type AfterOpen = fn(&mut Connection, Vec<apus_cluster::pickle::Value>) -> Result<(), DbError>;

impl Broker {
    /// A broker with `open_max` databases open at most. Must be called on a tokio runtime.
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
            disk,
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// What was done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn cached(&self, path: &Path) -> Option<Arc<Database>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, database) = open.get_mut(path)?;
        *used = self.clock.fetch_add(1, Ordering::Relaxed);
        if database.is_poisoned() {
            open.remove(path);
            return None;
        }
        Some(database.clone())
    }

    fn remember(&self, path: &Path, database: &Arc<Database>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.len() >= self.open_max {
            // Only what nobody uses may be closed; a busy cache grows past its bound instead.
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

    fn gate(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.retain(|_, gate| Arc::strong_count(gate) > 1);
        opening.entry(path.to_owned()).or_default().clone()
    }

    /// An open database, or `None` when its file does not exist. `after_open` takes in the
    /// `.pending` records that another program left.
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
        let runtime = self.runtime.clone();
        let file = path.to_owned();
        let connection = self
            .on_thread(move || {
                if !file.exists() {
                    return Ok(None);
                }
                let mut connection = runtime.block_on(connect(&file, SqliteJournalMode::Wal))?;
                crate::pending::merge(&file, &mut connection, after_open)?;
                Ok(Some(connection))
            })
            .await?;
        let Some(connection) = connection else { return Ok(None) };
        let database = Arc::new(Database::new(
            path.to_owned(),
            connection,
            self.threads.clone(),
            self.counters.clone(),
        ));
        self.remember(path, &database);
        Ok(Some(database))
    }

    /// Makes a database: filled by `initialize` under another name, synced, then given its own.
    /// When somebody else made it meanwhile, theirs stays. `device` must exist.
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
        let (runtime, disk) = (self.runtime.clone(), self.disk.clone());
        self.on_thread(move || {
            let directory = path.parent().unwrap_or(&device).to_owned();
            let made = make_directories(&device, &directory, &disk)?;
            let temporary = directory.join(format!(".{}.tmp", apus_daemon::seed::hex::<8>()));
            let built = (|| {
                let mut connection =
                    runtime.block_on(connect(&temporary, SqliteJournalMode::Memory))?;
                connection.run("BEGIN", &[])?;
                initialize(&mut connection)?;
                connection.run("COMMIT", &[])?;
                runtime.block_on(connection.close())?;
                disk.sync();
                std::fs::File::open(&temporary)?.sync_all()?;
                let _lock = DirectoryLock::take(&directory, ".lock", Duration::from_secs(10))?;
                // A hard link refuses to replace what is there, unlike a rename.
                match std::fs::hard_link(&temporary, &path) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                    other => other.map_err(DbError::from),
                }
            })();
            // Our own temporary name: gone in any case.
            let _ = std::fs::remove_file(&temporary);
            built?;
            sync_directory(&directory, &disk)?;
            for new in made.iter().rev() {
                if let Some(parent) = new.parent() {
                    sync_directory(parent, &disk)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Closes everything, so that no WAL stays beside a database.
    pub async fn close(&self) {
        let open: Vec<Arc<Database>> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.drain().map(|(_, (_, database))| database).collect()
        };
        for database in open {
            if let Some(connection) = database.take_connection()
                && let Err(error) = connection.close().await
            {
                tracing::warn!(database = %database.path().display(), %error, "close");
            }
        }
    }

    async fn on_thread<T: Send + 'static>(
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

async fn connect(path: &Path, journal: SqliteJournalMode) -> Result<Connection, DbError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(journal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(false)
        .pragma("temp_store", "MEMORY")
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    let connection = options.connect().await.map_err(|error| DbError::Io(error.to_string()))?;
    Connection::adopt(connection).await
}
