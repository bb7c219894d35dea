//! Reads a body for another node, and verifies it.
//!
//! The last piece is returned only when the whole body is good: a damaged one is never sent
//! completely.

use std::io;
use std::sync::Arc;

use apus_disk::Priority;
use bytes::Bytes;

use crate::engine::object::StoredObject;
use crate::store::ObjectStore;

/// Bytes per read.
const READ_BYTES: usize = 256 * 1024;

/// Why the rest of a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The file does not match its metadata.
    #[error("the object is damaged: {0}")]
    Damaged(&'static str),
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
}

enum Digest {
    Crc(Box<crc_fast::Digest>, u64),
    Md5(Box<md5::Context>, String),
}

/// Reader of a body that verifies it.
pub(super) struct VerifiedReader {
    stored: Arc<StoredObject>,
    digest: Option<Digest>,
    offset: u64,
}

impl VerifiedReader {
    /// Begins to read an open object; checks its length.
    pub(super) fn new(stored: Arc<StoredObject>) -> Result<Self, ReadError> {
        if stored.body.length()? != stored.length {
            return Err(ReadError::Damaged("length is not what the metadata says"));
        }
        let digest = match stored.body.crc() {
            Some(crc) => {
                let context = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
                Digest::Crc(Box::new(context), crc)
            }
            None => {
                let etag = stored.data.get("ETag").cloned().unwrap_or_default();
                Digest::Md5(Box::new(md5::Context::new()), etag)
            }
        };
        Ok(Self { stored, digest: Some(digest), offset: 0 })
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(
        &mut self,
        store: &ObjectStore,
        device: &str,
    ) -> Result<Option<Bytes>, ReadError> {
        let left = self.stored.length - self.offset;
        if left == 0 {
            return self.check().map(|()| None);
        }
        let (stored, offset) = (self.stored.clone(), self.offset);
        let length = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
        let mut buffer = store.buffers.take(length);
        let work = move || {
            let read = stored.body.read_at(buffer.as_mut(), offset)?;
            buffer.truncate(read);
            Ok::<_, std::io::Error>(buffer.freeze())
        };
        let read = store.devices.run(device, Priority::Background, work).await;
        let piece = read.map_err(io::Error::from)??;
        if piece.is_empty() {
            return Err(ReadError::Damaged("shorter than the metadata says"));
        }
        match &mut self.digest {
            Some(Digest::Crc(digest, _)) => digest.update(&piece),
            Some(Digest::Md5(context, _)) => context.consume(&piece),
            None => {}
        }
        self.offset += piece.len() as u64;
        if self.offset == self.stored.length {
            self.check()?;
        }
        Ok(Some(piece))
    }

    fn check(&mut self) -> Result<(), ReadError> {
        let good = match self.digest.take() {
            Some(Digest::Crc(digest, expected)) => digest.finalize() == expected,
            Some(Digest::Md5(context, expected)) => format!("{:x}", context.finalize()) == expected,
            None => true,
        };
        if good { Ok(()) } else { Err(ReadError::Damaged("body does not match its digest")) }
    }
}
