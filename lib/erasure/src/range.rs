//! Ranges of objects and the ranges of fragment archives that hold them.
//!
//! Sources: `client_range_to_segment_range`, `segment_range_to_fragment_range` and `ECAppIter` of
//! `swift/proxy/controllers/obj.py`.

use crate::layout::SegmentLayout;

/// A range of bytes as in a `Range` header; bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientRange {
    /// `first-last`
    Bounded {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// `first-`
    From {
        /// The first byte.
        first: u64,
    },
    /// `-bytes`
    Suffix {
        /// How many bytes at the end.
        bytes: u64,
    },
}

/// What to do with the response to a range of a fragment archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodedRange {
    /// Bytes at the start of the response that belong to a fragment whose beginning is not in it.
    pub leading_bytes: u64,
    /// Number of the first segment whose fragment is in the response as a whole.
    pub first_segment: u64,
    /// Segments to decode.
    pub segments: u64,
    /// Decoded bytes before the first one for the client; of a suffix it may be more than a segment.
    pub skip_bytes: u64,
    /// Bytes for the client.
    pub client_bytes: u64,
}

impl SegmentLayout {
    /// The range of each fragment archive that holds a range of the object, whose length is not known yet.
    ///
    /// A suffix has a segment more than its length needs, since the last segment may be short.
    pub fn archive_range(&self, range: ClientRange) -> ClientRange {
        let (segment, fragment) = (self.segment_bytes(), self.fragment_bytes());
        let start = |segments: u64| segments.saturating_mul(fragment);
        match range {
            ClientRange::Bounded { first, last } => ClientRange::Bounded {
                first: start(first / segment),
                last: start((last / segment).saturating_add(1)).saturating_sub(1),
            },
            ClientRange::From { first } => ClientRange::From { first: start(first / segment) },
            ClientRange::Suffix { bytes } => {
                ClientRange::Suffix { bytes: start(bytes.div_ceil(segment).saturating_add(1)) }
            }
        }
    }

    /// What the client gets of the response to [`SegmentLayout::archive_range`], now that the object's length is
    /// known; `None` if the range begins behind the object's end. A suffix of an empty object is empty.
    pub fn decoded_range(&self, range: ClientRange, object_bytes: u64) -> Option<DecodedRange> {
        let segment = self.segment_bytes();
        let Some(object_last) = object_bytes.checked_sub(1) else {
            return matches!(range, ClientRange::Suffix { .. }).then(DecodedRange::default);
        };
        let (first, last) = match range {
            ClientRange::Bounded { first, last } => (first, last.min(object_last)),
            ClientRange::From { first } => (first, object_last),
            ClientRange::Suffix { bytes } => (object_bytes.saturating_sub(bytes), object_last),
        };
        if first > last {
            return None;
        }
        let (leading_bytes, first_segment) = match self.archive_range(range) {
            ClientRange::Suffix { bytes } => {
                let start = self.archive_bytes(object_bytes).saturating_sub(bytes);
                let first_segment = start.div_ceil(self.fragment_bytes());
                let whole = first_segment.saturating_mul(self.fragment_bytes());
                (whole.saturating_sub(start), first_segment)
            }
            ClientRange::Bounded { .. } | ClientRange::From { .. } => (0, first / segment),
        };
        Some(DecodedRange {
            leading_bytes,
            first_segment,
            segments: (last / segment).saturating_add(1).saturating_sub(first_segment),
            skip_bytes: first.saturating_sub(first_segment.saturating_mul(segment)),
            client_bytes: (last - first).saturating_add(1),
        })
    }
}
