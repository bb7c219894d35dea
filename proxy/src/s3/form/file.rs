//! The file of a form, as the body of an upload.

use std::pin::Pin;
use std::task::{Context, Poll};

use apus_daemon::http::BodyError;
use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use multer::Field;

use crate::s3::body_error::body_error;

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
