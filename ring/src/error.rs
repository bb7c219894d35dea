//! Errors of rings and builders.

use std::io;
use std::path::{Path, PathBuf};

use apus_cluster::pickle::PickleError;
use thiserror::Error;

/// A ring file or its content is invalid, or cannot be written in a format.
#[derive(Debug, Error)]
pub enum RingError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The content of a file is invalid.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        source: Box<RingError>,
    },
    /// The bytes are not compressed data.
    #[error("not a gzip file: {0}")]
    Gzip(#[source] io::Error),
    /// A part of the file is not the JSON that it should be.
    #[error("{part}: {source}")]
    Json {
        /// The part of the file.
        part: &'static str,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A section does not have its checksum.
    #[error("section {section}: sha256 is {found}, expected {expected}")]
    Checksum {
        /// The section.
        section: &'static str,
        /// The checksum of its bytes.
        found: String,
        /// The checksum in the index.
        expected: String,
    },
    /// The structure or a value is invalid; the text names it.
    #[error("{0}")]
    Invalid(String),
}

impl RingError {
    /// The error with the path of its file.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}

impl From<String> for RingError {
    fn from(text: String) -> Self {
        Self::Invalid(text)
    }
}

impl From<&str> for RingError {
    fn from(text: &str) -> Self {
        Self::Invalid(text.to_owned())
    }
}

/// A builder file is invalid, or a builder refuses an operation.
#[derive(Debug, Error)]
pub enum BuilderError {
    /// The file is not a pickle.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// The ring of the builder is invalid.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A value is missing or invalid, or the operation is not possible. Most texts are Swift's.
    #[error("{0}")]
    Refused(String),
}

impl From<String> for BuilderError {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl From<&str> for BuilderError {
    fn from(text: &str) -> Self {
        Self::Refused(text.to_owned())
    }
}

/// A number or a device string that does not have Swift's syntax, in Swift's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SyntaxError(String);

impl From<String> for SyntaxError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for SyntaxError {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
