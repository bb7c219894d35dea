//! Bodies that are HTML forms, in pieces for their parser.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::Bytes;
use futures_util::Stream;
use http_body::Body as _;

/// Longest piece that the parser of the form gets at a time, in bytes.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// The error for a form that is longer before a file than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the fields before the file are longer than they may be")]
pub(crate) struct FieldsTooLong;

/// The number of bytes that the parser may still get before a file. The file itself has no limit
/// here.
#[derive(Debug, Clone)]
pub(crate) struct FieldBudget(Arc<AtomicUsize>);

impl FieldBudget {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Ends the limit: a file has begun.
    pub(crate) fn lift(&self) {
        self.renew(usize::MAX);
    }

    /// Sets the limit again: the file has ended.
    pub(crate) fn renew(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) -> Result<(), FieldsTooLong> {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            self.0.store(left.checked_sub(bytes).ok_or(FieldsTooLong)?, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The bytes of a form for its parser, which reads until a stream is pending: this one is after each
/// piece, so that the parser never holds more than two pieces.
pub(crate) struct FormStream {
    body: Body,
    rest: Bytes,
    budget: FieldBudget,
    pauses: bool,
}

impl FormStream {
    /// The bytes of `body`, as many as the budget allows.
    pub(crate) fn new(body: Body, budget: FieldBudget) -> Self {
        Self { body, rest: Bytes::new(), budget, pauses: false }
    }
}

impl Stream for FormStream {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pauses) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest = data;
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        self.pauses = true;
        match self.budget.spend(length) {
            Ok(()) => Poll::Ready(Some(Ok(piece))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}
