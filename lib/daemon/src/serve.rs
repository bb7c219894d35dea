//! The accept loop: hyper over each connection, limits on heads, drain on stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;

use crate::drain::Drain;
use crate::http::SharedHandler;
use crate::interim::{Interim, InterimIo};
use crate::metadata_names::MetadataNames;
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

/// Who connects to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Clients, or servers of ours.
    Plain,
    /// Swift's proxies and servers, too: names of metadata are as they have them.
    Swifts,
}

/// The address of the peer, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The address of ours at which the connection arrived, in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct Reached(pub SocketAddr);

/// How long a connection that was just accepted may take for its first request after a patient
/// stop. Its client was not refused, so it may expect an answer.
const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// Serves until the drain begins, then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    handler: SharedHandler,
    callers: Callers,
    drain: Drain,
    limits: Limits,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max)
        .half_close(true);
    let listening = drain.listening();
    let graceful = GracefulShutdown::new();
    // Connections whose first request has not come yet.
    let fresh = TaskTracker::new();
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
        let first = Mutex::new(Some(fresh.token()));
        let stream = match callers {
            Callers::Plain => Either::Left(stream),
            Callers::Swifts => Either::Right(MetadataNames::server(stream, limits.head_bytes_max)),
        };
        let io = TokioIo::new(InterimIo::new(stream, interim.clone()));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (handler, interim) = (handler.clone(), interim.clone());
            drop(first.lock().unwrap_or_else(PoisonError::into_inner).take());
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
            tracing::warn!("requests still open after the drain timeout were cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Greeter;

    #[async_trait::async_trait]
    impl crate::Handler for Greeter {
        async fn call(&self, _: http::Request<crate::Body>) -> http::Response<crate::Body> {
            crate::http::status(http::StatusCode::NO_CONTENT)
        }
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_was_accepted_before_a_patient_stop_gets_its_first_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::default();
        let work =
            serve(listener, Arc::new(Greeter), Callers::Swifts, drain.clone(), Limits::default());
        let serving = spawn(TaskKind::Background, work);
        let mut silent = TcpStream::connect(address).await.unwrap();
        // Accepted after the silent one.
        let mut other = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut other).await, "HTTP/1.1 204");
        drain.begin_patiently();
        drain.deaf().await;
        assert!(TcpStream::connect(address).await.is_err(), "it still listens");
        assert_eq!(ask(&mut silent).await, "HTTP/1.1 204");
        serving.await.unwrap();
    }
}
