//! Errors of fragments and of segments made from them.

use crate::codec::CodecError;
use crate::header::HeaderError;
use crate::scheme::ErasureScheme;

/// Fragments that cannot be used, or a segment that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// A header or payload is damaged.
    #[error("fragment at position {position}")]
    Header {
        /// Its position in the call.
        position: usize,
        /// What is wrong.
        #[source]
        source: HeaderError,
    },
    /// A fragment of another code.
    #[error(
        "fragment at position {position} is of backend {id} version {version:#x}: \
         expected {expected_id} version {expected_version:#x} for {scheme}"
    )]
    Backend {
        /// Its position in the call.
        position: usize,
        /// liberasurecode's number of its code.
        id: u8,
        /// The version of its code.
        version: u32,
        /// The number of our code.
        expected_id: u8,
        /// The version of our code.
        expected_version: u32,
        /// Our code.
        scheme: ErasureScheme,
    },
    /// An index that the code does not have.
    #[error("fragment at position {position} has index {index}: expected less than {fragments}")]
    Index {
        /// Its position in the call.
        position: usize,
        /// Its index.
        index: u32,
        /// Fragments of a segment.
        fragments: usize,
    },
    /// The payload is not as long as a fragment of such a segment.
    #[error(
        "fragment at position {position} has {payload_bytes} bytes of a segment of {segment_bytes}: expected {expected}"
    )]
    Share {
        /// Its position in the call.
        position: usize,
        /// Bytes of its payload.
        payload_bytes: u32,
        /// Bytes of the segment.
        segment_bytes: u64,
        /// Bytes of a payload of such a segment.
        expected: u64,
    },
    /// A fragment of another segment than the first one: length of the segment or byte order differ.
    #[error("fragment at position {position} is not of the segment of the first one")]
    OtherSegment {
        /// Its position in the call.
        position: usize,
    },
    /// No fragments at all.
    #[error("no fragments: expected at least one")]
    NoFragments,
    /// liberasurecode's lengths are `int`.
    #[error("a segment of {0} bytes: expected at most {max}", max = i32::MAX)]
    SegmentLength(usize),
    /// There must be one buffer for each fragment.
    #[error("{found} fragment archives: expected {expected}")]
    Archives {
        /// Buffers in the call.
        found: usize,
        /// Fragments of a segment.
        expected: usize,
    },
    /// Too few fragments, or a wanted one that does not exist.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
