//! `multipart/byteranges` bodies.

use apus_cluster::byte_range::{Framing, Resolved};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, set, stream};
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::reply::Reply;

/// Makes a response a 206 with several ranges of an object of `total` bytes and type `kind`; `body`
/// holds their bytes one after another.
pub(super) fn set_ranges(
    response: &mut Reply,
    ranges: &[Resolved],
    total: u64,
    kind: &str,
    body: Body,
) {
    let framing = Framing::new(ranges, total, kind, &apus_daemon::random::hex::<16>());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(response.headers_mut(), "content-length", &framing.length.to_string());
    set(response.headers_mut(), "content-type", &framing.content_type);
    let lengths: Vec<u64> = ranges.iter().map(|range| range.length).collect();
    *response.body_mut() = framed(framing, lengths, body);
}

/// Sends pieces of a body to the client's connection.
type Sender = mpsc::Sender<Result<Bytes, BodyError>>;

/// The client has disconnected, or an error of the body has been sent.
struct Stopped;

async fn send(sender: &Sender, piece: impl Into<Bytes>) -> Result<(), Stopped> {
    sender.send(Ok(piece.into())).await.map_err(|_| Stopped)
}

/// The bytes of a body, in pieces of any length.
struct Pieces {
    body: Body,
    pending: Bytes,
}

impl Pieces {
    /// Fills `pending` when it is empty.
    async fn fill(&mut self) -> Result<(), BodyError> {
        while self.pending.is_empty() {
            match self.body.frame().await {
                Some(Ok(frame)) => self.pending = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(error),
                None => return Err("body ended too early".into()),
            }
        }
        Ok(())
    }

    /// Sends the next `length` bytes.
    async fn send(&mut self, sender: &Sender, length: u64) -> Result<(), Stopped> {
        let mut left = length;
        while left > 0 {
            if let Err(error) = self.fill().await {
                let _ = sender.send(Err(error)).await;
                return Err(Stopped);
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.pending.len());
            left -= take as u64;
            send(sender, self.pending.split_to(take)).await?;
        }
        Ok(())
    }
}

async fn send_all(
    sender: &Sender,
    framing: Framing,
    lengths: Vec<u64>,
    body: Body,
) -> Result<(), Stopped> {
    let mut pieces = Pieces { body, pending: Bytes::new() };
    for (head, length) in framing.heads.into_iter().zip(lengths) {
        send(sender, head).await?;
        pieces.send(sender, length).await?;
        send(sender, framing.between).await?;
    }
    send(sender, framing.end).await
}

/// A body with the framing around its ranges.
fn framed(framing: Framing, lengths: Vec<u64>, body: Body) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    spawn(TaskKind::Request, async move {
        // A client that has disconnected receives nothing more.
        let _ = send_all(&sender, framing, lengths, body).await;
    });
    stream(receiver)
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::{full, status};

    use super::*;

    #[tokio::test]
    async fn several_ranges_are_framed() {
        let mut response = status(StatusCode::OK);
        let ranges = [Resolved { start: 0, length: 2 }, Resolved { start: 5, length: 1 }];
        set_ranges(&mut response, &ranges, 10, "text/plain", full("abf"));
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), length);
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("Content-Range: bytes 0-1/10\r\n\r\nab\r\n"), "{text}");
        assert!(text.contains("Content-Range: bytes 5-5/10\r\n\r\nf\r\n"), "{text}");
    }

    #[tokio::test]
    async fn a_body_that_is_too_short_fails() {
        let mut response = status(StatusCode::OK);
        let ranges = [Resolved { start: 0, length: 2 }, Resolved { start: 5, length: 4 }];
        set_ranges(&mut response, &ranges, 10, "text/plain", full("abf"));
        assert!(response.into_body().collect().await.is_err());
    }
}
