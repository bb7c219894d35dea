//! Answers that account and container servers give alike.

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::{header, text};
use http::{HeaderMap, Response, StatusCode};

use crate::audit;
use crate::error::DbError;

/// A refusal that is already an answer.
pub type Refusal = Box<Response<Body>>;

/// Marks the answer of a database that looks damaged: its server sets it aside.
#[derive(Debug, Clone, Copy)]
pub struct Damaged;

/// A refusal with a short text.
pub fn refuse(status: StatusCode, body: &str) -> Refusal {
    Box::new(text(status, body))
}

/// What a failed database answers.
impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy => refuse(StatusCode::SERVICE_UNAVAILABLE, "too much waits"),
            DbError::Missing => refuse(StatusCode::NOT_FOUND, "no such database"),
            DbError::TooMuchMetadata(text) => refuse(StatusCode::BAD_REQUEST, &text),
            error if audit::damage(&error).is_some() => {
                tracing::error!(%error, "database");
                let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, "database is damaged");
                answer.extensions_mut().insert(Damaged);
                answer
            }
            error => {
                tracing::error!(%error, "database");
                refuse(StatusCode::INSUFFICIENT_STORAGE, "database failed")
            }
        }
    }
}

/// A header that must be a time.
///
/// # Errors
/// A 400 that names the header.
pub fn timestamp(headers: &HeaderMap, name: &str) -> Result<Timestamp, Refusal> {
    header(headers, name)
        .and_then(Timestamp::parse)
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, &format!("Missing or bad {name}")))
}
