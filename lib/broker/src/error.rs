//! Why a database did not do what it was asked.

/// An error of SQLite, of the file system, or a refusal of our own.
#[derive(Debug, Clone)]
pub enum DbError {
    /// SQLite's code and message, and the statement.
    Sqlite {
        /// Extended result code.
        code: i32,
        /// SQLite's words.
        message: String,
    },
    /// The file system.
    Io(String),
    /// A commit failed before: what is in memory may differ from the disk, nothing more is
    /// written until the database is opened anew.
    Poisoned,
    /// Too much waits for this device, or somebody else uses the database.
    Busy,
    /// The file is not there any more.
    Missing,
    /// The change would leave more metadata than a resource may have; the text is for the client.
    TooMuchMetadata(String),
    /// The database holds what it must not.
    Corrupt(String),
}

impl DbError {
    /// Whether the file is broken, rather than in use or out of reach: it is to be set aside.
    pub fn is_damage(&self) -> bool {
        match self {
            // SQLITE_CORRUPT and SQLITE_NOTADB, or tables that are not there.
            Self::Sqlite { code, message } => {
                matches!(code & 0xff, 11 | 26) || message.starts_with("no such table")
            }
            // Of what sqlx opens only the text is kept.
            Self::Io(text) => text.contains("file is not a database") || text.contains("malformed"),
            Self::Corrupt(_)
            | Self::Poisoned
            | Self::Busy
            | Self::Missing
            | Self::TooMuchMetadata(_) => false,
        }
    }
}

impl DbError {
    /// Whether its device has no space left.
    pub fn is_full(&self) -> bool {
        match self {
            // SQLITE_FULL.
            Self::Sqlite { code, .. } => code & 0xff == 13,
            // ENOSPC and EDQUOT: of these only the text is kept.
            Self::Io(text) => text.contains("(os error 28)") || text.contains("(os error 122)"),
            _ => false,
        }
    }
}

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { code, message } => write!(f, "SQLite {code}: {message}"),
            Self::Io(error) => f.write_str(error),
            Self::Poisoned => f.write_str("a commit failed before"),
            Self::Busy => f.write_str("too much waits for this device"),
            Self::Missing => f.write_str("no such database"),
            Self::TooMuchMetadata(text) => f.write_str(text),
            Self::Corrupt(what) => write!(f, "corrupt: {what}"),
        }
    }
}

impl std::error::Error for DbError {}

impl From<std::io::Error> for DbError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
