//! The accept loop: hyper on each connection, limits, and the drain on a stop.
//!
//! Connections are always accepted. Those above the limit get a response with 503 and are closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::client_io::{ClientIo, Exchange};
use crate::drain::Drain;
use crate::http::{Body, SharedHandler, empty, full};
use crate::interim::{Interim, InterimIo};
use crate::metadata_names::MetadataNames;
use crate::slots::{FirstRequest, Slot, Slots};
use crate::socket::{ServerSocket, ServerStream};
use crate::task::{TaskKind, spawn};
use crate::{descriptors, unread};

/// Limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Header lines in one request: Swift's 90 metadata items and room for the rest.
    pub headers_max: usize,
    /// Bytes of one request head.
    pub head_bytes_max: usize,
    /// Time for a head to arrive, and for the next request of an idle connection.
    pub head_timeout: Duration,
    /// Time within which some bytes must be sent while bytes wait to be sent.
    pub write_timeout: Duration,
    /// Time for which a read continues, without traffic, after its client has closed its side.
    pub hang_up_grace: Duration,
    /// Concurrent connections; fewer when the limit of open files is too low.
    pub connections_max: usize,
    /// Concurrent connections of one client's address; half of all when `None`.
    pub address_connections_max: Option<usize>,
    /// Time that open requests have after a stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers_max: 256,
            head_bytes_max: 128 * 1024,
            head_timeout: Duration::from_secs(60),
            // Longer than a proxy waits for a client that reads slowly.
            write_timeout: Duration::from_secs(15 * 60),
            hang_up_grace: Duration::from_secs(3),
            connections_max: 8192,
            address_connections_max: None,
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// The peers of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Clients: each address has a share of the connections.
    Clients,
    /// Servers of Apus.
    Plain,
    /// Also Swift's proxies and servers, with their spelling of metadata names.
    Swifts,
}

/// The address of the peer, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The local address of the connection, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Reached(pub SocketAddr);

/// Time for the first request of a new connection after the begin of a patient stop. Its client was
/// not refused, so it may expect a response.
const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// The response to a connection above the limit.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
    Content-Length: 22\r\nRetry-After: 1\r\nConnection: close\r\n\r\ntoo many connections.\n";
/// Refused connections that get time to read it, and that time.
const REFUSED_AT_ONCE: usize = 32;
const REFUSED_TIME: Duration = Duration::from_secs(1);
/// Time between two attempts after a failure to accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The shared parts of the connections of a listener.
struct Listener {
    handler: SharedHandler,
    callers: Callers,
    limits: Limits,
    http: hyper::server::conn::http1::Builder,
    graceful: GracefulShutdown,
    /// Connections without a request yet.
    fresh: TaskTracker,
    refused: Arc<Semaphore>,
}

/// One connection, as its requests see it.
struct Connection {
    handler: SharedHandler,
    interim: Interim,
    exchange: Arc<Exchange>,
    peer: Peer,
    reached: Option<Reached>,
    first: Mutex<Option<(TaskTrackerToken, FirstRequest)>>,
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let has_body = !hyper::body::Body::is_end_stream(&body);
        let refusal = self.exchange.request(&parts.method, &parts.headers, has_body);
        if let Some(refusal) = refusal {
            let head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri);
            let (content_type, text) = self.handler.malformed(refusal, &head);
            let mut answer = Response::new(full(text));
            *answer.status_mut() = refusal.status();
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            return answer;
        }
        parts.extensions.insert(self.peer);
        if let Some(reached) = self.reached {
            parts.extensions.insert(reached);
        }
        self.interim.reset();
        parts.extensions.insert(self.interim.clone());
        if !has_body {
            return self.handler.call(Request::from_parts(parts, empty())).await;
        }
        let waits = parts.headers.contains_key(header::EXPECT);
        let (body, leftover) = unread::watched(body);
        let mut answer = self.handler.call(Request::from_parts(parts, body)).await;
        leftover.settle(&mut answer, waits, &self.exchange).await;
        answer
    }
}

