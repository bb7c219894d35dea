//! Bodies of operations: late metadata, and bodies that are read whole.
//!
//! Documents (manifests, XML, JSON) are read whole because they are parsed. The documents of all
//! requests share a limited memory; one that does not fit is refused at once. Each answer of a
//! server has its own limit.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use apus_cluster::Metadata;
use apus_daemon::Body;
use apus_daemon::http::BodyError;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, Collected, Limited, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Kind, Result, Subject};

/// Memory for documents, in bytes: sixteen of the longest manifests that Swift accepts, or about a
/// hundred usual ones.
const DOCUMENT_MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// Document memory is counted in units of this many bytes.
const DOCUMENT_UNIT_BYTES: usize = 4096;

/// Longest answer of a server that is not a listing: a few words or names.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest page of a listing in an answer: 10,000 rows, each with a name of 1,024 bytes in JSON's
/// longest spelling and the rest of its row.
pub(crate) const LISTING_BYTES_MAX: usize = 128 * 1024 * 1024;

static DOCUMENTS: LazyLock<DocumentMemory> =
    LazyLock::new(|| DocumentMemory::new(DOCUMENT_MEMORY_BYTES));

/// Metadata that a wrapper of the body adds at the end of the body (checksums in trailers).
#[derive(Debug, Clone, Default)]
pub struct LateMetadata(Arc<Mutex<Metadata>>);

