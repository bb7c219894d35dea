//! Names of user metadata on connections with Swift's servers and proxies.
//!
//! S3 distinguishes `foo_bar` from `foo-bar`, WSGI does not; so Swift's s3api changes the former to
//! `X-Object-Meta-Foo=5Fbar` (`swift/common/middleware/s3api/s3request.py`), and its servers store
//! and show that. HTTP does not allow `=` in a name, so hyper refuses it. In memory the name has `_`;
//! this stream is between hyper and the socket and rewrites the names in the heads of messages.
//!
//! It must never change anything else: no value, no other name, no byte of a body, though a body may
//! contain whole heads (MIME documents of a two-phase PUT). Therefore it follows the rules of HTTP for
//! the ends of bodies (`framing.rs`). After an ambiguous message, or messages out of turn, it
//! changes nothing on the connection. A head that is longer than the limit is passed unchanged.
//!
//! It is used only where the peer may be a server of Swift.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::framing::{Head, Part};

/// Prefixes of the names to rewrite: metadata, and the data of Swift's encryption for each item.
const PREFIXES: [&[u8]; 2] = [b"x-object-meta-", b"x-object-transient-sysmeta-crypto-meta-"];
/// A header that only Apus sends, with a cluster key; such a peer needs no rewriting.
const SIGNATURE: &str = "x-apus-signature";
/// Bytes per read while a head is expected.
const READ_BYTES: usize = 4096;

/// One direction of a connection.
#[derive(Debug)]
struct Direction {
    part: Part,
    /// The beginning of a head.
    held: Vec<u8>,
    /// To be passed on first.
    due: BytesMut,
}

impl Direction {
    fn new() -> Self {
        Self { part: Part::Head, held: Vec::new(), due: BytesMut::new() }
    }

    /// Takes the bytes of a head; returns their number and whether the head is complete.
    fn hold(&mut self, bytes: &[u8], most: usize) -> (usize, bool) {
        for (number, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            let ends = self.held.ends_with(b"\n\r\n") || self.held.ends_with(b"\n\n");
            if ends || self.held.len() >= most {
                return (number + 1, true);
            }
        }
        (bytes.len(), false)
    }
}

/// A request without a final response yet.
#[derive(Debug, Clone, Copy)]
struct Asked {
    head: bool,
    signed: bool,
}

/// How a head is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    Encode,
    Decode,
    Nothing,
}

/// A connection as hyper sees it.
#[derive(Debug)]
pub struct MetadataNames<T> {
    inner: T,
    serves: bool,
    head_bytes_max: usize,
    peer_is_ours: Arc<AtomicBool>,
    read: Direction,
    write: Direction,
    asked: Option<Asked>,
    /// Whether messages can no longer be followed.
    lost: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> MetadataNames<T> {
    /// For a server. A peer that signs its requests gets names unchanged.
    pub fn server(inner: T, head_bytes_max: usize) -> Self {
        Self {
            inner,
            serves: true,
            head_bytes_max,
            peer_is_ours: Arc::default(),
            read: Direction::new(),
            write: Direction::new(),
            asked: None,
            lost: false,
        }
    }

    /// For a client, with a flag to set when the peer turns out to be Apus; names are then passed
    /// unchanged.
    pub fn client(inner: T, head_bytes_max: usize) -> (Self, Arc<AtomicBool>) {
        let names = Self { serves: false, ..Self::server(inner, head_bytes_max) };
        let peer_is_ours = names.peer_is_ours.clone();
        (names, peer_is_ours)
    }

    /// Passes on a complete head.
    fn complete(&mut self, reads: bool) {
        let is_request = reads == self.serves;
        let raw = std::mem::take(&mut if reads { &mut self.read } else { &mut self.write }.held);
        let parsed = Head::parse(&raw).filter(|_| !self.lost);
        let next = parsed
            .as_ref()
            .and_then(|head| if is_request { self.request(head) } else { self.answer(head) });
        let rewrite = match reads {
            true => Rewrite::Decode,
            false if self.serves && self.asked.is_some_and(|asked| asked.signed) => {
                Rewrite::Nothing
            }
            false => Rewrite::Encode,
        };
        self.lost |= next.is_none();
        // Only now, since the name in a response depends on the request.
        if !is_request && !next.is_some_and(|(_, interim)| interim) {
            self.asked = None;
        }
        let plain = next.is_none() || self.peer_is_ours.load(Ordering::Acquire);
        let direction = if reads { &mut self.read } else { &mut self.write };
        direction.part = next.map_or(Part::Rest, |(part, _)| part);
        match parsed {
            Some(head) if !plain && rewrite != Rewrite::Nothing => {
                rewritten(&head, rewrite, &mut direction.due);
            }
            _ => direction.due.extend_from_slice(&raw),
        }
    }

    /// The part after the head of a request; `None` when it is not understood.
    fn request(&mut self, head: &Head<'_>) -> Option<(Part, bool)> {
        let mut words = head.first.split(|byte| *byte == b' ');
        let (method, _, version) = (words.next()?, words.next()?, words.next()?);
        let odd = words.next().is_some()
            || method == b"CONNECT"
            || head.values("upgrade").next().is_some();
        // A request before the response to the last one: the next response could belong to either.
        if odd || version != b"HTTP/1.1" || self.asked.is_some() {
            return None;
        }
        let signed = head.values(SIGNATURE).next().is_some();
        self.asked = Some(Asked { head: method == b"HEAD", signed });
        Some((head.body(Part::Head), false))
    }

    /// The part after the head of a response, and whether it was an interim one.
    fn answer(&self, head: &Head<'_>) -> Option<(Part, bool)> {
        let asked = self.asked?;
        let status = head.first.strip_prefix(b"HTTP/1.1 ")?.split(|byte| *byte == b' ').next()?;
        match status {
            b"101" => None,
            [b'1', _, _] => Some((Part::Head, true)),
            b"204" | b"304" => Some((Part::Head, false)),
            [b'2'..=b'5', _, _] if asked.head => Some((Part::Head, false)),
            [b'2'..=b'5', _, _] => Some((head.body(Part::Rest), false)),
            _ => None,
        }
    }

    /// Processes bytes that were read together with a head.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.read.part.pass(bytes);
            let (body, rest) = bytes.split_at_checked(passed).unwrap_or((bytes, &[]));
            self.read.due.extend_from_slice(body);
            let (taken, complete) = self.read.hold(rest, self.head_bytes_max);
            if complete {
                self.complete(true);
            }
            bytes = rest.get(taken..).unwrap_or(&[]);
        }
    }

    /// Writes the pending bytes.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write.due.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.write.due))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.write.due.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Appends a head with rewritten names.
