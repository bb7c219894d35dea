//! Opening a database file, and noticing that its name has gone to another file.
//!
//! SQLite finds the write-ahead log by name: two files under one name, each with a process that
//! has it open, would share a log and ruin each other. So a file is opened, replaced and removed
//! only under Swift's lock of its directory, and replaced or removed only by somebody who has it
//! alone ([`make_alone`]).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_disk::DirectoryLock;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::error::{DbError, primary};
use crate::handles::Counters;
use crate::log;
use crate::raw::Connection;

/// What is locked in a database's directory, as Swift does.
pub(crate) const LOCK: &str = ".lock";
/// How long to wait for the lock of a directory; Swift's `LOCK_TIMEOUT` for databases.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What a freshly opened database still has to take in: its `.pending` records.
pub type AfterOpen = fn(&mut Connection, Vec<apus_cluster::pickle::Value>) -> Result<(), DbError>;

/// A file, whatever its name: device and inode number.
type FileId = (u64, u64);

fn file_id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The path with an ending: `.db-wal`, `.db.pending`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The lock of a database's directory; `None` when there is no such directory.
pub(crate) fn lock(path: &Path) -> Result<Option<DirectoryLock>, DbError> {
    let directory = path.parent().unwrap_or(path);
    match DirectoryLock::take(directory, LOCK, LOCK_WAIT) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A connection and the file it is to.
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

/// Opens databases for work: in WAL mode, with what lay in `.pending` merged.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    pub(crate) counters: Arc<Counters>,
    /// Where sqlx opens what is kept open; without one, nothing is kept.
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

    /// As [`Opener::open`] for somebody who holds the directory's lock.
    pub(crate) fn open_locked(&self, path: &Path) -> Result<Option<Opened>, DbError> {
        if !path.exists() {
            return Ok(None);
        }
        if let Some(reason) = log::look(path)?.damage() {
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
        let (file, log) = (file_id(path), file_id(&beside(path, "-wal")));
        Ok(Some(Opened { connection, file, log }))
    }

    /// Closes a connection whose file lost its name. A log that is still its own is taken away,
    /// since whoever opens the new file would take it for that file's.
    pub(crate) fn abandon(&self, path: &Path, opened: Opened) -> Result<(), DbError> {
        let held = lock(path)?;
        let log = beside(path, "-wal");
        if held.is_some() && opened.log.is_some() && file_id(&log) == opened.log {
            apus_disk::remove_file(&log)?;
            // Made anew by the next one who opens the database.
            let _ = apus_disk::remove_file(&beside(path, "-shm"));
        }
        opened.connection.close()
    }
}

/// Folds the log back and takes it away, which works only while nobody else has the database open.
/// The caller holds the directory's lock, so that nobody can open it meanwhile.
///
/// # Errors
/// [`DbError::Busy`] when somebody has it open.
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

/// Takes away what a crash left of a database whose file is gone; a new one must not find it.
pub(crate) fn clear_leftovers(path: &Path) -> io::Result<()> {
    for ending in ["-wal", "-shm", "-journal"] {
        match apus_disk::remove_file(&beside(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// How SQLite keeps a transaction until it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Journal {
    /// The write-ahead log, as servers work.
    Wal,
    /// A file that is deleted at the end of each transaction, as Swift works.
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

/// A connection for a moment, without a thread of its own, to a file which may be made: then only
/// this user may read it, and SQLite gives its log and shared memory the mode of the database. One
/// that is there keeps its mode. Blocks.
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