impl Listener {
    fn new(handler: SharedHandler, callers: Callers, limits: Limits) -> Self {
        let mut http = hyper::server::conn::http1::Builder::new();
        // A client that has closed its side may still read: `ClientIo` detects when it is gone.
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(limits.headers_max)
            .max_buf_size(limits.head_bytes_max)
            .half_close(true);
        Self {
            handler,
            callers,
            limits,
            http,
            graceful: GracefulShutdown::new(),
            fresh: TaskTracker::new(),
            refused: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
        }
    }

    fn slots(&self) -> Arc<Slots> {
        let most = self.limits.connections_max.min(descriptors::for_connections(self.callers));
        let of_address = match self.callers {
            Callers::Clients => self.limits.address_connections_max.unwrap_or(most.div_ceil(2)),
            Callers::Plain | Callers::Swifts => most,
        };
        Slots::new(most, of_address)
    }

    /// Serves a connection in a task of its own.
    fn begin(&self, stream: ServerStream, peer: SocketAddr, slot: Slot) {
        stream.send_at_once();
        let exchange = Exchange::new(self.limits.head_bytes_max);
        let connection = Arc::new(Connection {
            handler: self.handler.clone(),
            interim: Interim::default(),
            exchange: exchange.clone(),
            peer: Peer(peer),
            reached: stream.reached().map(Reached),
            first: Mutex::new(Some((self.fresh.token(), slot.first_request()))),
        });
        let stream = ClientIo::new(stream, exchange, self.handler.clone(), self.limits);
        let stream = match self.callers {
            Callers::Clients | Callers::Plain => Either::Left(stream),
            Callers::Swifts => {
                Either::Right(MetadataNames::server(stream, self.limits.head_bytes_max))
            }
        };
        let io = TokioIo::new(InterimIo::new(stream, connection.interim.clone()));
        let service = service_fn(move |request: Request<Incoming>| {
            let connection = connection.clone();
            drop(connection.first.lock().unwrap_or_else(PoisonError::into_inner).take());
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let connection = self.graceful.watch(self.http.serve_connection(io, service));
        spawn(TaskKind::Request, async move {
            tokio::select! {
                // Clients often disconnect during a request.
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "A connection broke");
                },
                () = slot.evicted() => tracing::debug!(%peer, "Closed a connection without a request to make room"),
            }
            drop(slot);
        });
    }

    /// Responds with 503 and closes. Only some clients get time to read it.
    fn refuse(&self, mut stream: ServerStream, peer: SocketAddr) {
        tracing::debug!(%peer, "Refused a connection: too many are open");
        let Ok(permit) = self.refused.clone().try_acquire_owned() else {
            let _ = stream.try_write(NO_PLACE);
            return;
        };
        spawn(TaskKind::Request, async move {
            let end = async {
                stream.write_all(NO_PLACE).await?;
                stream.shutdown().await?;
                let mut space = [0; 4096];
                while stream.read(&mut space).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            let _ = tokio::time::timeout(REFUSED_TIME, end).await;
            drop(permit);
        });
    }
}

/// Serves until a stop is requested, then lets open requests finish.
pub async fn serve(
    listener: impl Into<ServerSocket>,
    handler: SharedHandler,
    callers: Callers,
    drain: Drain,
    limits: Limits,
) {
    let listener = listener.into();
    let listening = drain.listening();
    let shared = Listener::new(handler, callers, limits);
    let slots = shared.slots();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => break,
        };
        match accepted {
            Ok((stream, peer)) => match slots.take(peer.ip(), Instant::now()) {
                Some(slot) => shared.begin(stream, peer, slot),
                None => shared.refuse(stream, peer),
            },
            Err(error) => {
                // Most likely there are no free file descriptors: wait for some.
                tracing::warn!(%error, "Failed to accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    let Listener { graceful, fresh, .. } = shared;
    drop(listener);
    drop(listening);
    fresh.close();
    tokio::select! {
        () = fresh.wait() => {}
        () = tokio::time::sleep(FIRST_REQUEST) => {}
        () = drain.hurried() => {}
    }
    let late = async {
        drain.hurried().await;
        tokio::time::sleep(limits.drain_timeout).await;
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = late => {
            tracing::warn!("Cut requests that were open after the drain timeout");
        }
    }
}

#[cfg(test)]
mod tests;
