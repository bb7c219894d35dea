//! Server access logs: a line for each S3 request to a bucket that is configured so, delivered as objects of
//! another bucket.
//!
//! As on AWS delivery is best effort: lines are kept in memory, within a limit, and written at intervals. What
//! cannot be kept or written is lost and counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_bucket::logging::{
    AccessLogLine, BucketLogging, LogKeyFormat, LogSource, PartitionDate, log_operation,
};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{AccountName, ClientName, ContainerName, ContainerPath, Metadata};
use apus_daemon::Clock;
use apus_daemon::http::{Body, full, header, new_trans_id};
use apus_daemon::random;
use apus_daemon::serve::Peer;
use apus_daemon::task::{TaskKind, spawn};
use apus_store::access::noted::RequestTrail;
use apus_store::body::LateMetadata;
use apus_store::operation::{PutObject, WriteConditions};
use apus_store::{Context, Store};
use http::{HeaderValue, Method, Request, Response, Uri};
use tokio::sync::Notify;

use crate::audit::Noted;

/// Most bytes of lines in memory.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one bucket's lines that are written without waiting for the interval.
const BATCH_BYTES: usize = 1024 * 1024;
/// Longest line in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Parameters whose values are not logged.
const SECRET_PARAMETERS: [&str; 3] = ["x-amz-signature", "signature", "x-amz-security-token"];

/// The lines for one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BatchName {
    account: AccountName,
    bucket: String,
    logging: BucketLogging,
    /// The day of the requests, where the keys have it; otherwise 0.
    day: u64,
}

#[derive(Debug, Default)]
struct PendingLines {
    batches: HashMap<BatchName, String>,
    bytes: usize,
}

/// The access logs of a proxy.
pub struct AccessLogs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    region: String,
    pending: Mutex<PendingLines>,
    /// A batch is long enough to be written.
    full: Notify,
    delivered: AtomicU64,
    lost: AtomicU64,
}

impl std::fmt::Debug for AccessLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLogs").field("region", &self.region).finish_non_exhaustive()
    }
}

