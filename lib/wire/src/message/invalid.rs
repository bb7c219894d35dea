//! Errors of requests that cannot be decoded.

/// A request that does not say what its verb needs. Servers answer it with 400 and this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidRequest {
    /// The path does not name what the verb needs.
    Path(String),
    /// A header's value is not what it has to be.
    Header {
        /// Name of the header as Swift's documentation spells it.
        name: &'static str,
        /// What was sent; empty for nothing.
        value: String,
        /// What the header has to hold.
        expected: &'static str,
    },
}

impl InvalidRequest {
    /// A header with a wrong or missing value.
    pub(crate) fn header(name: &'static str, value: Option<&str>, expected: &'static str) -> Self {
        Self::Header { name, value: value.unwrap_or_default().to_owned(), expected }
    }
}

impl std::fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(text) => f.write_str(text),
            Self::Header { name, value, expected } => {
                write!(f, "{name} {value:?}: expected {expected}")
            }
        }
    }
}

impl std::error::Error for InvalidRequest {}
