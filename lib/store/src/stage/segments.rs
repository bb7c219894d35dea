//! A body joined from pieces of other objects, each checked against what was promised of it.

use std::sync::Arc;

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::{ByteRanges, Resolution, Resolved};
use apus_daemon::Body;
use apus_daemon::http::stream;
use apus_daemon::task::{TaskKind, spawn};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::operation::{GetObject, Served};
use crate::{Error, Kind, Result, Store, Subject};

/// Where a piece comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// An object, with the etag and size it must have.
    Object {
        /// Which.
        path: ObjectPath,
        /// Its etag, bare; empty for any.
        etag: String,
        /// Its whole size.
        size: Option<u64>,
        /// First byte of the piece.
        start: u64,
    },
    /// Bytes that stand in the manifest.
    Inline(Bytes),
}

/// A piece of a joined object.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Where from.
    pub(crate) source: Source,
    /// How many bytes.
    pub(crate) length: u64,
}

/// The parts of `pieces` that lie in `range` of the joined object.
pub(crate) fn cut(pieces: &[Piece], range: Resolved) -> Vec<Piece> {
    let mut at = 0;
    let mut cut = Vec::new();
    let end = range.start + range.length;
    for piece in pieces {
        let (from, to) = (range.start.max(at), end.min(at + piece.length));
        if from < to {
            let skip = from - at;
            let length = to - from;
            let source = match &piece.source {
                Source::Object { path, etag, size, start } => Source::Object {
                    path: path.clone(),
                    etag: etag.clone(),
                    size: *size,
                    start: start + skip,
                },
                Source::Inline(bytes) => {
                    let from = usize::try_from(skip).unwrap_or(bytes.len()).min(bytes.len());
                    let to = usize::try_from(skip + length).unwrap_or(bytes.len()).min(bytes.len());
                    Source::Inline(bytes.slice(from..to))
                }
            };
            cut.push(Piece { source, length });
        }
        at += piece.length;
    }
    cut
}

/// Opens one piece.
async fn open(store: &Arc<dyn Store>, cx: &Context, piece: &Piece) -> Result<Body> {
    let (path, etag, size, start) = match &piece.source {
        Source::Inline(bytes) => return Ok(apus_daemon::http::full(bytes.clone())),
        Source::Object { path, etag, size, start } => (path, etag, *size, *start),
    };
    let whole = start == 0 && size == Some(piece.length);
    let mut get = GetObject::new(path.clone());
    if !whole {
        get.ranges = Some(ByteRanges::single(start, piece.length));
    }
    let read = store.get_object(cx, get).await.map_err(|error| match error.kind {
        // Its nodes are away: it may well be there.
        Kind::Unavailable | Kind::Overloaded => error,
        _ => {
            Error::new(Kind::Conflict, Subject::Object).because(format!("segment {path}: {error}"))
        }
    })?;
    let right = (etag.is_empty() || read.head.etag == *etag)
        && size.is_none_or(|size| size == read.head.length)
        && match &read.served {
            Served::Whole => whole || read.head.length == piece.length,
            Served::Ranges(ranges) => {
                matches!(ranges.as_slice(), [one] if one.start == start && one.length == piece.length)
            }
        };
    if right {
        return Ok(read.body);
    }
    Err(Error::new(Kind::Conflict, Subject::Object).because(format!(
        "segment {path} changed: etag {} size {}",
        read.head.etag, read.head.length
    )))
}

/// Joins pieces. The first is opened before this returns, so that a broken manifest is an error
/// and not a short body.
pub(crate) async fn join(store: Arc<dyn Store>, cx: Context, pieces: Vec<Piece>) -> Result<Body> {
    let Some(first) = pieces.first() else { return Ok(apus_daemon::http::empty()) };
    let mut body = open(&store, &cx, first).await?;
    if pieces.len() == 1 {
        return Ok(body);
    }
    let (sender, receiver) = mpsc::channel(2);
    spawn(TaskKind::Request, async move {
        let mut rest = pieces.iter().skip(1);
        loop {
            while let Some(frame) = body.frame().await {
                let piece = match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_)) => continue,
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
            let Some(next) = rest.next() else { return };
            match open(&store, &cx, next).await {
                Ok(next) => body = next,
                Err(error) => {
                    tracing::error!(%error, trans_id = %cx.trans_id, "segment");
                    let _ = sender.send(Err(error.into())).await;
                    return;
                }
            }
        }
    });
    Ok(stream(receiver))
}

/// Which bytes a request for `ranges` of a joined object of `total` bytes gets, and the pieces.
pub(crate) fn plan(
    pieces: &[Piece],
    ranges: Option<&ByteRanges>,
    total: u64,
) -> Result<(Served, Vec<Piece>)> {
    match ranges.map_or(Resolution::Whole, |ranges| ranges.resolve(total)) {
        Resolution::Whole => Ok((Served::Whole, pieces.to_vec())),
        Resolution::Unsatisfiable => {
            Err(Error::new(Kind::RangeNotSatisfiable { size: total }, Subject::Object))
        }
        Resolution::Ranges(ranges) => {
            let cut = ranges.iter().flat_map(|range| cut(pieces, *range)).collect();
            Ok((Served::Ranges(ranges), cut))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_takes_parts_of_pieces() {
        let inline = |text: &'static str| Piece {
            source: Source::Inline(Bytes::from_static(text.as_bytes())),
            length: text.len() as u64,
        };
        let pieces = [inline("abc"), inline("defg"), inline("hi")];
        let got: Vec<u8> = cut(&pieces, Resolved { start: 2, length: 6 })
            .into_iter()
            .flat_map(|piece| match piece.source {
                Source::Inline(bytes) => bytes.to_vec(),
                Source::Object { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(got, b"cdefgh");
    }
}