impl AccessLogs {
    /// Starts the delivery, which takes place every `interval` and when there is much to deliver.
    pub fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        region: &str,
        interval: Duration,
    ) -> Arc<Self> {
        let logs = Arc::new(Self {
            store,
            clock,
            region: region.to_owned(),
            pending: Mutex::default(),
            full: Notify::new(),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&logs);
        spawn(TaskKind::Background, async move {
            while let Some(logs) = weak.upgrade() {
                let _ = tokio::time::timeout(interval, logs.full.notified()).await;
                logs.deliver().await;
            }
        });
        logs
    }

    /// Lines delivered and lost since the start, by their names in `/metrics`.
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("access_log_lines", self.delivered.load(Ordering::Relaxed)),
            ("access_log_lines_lost", self.lost.load(Ordering::Relaxed)),
        ]
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, PendingLines> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: BatchName, line: &str) {
        let mut pending = self.locked();
        if line.len() > LINE_BYTES_MAX || pending.bytes + line.len() >= PENDING_BYTES_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.bytes += line.len() + 1;
        let batch = pending.batches.entry(name).or_default();
        batch.push_str(line);
        batch.push('\n');
        if batch.len() >= BATCH_BYTES {
            self.full.notify_one();
        }
    }

    /// Notes an answered request in the log of its bucket, if it has one.
    pub(crate) fn record(
        &self,
        request: &LoggedRequest,
        noted: &Noted,
        trail: &RequestTrail,
        trans_id: &str,
        response: &Response<Body>,
    ) {
        let named = |(path, _): &&(ContainerPath, _)| {
            noted.bucket.as_deref() == Some(path.container.as_str())
        };
        let Some((container, head)) = trail.logged.iter().find(named) else { return };
        let logging = match stored::load::<BucketLogging>(ConfigKind::Logging, &head.headers) {
            Ok(Some(logging)) => logging,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, container = %container, "Failed to read the logging configuration of a bucket");
                return;
            }
        };
        let took = self.clock.now().saturating_sub(request.received);
        let line = request.line(noted, container, trans_id, response, took);
        let received = request.received.as_secs();
        let day = match logging.key_format {
            LogKeyFormat::Partitioned(PartitionDate::EventTime) => received / 86_400,
            _ => 0,
        };
        let bucket = container.container.as_str().to_owned();
        self.add(BatchName { account: container.account.clone(), bucket, logging, day }, &line);
    }

    /// Writes all lines that wait.
    async fn deliver(&self) {
        let batches = {
            let mut pending = self.locked();
            pending.bytes = 0;
            std::mem::take(&mut pending.batches)
        };
        for (name, lines) in batches {
            let count = lines.lines().count() as u64;
            match self.write(&name, lines).await {
                Ok(()) => drop(self.delivered.fetch_add(count, Ordering::Relaxed)),
                Err(error) => {
                    self.lost.fetch_add(count, Ordering::Relaxed);
                    let container =
                        format!("/{}/{}", name.account.as_str(), name.logging.target_bucket);
                    tracing::warn!(%error, container, count, "Failed to deliver lines of an access log");
                }
            }
        }
    }

    async fn write(&self, name: &BatchName, lines: String) -> apus_store::Result<()> {
        let invalid = |error: &dyn std::fmt::Display| apus_store::Error::invalid(error.to_string());
        let container =
            ContainerName::parse(&name.logging.target_bucket).map_err(|error| invalid(&error))?;
        let source = LogSource {
            account: name.account.as_str(),
            region: &self.region,
            bucket: &name.bucket,
        };
        let now = self.clock.now().as_secs();
        let unique = random::hex::<8>().to_ascii_uppercase();
        let key = name.logging.key(source, name.day * 86_400, now, &unique);
        let key = ClientName::plain(&key)
            .and_then(|name| name.object())
            .map_err(|error| invalid(&error))?;
        let trans_id = new_trans_id(self.clock.as_ref(), "");
        let op = PutObject {
            object: ContainerPath::new(name.account.clone(), container).object(key),
            length: Some(lines.len() as u64),
            body: full(lines),
            content_type: "text/plain".to_owned(),
            metadata: Metadata::new(),
            etag: None,
            timestamp: None,
            conditions: WriteConditions::default(),
            late: LateMetadata::default(),
        };
        let cx = Context::system("access log", trans_id).strong();
        self.store.put_object(&cx, op).await.map(drop)
    }
}

/// What a line needs of a request that its dialect consumes.
#[derive(Debug)]
pub(crate) struct LoggedRequest {
    received: Duration,
    method: Method,
    uri: Uri,
    version: http::Version,
    host: Option<HeaderValue>,
    referrer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    remote_ip: Option<IpAddr>,
    /// Version and place of the signature.
    signature: Option<(&'static str, &'static str)>,
}

/// Version and place of the signature that a request claims to have.
fn signature<B>(request: &Request<B>) -> Option<(&'static str, &'static str)> {
    let authorization = header(request.headers(), "authorization").unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    let has = |start: &str| query.split('&').any(|pair| pair.starts_with(start));
    let is_one = [
        (authorization.starts_with("AWS4-"), ("SigV4", "AuthHeader")),
        (authorization.starts_with("AWS "), ("SigV2", "AuthHeader")),
        (has("X-Amz-Signature="), ("SigV4", "QueryString")),
        (has("Signature="), ("SigV2", "QueryString")),
    ];
    is_one.into_iter().find_map(|(is_it, name)| is_it.then_some(name))
}

/// Path and query without the values that sign.
fn shown_target(uri: &Uri) -> String {
    let mut out = uri.path().to_owned();
    for (at, pair) in uri.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        let name = pair.split('=').next().unwrap_or_default();
        match SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            true => out.push_str(&format!("{name}=-")),
            false => out.push_str(pair),
        }
    }
    out
}

