//! The socket of a client, with timeouts and an orderly end.
//!
//! All limits of a connection's reads and writes are here and in [`Limits`]; servers limit the time
//! between the pieces of a body.
//!
//! **Disconnected clients.** A client that closes its socket and one that only has no more data both
//! send FIN. So a request continues for [`Limits::hang_up_grace`] after that, and as long as bytes
//! are transferred: a client that has closed its socket responds to the first of them with a reset.
//! Then the connection fails, and the request is dropped with it. This applies to reads (`GET`,
//! `HEAD`, `OPTIONS`) only: a write with a complete body runs to its end, since half of a write (an
//! object without its row in the listing) costs more than it saves.
//!
//! **Slow readers.** While bytes wait to be sent, some must be sent in each
//! [`Limits::write_timeout`]. A handler without data to send has no limit here.
//!
//! **The last response.** The kernel resets a connection that is closed with unread bytes, and the
//! client may lose a response in transit. So after the last response only the sending side is closed,
//! and what still arrives is discarded, with limits in time and bytes.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::clock::{Clock as _, SystemClock};
use crate::framing::Head;
use crate::http::SharedHandler;
use crate::serve::Limits;
use crate::socket::ServerStream;

/// Time between two checks of a busy connection.
const LOOK: Duration = Duration::from_secs(1);
/// Limits of discarding after the last response: bytes, time, and time without a byte.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(10);
const LINGER_QUIET: Duration = Duration::from_secs(2);
/// Bytes discarded at once, and how often before other tasks run.
const LINGER_PIECE: usize = 16 * 1024;
const LINGER_TURNS: usize = 32;
/// A recorded head above this size releases its memory.
const HEAD_KEPT: usize = 16 * 1024;
/// Responses made by hyper are shorter than this.
const OWN_ANSWER_MAX: usize = 256;

/// Why a request is refused before any handler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The request line or a header is not HTTP.
    NotHttp,
    /// The request line is too long.
    TargetTooLong,
    /// The head is too long.
    HeadTooLong,
    /// Both `Content-Length` and `Transfer-Encoding`: another reader may see another body.
    TwoLengths,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
}

impl Malformed {
    /// The status of the refusal.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotHttp | Self::TwoLengths => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The text for the client.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotHttp => {
                "The request is not valid HTTP: a character in the request line or a header must be \
                 percent-encoded or is not allowed."
            }
            Self::TargetTooLong => "The request line is too long.",
            Self::HeadTooLong => "The request has too many headers, or they are too long.",
            Self::TwoLengths => "Content-Length and Transfer-Encoding cannot be used together.",
            Self::UnknownCoding => "Transfer-Encoding: only chunked is supported.",
        }
    }

    fn of(status: &[u8]) -> Option<Self> {
        match status {
            b"400" => Some(Self::NotHttp),
            b"414" => Some(Self::TargetTooLong),
            b"431" => Some(Self::HeadTooLong),
            _ => None,
        }
    }
}

/// The shared state of a connection's socket and its requests.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The current request is a write.
    writes: AtomicBool,
    /// The client may have sent bytes that were not read.
    unread: AtomicBool,
    /// The next bytes are the head of a request.
    records: AtomicBool,
    /// A part of a head was recorded.
    recorded: AtomicBool,
    head: Mutex<Vec<u8>>,
    head_bytes_max: usize,
}

impl Exchange {
    pub(crate) fn new(head_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            writes: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            records: AtomicBool::new(true),
            recorded: AtomicBool::new(false),
            head: Mutex::default(),
            head_bytes_max,
        })
    }

    fn head(&self) -> MutexGuard<'_, Vec<u8>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, bytes: &[u8]) {
        self.unread.store(true, Ordering::Release);
        if self.records.load(Ordering::Acquire) {
            let mut head = self.head();
            let room = self.head_bytes_max.saturating_sub(head.len());
            head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            self.recorded.store(true, Ordering::Release);
        }
    }

    /// Starts a request; returns why it must be refused. Its bytes are parsed only when it has a
    /// transfer coding: hyper omits a `Content-Length` in addition to one.
    pub(crate) fn request(
        &self,
        method: &Method,
        headers: &HeaderMap,
        has_body: bool,
    ) -> Option<Malformed> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        self.writes.store(!reads, Ordering::Release);
        self.unread.store(has_body, Ordering::Release);
        self.records.store(!has_body, Ordering::Release);
        let mut head = self.head();
        let coded = headers.contains_key(header::TRANSFER_ENCODING);
        let refusal = if coded { ambiguous(method, headers, &head) } else { None };
        head.clear();
        head.shrink_to(HEAD_KEPT);
        self.recorded.store(false, Ordering::Release);
        refusal
    }

    /// Whether the current request is a write.
    pub(crate) fn is_writing(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// The body of the request was read to its end: the next bytes are a head.
    pub(crate) fn body_ended(&self) {
        self.unread.store(false, Ordering::Release);
        self.records.store(true, Ordering::Release);
    }
}

/// Why the length of a request with a transfer coding is ambiguous, if it is.
fn ambiguous(method: &Method, headers: &HeaderMap, head: &[u8]) -> Option<Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_some_and(|coding| {
        coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none()
    });
    if !chunked {
        return Some(Malformed::UnknownCoding);
    }
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = Head::parse(head.get(..end + 4)?)?;
    let is_its = head.first.starts_with(method.as_str().as_bytes());
    (is_its && head.values("content-length").next().is_some()).then_some(Malformed::TwoLengths)
}

