//! `/apus/rings` of a storage server: the manifest, a file, and where a file is put.
//!
//! Stands behind the guard, which has seen that a server of the cluster asks; in an open cluster it
//! refuses everybody. What a body costs is known and allowed before it is kept: its statement comes
//! in a header, and one ring is taken at a time.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use apus_daemon::http::{SharedHandler, full, header, set, stream, text};
use apus_daemon::{Body, Handler};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::body::{BodyError, whole};
use super::statement::OPEN;
use super::{PATH, Refusal, RingFolder, RingName, STATEMENT, Statement, Step};

/// Files that are sent at once; each costs a thread.
const SENT_MAX: usize = 4;
/// Within which a ring must have come.
const BODY: Duration = Duration::from_secs(120);
/// How long the rest of an unneeded body is read.
const REST: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 64 * 1024;

/// Answers for rings, and passes everything else on.
pub struct RingsHttp {
    inner: SharedHandler,
    folder: Option<Arc<RingFolder>>,
    taking: Semaphore,
    sending: Arc<Semaphore>,
}

impl std::fmt::Debug for RingsHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingsHttp").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Runs what waits for the disk.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    apus_daemon::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::Disk("Internal server error.".to_owned()))
}

fn json_answer(status: StatusCode, body: String) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    set(answer.headers_mut(), http::header::CONTENT_TYPE.as_str(), "application/json");
    answer
}

impl RingsHttp {
    /// Before `inner`; without a folder in an open cluster.
    pub fn new(inner: SharedHandler, folder: Option<Arc<RingFolder>>) -> Self {
        let sending = Arc::new(Semaphore::new(SENT_MAX));
        Self { inner, folder, taking: Semaphore::new(1), sending }
    }

    async fn manifest(folder: Arc<RingFolder>) -> Result<Response<Body>, Refusal> {
        let manifest = on_a_thread(move || {
            // The manifest names the rings that are in use now.
            folder.take_up();
            folder.manifest()
        });
        let manifest = manifest.await?.map_err(Refusal::Disk)?;
        let text = serde_json::to_string(&manifest)
            .map_err(|error| Refusal::Disk(format!("manifest: {error}")))?;
        Ok(json_answer(StatusCode::OK, text))
    }

    async fn send(
        &self,
        folder: Arc<RingFolder>,
        name: RingName,
    ) -> Result<Response<Body>, Refusal> {
        let Ok(slot) = self.sending.clone().try_acquire_owned() else {
            return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "other rings are being sent"));
        };
        let named = name.clone();
        let opened = on_a_thread(move || folder.open_signed(&name)).await?;
        let Some((file, statement)) = opened.map_err(Refusal::Disk)? else {
            return Ok(text(
                StatusCode::NOT_FOUND,
                &format!("{named}: not here, or not as it was signed"),
            ));
        };
        let (to, body) = mpsc::channel(2);
        // Not waited for: it ends with the file or with the reader.
        apus_daemon::task::spawn_blocking(move || {
            read_out(file, &to);
            drop(slot);
        });
        let mut answer = Response::new(stream(body));
        let headers = answer.headers_mut();
        set(headers, STATEMENT, &statement.to_text());
        set(headers, http::header::CONTENT_LENGTH.as_str(), &statement.length.to_string());
        set(headers, http::header::CONTENT_TYPE.as_str(), "application/gzip");
        Ok(answer)
    }

    async fn take(
        &self,
        folder: Arc<RingFolder>,
        name: RingName,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, mut body) = request.into_parts();
        let taken = self.take_body(folder, name, &head.headers, &mut body).await;
        // An answer to a client that is still sending would be lost with the connection.
        let _ = tokio::time::timeout(REST, async { while let Some(Ok(_)) = body.frame().await {} })
            .await;
        taken
    }

    async fn take_body(
        &self,
        folder: Arc<RingFolder>,
        name: RingName,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Response<Body>, Refusal> {
        let said = header(headers, STATEMENT)
            .ok_or_else(|| Refusal::Malformed(format!("{STATEMENT}: expected a statement")))?;
        let statement = Statement::parse(said)?;
        if statement.name != name {
            return Err(Refusal::Malformed(format!(
                "{STATEMENT} is of {}, and the path of {name}",
                statement.name
            )));
        }
        // Never closed.
        let Ok(_slot) = self.taking.acquire().await else { return Err(Refusal::Slow) };
        let (asked, offered) = (folder.clone(), statement.clone());
        let step = match on_a_thread(move || asked.judge(&offered)).await?? {
            Step::Install => {
                let read = tokio::time::timeout(BODY, collect(body, statement.length)).await;
                let bytes = read.map_err(|_| Refusal::Slow)??;
                on_a_thread(move || {
                    let file = statement.file(&bytes)?;
                    folder.install(&file, &statement)
                })
                .await??
            }
            Step::Sign => on_a_thread(move || folder.keep_statement(&statement)).await??,
            Step::Nothing => Step::Nothing,
        };
        let (status, word) = match step {
            Step::Install => (StatusCode::CREATED, "installed"),
            Step::Sign => (StatusCode::ACCEPTED, "signed"),
            Step::Nothing => (StatusCode::OK, "there"),
        };
        Ok(json_answer(status, json!({ "ring": word }).to_string()))
    }
}

/// The whole of a body that is to have a length.
async fn collect(body: &mut Body, length: u64) -> Result<Bytes, Refusal> {
    whole(body, length, length).await.map_err(|unfit| match unfit {
        BodyError::Broken(error) => Refusal::Altered(format!("body: {error}")),
        BodyError::TooLong => {
            Refusal::Altered(format!("body of more than the {length} bytes signed"))
        }
    })
}

/// Sends a file to its end, or until the client is gone.
fn read_out(mut file: File, to: &mpsc::Sender<Result<Bytes, apus_daemon::http::BodyError>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match file.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                let _ = to.blocking_send(Err(error.into()));
                return;
            }
        };
        chunk.truncate(read);
        if to.blocking_send(Ok(chunk.into())).is_err() {
            return;
        }
    }
}

/// What comes behind [`PATH`]: nothing or a slash and more; `None` on other paths.
fn below(path: &str) -> Option<&str> {
    path.strip_prefix(PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[async_trait]
impl Handler for RingsHttp {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let Some(rest) = below(request.uri().path()).map(str::to_owned) else {
            return self.inner.call(request).await;
        };
        let Some(folder) = self.folder.clone() else { return text(StatusCode::FORBIDDEN, OPEN) };
        let name = rest.strip_prefix('/').map(|name| RingName::try_from(name.to_owned()));
        let done = match (request.method(), name) {
            (&Method::GET, None) => Self::manifest(folder).await,
            (_, Some(Err(error))) => {
                return text(StatusCode::NOT_FOUND, &error);
            }
            (&Method::GET, Some(Ok(name))) => self.send(folder, name).await,
            (&Method::PUT, Some(Ok(name))) => {
                let peer =
                    request.extensions().get::<apus_daemon::serve::Peer>().map(|peer| peer.0);
                let named = name.clone();
                let taken = self.take(folder, name, request).await;
                if let Err(refusal) = &taken {
                    tracing::warn!(?peer, ring = %named, "ring refused: {refusal}");
                }
                taken
            }
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "expected GET, or PUT of a ring"),
        };
        done.unwrap_or_else(|refusal| text(refusal.status(), &format!("{refusal}\n")))
    }
}

#[cfg(test)]
mod tests;
