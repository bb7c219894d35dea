//! Errors of database operations.

use std::io;
use std::sync::Arc;

use libsqlite3_sys as sqlite;

use crate::metadata::MetadataLimit;

/// An error of SQLite, of the file system, or of the server's own checks. Shared by all writes of a
/// transaction that failed, so it can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    /// A call of SQLite failed.
    #[error("SQLite {code}: {message}")]
    Sqlite {
        /// Extended result code.
        code: i32,
        /// SQLite's message.
        message: String,
    },
    /// The schema lacks a table or column that a statement names.
    #[error("the schema does not match: {0}")]
    Schema(String),
    /// The file system.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// sqlx failed to open or close a connection, outside SQLite.
    #[error("{0}")]
    Sqlx(#[source] Arc<sqlx::Error>),
    /// A commit failed: what is in memory may differ from the disk, and nothing is written until
    /// the database is opened again.
    #[error("an earlier commit failed")]
    Poisoned,
    /// Too many operations wait for this device, or another process uses the database.
    #[error("too much waits for this device")]
    Busy,
    /// The file does not exist.
    #[error("no such database")]
    Missing,
    /// The change would leave more metadata than a resource may have.
    #[error(transparent)]
    TooMuchMetadata(#[from] MetadataLimit),
    /// The database contains something invalid.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// Another server sent something invalid.
    #[error("invalid: {0}")]
    Invalid(String),
}

/// I/O errors that say nothing about the content of a file: memory, locks, shared memory.
const TRANSIENT: [i32; 11] = [
    sqlite::SQLITE_IOERR_BLOCKED,
    sqlite::SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite::SQLITE_IOERR_GETTEMPPATH,
    sqlite::SQLITE_IOERR_LOCK,
    sqlite::SQLITE_IOERR_NOMEM,
    sqlite::SQLITE_IOERR_RDLOCK,
    sqlite::SQLITE_IOERR_SHMLOCK,
    sqlite::SQLITE_IOERR_SHMMAP,
    sqlite::SQLITE_IOERR_SHMOPEN,
    sqlite::SQLITE_IOERR_SHMSIZE,
    sqlite::SQLITE_IOERR_UNLOCK,
];

/// The primary code of an extended one.
pub(crate) fn primary(code: i32) -> i32 {
    code & 0xff
}

impl DbError {
    /// Whether the file is damaged, rather than in use or out of reach: its server reads all of it
    /// and quarantines it if that fails too.
    ///
    /// Source: `possibly_quarantine` in `swift/common/db.py`, which compares SQLite's messages.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite { code, .. } => match primary(*code) {
                sqlite::SQLITE_CORRUPT | sqlite::SQLITE_NOTADB => true,
                sqlite::SQLITE_IOERR => !TRANSIENT.contains(code),
                _ => false,
            },
            Self::Schema(_) | Self::Corrupt(_) => true,
            Self::Io(_)
            | Self::Sqlx(_)
            | Self::Poisoned
            | Self::Busy
            | Self::Missing
            | Self::TooMuchMetadata(_)
            | Self::Invalid(_) => false,
        }
    }

    /// Whether its device has no space left.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { code, .. } => primary(*code) == sqlite::SQLITE_FULL,
            Self::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

impl From<io::Error> for DbError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => error.into(),
            sqlx::Error::Database(error) => {
                let code = error.code().and_then(|code| code.parse().ok());
                match code {
                    Some(code) => Self::Sqlite { code, message: error.message().to_owned() },
                    None => Self::Sqlx(Arc::new(sqlx::Error::Database(error))),
                }
            }
            error => Self::Sqlx(Arc::new(error)),
        }
    }
}

