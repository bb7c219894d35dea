//! Answers that account and container servers give alike.

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::{header, text};
use http::{HeaderMap, Response, StatusCode};

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
            DbError::TooMuchMetadata(limit) => refuse(StatusCode::BAD_REQUEST, &limit.to_string()),
            DbError::Invalid(text) => refuse(StatusCode::BAD_REQUEST, &text),
            error if error.is_damage() => {
                tracing::error!(%error, "database");
                let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, "database is damaged");
                answer.extensions_mut().insert(Damaged);
                answer
            }
            // 507 says that the device is gone or full: a proxy then avoids it for all that it holds.
            error if error.is_full() => {
                tracing::error!(%error, "database");
                refuse(StatusCode::INSUFFICIENT_STORAGE, "no space for the database")
            }
            error => {
                tracing::error!(%error, "database");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "database failed")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_device_answers_507() {
        let sqlite = |code: i32| DbError::Sqlite { code, message: String::new() };
        let status = |error: DbError| Refusal::from(error).status().as_u16();
        assert_eq!(status(sqlite(13)), 507);
        assert_eq!(status(std::io::Error::from_raw_os_error(28).into()), 507);
        // SQLITE_CANTOPEN, too many open files: one database's trouble, or the process'.
        for error in [sqlite(14), std::io::Error::from_raw_os_error(24).into()] {
            assert_eq!(status(error), 500);
        }
        assert_eq!(status(DbError::Poisoned), 500);
        assert_eq!((status(DbError::Busy), status(DbError::Missing)), (503, 404));
    }
}
