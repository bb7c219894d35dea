//! Decoder of `aws-chunked` bodies.
//!
//! It removes the framing, and verifies the signatures of chunks and trailer and the declared length.
//! Nothing may follow the end of such a body.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::body_error::body_error;
use super::sign::Seed;

/// Longest line of framing in bytes: the head of a chunk, or a trailer.
const LINE_BYTES_MAX: usize = 4096;
/// Name of the trailer with the signature of the other one.
const SIGNATURE: &str = "x-amz-trailer-signature";

/// The trailer that `x-amz-trailer` announces for a body that may have one.
#[derive(Debug, Clone, Default)]
pub(super) struct AnnouncedTrailer {
    /// Name in lower case; `None` for a body without a trailer.
    pub(super) name: Option<String>,
}

/// The value of the announced trailer, known when the body has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct TrailerValue(Arc<OnceLock<String>>);

impl TrailerValue {
    /// The value, after the trailer was received.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// The position of the decoder in the body.
enum ChunkState {
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
    /// After the signature of the trailer: a last line end may come.
    Closing,
    Done,
}

/// An `aws-chunked` body that is decoded as it is read.
struct ChunkedDecoder {
    body: Body,
    buffer: BytesMut,
    state: ChunkState,
    seed: Option<Seed>,
    announced: Option<AnnouncedTrailer>,
    hash: Sha256,
    trailer: TrailerValue,
    /// Bytes of the object still to come.
    remaining: u64,
    source_ended: bool,
}

/// Decodes a body of `length` bytes (`x-amz-decoded-content-length`); `announced` is given for the
/// kinds of body that may have a trailer.
pub(super) fn decode(
    body: Body,
    seed: Option<Seed>,
    announced: Option<AnnouncedTrailer>,
    length: u64,
) -> (Body, TrailerValue) {
    let trailer = TrailerValue::default();
    let decoder = ChunkedDecoder {
        body,
        buffer: BytesMut::new(),
        state: ChunkState::Head,
        seed,
        announced,
        hash: Sha256::new(),
        trailer: trailer.clone(),
        remaining: length,
        source_ended: false,
    };
    (decoder.boxed_unsync(), trailer)
}

/// The result of a step of the decoder.
type Step<T> = Result<T, BodyError>;

fn incomplete(text: &str) -> BodyError {
    body_error("IncompleteBody", &format!("The aws-chunked body is not complete: {text}"))
}

fn cut_off() -> BodyError {
    body_error("IncompleteBody", "The request body terminated unexpectedly")
}

fn bad_signature() -> BodyError {
    body_error("SignatureDoesNotMatch", "")
}

fn bad_trailer(text: &str) -> BodyError {
    body_error(
        "MalformedTrailerError",
        &format!(
            "The request contained trailing data that was not well-formed or did not conform to our published schema: {text}"
        ),
    )
}

/// The size of a chunk: hexadecimal digits and nothing else.
fn chunk_size(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

impl ChunkedDecoder {
    /// A line of framing, if it is complete.
    fn line(&mut self) -> Step<Option<String>> {
        match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) if at <= LINE_BYTES_MAX => {
                let line = self.buffer.split_to(at);
                self.buffer.advance(2);
                String::from_utf8(line.to_vec())
                    .map(Some)
                    .map_err(|_| incomplete("a line of its framing is not UTF-8."))
            }
            None if self.buffer.len() <= LINE_BYTES_MAX => Ok(None),
            _ => Err(incomplete(&format!(
                "a line of its framing has more than {LINE_BYTES_MAX} bytes."
            ))),
        }
    }

    /// Reads a line end, which must be next.
    fn line_end(&mut self, otherwise: &str) -> Step<()> {
        if !self.buffer.starts_with(b"\r\n") {
            return Err(incomplete(otherwise));
        }
        self.buffer.advance(2);
        Ok(())
    }