impl From<tokio::task::JoinError> for DbError {
    fn from(error: tokio::task::JoinError) -> Self {
        io::Error::other(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Connection;

    fn sqlite_error(code: i32) -> DbError {
        DbError::Sqlite { code, message: String::new() }
    }

    #[test]
    fn damage_is_decided_by_codes() {
        let cases = [
            (sqlite_error(sqlite::SQLITE_CORRUPT), true),
            (sqlite_error(sqlite::SQLITE_CORRUPT_INDEX), true),
            (sqlite_error(sqlite::SQLITE_NOTADB), true),
            (sqlite_error(sqlite::SQLITE_IOERR), true),
            (sqlite_error(sqlite::SQLITE_IOERR_READ), true),
            (sqlite_error(sqlite::SQLITE_IOERR_SHORT_READ), true),
            (sqlite_error(sqlite::SQLITE_IOERR_CORRUPTFS), true),
            (sqlite_error(sqlite::SQLITE_IOERR_NOMEM), false),
            (sqlite_error(sqlite::SQLITE_IOERR_LOCK), false),
            (sqlite_error(sqlite::SQLITE_IOERR_SHMOPEN), false),
            (sqlite_error(sqlite::SQLITE_ERROR), false),
            (sqlite_error(sqlite::SQLITE_BUSY), false),
            (sqlite_error(sqlite::SQLITE_NOMEM), false),
            (sqlite_error(sqlite::SQLITE_FULL), false),
            (sqlite_error(sqlite::SQLITE_CANTOPEN), false),
            (sqlite_error(sqlite::SQLITE_CONSTRAINT), false),
            (DbError::Schema("no such table: t".to_owned()), true),
            (DbError::Corrupt("a row".to_owned()), true),
            (DbError::Invalid("a row".to_owned()), false),
            // EIO of a system call, such as a lock's.
            (io::Error::from_raw_os_error(5).into(), false),
            (io::Error::other("database disk image is malformed").into(), false),
            (sqlx::Error::WorkerCrashed.into(), false),
            (DbError::Poisoned, false),
            (DbError::Busy, false),
            (DbError::Missing, false),
            (MetadataLimit::Count(90).into(), false),
        ];
        for (error, is_damage) in cases {
            assert_eq!(error.is_damage(), is_damage, "{error:?}");
        }
    }

    #[test]
    fn only_a_full_device_is_full() {
        for (error, is_full) in [
            (sqlite_error(sqlite::SQLITE_FULL), true),
            (io::Error::from_raw_os_error(28).into(), true),
            (io::Error::from_raw_os_error(122).into(), true),
            (io::Error::from_raw_os_error(24).into(), false),
            (sqlite_error(sqlite::SQLITE_IOERR), false),
        ] {
            assert_eq!(error.is_full(), is_full, "{error:?}");
        }
    }

    #[test]
    fn a_source_is_kept() {
        let error = DbError::from(io::Error::from_raw_os_error(28));
        let source = std::error::Error::source(&error).unwrap();
        let source = source.downcast_ref::<Arc<io::Error>>().unwrap();
        assert_eq!(source.raw_os_error(), Some(28));
    }

    /// SQLite's own codes for a file without the tables, for no database, and for a lost page.
    #[tokio::test(flavor = "multi_thread")]
    async fn real_damage_has_these_codes() {
        let folder = std::env::temp_dir().join(format!("apus-damage-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("one.db");
        std::fs::write(&path, b"").unwrap();
        let mut connection = Connection::open(&path).unwrap();
        let lacking = connection.query("SELECT * FROM object", &[], |_| true).unwrap_err();
        assert!(matches!(lacking, DbError::Schema(_)), "{lacking:?}");
        connection.script("CREATE TABLE object (name TEXT)").unwrap();
        let column = connection.query("SELECT size FROM object", &[], |_| true).unwrap_err();
        assert!(matches!(column, DbError::Schema(_)), "{column:?}");
        connection.query("SELECT name FROM object", &[], |_| true).unwrap();
        let mut other = Connection::open(&path).unwrap();
        other.script("DROP TABLE object").unwrap();
        other.close().unwrap();
        // The prepared statement notices the change of the schema when it is stepped.
        let dropped = connection.query("SELECT name FROM object", &[], |_| true).unwrap_err();
        assert!(matches!(dropped, DbError::Schema(_)), "{dropped:?}");
        connection.close().unwrap();
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let mut connection = Connection::open(&path).unwrap();
        let other_file = connection.query("SELECT * FROM t", &[], |_| true).unwrap_err();
        let kept = tokio::runtime::Handle::current();
        let opened = crate::open::connect_kept(&path, kept).await.unwrap_err();
        for error in [lacking, column, dropped, other_file, opened] {
            assert!(error.is_damage(), "{error:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
