//! A body joined from pieces of other objects, each checked against its manifest.

use std::sync::Arc;

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::{ByteRanges, Resolution, Resolved};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, stream};
use apus_daemon::task::{TaskKind, spawn};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::operation::{GetObject, Served};
use crate::{Error, Kind, Primitive, Result, Subject};

/// The source of a piece.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// An object, with the etag and size it must have.
    Object {
        /// The object.
        path: ObjectPath,
        /// Its etag, without quotes; empty for any.
        etag: String,
        /// Its whole size.
        size: Option<u64>,
        /// First byte of the piece.
        start: u64,
    },
    /// Bytes in the manifest itself.
    Inline(Bytes),
}

/// A piece of a joined object.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Its source.
    pub(crate) source: Source,
    /// Its length in bytes.
    pub(crate) length: u64,
}

impl Piece {
    /// `length` bytes of it after the first `skip`, as far as it has them.
    pub(crate) fn part(self, skip: u64, length: u64) -> Self {
        let skip = skip.min(self.length);
        let length = length.min(self.length - skip);
        let source = match self.source {
            Source::Object { path, etag, size, start } => {
                Source::Object { path, etag, size, start: start.saturating_add(skip) }
            }
            Source::Inline(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
                Source::Inline(bytes.slice(index(skip)..index(skip + length)))
            }
        };
        Self { source, length }
    }
}

/// The pieces of a body, found one after another while it streams.
#[async_trait]
pub(crate) trait PieceSource: Send {
    /// The next piece.
    async fn next(&mut self) -> Result<Option<Piece>>;

    /// Whether it is certain that no piece follows.
    fn is_at_end(&self) -> bool;
}

/// Opens one piece.
async fn open(store: &dyn Primitive, cx: &Context, piece: &Piece) -> Result<Body> {
    let (path, etag, size, start) = match &piece.source {
        Source::Inline(bytes) => return Ok(apus_daemon::http::full(bytes.clone())),
        Source::Object { path, etag, size, start } => (path, etag, *size, *start),
    };
    let whole = start == 0 && size == Some(piece.length);
    let mut get = GetObject::new(path.clone());
    if !whole {
        get.ranges = Some(ByteRanges::single(start, piece.length));
    }
    let read = store.get_object(cx, get).await.map_err(|error| match error.is_temporary() {
        // Its nodes are unreachable, but it may exist.
        true => error,
        false => {
            Error::new(Kind::Conflict, Subject::Object).because(format!("segment {path}: {error}"))
        }
    })?;
    let is_as_declared = (etag.is_empty() || read.head.etag == *etag)
        && size.is_none_or(|size| size == read.head.length)
        && match &read.served {
            Served::Whole => whole || read.head.length == piece.length,
            Served::Ranges(ranges) => {
                matches!(ranges.as_slice(), [one] if one.start == start && one.length == piece.length)
            }
        };
    if is_as_declared {
        return Ok(read.body);
    }
    Err(Error::new(Kind::Conflict, Subject::Object).because(format!(
        "segment {path} changed: etag {} size {}",
        read.head.etag, read.head.length
    )))
}

/// Joins pieces. The first is opened before this returns, so that a broken manifest is an error
/// instead of a short body. The work ends when the body is dropped.
pub(crate) async fn join(
    store: Arc<dyn Primitive>,
    cx: Context,
    mut pieces: impl PieceSource + 'static,
) -> Result<Body> {
    let Some(first) = pieces.next().await? else { return Ok(apus_daemon::http::empty()) };
    let body = open(&*store, &cx, &first).await?;
    if pieces.is_at_end() {
        return Ok(body);
    }
    let (sender, receiver) = mpsc::channel(2);
    spawn(TaskKind::Request, async move {
        tokio::select! {
            // Also while no piece is being sent: when manifests are opened or a node is slow.
            () = sender.closed() => {}
            () = send_pieces(&*store, &cx, body, pieces, &sender) => {}
        }
    });
    Ok(stream(receiver))
}

/// Sends an open piece and all following pieces.
async fn send_pieces(
    store: &dyn Primitive,
    cx: &Context,
    mut body: Body,
    mut pieces: impl PieceSource,
    sender: &mpsc::Sender<std::result::Result<Bytes, BodyError>>,
) {
    loop {
        while let Some(frame) = body.frame().await {
            let data = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => Ok(data),
                Ok(Err(_)) => continue,
                Err(error) => Err(error),
            };
            let failed = data.is_err();
            if sender.send(data).await.is_err() || failed {
                return;
            }
        }
        let next = match pieces.next().await {
            Ok(None) => return,
            Ok(Some(piece)) => open(store, cx, &piece).await,
            Err(error) => Err(error),
        };
        match next {
            Ok(next) => body = next,
            Err(error) => {
                tracing::error!(%error, trans_id = %cx.trans_id, "a segment of a large object could not be read");
                // Without a receiver the body was dropped.
                let _ = sender.send(Err(error.into())).await;
                return;
            }
        }
    }
}

/// Resolves the `ranges` of a request for a joined object of `total` bytes: what the reply has, and
/// the ranges to read.
pub(crate) fn plan(ranges: Option<&ByteRanges>, total: u64) -> Result<(Served, Vec<Resolved>)> {
    match ranges.map_or(Resolution::Whole, |ranges| ranges.resolve(total)) {
        Resolution::Whole if total == 0 => Ok((Served::Whole, Vec::new())),
        Resolution::Whole => Ok((Served::Whole, vec![Resolved { start: 0, length: total }])),
        Resolution::Unsatisfiable => {
            Err(Error::new(Kind::RangeNotSatisfiable { size: total }, Subject::Object))
        }
        Resolution::Ranges(ranges) => Ok((Served::Ranges(ranges.clone()), ranges)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_piece_ends_within_it() {
        let inline = |text: &'static str| Piece {
            source: Source::Inline(Bytes::from_static(text.as_bytes())),
            length: text.len() as u64,
        };
        for (skip, length, expected) in
            [(0, 5, "abcde"), (2, 2, "cd"), (4, 9, "e"), (5, 1, ""), (u64::MAX, u64::MAX, "")]
        {
            let part = inline("abcde").part(skip, length);
            let Source::Inline(bytes) = &part.source else { unreachable!() };
            assert_eq!((bytes.as_ref(), part.length), (expected.as_bytes(), expected.len() as u64));
        }
    }

    #[test]
    fn nothing_is_read_of_an_empty_object() {
        assert_eq!(plan(None, 0).unwrap(), (Served::Whole, Vec::new()));
        let range = Resolved { start: 1, length: 2 };
        let (served, read) = plan(Some(&ByteRanges::single(1, 2)), 9).unwrap();
        assert_eq!((served, read), (Served::Ranges(vec![range]), vec![range]));
    }
}
