//! Bodies of requests and responses.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::sync::mpsc;

/// Why a body is incomplete.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of any request or response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An empty body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is complete in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body from a channel. It ends when the sender is dropped, and fails with an error that is sent.
pub fn stream(receiver: mpsc::Receiver<Result<Bytes, BodyError>>) -> Body {
    let frames = Receiver(receiver);
    StreamBody::new(frames).boxed_unsync()
}

struct Receiver(mpsc::Receiver<Result<Bytes, BodyError>>);

impl futures_core::Stream for Receiver {
    type Item = Result<Frame<Bytes>, BodyError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|item| item.map(|result| result.map(Frame::data)))
    }
}
