//! Errors of configuration files and their options.

use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or a directory that cannot be read.
    #[error("{}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line that is not as expected.
    #[error("{file}: line {line}: {expected}")]
    Syntax {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What was expected.
        expected: String,
    },
    /// An option whose value is not as expected.
    #[error("{file}: [{section}] {option} = {value:?}: expected {expected}")]
    Value {
        /// The file or directory.
        file: String,
        /// The section.
        section: String,
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A log that cannot be opened.
    #[error("log: {target}: {source}")]
    Log {
        /// The file or socket.
        target: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// For callers that report text.
impl From<ConfigError> for String {
    fn from(error: ConfigError) -> Self {
        error.to_string()
    }
}
