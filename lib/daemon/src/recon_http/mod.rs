//! The endpoints `/recon/<check>`, `/healthcheck` and `OPTIONS /` of storage servers.
//!
//! The checks are Swift's (`swift/common/middleware/recon.py`). They only read: the host, the
//! directory of devices, and the recon cache. A disk that hangs must not block the server, so few
//! checks run at a time, on threads that nothing else needs.

mod devices;
mod host;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::http::{Body, Handler, SharedHandler, full, set, status, text};
use crate::recon::ReconCache;
use crate::task::spawn_blocking;

/// Checks at once.
const CHECKS_MAX: usize = 4;
/// The content of `/recon/version`.
const VERSION: &str = concat!("apus ", env!("CARGO_PKG_VERSION"));

/// The sources of the checks.
#[derive(Debug, Clone)]
pub struct ReconParts {
    /// `account`, `container` or `object`.
    pub server: &'static str,
    /// Directory of the devices.
    pub devices: PathBuf,
    /// Whether devices must be mount points; else each directory counts as mounted.
    pub mount_check: bool,
    /// `swift.conf`.
    pub swift_conf: PathBuf,
    /// All ring files of the cluster.
    pub rings: Vec<PathBuf>,
    /// The results of daemons.
    pub cache: ReconCache,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Handles checks, and passes all other requests on.
pub struct ReconHttp {
    inner: SharedHandler,
    parts: Arc<ReconParts>,
    slots: Arc<Semaphore>,
}

impl std::fmt::Debug for ReconHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReconHttp").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl ReconHttp {
    /// Before `inner`.
    pub fn new(inner: SharedHandler, parts: ReconParts) -> Self {
        Self { inner, parts: Arc::new(parts), slots: Arc::new(Semaphore::new(CHECKS_MAX)) }
    }

    /// The kind of this server and its methods (`swift/common/base_storage_server.py`).
    fn options(&self) -> Response<Body> {
        let mut answer = status(StatusCode::OK);
        let own = match self.parts.server {
            "object" => ", SSYNC",
            "container" => ", UPDATE",
            _ => "",
        };
        let allow = format!("DELETE, GET, HEAD, OPTIONS, POST, PUT, REPLICATE{own}");
        let server = format!("{}-server/{}", self.parts.server, env!("CARGO_PKG_VERSION"));
        set(answer.headers_mut(), "allow", &allow);
        set(answer.headers_mut(), "server", &server);
        answer
    }

    async fn check(&self, path: &str) -> Response<Body> {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many checks wait for a disk");
        };
        let (parts, words) = (self.parts.clone(), path.to_owned());
        let checked = spawn_blocking(move || {
            let checked = check(&parts, &words);
            drop(slot);
            checked
        });
        match checked.await {
            Ok(Some(content)) => {
                let mut answer = Response::new(full(content.to_string()));
                answer.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static("application/json"),
                );
                answer
            }
            Ok(None) => text(StatusCode::NOT_FOUND, &format!("Invalid path: {path}")),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error."),
        }
    }
}

/// Whether a path is that of a check. An object on a device called `recon` has a number there.
fn is_check(path: &str) -> bool {
    let rest = path.strip_prefix("/recon/").unwrap_or_default();
    rest.starts_with(|first: char| first.is_ascii_lowercase())
}

#[async_trait]
impl Handler for ReconHttp {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if *request.method() == Method::OPTIONS && path == "/" {
            return self.options();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.inner.call(request).await;
        }
        if path == "/healthcheck" {
            return text(StatusCode::OK, "OK");
        }
        if is_check(path) {
            return self.check(path).await;
        }
        self.inner.call(request).await
    }
}

/// The result of a check; `None` for an unknown check. Waits for disks.
fn check(parts: &ReconParts, path: &str) -> Option<Value> {
    let words: Vec<&str> = path.trim_start_matches("/recon/").split('/').collect();
    let from = |server: &str, keys: &[&str]| Some(cached(&parts.cache, server, keys));
    match words.as_slice() {
        ["mem"] => Some(host::memory()),
        ["load"] => Some(host::load()),
        ["sockstat"] => Some(host::sockets()),
        ["mounted"] => Some(host::mounted()),
        ["time"] => Some(json!(parts.clock.now().as_secs_f64())),
        ["version"] => Some(json!({ "version": VERSION })),
        ["devices"] => Some(devices::names(&parts.devices)),
        ["unmounted"] => Some(devices::unmounted(&parts.devices, parts.mount_check)),
        ["diskusage"] => Some(devices::usage(&parts.devices, parts.mount_check)),
        ["quarantined"] => Some(devices::quarantined(&parts.devices)),
        ["ringmd5"] => Some(digests(&parts.rings)),
        ["swiftconfmd5"] => Some(digests(std::slice::from_ref(&parts.swift_conf))),
        ["async"] => from("object", &["async_pending", "async_pending_last"]),
        ["driveaudit"] => from("drive", &["drive_audit_errors"]),
        ["replication"] | ["replication", "object"] => from(
            "object",
            &[
                "replication_time",
                "replication_stats",
                "replication_last",
                "object_replication_time",
                "object_replication_last",
            ],
        ),
        ["replication", server @ ("account" | "container")] => {
            from(server, &["replication_time", "replication_stats", "replication_last"])
        }
        // Not in Swift: the counts of replicators below full redundancy.
        ["redundancy", server @ ("account" | "container" | "object")] => {
            let keys = ["redundancy", "redundancy_last"].map(|key| format!("{server}_{key}"));
            from(server, &keys.each_ref().map(String::as_str))
        }
        ["reconstruction", "object"] => {
            from("object", &["object_reconstruction_last", "object_reconstruction_time"])
        }
        ["updater", "container"] => from("container", &["container_updater_sweep"]),
        ["updater", "object"] => {
            from("object", &["object_updater_sweep", "object_updater_stats", "object_updater_last"])
        }
        ["auditor", server @ ("account" | "container")] => {
            let keys = ["audits_passed", "auditor_pass_completed", "audits_since", "audits_failed"]
                .map(|key| format!("{server}_{key}"));
            from(server, &keys.each_ref().map(String::as_str))
        }
        ["auditor", "object"] => {
            from("object", &["object_auditor_stats_ALL", "object_auditor_stats_ZBF"])
        }
        ["expirer", "object"] => from("object", &["object_expiration_pass", "expired_last_pass"]),
        ["sharding"] => from("container", &["sharding_stats", "sharding_time", "sharding_last"]),
        ["relinker"] => from("relinker", &["devices", "workers"]),
        _ => None,
    }
}

/// Entries of `<server>.recon`; null for those that no daemon has written yet.
fn cached(cache: &ReconCache, server: &str, keys: &[&str]) -> Value {
    let mut content = cache.read(&format!("{server}.recon"));
    let entries = keys.iter().map(|key| {
        let value = content.remove(*key).unwrap_or(Value::Null);
        ((*key).to_owned(), value)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

/// MD5 of files by path, null for a file that cannot be read; missing rings are omitted.
fn digests(paths: &[PathBuf]) -> Value {
    let existing = paths.iter().filter(|path| path.exists());
    let entries = existing.map(|path| (path.display().to_string(), json!(digest(path).ok())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn digest(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let mut context = md5::Context::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", context.finalize())),
            length => context.consume(buffer.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