impl LateMetadata {
    /// Adds one item.
    pub fn insert(&self, name: &str, value: &str) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(name.to_owned(), value.to_owned());
    }

    /// Takes all items; called once, after the end of the body.
    pub fn take(&self) -> Metadata {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The memory for documents that are being read or are in use.
#[derive(Debug)]
struct DocumentMemory(Arc<Semaphore>);

/// A document with its share of the memory, which is released when it is dropped.
struct Document {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Document {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DocumentMemory {
    fn new(bytes: usize) -> Self {
        let units = (bytes / DOCUMENT_UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// Enlarges a share to `bytes`.
    fn grow(&self, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(DOCUMENT_UNIT_BYTES).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let more = self.0.clone().try_acquire_many_owned(missing).map_err(|_| {
            Error::new(Kind::Overloaded, Subject::Request).because("memory for documents is full")
        })?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }

    async fn collect(&self, mut body: Body, max: u64) -> Result<Bytes> {
        let too_large = || Error::new(Kind::TooLarge, Subject::Request);
        if body.size_hint().lower() > max {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        let mut share = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(read_error)?.into_data() else { continue };
            let length = whole.len() + data.len();
            if length as u64 > max {
                return Err(too_large());
            }
            self.grow(&mut share, length)?;
            whole.extend_from_slice(&data);
        }
        let bytes = whole.freeze();
        Ok(match share {
            Some(share) => Bytes::from_owner(Document { bytes, _share: share }),
            None => bytes,
        })
    }
}

/// The error of a wrapper of the body, or that the body broke off.
fn read_error(error: BodyError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::new(Kind::Body, Subject::Request).because(error),
    }
}

/// Reads a whole document of at most `max` bytes. It counts against the memory that the process has
/// for documents until the bytes are dropped.
///
/// # Errors
/// `TooLarge`; `Overloaded` when the memory for documents is full; `Body`, or the error of a wrapper
/// of the body, when it breaks off.
pub async fn collect(body: Body, max: u64) -> Result<Bytes> {
    DOCUMENTS.collect(body, max).await
}

/// A body that fails with an error when it is longer than `max` bytes, which are passed on.
pub fn limited(body: Body, max: u64, error: impl Fn() -> Error + Send + 'static) -> Body {
    let mut left = max;
    let mut within = move |frame: Frame<Bytes>| {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        left = left.checked_sub(length).ok_or_else(|| BodyError::from(error()))?;
        Ok(frame)
    };
    let frames = BodyStream::new(body).map(move |frame| frame.and_then(&mut within));
    StreamBody::new(frames).boxed_unsync()
}

/// Reads the whole body of a server's answer, of at most `max` bytes.
pub(crate) async fn collect_answer(
    body: Body,
    max: usize,
) -> std::result::Result<Bytes, BodyError> {
    // Boxed, since the compiler does not see that the error outlives a request.
    Limited::new(body, max).collect().boxed().await.map(Collected::to_bytes)
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::{full, stream};

    use super::*;

    #[tokio::test]
    async fn a_limited_body_fails_when_it_is_longer() {
        for (length, is_within) in [(0, true), (5, true), (6, false)] {
            let error = || Error::new(Kind::QuotaExceeded, Subject::Object);
            let read = limited(of(length), 5, error).collect().await;
            match read {
                Ok(read) => assert!(is_within && read.to_bytes().len() == length, "{length}"),
                Err(error) => {
                    assert!(!is_within, "{length}");
                    assert_eq!(error.downcast::<Error>().unwrap().kind, Kind::QuotaExceeded);
                }
            }
        }
    }

    fn of(bytes: usize) -> Body {
        full(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn documents_share_the_memory_until_they_are_dropped() {
        let memory = DocumentMemory::new(4 * DOCUMENT_UNIT_BYTES);
        let one = memory.collect(of(3 * DOCUMENT_UNIT_BYTES), 1 << 20).await.unwrap();
        let short = memory.collect(of(1), 10).await.unwrap();
        let part = one.slice(5..6);
        drop(one);
        let refused = memory.collect(of(1), 10).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Overloaded, "a part of a document keeps its memory");
        assert!(memory.collect(of(0), 0).await.unwrap().is_empty());
        drop(part);
        let again = memory.collect(of(3 * DOCUMENT_UNIT_BYTES), 1 << 20).await.unwrap();
        assert_eq!((again.len(), short.as_ref()), (3 * DOCUMENT_UNIT_BYTES, b"x".as_slice()));
    }

    #[tokio::test]
    async fn a_document_in_small_pieces_takes_only_its_length() {
        let memory = DocumentMemory::new(DOCUMENT_UNIT_BYTES);
        let (sender, receiver) = tokio::sync::mpsc::channel(DOCUMENT_UNIT_BYTES);
        for _ in 0..DOCUMENT_UNIT_BYTES {
            sender.try_send(Ok(Bytes::from_static(b"x"))).unwrap();
        }
        drop(sender);
        let all = memory.collect(stream(receiver), 1 << 20).await.unwrap();
        assert_eq!(all.len(), DOCUMENT_UNIT_BYTES);
    }

    #[tokio::test]
    async fn a_refused_document_releases_its_memory() {
        let memory = DocumentMemory::new(DOCUMENT_UNIT_BYTES);
        for (length, max, kind) in [
            (2 * DOCUMENT_UNIT_BYTES, 1 << 20, Kind::Overloaded),
            (DOCUMENT_UNIT_BYTES, DOCUMENT_UNIT_BYTES as u64 - 1, Kind::TooLarge),
        ] {
            assert_eq!(memory.collect(of(length), max).await.unwrap_err().kind, kind);
            let (sender, receiver) = tokio::sync::mpsc::channel(9);
            for _ in 0..2 {
                sender.try_send(Ok(vec![b'x'; length / 2].into())).unwrap();
            }
            drop(sender);
            assert_eq!(memory.collect(stream(receiver), max).await.unwrap_err().kind, kind);
            assert!(memory.collect(of(DOCUMENT_UNIT_BYTES), 1 << 20).await.is_ok());
        }
    }

    #[tokio::test]
    async fn the_error_of_a_wrapper_of_the_body_is_returned() {
        let memory = DocumentMemory::new(DOCUMENT_UNIT_BYTES);
        let stalled = Error::new(Kind::ClientTimeout, Subject::Request);
        for (error, kind) in [(stalled.into(), Kind::ClientTimeout), ("reset".into(), Kind::Body)] {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            sender.try_send(Err(error)).unwrap();
            assert_eq!(memory.collect(stream(receiver), 9).await.unwrap_err().kind, kind);
        }
    }

    #[tokio::test]
    async fn an_answer_over_its_limit_is_refused() {
        assert_eq!(collect_answer(of(9), 9).await.unwrap().len(), 9);
        assert!(collect_answer(of(10), 9).await.is_err());
    }
}