    fn head(&mut self, line: &str) -> Step<()> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let size = chunk_size(size).ok_or_else(|| {
            incomplete(&format!(
                "{size:?} where a chunk's size in hexadecimal digits was expected."
            ))
        })?;
        let signature = extension.trim().strip_prefix("chunk-signature=").unwrap_or_default();
        if self.seed.is_some() && signature.is_empty() {
            return Err(bad_signature());
        }
        if size > self.remaining {
            return Err(incomplete("its chunks hold more than x-amz-decoded-content-length."));
        }
        self.hash = Sha256::new();
        if size > 0 {
            self.state = ChunkState::Data { left: size, signature: signature.to_owned() };
            return Ok(());
        }
        self.check_chunk(signature)?;
        if self.remaining > 0 {
            return Err(incomplete("its chunks hold less than x-amz-decoded-content-length."));
        }
        self.state = ChunkState::Trailers;
        Ok(())
    }

    fn check_chunk(&mut self, signature: &str) -> Step<()> {
        let hash = hex::encode(std::mem::take(&mut self.hash).finalize());
        let good = self.seed.as_mut().is_none_or(|seed| seed.check_chunk(&hash, signature));
        if good { Ok(()) } else { Err(bad_signature()) }
    }

    /// One line after the last chunk: the announced trailer, its signature, or the empty line that
    /// ends them.
    fn trailer(&mut self, line: &str) -> Step<()> {
        if line.is_empty() {
            if self.announced.is_some() && self.seed.is_some() {
                // The signature of the trailer is missing.
                return Err(bad_signature());
            }
            self.state = ChunkState::Done;
            return self.check_trailer_came();
        }
        let announced = self
            .announced
            .as_ref()
            .ok_or_else(|| bad_trailer("x-amz-content-sha256 names a body without trailers."))?;
        let (name, value) =
            line.split_once(':').ok_or_else(|| bad_trailer("a line of it has no colon."))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == SIGNATURE
            && let Some(seed) = &mut self.seed
        {
            let text = match (&announced.name, self.trailer.get()) {
                (Some(name), Some(value)) => format!("{name}:{value}\n"),
                _ => String::new(),
            };
            if !seed.check_trailers(text.as_bytes(), value) {
                return Err(bad_signature());
            }
            self.state = ChunkState::Closing;
            return self.check_trailer_came();
        }
        if announced.name.as_deref() != Some(&name) {
            return Err(bad_trailer(&format!("x-amz-trailer does not announce {name:?}.")));
        }
        self.trailer
            .0
            .set(value.to_owned())
            .map_err(|_| bad_trailer(&format!("{name} is given twice.")))
    }

    fn check_trailer_came(&self) -> Step<()> {
        let announced = self.announced.as_ref().and_then(|announced| announced.name.as_deref());
        match (announced, self.trailer.get()) {
            (Some(name), None) => Err(bad_trailer(&format!("{name} is announced and missing."))),
            _ => Ok(()),
        }
    }

    /// Decodes the buffer until there is data or it needs more bytes.
    fn step(&mut self) -> Step<Option<Bytes>> {
        loop {
            match &mut self.state {
                ChunkState::Head => match self.line()? {
                    Some(line) => self.head(&line)?,
                    None => return Ok(None),
                },
                ChunkState::Data { left, signature } => {
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
                        self.state = ChunkState::DataEnd { signature: std::mem::take(signature) };
                    }
                    return Ok(Some(data));
                }
                ChunkState::DataEnd { .. } => {
                    if self.buffer.len() < 2 {
                        return Ok(None);
                    }
                    self.line_end("a chunk is longer than its size, or its line end is missing.")?;
                    let ChunkState::DataEnd { signature } = &mut self.state else { continue };
                    let signature = std::mem::take(signature);
                    self.check_chunk(&signature)?;
                    self.state = ChunkState::Head;
                }
                ChunkState::Trailers => match self.line()? {
                    Some(line) => self.trailer(&line)?,
                    None if self.source_ended
                        && self.buffer.is_empty()
                        && self.announced.is_none() =>
                    {
                        self.state = ChunkState::Done;
                    }
                    None => return Ok(None),
                },
                ChunkState::Closing => match self.buffer.len() {
                    0 if self.source_ended => self.state = ChunkState::Done,
                    0 | 1 => return Ok(None),
                    _ => {
                        self.line_end("bytes follow its end.")?;
                        self.state = ChunkState::Done;
                    }
                },
                ChunkState::Done if self.buffer.is_empty() => return Ok(None),
                ChunkState::Done => return Err(incomplete("bytes follow its end.")),
            }
        }
    }
}

impl http_body::Body for ChunkedDecoder {
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
                let done = matches!(self.state, ChunkState::Done);
                return Poll::Ready((!done).then(|| Err(cut_off())));
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

    const CRC32: &str = "x-amz-checksum-crc32";

