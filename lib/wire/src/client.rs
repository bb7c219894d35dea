//! One request to one node, with deadlines and error limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apus_daemon::{Body, Clock};
use apus_ring::Device;
use http::{HeaderMap, Method, StatusCode};

use crate::error_limit::ErrorLimits;
use crate::path::NodePath;
use crate::signed::LogRateLimiter;
use crate::transport::{SendError, Transport};

/// Counts of the traffic between nodes since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    md5_bytes: AtomicU64,
}

impl Counters {
    /// Records bytes of a body that went through MD5.
    pub fn digested(&self, bytes: usize) {
        self.md5_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Requests sent to nodes so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that went through MD5 so far, here or in a server of this process.
    pub fn md5_bytes(&self) -> u64 {
        self.md5_bytes.load(Ordering::Relaxed)
    }
}

/// How long each phase of a backend request may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From sending a request to the head of its answer.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub chunk: Duration,
    /// For a row update that the client waits for.
    pub row_update: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            chunk: Duration::from_secs(10),
            row_update: Duration::from_secs(3),
        }
    }
}

/// A request without its node.
#[derive(Debug, Clone)]
pub struct NodeRequest {
    /// Verb, also Swift's own (`REPLICATE`).
    pub method: Method,
    /// Partition on the node.
    pub partition: u32,
    /// Account, container, object.
    pub names: Vec<String>,
    /// Query without the question mark; empty for none.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
}

/// Errors of requests to a node.
#[derive(Debug)]
pub enum NodeError {
    /// The node is avoided after errors.
    Limited,
    /// The node did not answer in time.
    Timeout,
    /// The node does not accept this process's signature (401): keys, clocks or `backend_auth` differ.
    Refused,
    /// The request did not reach it or the connection broke.
    Send(SendError),
}

impl std::fmt::Display for NodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limited => f.write_str("avoided after errors"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Refused => f.write_str("does not accept this node's signature (401)"),
            Self::Send(error) => error.fmt(f),
        }
    }
}

/// Sends requests to nodes of the ring.
#[derive(Debug)]
pub struct Client {
    transport: Arc<Transport>,
    limits: ErrorLimits,
    clock: Arc<dyn Clock>,
    deadlines: Deadlines,
    counters: Counters,
    refusals: LogRateLimiter,
}

impl Client {
    /// A client over a transport.
    pub fn new(transport: Arc<Transport>, clock: Arc<dyn Clock>, deadlines: Deadlines) -> Self {
        Self {
            transport,
            limits: ErrorLimits::default(),
            clock,
            deadlines,
            counters: Counters::default(),
            refusals: LogRateLimiter::default(),
        }
    }

    /// Counts of what was sent so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The deadlines of each phase.
    pub fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    /// The transport below.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    fn key(node: &Device) -> String {
        format!("{}/{}", node.address(), node.device)
    }

    /// Whether the node is avoided after errors.
    pub fn is_limited(&self, node: &Device) -> bool {
        self.limits.is_limited(&Self::key(node), self.clock.now())
    }

    /// Records an error that only the caller can see: a body that broke off.
    pub fn note_error(&self, node: &Device) {
        self.limits.record_error(&Self::key(node), self.clock.now());
    }

    /// Sends a request and gives the head of the answer. 507 and 5xx count against the node.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn send(
        &self,
        node: &Device,
        request: &NodeRequest,
        body: Body,
    ) -> Result<http::Response<Body>, NodeError> {
        self.send_within(node, request, body, self.deadlines.answer).await
    }

    /// As [`Client::send`] with a deadline of its own.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn send_within(
        &self,
        node: &Device,
        request: &NodeRequest,
        body: Body,
        deadline: Duration,
    ) -> Result<http::Response<Body>, NodeError> {
        if self.is_limited(node) {
            return Err(NodeError::Limited);
        }
        self.send_anyway(node, request, body, deadline).await
    }

    /// As [`Client::send_within`], but also to an avoided node: for callers that cannot do without
    /// it. A node that answers is no longer avoided.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn send_anyway(
        &self,
        node: &Device,
        request: &NodeRequest,
        body: Body,
        deadline: Duration,
    ) -> Result<http::Response<Body>, NodeError> {
        let was_limited = self.is_limited(node);
        let answer = self.send_regardless(node, request, body, deadline).await;
        match &answer {
            Ok(response) => match response.status() {
                StatusCode::INSUFFICIENT_STORAGE => {
                    self.limits.record_unmounted(&Self::key(node), self.clock.now());
                }
                status if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE => {
                    self.note_error(node);
                }
                status if was_limited && !status.is_server_error() => {
                    self.limits.forget(&Self::key(node));
                }
                _ => {}
            },
            Err(_) => self.note_error(node),
        }
        answer
    }

    /// As [`Client::send_within`], but also to an avoided node, and without counting its errors:
    /// daemons try every node, and client requests should not suffer from that.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn send_regardless(
        &self,
        node: &Device,
        request: &NodeRequest,
        body: Body,
        deadline: Duration,
    ) -> Result<http::Response<Body>, NodeError> {
        let path = NodePath {
            device: node.device.clone(),
            partition: request.partition,
            names: request.names.clone(),
        };
        let mut uri = path.encode();
        if !request.query.is_empty() {
            uri.push('?');
            uri.push_str(&request.query);
        }
        let built = http::Request::builder().method(request.method.clone()).uri(uri).body(body);
        let mut built = match built {
            Ok(built) => built,
            Err(error) => return Err(NodeError::Send(SendError::Broken(error.to_string()))),
        };
        *built.headers_mut() = request.headers.clone();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let address = node.address();
        match tokio::time::timeout(deadline, self.transport.send(&address, built)).await {
            // Servers answer 401 for no other reason than a signature.
            Ok(Ok(response)) if response.status() == StatusCode::UNAUTHORIZED => {
                if let Some(silent) = self.refusals.permit(self.clock.now()) {
                    tracing::warn!(
                        node = address,
                        silent,
                        "{}; the log of that node says why",
                        NodeError::Refused
                    );
                }
                Err(NodeError::Refused)
            }
            Ok(answer) => answer.map_err(NodeError::Send),
            Err(_) => Err(NodeError::Timeout),
        }
    }
}