impl LoggedRequest {
    pub(crate) fn begin<B>(request: &Request<B>, received: Duration) -> Self {
        let headers = request.headers();
        Self {
            received,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: headers.get("host").cloned(),
            referrer: headers.get("referer").cloned(),
            agent: headers.get("user-agent").cloned(),
            remote_ip: request.extensions().get::<Peer>().map(|peer| peer.0.ip()),
            signature: signature(request),
        }
    }

    fn line(
        &self,
        noted: &Noted,
        container: &ContainerPath,
        trans_id: &str,
        response: &Response<Body>,
        took: Duration,
    ) -> String {
        let text = |value: &'_ Option<HeaderValue>| -> Option<String> {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let (host, referrer, agent) = (text(&self.host), text(&self.referrer), text(&self.agent));
        let remote_ip = self.remote_ip.map(|address| address.to_string());
        let headers = response.headers();
        let length = header(headers, "content-length").and_then(|text| text.parse().ok());
        let bytes_sent = length.or_else(|| http_body::Body::size_hint(response.body()).exact());
        let name = noted.operation.as_deref().unwrap_or_default();
        let of_object =
            matches!(name, "GetObject" | "HeadObject") && response.status().is_success();
        let whole = header(headers, "content-range").and_then(|range| range.rsplit_once('/'));
        let size = whole.and_then(|(_, size)| size.parse().ok()).or(length).filter(|_| of_object);
        let operation = log_operation(name, self.method.as_str());
        let request_line =
            format!("{} {} {:?}", self.method, shown_target(&self.uri), self.version);
        AccessLogLine {
            bucket_owner: container.account.as_str(),
            bucket: container.container.as_str(),
            received: self.received.as_secs(),
            remote_ip: remote_ip.as_deref(),
            requester: noted.user.as_deref(),
            request_id: trans_id,
            operation: &operation,
            key: noted.key.as_deref(),
            request_line: &request_line,
            status: response.status().as_u16(),
            error: noted.error.as_deref(),
            bytes_sent: bytes_sent.filter(|_| self.method != Method::HEAD),
            object_size: size,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            referrer: referrer.as_deref(),
            agent: agent.as_deref(),
            version: header(headers, "x-amz-version-id"),
            signature: self.signature.map(|(version, _)| version),
            authentication: self.signature.map(|(_, place)| place),
            host: host.as_deref(),
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_is_not_shown() {
        for (uri, shown) in [
            ("/b/k", "/b/k"),
            ("/b/k?versionId=1", "/b/k?versionId=1"),
            ("/b/k?X-Amz-Signature=abc&X-Amz-Date=d", "/b/k?X-Amz-Signature=-&X-Amz-Date=d"),
            (
                "/b?Signature=abc&Expires=1&x-amz-security-token=t",
                "/b?Signature=-&Expires=1&x-amz-security-token=-",
            ),
        ] {
            assert_eq!(shown_target(&uri.parse().unwrap()), shown, "{uri}");
        }
    }

    #[test]
    fn a_line_is_of_the_request_and_its_response() {
        let request = Request::builder()
            .uri("/b/k?versionId=null")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=x, Signature=secret")
            .header("host", "h")
            .body(())
            .unwrap();
        let logged = LoggedRequest::begin(&request, Duration::from_secs(1_796_083_198));
        let noted = Noted {
            operation: Some("GetObject".to_owned()),
            user: Some("a:u".to_owned()),
            key: Some("k".to_owned()),
            ..Noted::default()
        };
        let container = ContainerPath::new(
            AccountName::parse("AUTH_a").unwrap(),
            ContainerName::parse("b").unwrap(),
        );
        let response = Response::builder()
            .header("content-range", "bytes 0-3/10")
            .header("content-length", "4");
        let response = response.status(206).body(full("data")).unwrap();
        let line = logged.line(&noted, &container, "tx1", &response, Duration::from_millis(5));
        assert_eq!(
            line,
            "AUTH_a b [30/Nov/2026:23:59:58 +0000] - a:u tx1 REST.GET.OBJECT k \
             \"GET /b/k?versionId=null HTTP/1.1\" 206 - 4 10 5 5 \"-\" \"-\" - tx1 SigV4 - AuthHeader h - - -"
        );
    }
}