    /// Decodes `text` in pieces of `size` bytes.
    async fn run(
        text: &[u8],
        size: usize,
        length: u64,
        announced: Option<Option<&str>>,
    ) -> Result<(Vec<u8>, TrailerValue), BodyError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(text.len() + 1);
        for piece in text.chunks(size) {
            sender.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        drop(sender);
        let announced = announced.map(|name| AnnouncedTrailer { name: name.map(str::to_owned) });
        let (body, trailer) = decode(stream(receiver), None, announced, length);
        Ok((body.collect().await?.to_bytes().to_vec(), trailer))
    }

    async fn code(text: &str, announced: Option<Option<&str>>) -> Option<String> {
        let error = run(text.as_bytes(), 4096, 5, announced).await.err()?;
        let error = error.downcast::<apus_store::Error>().unwrap();
        Some(error.client_text.split(':').next().unwrap().to_owned())
    }

    const UNSIGNED: &[u8] =
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";

    #[tokio::test]
    async fn any_cut_of_an_unsigned_body_decodes_to_the_same() {
        for size in 1..=UNSIGNED.len() {
            let (data, trailer) = run(UNSIGNED, size, 11, Some(Some(CRC32))).await.unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailer.get(), Some("DUoRhQ=="));
        }
    }

    #[tokio::test]
    async fn bodies_that_are_truncated_or_have_another_length_fail() {
        let announced = Some(Some(CRC32));
        for end in 0..UNSIGNED.len() - 1 {
            assert!(run(&UNSIGNED[..end], 4096, 11, announced).await.is_err(), "cut at {end}");
        }
        assert!(run(UNSIGNED, 4096, 10, announced).await.is_err());
        assert!(run(UNSIGNED, 4096, 12, announced).await.is_err());
        assert!(run(UNSIGNED, 4096, 11, None).await.is_err());
    }

    #[tokio::test]
    async fn chunk_sizes_are_hexadecimal_digits() {
        for size in ["5", "05", "0000000000000000005", "5;x=y"] {
            assert_eq!(code(&format!("{size}\r\nhello\r\n0\r\n\r\n"), None).await, None, "{size}");
        }
        for size in ["+5", "-5", "0x5", " 5", "5 ", "", "5_", "ffffffffffffffffff", "\u{665}"] {
            let text = format!("{size}\r\nhello\r\n0\r\n\r\n");
            assert_eq!(code(&text, None).await.as_deref(), Some("IncompleteBody"), "{size}");
        }
    }

    #[tokio::test]
    async fn nothing_may_follow_the_end() {
        for (end, announced) in [
            ("0\r\n\r\n", None),
            ("0\r\n\r\n", Some(None)),
            ("0\r\nx-amz-checksum-crc32:a\r\n\r\n", Some(Some(CRC32))),
        ] {
            let whole = format!("5\r\nhello\r\n{end}");
            assert_eq!(code(&whole, announced).await, None, "{end:?}");
            for more in ["x", "\r\n", "\0", "0\r\n\r\n"] {
                let found = code(&format!("{whole}{more}"), announced).await;
                assert_eq!(found.as_deref(), Some("IncompleteBody"), "{end:?} {more:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_announced_trailer_is_required_once() {
        let crc = "x-amz-checksum-crc32:a\r\n";
        let sha = "x-amz-checksum-sha1:a\r\n";
        for (trailers, announced, good) in [
            (crc, Some(Some(CRC32)), true),
            ("X-Amz-Checksum-CRC32 : a \n\r\n", Some(Some(CRC32)), true),
            ("", Some(None), true),
            ("", None, true),
            ("", Some(Some(CRC32)), false),
            (sha, Some(Some(CRC32)), false),
            (&format!("{crc}{crc}"), Some(Some(CRC32)), false),
            (&format!("{crc}{sha}"), Some(Some(CRC32)), false),
            (crc, Some(None), false),
            (crc, None, false),
            ("no colon\r\n", Some(Some(CRC32)), false),
            ("x-amz-trailer-signature:a\r\n", Some(Some(CRC32)), false),
        ] {
            let found = code(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n"), announced).await;
            let expected = (!good).then_some("MalformedTrailerError");
            assert_eq!(found.as_deref(), expected, "{trailers:?} {announced:?}");
        }
    }

    #[tokio::test]
    async fn bytes_after_the_end_are_refused_without_reading_on() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let (body, _) = decode(stream(receiver), None, None, 5);
        let sending = async move {
            sender.send(Ok(Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n"))).await.unwrap();
            // The decoder drops the source instead of reading on.
            while sender.send(Ok(Bytes::from(vec![b'x'; 65_536]))).await.is_ok() {}
        };
        assert!(tokio::join!(body.collect(), sending).0.is_err());
    }
}
