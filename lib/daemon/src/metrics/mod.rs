//! Metrics of a process, and `GET /metrics` in Prometheus' text format.
//!
//! They are counts of requests, counters of the process, and the reports of the last passes of
//! daemons. Names of accounts, containers, objects and clients never become labels, so requests
//! cannot increase the number of series. Daemons may be other processes, so their reports come from
//! the recon cache.

mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tracing::Instrument;

use crate::http::{Body, Handler, SharedHandler, full, request_span, sent_trans_id, status};
use crate::pass::Span;
use crate::recon::ReconCache;
use crate::task::spawn_blocking;

/// The recon file with the reports of the last passes, in addition to Swift's files.
pub(crate) const PASSES: &str = "apus-passes.recon";

/// Upper ends of the latency histogram, in seconds.
const BUCKETS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Methods with a label of their own; all others are `other`.
const METHODS: [&str; 11] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "COPY",
    "OPTIONS",
    "REPLICATE",
    "SSYNC",
    "RESERVE",
    "RELEASE",
];

/// Servers whose replicators count rows or objects below full redundancy.
const SERVERS: [&str; 3] = ["account", "container", "object"];

/// The entry of a daemon in [`PASSES`].
pub(crate) fn last_pass(
    name: &str,
    report: &impl serde::Serialize,
    span: Span,
) -> Map<String, Value> {
    let entry = json!({
        "ended": span.ended.as_secs_f64(),
        "seconds": span.seconds(),
        "report": serde_json::to_value(report).unwrap_or(Value::Null),
    });
    Map::from_iter([(name.to_owned(), entry)])
}

#[derive(Debug, Default, Clone)]
struct Latency {
    /// Responses within each bucket's end, and not within the one before.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

#[derive(Debug, Default)]
struct Requests {
    answers: BTreeMap<(&'static str, &'static str, u16), u64>,
    latencies: BTreeMap<(&'static str, &'static str), Latency>,
}

type Totals = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;
type Rings = Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>;

/// The metrics of one process.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<Requests>,
    totals: Mutex<Vec<Totals>>,
    rings: Mutex<Vec<Rings>>,
    caches: Mutex<Vec<ReconCache>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Adds counters, by name without `apus_` and `_total`.
    pub fn add_totals(
        &self,
        totals: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static,
    ) {
        locked(&self.totals).push(Box::new(totals));
    }

    /// Adds the versions of the rings that this process uses, by file name.
    pub fn report_rings(&self, rings: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static) {
        locked(&self.rings).push(Box::new(rings));
    }

    /// Adds the reports of daemons in a recon cache.
    pub fn read_reports_of(&self, cache: &ReconCache) {
        let mut caches = locked(&self.caches);
        if !caches.contains(cache) {
            caches.push(cache.clone());
        }
    }

    fn answered(&self, server: &'static str, method: &Method, status: StatusCode, took: Duration) {
        let known = METHODS.iter().find(|known| **known == method.as_str());
        let method = known.copied().unwrap_or("other");
        let seconds = took.as_secs_f64();
        let mut requests = locked(&self.requests);
        *requests.answers.entry((server, method, status.as_u16())).or_default() += 1;
        let latency = requests.latencies.entry((server, method)).or_default();
        latency.count += 1;
        latency.seconds += seconds;
        let buckets = BUCKETS.iter().zip(&mut latency.buckets);
        if let Some((_, bucket)) = buckets.into_iter().find(|(end, _)| seconds <= **end) {
            *bucket += 1;
        }
    }

    /// All metrics as text. Waits for the disk.
    fn render(&self) -> String {
        let mut out = text::Exposition::default();
        {
            let requests = locked(&self.requests);
            out.requests(&requests);
        }
        let totals: Vec<_> = locked(&self.totals).iter().flat_map(|totals| totals()).collect();
        out.totals(&totals);
        let rings: Vec<_> = locked(&self.rings).iter().flat_map(|rings| rings()).collect();
        out.rings(&rings);
        let caches = locked(&self.caches).clone();
        let passes: BTreeMap<String, Value> =
            caches.iter().flat_map(|cache| cache.read(PASSES)).collect();
        out.passes(&passes);
        let mut redundancy = BTreeMap::new();
        for (cache, server) in caches.iter().flat_map(|cache| SERVERS.map(|server| (cache, server)))
        {
            let mut content = cache.read(&format!("{server}.recon"));
            if let Some(counts) = content.remove(&format!("{server}_redundancy")) {
                redundancy.insert(server, counts);
            }
        }
        out.redundancy(&redundancy);
        out.text
    }
}

/// The server that makes transaction ids; clients must not choose them.
const PROXY: &str = "proxy";

/// Counts and times the requests of a server, and runs each in its span.
///
/// It stands before a server at its socket and at its in-process call, outside of everything else.
pub struct Counted {
    inner: SharedHandler,
    server: &'static str,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Counted {
    /// Before `inner`, with the label `server`.
    pub fn new(inner: SharedHandler, server: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { inner, server, metrics }
    }
}

#[async_trait]
impl Handler for Counted {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let (method, began) = (request.method().clone(), Instant::now());
        let trans_id = match self.server {
            PROXY => None,
            _ => sent_trans_id(request.headers()),
        };
        let span = request_span(self.server, &method, request.uri().path(), trans_id);
        let answer = self.inner.call(request).instrument(span.clone()).await;
        let (status, took) = (answer.status(), began.elapsed());
        self.metrics.answered(self.server, &method, status, took);
        if self.server != PROXY {
            span.in_scope(|| log_answer(status, took));
        }
        answer
    }

    fn malformed(&self, refusal: crate::Malformed, head: &str) -> (&'static str, String) {
        self.inner.malformed(refusal, head)
    }
}

