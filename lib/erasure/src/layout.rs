//! Lengths of segments, fragments and fragment archives.
//!
//! A fragment archive is what one node stores of an object: its fragment of each segment, one after
//! another. Sources: `fragment_size` of `swift/common/storage_policy.py`, `_store_object` of
//! `swift/proxy/controllers/obj.py`.

use crate::header::HEADER_BYTES;
use crate::scheme::ErasureScheme;

/// How objects of a policy are cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLayout {
    scheme: ErasureScheme,
    segment_bytes: u64,
}

/// A length of segments that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Zero, or more than liberasurecode's `int` holds.
    #[error("segments of {0} bytes: expected 1 to {max}", max = i32::MAX)]
    SegmentBytes(u64),
}

impl SegmentLayout {
    /// # Errors
    /// See [`LayoutError`].
    pub fn new(scheme: ErasureScheme, segment_bytes: u64) -> Result<Self, LayoutError> {
        match i32::try_from(segment_bytes) {
            Ok(1..) => Ok(Self { scheme, segment_bytes }),
            Ok(_) | Err(_) => Err(LayoutError::SegmentBytes(segment_bytes)),
        }
    }

    /// The code.
    pub fn scheme(&self) -> ErasureScheme {
        self.scheme
    }

    /// Bytes of a segment but the last one of an object.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Bytes of a fragment of a whole segment, with its header.
    pub fn fragment_bytes(&self) -> u64 {
        self.fragment_bytes_of(self.segment_bytes)
    }

    /// Bytes of a fragment of a segment of this length, with its header.
    pub fn fragment_bytes_of(&self, segment_bytes: u64) -> u64 {
        HEADER_BYTES as u64 + self.scheme.payload_bytes(segment_bytes)
    }

    /// Segments of an object.
    pub fn segments(&self, object_bytes: u64) -> u64 {
        object_bytes.div_ceil(self.segment_bytes)
    }

    /// Bytes of an object's segment; zero behind its end.
    pub fn bytes_of_segment(&self, object_bytes: u64, segment: u64) -> u64 {
        let start = segment.saturating_mul(self.segment_bytes);
        object_bytes.saturating_sub(start).min(self.segment_bytes)
    }

    /// Bytes of a fragment archive of an object of this length.
    pub fn archive_bytes(&self, object_bytes: u64) -> u64 {
        let whole = (object_bytes / self.segment_bytes).saturating_mul(self.fragment_bytes());
        match object_bytes % self.segment_bytes {
            0 => whole,
            rest => whole.saturating_add(self.fragment_bytes_of(rest)),
        }
    }
}
