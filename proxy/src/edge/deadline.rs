//! A deadline for each piece of a client's body: a client that stalls gets 408, not a slot for
//! ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use apus_store::{Error, Kind, Subject};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

struct PerPiece {
    body: Body,
    limit: Duration,
    sleep: Pin<Box<tokio::time::Sleep>>,
    waiting: bool,
}

/// Wraps a body.
pub(crate) fn per_piece(body: Body, limit: Duration) -> Body {
    let sleep = Box::pin(tokio::time::sleep(limit));
    PerPiece { body, limit, sleep, waiting: false }.boxed_unsync()
}

impl http_body::Body for PerPiece {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.waiting = false;
                Poll::Ready(frame)
            }
            Poll::Pending => {
                if !self.waiting {
                    let deadline = tokio::time::Instant::now() + self.limit;
                    self.sleep.as_mut().reset(deadline);
                    self.waiting = true;
                }
                match self.sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        let error = Error::new(Kind::ClientTimeout, Subject::Request);
                        Poll::Ready(Some(Err(error.into())))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