fn rewritten(head: &Head<'_>, rewrite: Rewrite, out: &mut BytesMut) {
    out.extend_from_slice(head.first);
    for (name, value) in &head.fields {
        out.extend_from_slice(b"\r\n");
        let is_prefix = |prefix: &&[u8]| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        let below = PREFIXES.into_iter().find(is_prefix).map_or(name.len(), <[u8]>::len);
        let (prefix, mut rest) = name.split_at_checked(below).unwrap_or((name, &[]));
        out.extend_from_slice(prefix);
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match (rewrite, first, after) {
                (Rewrite::Encode, b'_', _) => out.extend_from_slice(b"=5F"),
                (Rewrite::Decode, b'=', [b'5', b'F' | b'f', after @ ..]) => {
                    out.extend_from_slice(b"_");
                    rest = after;
                }
                _ => out.extend_from_slice(&[*first]),
            }
        }
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for MetadataNames<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // An interim response is not always flushed.
        if let Poll::Ready(Err(error)) = this.drain(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            if !this.read.due.is_empty() {
                let many = this.read.due.len().min(buffer.remaining());
                buffer.put_slice(&this.read.due.split_to(many));
                return Poll::Ready(Ok(()));
            }
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.read.part == Part::Head {
                let mut space = [0; READ_BYTES];
                let mut arrived = ReadBuf::new(&mut space);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut arrived))?;
                if arrived.filled().is_empty() {
                    // It ends within a head, if not between two.
                    let held = std::mem::take(&mut this.read.held);
                    this.read.due.extend_from_slice(&held);
                    this.read.part = Part::Rest;
                    if held.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                this.follow(arrived.filled());
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            let arrived = buffer.filled().get(before..).unwrap_or(&[]);
            let passed = this.read.part.pass(arrived);
            if passed < arrived.len() {
                let more = arrived.get(passed..).unwrap_or(&[]).to_vec();
                buffer.set_filled(before + passed);
                this.follow(&more);
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MetadataNames<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        if this.write.part == Part::Head {
            let (taken, complete) = this.write.hold(bytes, this.head_bytes_max);
            if complete {
                this.complete(false);
                // The flush that follows writes the rest.
                if let Poll::Ready(Err(error)) = this.drain(cx) {
                    return Poll::Ready(Err(error));
                }
            }
            return Poll::Ready(Ok(taken));
        }
        let passed = { this.write.part }.pass(bytes);
        let body = bytes.get(..passed).unwrap_or(bytes);
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, body))?;
        this.write.part.pass(body.get(..written).unwrap_or(body));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut part = self.write.part;
        if part == Part::Head || pieces.iter().any(|piece| part.pass(piece) < piece.len()) {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(cx, first.map_or(&[], |piece| piece));
        }
        ready!(self.drain(cx))?;
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces))?;
        let mut left = written;
        for piece in pieces {
            let many = piece.len().min(left);
            self.write.part.pass(piece.get(..many).unwrap_or(piece));
            left -= many;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let held = std::mem::take(&mut self.write.held);
        self.write.due.extend_from_slice(&held);
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
