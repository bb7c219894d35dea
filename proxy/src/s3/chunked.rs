//! `aws-chunked` bodies: strips the framing, checks the signature of every chunk and of the
//! trailers, and the length that was promised.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::checksum::body_error;
use super::sign::Seed;

/// Longest line of framing: a chunk's head, or one trailer.
const LINE_BYTES_MAX: usize = 4096;
/// Most trailers.
const TRAILERS_MAX: usize = 8;

/// Trailers, known when the body has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Trailers(Arc<Mutex<BTreeMap<String, String>>>);

impl Trailers {
    /// A trailer by its lower-case name.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn insert(&self, name: &str, value: &str) {
        let mut trailers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trailers.insert(name.to_owned(), value.to_owned());
    }
}

enum State {
    /// At the head of a chunk.
    Head,
    /// In a chunk: bytes left, its signature.
    Data {
        left: u64,
        signature: String,
    },
    /// At the line end after a chunk.
    DataEnd {
        signature: String,
    },
    /// After the last chunk.
    Trailers,
    Done,
}

struct Decoder {
    body: Body,
    buffer: BytesMut,
    state: State,
    seed: Option<Seed>,
    has_trailer: bool,
    hash: Sha256,
    trailer_text: String,
    trailers: Trailers,
    /// Bytes of the object still to come.
    remaining: u64,
    source_ended: bool,
}

/// Decodes a body of `length` bytes (`x-amz-decoded-content-length`).
pub(super) fn decode(
    body: Body,
    seed: Option<Seed>,
    has_trailer: bool,
    length: u64,
) -> (Body, Trailers) {
    let trailers = Trailers::default();
    let decoder = Decoder {
        body,
        buffer: BytesMut::new(),
        state: State::Head,
        seed,
        has_trailer,
        hash: Sha256::new(),
        trailer_text: String::new(),
        trailers: trailers.clone(),
        remaining: length,
        source_ended: false,
    };
    (decoder.boxed_unsync(), trailers)
}

type Step<T> = Result<T, BodyError>;

fn incomplete() -> BodyError {
    body_error("IncompleteBody")
}

fn bad_signature() -> BodyError {
    body_error("SignatureDoesNotMatch")
}

