//! The file of a form, as the body of an upload.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame, SizeHint};
use multer::Field;

use crate::s3::body_error::body_error;

/// Longest piece that the parser of the form gets at a time, in bytes.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// The error for a form that is longer before its file than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the fields before the file are longer than they may be")]
pub(super) struct FieldsTooLong;

/// The number of bytes that the parser may still get before the file. The file itself has no limit
/// here.
#[derive(Debug, Clone)]
pub(super) struct FieldBudget(Arc<AtomicUsize>);

impl FieldBudget {
    /// A budget of this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Ends the limit: the file has begun.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
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
pub(super) struct FormStream {
    body: Body,
    rest: Bytes,
    budget: FieldBudget,
    pauses: bool,
}

impl FormStream {
    pub(super) fn new(body: Body, budget: FieldBudget) -> Self {
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

/// The sizes that a file may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeRange {
    pub(super) min: u64,
    pub(super) max: u64,
}

/// The file of a form. Its end is that of the part: a form that ends within it is an error.
pub(super) struct FileBody {
    field: Field<'static>,
    sizes: SizeRange,
    /// Bytes of the file so far.
    size: u64,
    ended: bool,
}

impl FileBody {
    pub(super) fn new(field: Field<'static>, sizes: SizeRange) -> Self {
        Self { field, sizes, size: 0, ended: false }
    }

    fn check_end(&self) -> Result<(), BodyError> {
        if self.size >= self.sizes.min {
            return Ok(());
        }
        let text = "Your proposed upload is smaller than the minimum allowed size";
        Err(body_error("EntityTooSmall", text))
    }
}

/// The error of a form's parser: that of the body, or that the form is not valid.
pub(super) fn error(error: multer::Error) -> BodyError {
    match error {
        multer::Error::StreamReadFailed(error) => error,
        _ => body_error("MalformedPOSTRequest", ""),
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let polled = match Pin::new(&mut self.field).poll_next(cx) {
                Poll::Ready(polled) => polled,
                Poll::Pending => return Poll::Pending,
            };
            return Poll::Ready(match polled {
                Some(Ok(data)) if data.is_empty() => continue,
                Some(Ok(data)) => {
                    self.size = self.size.saturating_add(data.len() as u64);
                    if self.size > self.sizes.max {
                        let text = "Your proposed upload exceeds the maximum allowed size";
                        return Poll::Ready(Some(Err(body_error("EntityTooLarge", text))));
                    }
                    Some(Ok(Frame::data(data)))
                }
                Some(Err(failed)) => Some(Err(error(failed))),
                None if self.ended => None,
                None => {
                    self.ended = true;
                    self.check_end().err().map(Err)
                }
            });
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
