//! Signed requests with JSON responses to servers of the cluster.

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::backend_auth::BackendAuth;
use apus_daemon::clock::SystemClock;
use apus_daemon::http::{Body, empty, full};
use apus_daemon::seed;
use apus_wire::Transport;
use apus_wire::signed::Signer;
use apus_wire::signed::seal::{NONCE, Question, SEAL, Sealer};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde_json::Value;

/// Longest response: the status of a large cluster.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest error response, which is parsed without a seal.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Characters of an error text that are passed on.
const TEXT_MAX: usize = 500;

/// All bytes of a body; an error when they are too many, or break off.
pub(super) async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, String> {
    // Boxed, since the compiler does not see that its error outlives a request.
    let whole = Limited::new(body, bytes_max).collect().boxed().await;
    whole.map(Collected::to_bytes).map_err(|error| match error.is::<LengthLimitError>() {
        true => format!("over {bytes_max} bytes"),
        false => error.to_string(),
    })
}

/// Client of servers and of the ring manager.
#[derive(Debug, Clone)]
pub(super) struct SignedClient {
    transport: Arc<Transport>,
    sealer: Arc<Sealer>,
    timeout: Duration,
}

impl SignedClient {
    /// A client that signs with the first of the keys.
    pub(super) fn new(auth: &BackendAuth, timeout: Duration) -> Self {
        let signer = Signer::new(auth, Arc::new(SystemClock));
        let (transport, sealer) = (Arc::new(Transport::new(signer)), Arc::new(Sealer::new(auth)));
        Self { transport, sealer, timeout }
    }

    /// The body of a 2xx response of `address` (`ip:port`). Any other response is an error, and so is
    /// one without a valid seal.
    async fn bytes(
        &self,
        address: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, String> {
        let nonce = seed::hex::<16>();
        let named = |error: &dyn std::fmt::Display| format!("{address}: {error}");
        let sent = body.map_or_else(empty, |body| full(body.to_string()));
        let request = Request::builder().method(method.clone()).uri(path);
        // One request for each of many servers, now and then: no connection is kept open.
        let request = request.header(header::CONNECTION, "close").header(NONCE, &nonce).body(sent);
        let request = request.map_err(|error| named(&error))?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let question = Question { method, host: address.to_owned(), path, nonce };
        let exchange = async {
            let answer = self.transport.send(address, request).await;
            let answer = answer.map_err(|error| named(&error))?;
            let status = answer.status();
            let seal =
                apus_daemon::http::header(answer.headers(), SEAL).unwrap_or_default().to_owned();
            let bytes_max = if status.is_success() { ANSWER_BYTES_MAX } else { ERROR_BYTES_MAX };
            let body = collect(answer.into_body(), bytes_max).await;
            let body = body.map_err(|error| named(&error))?;
            let is_good = || self.sealer.is_good(&seal, &question, status.as_u16(), &body);
            if status.is_success() {
                let refused = named(&"the response is not signed with the cluster key");
                return if is_good() { Ok(body) } else { Err(refused) };
            }
            let error: Option<Value> = serde_json::from_slice(&body).ok();
            let error =
                error.as_ref().and_then(|error| error.get("error")?.as_str().map(str::to_owned));
            let text = error.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            let text: String = text.trim().chars().take(TEXT_MAX).collect();
            Err(match status {
                StatusCode::BAD_REQUEST | StatusCode::CONFLICT => text,
                status => named(&format!("{}: {text}", status.as_u16())),
            })
        };
        let done = tokio::time::timeout(self.timeout, exchange).await;
        done.unwrap_or_else(|_| Err(named(&"no answer in time")))
    }

    /// The body of a sealed response, as JSON.
    pub(super) async fn json(
        &self,
        address: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let bytes = self.bytes(address, method, path, body).await?;
        parse(address, path, &bytes)
    }

    /// `GET` as JSON.
    pub(super) async fn get(&self, address: &str, path: &str) -> Result<Value, String> {
        self.json(address, Method::GET, path, None).await
    }
}

fn parse(address: &str, path: &str, bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("{address}{path}: the response is not JSON: {error}"))
}
