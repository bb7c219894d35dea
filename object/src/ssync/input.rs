//! Lines, and pieces of bodies, out of the body of a request or answer.

use std::time::Duration;

use apus_daemon::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Longest line: a header with its name and value.
const LINE_MAX: usize = 64 * 1024;
/// Largest piece of a body.
const PIECE_MAX: usize = 256 * 1024;

/// Why reading a stream failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InputError {
    /// The peer sent nothing for too long.
    #[error("nothing came in time")]
    Timeout,
    /// The connection broke, or ended in the middle of a line or a body.
    #[error("connection broke: {0}")]
    Broken(String),
    /// The peer sent something that is not a line.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads a stream of lines and bodies. After an error it returns errors only.
pub(crate) struct SsyncInput {
    body: Body,
    buffer: BytesMut,
    /// Timeout of each piece.
    wait: Duration,
    failed: Option<InputError>,
}

impl SsyncInput {
    /// `wait` is how long the peer may send nothing.
    pub(crate) fn new(body: Body, wait: Duration) -> Self {
        Self { body, buffer: BytesMut::new(), wait, failed: None }
    }

    /// Reads more; `false` at the end.
    async fn fill(&mut self) -> Result<bool, InputError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        loop {
            let error = match tokio::time::timeout(self.wait, self.body.frame()).await {
                Err(_) => InputError::Timeout,
                Ok(None) => return Ok(false),
                Ok(Some(Err(error))) => InputError::Broken(error.to_string()),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        self.buffer.extend_from_slice(&data);
                        return Ok(true);
                    }
                    _ => continue,
                },
            };
            self.failed = Some(error.clone());
            return Err(error);
        }
    }

    /// The next line without its end and blanks around it; `None` at the end.
    pub(crate) async fn line(&mut self) -> Result<Option<Bytes>, InputError> {
        let mut searched = 0;
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + at + 1).freeze();
                return Ok(Some(line.slice_ref(line.trim_ascii())));
            }
            searched = self.buffer.len();
            if searched > LINE_MAX {
                return Err(InputError::Malformed("line is too long"));
            }
            if !self.fill().await? {
                return if searched == 0 {
                    Ok(None)
                } else {
                    Err(InputError::Malformed("missing newline"))
                };
            }
        }
    }

    /// The next piece of a body of which `left` bytes are to come (more than 0).
    pub(crate) async fn piece(&mut self, left: u64) -> Result<Bytes, InputError> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Err(InputError::Broken("ended in the middle of a body".to_owned()));
            }
        }
        let most = usize::try_from(left).unwrap_or(PIECE_MAX).min(PIECE_MAX);
        Ok(self.buffer.split_to(most.min(self.buffer.len())).freeze())
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::{full, stream};
    use tokio::sync::mpsc;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn lines_and_bodies_are_read_wherever_the_pieces_end() {
        let text = b"\r\n:MISSING_CHECK: START\r\n a b \nPUT /x\r\n\r\n12345rest\r\n";
        for size in [1, 2, 3, 7, text.len()] {
            let (sender, receiver) = mpsc::channel(64);
            for piece in text.chunks(size) {
                sender.try_send(Ok(Bytes::from_static(piece))).unwrap();
            }
            drop(sender);
            let mut input = SsyncInput::new(stream(receiver), WAIT);
            for expected in ["", ":MISSING_CHECK: START", "a b", "PUT /x", ""] {
                assert_eq!(input.line().await.unwrap().unwrap(), expected);
            }
            let mut body = Vec::new();
            while body.len() < 5 {
                body.extend_from_slice(&input.piece(5 - body.len() as u64).await.unwrap());
            }
            assert_eq!(body, b"12345");
            assert_eq!(input.line().await.unwrap().unwrap(), "rest");
            assert_eq!(input.line().await, Ok(None));
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_in_the_middle_is_an_error() {
        let mut input = SsyncInput::new(full("no end"), WAIT);
        assert_eq!(input.line().await, Err(InputError::Malformed("missing newline")));
        let mut input = SsyncInput::new(full("12"), WAIT);
        assert_eq!(input.piece(5).await.unwrap(), "12");
        assert!(matches!(input.piece(3).await, Err(InputError::Broken(_))));
        let mut input = SsyncInput::new(full("x".repeat(LINE_MAX + 1)), WAIT);
        assert_eq!(input.line().await, Err(InputError::Malformed("line is too long")));
    }

    #[tokio::test]
    async fn a_silent_peer_times_out_permanently() {
        let (sender, receiver) = mpsc::channel(1);
        let mut input = SsyncInput::new(stream(receiver), Duration::from_millis(1));
        assert_eq!(input.line().await, Err(InputError::Timeout));
        sender.send(Ok(Bytes::from_static(b"late\n"))).await.unwrap();
        assert_eq!(input.line().await, Err(InputError::Timeout));
    }
}
