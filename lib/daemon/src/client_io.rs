//! The socket of a client: notices that the client is gone, gives up one that does not read, and ends
//! a connection so that its last answer arrives. All limits of a connection's reads and writes are
//! here and in [`Limits`]; those of a body's pieces are the servers'.
//!
//! **Gone.** A client that closes its socket and one that only has nothing more to send look the same:
//! both send FIN. So a request goes on for [`Limits::hang_up_grace`] after that, and as long as bytes
//! still move: a client that closed answers the first of them with a reset. Then the connection fails,
//! and the request is dropped with it. Only reads (`GET`, `HEAD`, `OPTIONS`) are: what writes runs to
//! its end once its body has arrived, since half of a write (an object without its row in the listing)
//! costs more than it saves.
//!
//! **Not reading.** While bytes wait to be written, some must go out in each
//! [`Limits::write_timeout`]. A handler that has nothing to write may take its time.
//!
//! **The last answer.** A socket that is closed with unread bytes is reset, and the client may lose an
//! answer that was on its way. So after the last answer only the sending side is ended, and what still
//! arrives is thrown away, for a while and up to a number of bytes.

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
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::clock::{Clock as _, SystemClock};
use crate::framing::Head;
use crate::http::SharedHandler;
use crate::serve::Limits;

/// Time between two looks at a connection that is busy.
const LOOK: Duration = Duration::from_secs(1);
/// What is thrown away after the last answer: in all, in time, and in time without a byte.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(10);
const LINGER_QUIET: Duration = Duration::from_secs(2);
/// Bytes thrown away at once, and how often before others have a turn.
const LINGER_PIECE: usize = 16 * 1024;
const LINGER_TURNS: usize = 32;
/// A recorded head that took more room than this gives it back.
const HEAD_KEPT: usize = 16 * 1024;
/// An answer of hyper's own is shorter.
const OWN_ANSWER_MAX: usize = 256;

/// Why a request is refused before any handler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is not HTTP: the request line or a header.
    NotHttp,
    /// The request line is too long.
    TargetTooLong,
    /// The head is too long.
    HeadTooLong,
    /// Both `Content-Length` and `Transfer-Encoding`: others may see another body than we.
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

    /// What the client reads.
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

/// What a connection's socket and its requests know of each other.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The request that is being served changes something.
    writes: AtomicBool,
    /// The client may have sent what was not read.
    unread: AtomicBool,
    /// What arrives is the head of a request.
    records: AtomicBool,
    /// Something was recorded.
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

    /// A request has come; tells why it must be refused. Its bytes are looked at only when it has a
    /// transfer coding: hyper leaves out a `Content-Length` that came with one.
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

    /// Whether the request that is being served changes something.
    pub(crate) fn is_writing(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// The body of the request was read to its end: what comes next is a head.
    pub(crate) fn body_ended(&self) {
        self.unread.store(false, Ordering::Release);
        self.records.store(true, Ordering::Release);
    }
}

/// Whether the length of a request with a transfer coding is plain.
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

/// Throws away what arrives.
struct Linger {
    left: usize,
    until: Instant,
    alarm: Pin<Box<Sleep>>,
}

/// A client's socket.
pub(crate) struct ClientIo {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    handler: SharedHandler,
    limits: Limits,
    look: Option<Pin<Box<Sleep>>>,
    /// hyper waits for bytes, and learns of the end by that.
    read_waits: bool,
    read_ended: bool,
    /// Bytes wait to be written, and since when that was seen.
    write_waits: bool,
    write_waits_since: Option<Instant>,
    /// Bytes went in or out since the last look.
    moved: bool,
    moved_at: Option<Instant>,
    gone_since: Option<Instant>,
    /// Written in place of hyper's own answer.
    due: BytesMut,
    linger: Option<Linger>,
}

impl ClientIo {
    pub(crate) fn new(
        stream: TcpStream,
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

    /// Looks at the connection from time to time while it is busy.
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
        // Nothing has priority here: this asks whether the other side has ended, without a system
        // call and whether or not bytes wait before that.
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

    /// Writes what is due.
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

    /// Whether this is hyper's answer, without a word, to bytes that are no request; one with words
    /// is then due.
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

    /// Throws away what still arrives, for a while.
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
            // What does not go out now does so with the flush that follows.
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

    /// hyper flushes whenever it looks at a connection, so here the connection is watched.
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
