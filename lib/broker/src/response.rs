//! Responses that account and container servers have in common.

use apus_daemon::Body;
use apus_daemon::http::{status, text};
use apus_wire::message::InvalidRequest;
use http::{Response, StatusCode};

use crate::error::DbError;

/// A refusal, which is a whole response.
pub type Refusal = Box<Response<Body>>;

/// Marks the response about a database that looks damaged: its server quarantines it.
#[derive(Debug, Clone, Copy)]
pub struct Damaged;

/// A refusal with a short text.
pub fn refuse(status: StatusCode, body: &str) -> Refusal {
    Box::new(text(status, body))
}

/// The response when a database operation failed.
impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy => refuse(StatusCode::SERVICE_UNAVAILABLE, "too much waits"),
            DbError::Missing => refuse(StatusCode::NOT_FOUND, "no such database"),
            DbError::TooMuchMetadata(limit) => refuse(StatusCode::BAD_REQUEST, &limit.to_string()),
            DbError::Invalid(text) => refuse(StatusCode::BAD_REQUEST, &text),
            error if error.is_damage() => {
                tracing::error!(%error, "A database operation failed");
                let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "database is damaged");
                response.extensions_mut().insert(Damaged);
                response
            }
            // 507 means that the device is gone or full: a proxy then avoids all of it.
            error if error.is_full() => {
                tracing::error!(%error, "A database operation failed");
                refuse(StatusCode::INSUFFICIENT_STORAGE, "no space for the database")
            }
            error => {
                tracing::error!(%error, "A database operation failed");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "database failed")
            }
        }
    }
}

/// 404 without a body.
pub fn missing() -> Refusal {
    Box::new(status(StatusCode::NOT_FOUND))
}

/// 400 for a request that cannot be decoded.
#[expect(clippy::needless_pass_by_value, reason = "an argument of `map_err`")]
pub fn invalid(error: InvalidRequest) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_device_is_a_507() {
        let sqlite = |code: i32| DbError::Sqlite { code, message: String::new() };
        let status = |error: DbError| Refusal::from(error).status().as_u16();
        assert_eq!(status(sqlite(13)), 507);
        assert_eq!(status(std::io::Error::from_raw_os_error(28).into()), 507);
        // SQLITE_CANTOPEN, too many open files: a problem of one database or of this process.
        for error in [sqlite(14), std::io::Error::from_raw_os_error(24).into()] {
            assert_eq!(status(error), 500);
        }
        assert_eq!(status(DbError::Poisoned), 500);
        assert_eq!((status(DbError::Busy), status(DbError::Missing)), (503, 404));
    }
}
