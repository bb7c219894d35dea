//! The rest of a request's body that the handler did not read.
//!
//! An early refusal must reach its client, and the connection must be used again or announced as
//! closed. A short rest is discarded while the response is sent, and the connection stays open. With
//! a longer rest, or one of unknown length, the response has `Connection: close`, and the socket
//! discards for a while what still arrives (`client_io`), so that a reset does not destroy the
//! response. A client that waits for `100 Continue` does not get one after the response.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::client_io::Exchange;
use crate::http::{Body, BodyError};
use crate::task::{TaskKind, spawn};

/// Longest rest of a body that is discarded to keep the connection, in bytes.
const REST_BYTES_MAX: u64 = 1024 * 1024;
/// Time limit of that; the client already has its response.
const REST_TIME: Duration = Duration::from_secs(10);
/// Time limit for the end of a body after a success: the handler has read all it needs.
const END_TIME: Duration = Duration::from_secs(1);

/// The state of a body that its handler has dropped.
#[derive(Debug, Default)]
enum Left {
    /// The handler has not dropped it.
    #[default]
    Nothing,
    /// It was read to its end.
    Read,
    /// The rest, and whether the handler has read from it.
    Rest(Incoming, bool),
}

/// Receives a body when its handler drops it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftover(Arc<Mutex<Left>>);

struct Watched {
    body: Option<Incoming>,
    asked: bool,
    ended: bool,
    leftover: Leftover,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx).map_err(BodyError::from);
        self.asked = true;
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.ended = true;
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let left = match self.body.take() {
            Some(body) if !self.ended && !body.is_end_stream() => Left::Rest(body, self.asked),
            _ => Left::Read,
        };
        *self.leftover.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

/// A body for a handler, and its rest after the handler.
pub(crate) fn watched(body: Incoming) -> (Body, Leftover) {
    let leftover = Leftover::default();
    let watched =
        Watched { body: Some(body), asked: false, ended: false, leftover: leftover.clone() };
    (watched.boxed_unsync(), leftover)
}

/// Reads up to `most` bytes; returns whether the body ended.
async fn discard(mut body: Incoming, mut most: u64) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match most.checked_sub(length) {
            Some(rest) => most = rest,
            None => return false,
        }
    }
    true
}

impl Leftover {
    /// Handles the rest before the response is written. `waits` is whether the client waits for
    /// `100 Continue`.
    pub(crate) async fn settle(
        self,
        answer: &mut http::Response<Body>,
        waits: bool,
        exchange: &Arc<Exchange>,
    ) {
        let left = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (body, asked) = match left {
            Left::Nothing => return,
            Left::Read => {
                exchange.body_ended();
                return;
            }
            Left::Rest(body, asked) => (body, asked),
        };
        let status = answer.status();
        let sends = asked || !waits;
        let is_short = body.size_hint().upper().is_some_and(|rest| rest <= REST_BYTES_MAX);
        // 499 is Swift's status for an incomplete body.
        let stalled = status == StatusCode::REQUEST_TIMEOUT || status.as_u16() == 499;
        if sends && is_short && !stalled {
            let exchange = exchange.clone();
            spawn(TaskKind::Request, async move {
                let rest = discard(body, REST_BYTES_MAX);
                if tokio::time::timeout(REST_TIME, rest).await == Ok(true) {
                    exchange.body_ended();
                }
            });
            return;
        }
        if sends && status.is_success() {
            let rest = discard(body, REST_BYTES_MAX);
            if tokio::time::timeout(END_TIME, rest).await == Ok(true) {
                exchange.body_ended();
                return;
            }
        }
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
}
