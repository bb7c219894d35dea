//! Decryption of a body while it streams.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use apus_cluster::byte_range::Resolved;
use apus_crypto::Keystream;
use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::head::BodySecret;
use crate::operation::Served;

/// Bytes that can be changed; they are copied only if they are shared.
pub(super) fn writable(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
}

/// A body of one or several ranges, one after another, that is decrypted as it passes.
pub(super) struct DecryptingBody {
    body: Body,
    secret: BodySecret,
    ranges: VecDeque<Resolved>,
    stream: Keystream,
    /// Bytes that are left of the current range.
    left: u64,
}

impl DecryptingBody {
    /// Wraps the body of an object of this length.
    pub(super) fn wrap(body: Body, secret: BodySecret, served: &Served, length: u64) -> Body {
        let mut ranges: VecDeque<Resolved> = match served {
            Served::Whole => [Resolved { start: 0, length }].into(),
            Served::Ranges(ranges) => ranges.iter().copied().collect(),
        };
        let first = ranges.pop_front().unwrap_or(Resolved { start: 0, length });
        let stream = Keystream::new(&secret.key, &secret.iv, first.start);
        Self { body, secret, ranges, stream, left: first.length }.boxed_unsync()
    }

    fn decrypt(&mut self, bytes: Bytes) -> Bytes {
        let mut bytes = writable(bytes);
        let mut rest: &mut [u8] = &mut bytes;
        while !rest.is_empty() {
            if self.left == 0
                && let Some(range) = self.ranges.pop_front()
            {
                self.stream = Keystream::new(&self.secret.key, &self.secret.iv, range.start);
                self.left = range.length;
                continue;
            }
            let is_last = self.ranges.is_empty();
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let count = if is_last { rest.len() } else { left.min(rest.len()) };
            let (now, later) = rest.split_at_mut(count);
            self.stream.apply(now);
            self.left = self.left.saturating_sub(count as u64);
            rest = later;
        }
        bytes.freeze()
    }
}

impl http_body::Body for DecryptingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let decrypted = frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => Frame::data(self.decrypt(data)),
                Err(other) => other,
            })
        });
        Poll::Ready(decrypted)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