/// Logs what a storage server answered; the proxy has access lines of its own. A server that is
/// overloaded answers 503, and must not spend its time on log lines.
fn log_answer(status: StatusCode, took: Duration) {
    let (is_failure, is_busy) =
        (status.is_server_error(), status == StatusCode::SERVICE_UNAVAILABLE);
    let (status, duration_ms) = (status.as_u16(), took.as_millis());
    if is_failure && !is_busy {
        tracing::warn!(status, duration_ms, "Request failed");
    } else {
        tracing::debug!(status, duration_ms, "Request answered");
    }
}

/// Handles `GET /metrics`, and passes other requests on, if there is another handler.
pub struct MetricsHttp {
    inner: Option<SharedHandler>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for MetricsHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsHttp").finish_non_exhaustive()
    }
}

impl MetricsHttp {
    /// Before `inner`; without one everything else is 404.
    pub fn new(inner: Option<SharedHandler>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Handler for MetricsHttp {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        if request.method() == Method::GET && request.uri().path() == "/metrics" {
            let metrics = self.metrics.clone();
            let Ok(text) = spawn_blocking(move || metrics.render()).await else {
                return status(StatusCode::INTERNAL_SERVER_ERROR);
            };
            let mut answer = Response::new(full(text));
            let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(http::header::CONTENT_TYPE, version);
            return answer;
        }
        match &self.inner {
            Some(inner) => inner.call(request).await,
            None => status(StatusCode::NOT_FOUND),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::empty;

    struct Created;

    #[async_trait]
    impl Handler for Created {
        async fn call(&self, _: Request<Body>) -> Response<Body> {
            status(StatusCode::CREATED)
        }
    }

    async fn ask(handler: &dyn Handler, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(empty()).unwrap();
        let answer = handler.call(request).await;
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_totals_and_reports_are_exposed() {
        let directory = std::env::temp_dir().join(format!("apus-metrics-{}", std::process::id()));
        let cache = ReconCache::new(&directory);
        let span = Span { began: Duration::from_secs(100), ended: Duration::from_secs(102) };
        let report =
            json!({"sent": 3, "devices": {"sd\"1": {"rows": 2}}, "whole": true, "note": "x"});
        cache.merge(PASSES, last_pass("object-updater", &report, span)).unwrap();
        let counts = json!({"object_redundancy": {"1": {"below": 4, "unknown": 5}}});
        cache.merge("object.recon", counts.as_object().unwrap().clone()).unwrap();
        let counts =
            json!({"container_redundancy": {"below": 6, "unknown": 0, "databases_below": 7}});
        cache.merge("container.recon", counts.as_object().unwrap().clone()).unwrap();
        let metrics = Arc::new(Metrics::default());
        metrics.read_reports_of(&cache);
        metrics.read_reports_of(&cache);
        metrics.add_totals(|| vec![("syncs", 7)]);
        metrics.report_rings(|| vec![("object-1.ring.gz".to_owned(), 9)]);
        let counted = Counted::new(Arc::new(Created), "object", metrics.clone());
        for method in ["PUT", "PUT", "X-ANY"] {
            assert_eq!(ask(&counted, method, "/sd1/0/a/c/o").await.0, 201);
        }
        let server = MetricsHttp::new(Some(Arc::new(counted)), metrics);
        let (status, text) = ask(&server, "GET", "/metrics").await;
        assert_eq!(status, 200);
        for line in [
            "apus_requests_total{server=\"object\",method=\"PUT\",status=\"201\"} 2",
            "apus_requests_total{server=\"object\",method=\"other\",status=\"201\"} 1",
            "apus_request_seconds_bucket{server=\"object\",method=\"PUT\",le=\"30\"} 2",
            "apus_request_seconds_bucket{server=\"object\",method=\"PUT\",le=\"+Inf\"} 2",
            "apus_request_seconds_count{server=\"object\",method=\"PUT\"} 2",
            "# TYPE apus_syncs_total counter",
            "apus_syncs_total 7",
            "apus_ring_version{ring=\"object-1.ring.gz\"} 9",
            "apus_daemon_pass_end_seconds{daemon=\"object-updater\"} 102",
            "apus_daemon_pass_duration_seconds{daemon=\"object-updater\"} 2",
            "apus_daemon_report{daemon=\"object-updater\",item=\"sent\"} 3",
            "apus_daemon_report{daemon=\"object-updater\",item=\"devices.sd\\\"1.rows\"} 2",
            "apus_daemon_report{daemon=\"object-updater\",item=\"whole\"} 1",
            "apus_below_redundancy{kind=\"objects\",policy=\"1\"} 4",
            "apus_unknown_redundancy{kind=\"objects\",policy=\"1\"} 5",
            "apus_below_redundancy{kind=\"container_rows\"} 6",
            "apus_unknown_redundancy{kind=\"container_rows\"} 0",
            "apus_below_redundancy{kind=\"container_databases\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("note") && text.ends_with('\n'));
        assert_eq!(ask(&server, "PUT", "/metrics").await.0, 201);
        let alone = MetricsHttp::new(None, Arc::default());
        assert_eq!(ask(&alone, "GET", "/").await.0, 404);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn buckets_hold_everything_up_to_their_end() {
        let metrics = Metrics::default();
        for millis in [0, 1, 2, 40_000] {
            metrics.answered("object", &Method::GET, StatusCode::OK, Duration::from_millis(millis));
        }
        let text = metrics.render();
        for (end, count) in [("0.0005", 1), ("0.001", 2), ("0.0025", 3), ("30", 3), ("+Inf", 4)] {
            let line = format!("method=\"GET\",le=\"{end}\"}} {count}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