/// The state of discarding after the last response.
struct Linger {
    left: usize,
    until: Instant,
    alarm: Pin<Box<Sleep>>,
}

/// A client's socket.
pub(crate) struct ClientIo {
    stream: ServerStream,
    exchange: Arc<Exchange>,
    handler: SharedHandler,
    limits: Limits,
    look: Option<Pin<Box<Sleep>>>,
    /// hyper waits for bytes, and so notices the end.
    read_waits: bool,
    read_ended: bool,
    /// Bytes wait to be sent, and since when.
    write_waits: bool,
    write_waits_since: Option<Instant>,
    /// Bytes were transferred since the last check.
    moved: bool,
    moved_at: Option<Instant>,
    gone_since: Option<Instant>,
    /// The replacement of a response made by hyper.
    due: BytesMut,
    linger: Option<Linger>,
}

impl ClientIo {
    pub(crate) fn new(
        stream: ServerStream,
        exchange: Arc<Exchange>,
        handler: SharedHandler,
        limits: Limits,
    ) -> Self {
        Self {
            stream,
            exchange,
            handler,
            limits,
            look: None,
            read_waits: false,
            read_ended: false,
            write_waits: false,
            write_waits_since: None,
            moved: false,
            moved_at: None,
            gone_since: None,
            due: BytesMut::new(),
            linger: None,
        }
    }

    /// Checks the connection from time to time while it is busy.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.read_waits && !self.write_waits {
            return Ok(());
        }
        let shortest = self.limits.write_timeout.min(self.limits.hang_up_grace);
        let pause = (shortest / 4).clamp(Duration::from_millis(1), LOOK);
        loop {
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(pause)));
            if look.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            look.as_mut().reset(now + pause);
            self.judge(cx, now)?;
        }
    }

    fn judge(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        if std::mem::take(&mut self.moved) {
            self.moved_at = Some(now);
        }
        if self.write_waits {
            let since = *self.write_waits_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.limits.write_timeout {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read"));
            }
        }
        // There is no priority data: this shows whether the other side has ended, without a system
        // call and independent of unread bytes.
        let ended = pin!(self.stream.ready(Interest::PRIORITY)).poll(cx).is_ready();
        if !ended || self.exchange.is_writing() {
            return Ok(());
        }
        let since = *self.gone_since.get_or_insert(now);
        let since = self.moved_at.map_or(since, |moved| moved.max(since));
        if now.saturating_duration_since(since) >= self.limits.hang_up_grace {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client is gone"));
        }
        Ok(())
    }

    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        self.write_waits = result.is_pending();
        if !self.write_waits {
            self.write_waits_since = None;
            self.moved = true;
        }
    }

    /// Writes the pending bytes.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.due.is_empty() {
            let result = Pin::new(&mut self.stream).poll_write(cx, &self.due);
            self.wrote(&result);
            if result.is_pending() {
                self.watch(cx)?;
            }
            match ready!(result)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.due.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether these bytes are hyper's response, without a text, to a malformed request; one with a
    /// text is then pending.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if !self.exchange.recorded.load(Ordering::Acquire) || bytes.len() > OWN_ANSWER_MAX {
            return false;
        }
        let Some(status) = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) else {
            return false;
        };
        let is_whole = bytes.ends_with(b"\r\n\r\n")
            && bytes.windows(19).any(|part| part.eq_ignore_ascii_case(b"content-length: 0\r\n"));
        let Some(malformed) = Malformed::of(status).filter(|_| is_whole) else { return false };
        let (content_type, body) = {
            let head = self.exchange.head();
            self.handler.malformed(malformed, &String::from_utf8_lossy(&head))
        };
        let status = malformed.status();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\nDate: {}\r\n\r\n",
            body.len(),
            crate::http::format_date(SystemClock.now().as_secs()),
        );
        self.due.extend_from_slice(head.as_bytes());
        self.due.extend_from_slice(body.as_bytes());
        true
    }

    /// Discards what still arrives, for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let linger = self.linger.get_or_insert_with(|| Linger {
            left: LINGER_BYTES,
            until: now + LINGER_TIME,
            alarm: Box::pin(sleep_until(now + LINGER_QUIET)),
        });
        for _ in 0..LINGER_TURNS {
            let mut space = [0; LINGER_PIECE];
            let mut arrived = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut arrived) {
                Poll::Pending => return linger.alarm.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let read = arrived.filled().len();
            linger.left = linger.left.saturating_sub(read);
            if read == 0 || linger.left == 0 || now >= linger.until {
                return Poll::Ready(());
            }
            linger.alarm.as_mut().reset(linger.until.min(now + LINGER_QUIET));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.read_waits = result.is_pending();
        if let Poll::Ready(Ok(())) = &result {
            let arrived = buffer.filled().get(before..).unwrap_or(&[]);
            if arrived.is_empty() {
                this.read_ended = true;
            } else {
                this.moved = true;
                this.exchange.arrived(arrived);
            }
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        if this.replaces(bytes) {
            // The flush that follows writes the rest.
            if let Poll::Ready(Err(error)) = this.drain(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(&result);
        if result.is_pending() {
            this.watch(cx)?;
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = pieces {
            return self.poll_write(cx, one);
        }
        let this = &mut *self;
        ready!(this.drain(cx))?;
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.wrote(&result);
        if result.is_pending() {
            this.watch(cx)?;
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes each time it polls a connection, so the connection is checked here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        this.watch(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if !this.read_ended && this.exchange.unread.load(Ordering::Acquire) {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
