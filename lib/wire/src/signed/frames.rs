//! Bodies in frames, each with its MAC: the sender's side and the receiver's.
//!
//! ```text
//! length (4 bytes, big endian; the highest bit marks the last frame)  MAC (32 bytes)  payload
//! ```
//!
//! The MAC goes over the frame's number (8 bytes, big endian), the four bytes of length, and the
//! payload. Payloads are passed on as the slices they came in; a receiver holds one frame until it
//! is verified, and a sender never waits to fill one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Bytes, BytesMut};
use hmac::Mac;
use http_body::Frame;

use super::key::{HmacSha256, MAC_BYTES};

/// Longest payload.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Marks the last frame, in its length.
const LAST: u32 = 1 << 31;
/// Bytes before a payload.
const HEAD_BYTES: usize = 4 + MAC_BYTES;

fn begun(key: &HmacSha256, number: u64, length: u32) -> HmacSha256 {
    let mut mac = key.clone();
    mac.update(&number.to_be_bytes());
    mac.update(&length.to_be_bytes());
    mac
}

/// Puts a body into frames.
pub(super) struct Framed {
    inner: Body,
    key: HmacSha256,
    number: u64,
    /// Not yet in a frame.
    waiting: Bytes,
    /// The payload whose head has just gone out.
    payload: Option<Bytes>,
    ended: bool,
}

impl Framed {
    pub(super) fn new(inner: Body, key: HmacSha256) -> Self {
        Self { inner, key, number: 0, waiting: Bytes::new(), payload: None, ended: false }
    }

    /// The head of the next frame; its payload follows.
    fn head(&mut self, payload: Bytes, last: bool) -> Bytes {
        let mark = if last { LAST } else { 0 };
        // A payload is never longer than its maximum.
        let length = u32::try_from(payload.len()).unwrap_or_default() | mark;
        let mut mac = begun(&self.key, self.number, length);
        mac.update(&payload);
        self.number += 1;
        self.ended = last;
        let mut head = BytesMut::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&mac.finalize().into_bytes());
        self.payload = (!payload.is_empty()).then_some(payload);
        head.freeze()
    }
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(payload) = self.payload.take() {
            return Poll::Ready(Some(Ok(Frame::data(payload))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        while self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => self.waiting = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let head = self.head(Bytes::new(), true);
                    return Poll::Ready(Some(Ok(Frame::data(head))));
                }
            }
        }
        let length = self.waiting.len().min(PAYLOAD_MAX);
        let payload = self.waiting.split_to(length);
        let last = self.waiting.is_empty() && self.inner.is_end_stream();
        let head = self.head(payload, last);
        Poll::Ready(Some(Ok(Frame::data(head))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.payload.is_none()
    }
}

/// Set when a body was found to be another than its sender's.
#[derive(Debug, Clone, Default)]
pub(super) struct Altered(Arc<AtomicBool>);

impl Altered {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The frame that is being read.
struct Open {
    mac: HmacSha256,
    expected: [u8; MAC_BYTES],
    missing: usize,
    last: bool,
}

/// Takes a body out of its frames. What it gives was verified; after an error it gives nothing
/// but errors.
pub(super) struct Unframed {
    inner: Body,
    key: HmacSha256,
    number: u64,
    head: BytesMut,
    open: Option<Open>,
    /// Payload of the open frame.
    held: VecDeque<Bytes>,
    /// Verified.
    good: VecDeque<Bytes>,
    /// Arrived, and not looked at.
    arrived: Bytes,
    ended: bool,
    altered: Altered,
}

impl Unframed {
    pub(super) fn new(inner: Body, key: HmacSha256, altered: Altered) -> Self {
        Self {
            inner,
            key,
            number: 0,
            head: BytesMut::with_capacity(HEAD_BYTES),
            open: None,
            held: VecDeque::new(),
            good: VecDeque::new(),
            arrived: Bytes::new(),
            ended: false,
            altered,
        }
    }

    fn refuse(&self) -> BodyError {
        self.altered.0.store(true, Ordering::Release);
        "the body is not as its sender signed it".into()
    }

    /// Takes what arrived up to the end of one head or payload.
    fn step(&mut self) -> Result<(), BodyError> {
        if self.ended {
            // Something follows the last frame.
            return Err(self.refuse());
        }
        let Some(open) = &mut self.open else {
            let missing = HEAD_BYTES - self.head.len();
            let part = self.arrived.split_to(missing.min(self.arrived.len()));
            self.head.extend_from_slice(&part);
            if self.head.len() == HEAD_BYTES {
                self.open_frame()?;
            }
            return Ok(());
        };
        let part = self.arrived.split_to(open.missing.min(self.arrived.len()));
        open.mac.update(&part);
        open.missing -= part.len();
        self.held.push_back(part);
        self.close_frame()
    }

    fn open_frame(&mut self) -> Result<(), BodyError> {
        let head = self.head.split();
        let parts = head.split_first_chunk::<4>();
        let Some((length, Ok(expected))) = parts.map(|(length, mac)| (length, mac.try_into()))
        else {
            return Err(self.refuse());
        };
        let length = u32::from_be_bytes(*length);
        let missing = usize::try_from(length & !LAST).unwrap_or(usize::MAX);
        let last = length & LAST != 0;
        // Only the last frame may be empty: others would keep a reader busy with nothing.
        if missing > PAYLOAD_MAX || (missing == 0 && !last) {
            return Err(self.refuse());
        }
        let mac = begun(&self.key, self.number, length);
        self.open = Some(Open { mac, expected, missing, last });
        self.close_frame()
    }

    /// Verifies the open frame when all of it is here.
    fn close_frame(&mut self) -> Result<(), BodyError> {
        let Some(open) = self.open.take_if(|open| open.missing == 0) else { return Ok(()) };
        // Compares in constant time.
        if open.mac.verify_slice(&open.expected).is_err() {
            return Err(self.refuse());
        }
        self.number += 1;
        self.ended = open.last;
        self.good.append(&mut self.held);
        Ok(())
    }
}

impl http_body::Body for Unframed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.altered.is_set() {
                return Poll::Ready(Some(Err(self.refuse())));
            }
            if let Some(good) = self.good.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(good))));
            }
            if !self.arrived.is_empty() {
                if let Err(error) = self.step() {
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => self.arrived = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.ended => return Poll::Ready(None),
                // Cut off between two chunks.
                None => return Poll::Ready(Some(Err(self.refuse()))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
