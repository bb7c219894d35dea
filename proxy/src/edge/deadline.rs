//! A deadline for each piece of a client's body, after which the client gets 408.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use apus_store::{Error, Kind, Subject};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// A body whose pieces have a deadline.
struct PieceDeadline {
    body: Body,
    limit: Duration,
    /// Created at the first wait.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    waiting: bool,
}

/// Limits the wait for each piece of a body.
pub(crate) fn per_piece(body: Body, limit: Duration) -> Body {
    PieceDeadline { body, limit, sleep: None, waiting: false }.boxed_unsync()
}

impl http_body::Body for PieceDeadline {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = false;
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let deadline = tokio::time::Instant::now() + this.limit;
                let sleep =
                    this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if !this.waiting {
                    sleep.as_mut().reset(deadline);
                    this.waiting = true;
                }
                match sleep.as_mut().poll(cx) {
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

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_stalls_fails_with_a_timeout_after_the_received_pieces() {
        let (sender, receiver) = tokio::sync::mpsc::channel(3);
        let mut body = per_piece(stream(receiver), Duration::from_millis(20));
        for _ in 0..3 {
            sender.try_send(Ok(Bytes::from_static(b"x"))).unwrap();
        }
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.downcast::<Error>().unwrap().kind, Kind::ClientTimeout);
    }
}
