//! The accept loop: hyper over each connection, limits on heads, drain on stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::drain::Drain;
use crate::http::SharedHandler;
use crate::interim::{Interim, InterimIo};
use crate::task::{TaskKind, spawn};

/// Limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Header lines in one request; Swift's 90 metadata items and room for the rest.
    pub headers_max: usize,
    /// Bytes of one request head.
    pub head_bytes_max: usize,
    /// Time for a head to arrive.
    pub head_timeout: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// Time that open requests have after a stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_max: 256,
            head_bytes_max: 128 * 1024,
            head_timeout: Duration::from_secs(60),
            connections_max: 8192,
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// The address of the peer, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The address of ours at which the connection arrived, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Reached(pub SocketAddr);

/// Serves until the drain begins, then lets open requests finish.
pub async fn serve(listener: TcpListener, handler: SharedHandler, drain: Drain, limits: Limits) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max)
        .half_close(true);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are written whole; waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        let reached = stream.local_addr().ok().map(Reached);
        let handler = handler.clone();
        let interim = Interim::default();
        let io = TokioIo::new(InterimIo::new(stream, interim.clone()));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (handler, interim) = (handler.clone(), interim.clone());
            async move {
                let (mut parts, body) = request.into_parts();
                parts.extensions.insert(Peer(peer));
                if let Some(reached) = reached {
                    parts.extensions.insert(reached);
                }
                interim.reset();
                parts.extensions.insert(interim);
                let body = body.map_err(|error| error.into()).boxed_unsync();
                let request = http::Request::from_parts(parts, body);
                Ok::<_, Infallible>(handler.call(request).await)
            }
        });
        let connection = graceful.watch(http.serve_connection(io, service));
        spawn(TaskKind::Request, async move {
            // A client that goes away in mid-request is everyday life.
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "connection");
            }
            drop(slot);
        });
    }
    drop(listener);
    let late = async {
        drain.hurried().await;
        tokio::time::sleep(limits.drain_timeout).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = late => {
            tracing::warn!("requests still open after the drain timeout were cut");
        }
    }
}
