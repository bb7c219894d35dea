//! Protection against replayed requests across restarts, which lose the nonces.
//!
//! A request that changes something must be signed after this process was started, and after every
//! such request that earlier processes accepted. Clients' clocks may be ahead, so the newest date is
//! kept in a file next to the builders. A `GET` changes nothing.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use apus_daemon::http::{Body, Handler, SharedHandler, header};
use apus_disk::write_durably;
use apus_membership::{json_response, refusal};
use apus_wire::signed::SIGNATURE;
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};

use super::FILE_MODE;

/// The file with the newest date, in milliseconds since 1970.
const FILE: &str = "ring-manager.newest-request";

/// Handler behind the guard, which has verified the signature and its date.
pub(super) struct Freshness {
    inner: SharedHandler,
    path: PathBuf,
    /// Requests must have been signed later than this.
    after_ms: u64,
    newest_ms: Mutex<u64>,
}

impl Freshness {
    /// A handler in front of `inner`, in a process that was started at `started_ms`.
    ///
    /// # Errors
    /// The file cannot be read, or its content is invalid.
    pub(super) fn new(
        inner: SharedHandler,
        folder: &std::path::Path,
        started_ms: u64,
    ) -> Result<Self, String> {
        let path = folder.join(FILE);
        let newest_ms = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                format!("{}: {text:?}: expected milliseconds since 1970", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let after_ms = started_ms.max(newest_ms);
        Ok(Self { inner, path, after_ms, newest_ms: Mutex::new(newest_ms) })
    }

    /// Notes a request before it is performed. Blocks.
    fn note(&self, date_ms: u64) -> Result<(), (StatusCode, String)> {
        if date_ms <= self.after_ms {
            return Err((
                StatusCode::UNAUTHORIZED,
                "signed before this ring manager was started; repeat the command, and check the clocks of both machines".to_owned(),
            ));
        }
        let mut newest = self.newest_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if date_ms > *newest {
            write_durably(&self.path, format!("{date_ms}\n").as_bytes(), FILE_MODE)
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            *newest = date_ms;
        }
        Ok(())
    }
}

/// When a request was signed, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct SignedAt(u64);

/// Handler in front of the guard, which removes the signature: keeps the date, which is valid once
/// the guard has let the request through.
pub(super) struct DateNoted(pub(super) SharedHandler);

#[async_trait]
impl Handler for DateNoted {
    async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        if let Some(date_ms) = date_ms(&request) {
            request.extensions_mut().insert(SignedAt(date_ms));
        }
        self.0.call(request).await
    }
}

/// The date in a request's signature.
fn date_ms(request: &Request<Body>) -> Option<u64> {
    let text = header(request.headers(), SIGNATURE)?;
    text.split(' ').find_map(|word| word.strip_prefix("date="))?.parse().ok()
}

/// Whether a request changes something.
fn changes(request: &Request<Body>) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && request.uri().path() != "/apus/manager/parts"
}

#[async_trait]
impl Handler for Freshness {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        if changes(&request) {
            // The guard refuses requests without a signature.
            let date_ms = request.extensions().get::<SignedAt>().map_or(0, |date| date.0);
            if let Err((status, why)) = tokio::task::block_in_place(|| self.note(date_ms)) {
                return json_response(refusal(status, &why));
            }
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use apus_daemon::http::{empty, status};

    use super::*;

    struct Answers;

    #[async_trait]
    impl Handler for Answers {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            status(StatusCode::OK)
        }
    }

    async fn ask(manager: &Arc<Freshness>, method: Method, date_ms: u64) -> StatusCode {
        let request = Request::builder()
            .method(method)
            .uri("/apus/manager/approve")
            .header(SIGNATURE, format!("v1 key=k date={date_ms} nonce=0 body=none mac=0"));
        let noted = DateNoted(manager.clone());
        noted.call(request.body(empty()).unwrap()).await.status()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_signed_before_the_start_or_taken_before_it_is_refused() {
        let folder = std::env::temp_dir().join(format!("apus-freshness-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let start = |at| Arc::new(Freshness::new(Arc::new(Answers), &folder, at).unwrap());
        let first = start(1_000);
        assert_eq!(ask(&first, Method::POST, 1_000).await, StatusCode::UNAUTHORIZED);
        // The client's clock is ahead.
        assert_eq!(ask(&first, Method::POST, 50_000).await, StatusCode::OK);
        assert_eq!(ask(&first, Method::POST, 2_000).await, StatusCode::OK);
        let second = start(10_000);
        for captured in [2_000, 10_000, 49_999, 50_000] {
            assert_eq!(ask(&second, Method::POST, captured).await, StatusCode::UNAUTHORIZED);
            assert_eq!(ask(&second, Method::GET, captured).await, StatusCode::OK);
        }
        assert_eq!(ask(&second, Method::POST, 50_001).await, StatusCode::OK);
        let unsigned = Request::post("/apus/manager/drain").body(empty()).unwrap();
        assert_eq!(second.call(unsigned).await.status(), StatusCode::UNAUTHORIZED);
        std::fs::write(folder.join(FILE), "soon").unwrap();
        assert!(Freshness::new(Arc::new(Answers), &folder, 0).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
