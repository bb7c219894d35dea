//! Opens database files and notices when a name belongs to another file.
//!
//! SQLite finds the write-ahead log by name: two files under one name, each open in a process,
//! would share a log and damage each other. So a file is opened, replaced and removed only under
//! Swift's lock of its directory, and replaced or removed only while no other process has it open
//! ([`make_alone`]).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_disk::DirectoryLock;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::counters::Counters;
use crate::error::{DbError, primary};
use crate::path::with_suffix;
use crate::raw::Connection;
use crate::wal;

/// The file that is locked in a database's directory, as Swift does.
pub(crate) const LOCK: &str = ".lock";
/// How long to wait for the lock of a directory; Swift's `LOCK_TIMEOUT` for databases.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Merges the `.pending` records of a database that was just opened.
pub type AfterOpen = fn(&mut Connection, Vec<apus_cluster::pickle::Value>) -> Result<(), DbError>;

/// A file by device and inode number.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The lock of a database's directory; `None` when that does not exist.
pub(crate) fn lock(path: &Path) -> Result<Option<DirectoryLock>, DbError> {
    let directory = path.parent().unwrap_or(path);
    match DirectoryLock::take(directory, LOCK, LOCK_WAIT) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A connection and its files.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    file: Option<FileId>,
    log: Option<FileId>,
}

impl Opened {
    /// Whether the name still belongs to the file that is open.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        file_id(path) == self.file
    }
}

/// Opens databases in WAL mode and merges their `.pending` records.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    pub(crate) counters: Arc<Counters>,
    /// Where sqlx opens connections that are kept open; without it, none are kept.
    pub(crate) keeper: Option<tokio::runtime::Handle>,
    pub(crate) after_open: AfterOpen,
}

impl Opener {
    /// An open database, or `None` when there is no such file. Blocks.
    pub(crate) fn open(&self, path: &Path) -> Result<Option<Opened>, DbError> {
        if !path.exists() {
            return Ok(None);
        }
        let Some(_lock) = lock(path)? else { return Ok(None) };
        self.open_locked(path)
    }

    /// As [`Opener::open`] for a caller that holds the directory's lock.
    pub(crate) fn open_locked(&self, path: &Path) -> Result<Option<Opened>, DbError> {
        if !path.exists() {
            return Ok(None);
        }
        if let Some(reason) = wal::check(path)?.damage() {
            return Err(DbError::Corrupt(reason));
        }
        self.counters.opened();
        let mut connection = match &self.keeper {
            Some(runtime) => runtime.block_on(connect_kept(path, runtime.clone()))?,
            None => connect(path, Journal::Wal, false)?,
        };
        crate::pending::merge(path, &mut connection, self.after_open)?;
        // The log exists from the first read on.
        connection.query("SELECT count(*) FROM sqlite_master", &[], |_| false)?;
        let (file, log) = (file_id(path), file_id(&with_suffix(path, "-wal")));
        Ok(Some(Opened { connection, file, log }))
    }

    /// Closes a connection whose file lost its name. A log that is still its own is removed, since
    /// SQLite would take it for the log of the new file.
    pub(crate) fn abandon(&self, path: &Path, opened: Opened) -> Result<(), DbError> {
        let held = lock(path)?;
        let log = with_suffix(path, "-wal");
        if held.is_some() && opened.log.is_some() && file_id(&log) == opened.log {
            apus_disk::remove_file(&log)?;
            // The next connection makes it again.
            let _ = apus_disk::remove_file(&with_suffix(path, "-shm"));
        }
        opened.connection.close()
    }
}

/// Checkpoints and removes the log, which works only while no other connection has the database
/// open. The caller holds the directory's lock, so that none can open it meanwhile.
///
/// # Errors
/// [`DbError::Busy`] when another connection has it open.
pub(crate) fn make_alone(connection: &mut Connection) -> Result<(), DbError> {
    let mut mode = String::new();
    let changed = connection.query("PRAGMA journal_mode = DELETE", &[], |row| {
        mode = row.text(0);
        true
    });
    match changed {
        Ok(()) if mode == "delete" => Ok(()),
        Ok(()) => Err(DbError::Busy),
        Err(DbError::Sqlite { code, .. }) if primary(code) == libsqlite3_sys::SQLITE_BUSY => {
            Err(DbError::Busy)
        }
        Err(error) => Err(error),
    }
}

/// Removes what a crash left of a database whose file is gone; a new one must not find it.
pub(crate) fn clear_leftovers(path: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm", "-journal"] {
        match apus_disk::remove_file(&with_suffix(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// How SQLite keeps an unfinished transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    /// The write-ahead log, as servers use it.
    Wal,
    /// A file that is deleted at the end of each transaction, as Swift uses it.
    Delete,
    /// Nothing that outlives a crash.
    Memory,
}

fn is_without_sync() -> bool {
    apus_fault::planted("bug.database-without-sync")
}

/// A connection that is kept open.
pub(crate) async fn connect_kept(
    path: &Path,
    runtime: tokio::runtime::Handle,
) -> Result<Connection, DbError> {
    let synchronous = match is_without_sync() {
        true => SqliteSynchronous::Off,
        false => SqliteSynchronous::Full,
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(false)
        .pragma("temp_store", "MEMORY")
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    let connection = options.connect().await?;
    Connection::adopt(connection, runtime).await
}

/// A short-lived connection, without a thread of its own. `make` creates the file: then only this
/// user may read it, and SQLite gives its log and shared memory the mode of the database. A file
/// that exists keeps its mode. Blocks.
pub(crate) fn connect(path: &Path, journal: Journal, make: bool) -> Result<Connection, DbError> {
    if make {
        apus_disk::make_private_file(path)?;
    }
    let mut connection = Connection::open(path)?;
    connection.script(match journal {
        Journal::Wal => "PRAGMA journal_mode = WAL",
        Journal::Delete => "PRAGMA journal_mode = DELETE",
        Journal::Memory => "PRAGMA journal_mode = MEMORY",
    })?;
    connection.script(match is_without_sync() {
        true => "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF",
        false => "PRAGMA foreign_keys = OFF; PRAGMA synchronous = FULL",
    })?;
    Ok(connection)
}