impl Decoder {
    /// A line of framing, if it is all there.
    fn line(&mut self) -> Step<Option<String>> {
        match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) if at <= LINE_BYTES_MAX => {
                let line = self.buffer.split_to(at);
                self.buffer.advance(2);
                String::from_utf8(line.to_vec()).map(Some).map_err(|_| incomplete())
            }
            None if self.buffer.len() <= LINE_BYTES_MAX => Ok(None),
            _ => Err(incomplete()),
        }
    }

    fn head(&mut self, line: &str) -> Step<()> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let size = u64::from_str_radix(size.trim(), 16).map_err(|_| incomplete())?;
        let signature = extension.trim().strip_prefix("chunk-signature=").unwrap_or_default();
        if self.seed.is_some() && signature.is_empty() {
            return Err(bad_signature());
        }
        if size > self.remaining {
            return Err(incomplete());
        }
        self.hash = Sha256::new();
        if size > 0 {
            self.state = State::Data { left: size, signature: signature.to_owned() };
            return Ok(());
        }
        self.check_chunk(signature)?;
        if self.remaining > 0 {
            return Err(incomplete());
        }
        self.state = State::Trailers;
        Ok(())
    }

    fn check_chunk(&mut self, signature: &str) -> Step<()> {
        let hash = hex::encode(std::mem::take(&mut self.hash).finalize());
        let good = self.seed.as_mut().is_none_or(|seed| seed.check_chunk(&hash, signature));
        if good { Ok(()) } else { Err(bad_signature()) }
    }

    fn trailer(&mut self, line: &str) -> Step<()> {
        if line.is_empty() {
            if self.has_trailer && self.seed.is_some() {
                // The signature of the trailers must have come.
                return Err(bad_signature());
            }
            self.state = State::Done;
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or_else(incomplete)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            let text = std::mem::take(&mut self.trailer_text);
            let good = match &mut self.seed {
                Some(seed) => seed.check_trailers(text.as_bytes(), value),
                None => false,
            };
            if !good {
                return Err(bad_signature());
            }
            self.state = State::Done;
            return Ok(());
        }
        if !self.has_trailer || self.trailer_text.lines().count() >= TRAILERS_MAX {
            return Err(incomplete());
        }
        self.trailer_text.push_str(&format!("{name}:{value}\n"));
        self.trailers.insert(&name, value);
        Ok(())
    }

    /// Does what the buffer allows; gives data as soon as there is some.
    fn step(&mut self) -> Step<Option<Bytes>> {
        loop {
            match &mut self.state {
                State::Head => match self.line()? {
                    Some(line) => self.head(&line)?,
                    None => return Ok(None),
                },
                State::Data { left, signature } => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                    let data = self.buffer.split_to(take).freeze();
                    *left -= take as u64;
                    self.remaining -= take as u64;
                    if self.seed.is_some() {
                        self.hash.update(&data);
                    }
                    if *left == 0 {
                        self.state = State::DataEnd { signature: std::mem::take(signature) };
                    }
                    return Ok(Some(data));
                }
                State::DataEnd { signature } => {
                    if self.buffer.len() < 2 {
                        return Ok(None);
                    }
                    if !self.buffer.starts_with(b"\r\n") {
                        return Err(incomplete());
                    }
                    self.buffer.advance(2);
                    let signature = std::mem::take(signature);
                    self.check_chunk(&signature)?;
                    self.state = State::Head;
                }
                State::Trailers => match self.line()? {
                    Some(line) => self.trailer(&line)?,
                    None if self.source_ended && self.buffer.is_empty() && !self.has_trailer => {
                        self.state = State::Done;
                    }
                    None => return Ok(None),
                },
                State::Done => return Ok(None),
            }
        }
    }
}

impl http_body::Body for Decoder {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.step() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if self.source_ended {
                let done = matches!(self.state, State::Done);
                return Poll::Ready((!done).then(|| Err(incomplete())));
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.source_ended = true,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        if self.buffer.is_empty() {
                            self.buffer = data
                                .try_into_mut()
                                .unwrap_or_else(|data| BytesMut::from(&data[..]));
                        } else {
                            self.buffer.extend_from_slice(&data);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::stream;

    use super::*;

    async fn run(
        text: &[u8],
        cut: usize,
        length: u64,
        trailer: bool,
    ) -> Result<(Vec<u8>, Trailers), BodyError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        sender.send(Ok(Bytes::copy_from_slice(&text[..cut]))).await.unwrap();
        sender.send(Ok(Bytes::copy_from_slice(&text[cut..]))).await.unwrap();
        drop(sender);
        let (body, trailers) = decode(stream(receiver), None, trailer, length);
        Ok((body.collect().await?.to_bytes().to_vec(), trailers))
    }

    const UNSIGNED: &[u8] =
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";

    #[tokio::test]
    async fn any_cut_of_an_unsigned_body_decodes_to_the_same() {
        for cut in 0..=UNSIGNED.len() {
            let (data, trailers) = run(UNSIGNED, cut, 11, true).await.unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers.get("x-amz-checksum-crc32").as_deref(), Some("DUoRhQ=="));
        }
    }

    #[tokio::test]
    async fn truncated_or_lying_bodies_fail() {
        for end in 0..UNSIGNED.len() - 1 {
            assert!(run(&UNSIGNED[..end], 0, 11, true).await.is_err(), "cut at {end}");
        }
        assert!(run(UNSIGNED, 0, 10, true).await.is_err());
        assert!(run(UNSIGNED, 0, 12, true).await.is_err());
        assert!(run(UNSIGNED, 0, 11, false).await.is_err());
        assert!(run(b"ffffffffffffffffff\r\n", 0, 11, true).await.is_err());
    }
}
