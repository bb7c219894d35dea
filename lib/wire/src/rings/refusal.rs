//! Why a ring is not taken, and the status that says so.

use std::fmt;

use http::StatusCode;

use super::{FILE_BYTES_MAX, Rank, RingName};

/// Why a ring was not put in force. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A malformed name, header or statement.
    Malformed(String),
    /// Not signed by this cluster.
    Signature(String),
    /// Other bytes than were signed.
    Altered(String),
    /// Signed, but no ring that can be used.
    Unusable(String),
    /// What is there is not older.
    NotNewer {
        /// The ring's name.
        name: RingName,
        /// What came.
        offered: Rank,
        /// What is there.
        held: Rank,
    },
    /// The ring that is there cannot be followed by it.
    Step(String),
    /// Longer than is read, in bytes.
    TooLong(u64),
    /// It does not come to its end.
    Slow,
    /// The disk is full.
    Full(String),
    /// The disk does not do it.
    Disk(String),
}

impl Refusal {
    /// The status of an answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Altered(_) | Self::Unusable(_) => StatusCode::BAD_REQUEST,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::NotNewer { .. } | Self::Step(_) => StatusCode::CONFLICT,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Of what the operating system said of a file.
    pub(super) fn of_disk(path: &std::path::Path, error: &std::io::Error) -> Self {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full(text),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::Disk(format!(
                    "{text} (rings travel only to where servers may write swift_dir)"
                ))
            }
            _ => Self::Disk(text),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text)
            | Self::Signature(text)
            | Self::Altered(text)
            | Self::Unusable(text)
            | Self::Step(text)
            | Self::Full(text)
            | Self::Disk(text) => f.write_str(text),
            Self::NotNewer { name, offered, held } if offered == held => {
                write!(f, "{name}: {offered}, but another ring of {held} is here")
            }
            Self::NotNewer { name, offered, held } => {
                write!(f, "{name}: {offered}, but {held} is here and not older")
            }
            Self::TooLong(length) => {
                write!(f, "ring of {length} bytes: expected at most {FILE_BYTES_MAX}")
            }
            Self::Slow => f.write_str("the ring did not come to its end in time"),
        }
    }
}

impl std::error::Error for Refusal {}
