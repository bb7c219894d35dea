//! Interim responses on a connection: `100 Continue` with headers, and further ones.
//!
//! Swift's two-phase PUT has headers on its 100 and sends a second one between footers and commit
//! (`swift/obj/server.py`); hyper sends only one 100 without headers. This stream is between hyper
//! and the socket: it replaces hyper's 100, and writes others while the body is read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes that hyper writes when the body of a request with `Expect: 100-continue` is first read.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Debug, Default)]
struct State {
    /// Replaces the next 100 of hyper.
    announced: Option<Vec<u8>>,
    /// To be written as soon as possible.
    out: BytesMut,
    /// Waits for the rest of a body.
    reader: Option<Waker>,
}

/// The interim responses of one connection, in the extensions of each of its requests. A request
/// within the process does not have them.
#[derive(Debug, Clone, Default)]
pub struct Interim(Arc<Mutex<State>>);

impl Interim {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears the headers that an earlier request set.
    pub(crate) fn reset(&self) {
        self.state().announced = None;
    }

    /// Sets headers for the 100 that the client waits for; to be called before the body is read.
    /// Without `Expect: 100-continue` nothing is sent.
    pub fn announce(&self, headers: &[(&str, &str)]) {
        let mut head = b"HTTP/1.1 100 Continue\r\n".to_vec();
        for (name, value) in headers {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        self.state().announced = Some(head);
    }

    /// Sends another 100 now; to be called while the body is read.
    pub fn go_on(&self) {
        let mut state = self.state();
        state.out.extend_from_slice(CONTINUE);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

/// The socket as hyper sees it.
#[derive(Debug)]
pub(crate) struct InterimIo<T> {
    inner: T,
    interim: Interim,
}

impl<T: AsyncRead + AsyncWrite + Unpin> InterimIo<T> {
    pub(crate) fn new(inner: T, interim: Interim) -> Self {
        Self { inner, interim }
    }

    /// Writes the pending bytes.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.interim.state();
        while !state.out.is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, &state.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => state.out.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether `bytes` is the bare 100 that something else was announced for; that is then due.
    fn replaces(&self, bytes: &[u8]) -> bool {
        if bytes != CONTINUE {
            return false;
        }
        let mut state = self.interim.state();
        match state.announced.take() {
            Some(head) => {
                state.out.extend_from_slice(&head);
                true
            }
            None => false,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for InterimIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.interim.state().reader = Some(cx.waker().clone());
        if let Poll::Ready(Err(error)) = self.drain(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for InterimIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.drain(cx))?;
        if self.replaces(bytes) {
            // The flush that follows writes the rest.
            if let Poll::Ready(Err(error)) = self.drain(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.drain(cx))?;
        if let [one] = pieces {
            return self.poll_write(cx, one);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
