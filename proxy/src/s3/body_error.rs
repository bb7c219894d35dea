//! Errors that a wrapper of a request's body gives.

use apus_daemon::http::BodyError;
use apus_store::{Error, Kind, Subject};

/// A signed payload that is not the one that was sent: both SHA-256 in hex.
#[derive(Debug, thiserror::Error)]
#[error("the payload has the SHA-256 {computed}, not {declared}")]
pub(super) struct PayloadHashMismatch {
    /// As the client sent it.
    pub(super) declared: String,
    pub(super) computed: String,
}

/// An error of a body: the code, and a message unless the code's own is meant.
pub(super) fn coded(code: &str, message: &str) -> Error {
    let text = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
    Error::new(Kind::Body, Subject::Request).text(text)
}

/// The same, from within a body.
pub(super) fn body_error(code: &str, message: &str) -> BodyError {
    coded(code, message).into()
}
