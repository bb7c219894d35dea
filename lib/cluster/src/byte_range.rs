//! Byte ranges of `Range` headers: parsing, and resolving against a length.
//!
//! Rules of RFC 9110 with Swift's guards (`swift/common/swob.py`): at most 50 ranges, at most two
//! overlaps, fewer than eight out of order.

use crate::constraints::MAX_RANGES;

/// One range as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, inclusive.
    FromTo(u64, u64),
    /// `first-`.
    From(u64),
    /// `-length`: the last bytes.
    Last(u64),
}

/// A range of an object of known length: start and length in bytes, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Resolved {
    /// `bytes first-last/total`.
    pub fn content_range(&self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.start, self.start + self.length - 1)
    }
}

/// The framing of several ranges in one response, `multipart/byteranges`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    /// Value of `Content-Type`.
    pub content_type: String,
    /// What comes before the bytes of each range.
    pub heads: Vec<String>,
    /// What comes after the bytes of each range.
    pub between: &'static str,
    /// What comes last.
    pub end: String,
    /// Bytes of the whole body.
    pub length: u64,
}

impl Framing {
    /// For ranges of an object of `total` bytes and type `kind`. The boundary must not occur in
    /// the object: 128 random bits are enough.
    pub fn new(ranges: &[Resolved], total: u64, kind: &str, boundary: &str) -> Self {
        let between = "\r\n";
        let head = |range: &Resolved| {
            let place = range.content_range(total);
            format!("--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {place}\r\n\r\n")
        };
        let heads: Vec<String> = ranges.iter().map(head).collect();
        let end = format!("--{boundary}--");
        let framed = heads.iter().map(|head| head.len() + between.len()).sum::<usize>() + end.len();
        let lengths = ranges.iter().map(|range| range.length);
        let length = lengths.fold(framed as u64, u64::saturating_add);
        let content_type = format!("multipart/byteranges;boundary={boundary}");
        Self { content_type, heads, between, end, length }
    }
}

/// The ranges of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

/// The result of resolving ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Serve the whole object with 200.
    Whole,
    /// Serve these with 206.
    Ranges(Vec<Resolved>),
    /// No range is in the object: 416.
    Unsatisfiable,
}

impl ByteRanges {
    /// Whether the header names more than one.
    pub fn is_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Parses a header value; `None` when it is not a valid byte range and must be ignored.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.replace(' ', "");
        let unit = value.get(..6).filter(|unit| unit.eq_ignore_ascii_case("bytes="));
        let list = unit.and(value.get(6..))?;
        let mut ranges = Vec::new();
        for item in list.split(',') {
            let (first, last) = item.trim().split_once('-')?;
            let number = |text: &str| -> Option<u64> {
                text.bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| text.parse().unwrap_or(u64::MAX))
            };
            ranges.push(match (first.is_empty(), last.is_empty()) {
                (true, true) => return None,
                (true, false) => ByteRange::Last(number(last)?),
                (false, true) => ByteRange::From(number(first)?),
                (false, false) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return None;
                    }
                    ByteRange::FromTo(first, last)
                }
            });
        }
        Some(Self(ranges))
    }

    /// One range that begins at `start`.
    pub fn single(start: u64, length: u64) -> Self {
        Self(vec![ByteRange::FromTo(start, start.saturating_add(length).saturating_sub(1))])
    }

    /// Whether there is exactly one range.
    pub fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// As a header value.
    pub fn to_header(&self) -> String {
        let items: Vec<String> = self
            .0
            .iter()
            .map(|range| match range {
                ByteRange::FromTo(first, last) => format!("{first}-{last}"),
                ByteRange::From(first) => format!("{first}-"),
                ByteRange::Last(length) => format!("-{length}"),
            })
            .collect();
        format!("bytes={}", items.join(","))
    }

    /// Resolves against an object of `total` bytes.
    pub fn resolve(&self, total: u64) -> Resolution {
        let mut resolved = Vec::new();
        for range in &self.0 {
            let (start, end) = match *range {
                ByteRange::FromTo(first, last) => (first, last.saturating_add(1).min(total)),
                ByteRange::From(first) => (first, total),
                ByteRange::Last(0) => continue,
                ByteRange::Last(length) => (total.saturating_sub(length), total),
            };
            if start < end {
                resolved.push(Resolved { start, length: end - start });
            } else if total == 0 && matches!(range, ByteRange::Last(_)) {
                return Resolution::Whole;
            }
        }
        if resolved.is_empty() {
            return Resolution::Unsatisfiable;
        }
        if resolved.len() > MAX_RANGES || is_abusive(&resolved) {
            return Resolution::Unsatisfiable;
        }
        Resolution::Ranges(resolved)
    }
}

/// Whether more than two ranges overlap or eight are out of order, which only costs resources.
fn is_abusive(ranges: &[Resolved]) -> bool {
    let mut overlaps = 0;
    let mut descending = 0;
    for (index, range) in ranges.iter().enumerate() {
        let before = ranges.get(..index).unwrap_or_default();
        let overlap = before.iter().any(|other| {
            range.start < other.start + other.length && other.start < range.start + range.length
        });
        overlaps += usize::from(overlap);
        descending += usize::from(before.last().is_some_and(|last| range.start < last.start));
    }
    overlaps > 2 || descending >= 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(header: &str, total: u64) -> Resolution {
        ByteRanges::parse(header).unwrap().resolve(total)
    }

    #[test]
    fn ranges_resolve_against_the_length() {
        assert_eq!(
            ranges("bytes=0-4", 10),
            Resolution::Ranges(vec![Resolved { start: 0, length: 5 }])
        );
        assert_eq!(
            ranges("bytes=5-", 10),
            Resolution::Ranges(vec![Resolved { start: 5, length: 5 }])
        );
        assert_eq!(
            ranges("bytes=-3", 10),
            Resolution::Ranges(vec![Resolved { start: 7, length: 3 }])
        );
        assert_eq!(
            ranges("bytes=-30", 10),
            Resolution::Ranges(vec![Resolved { start: 0, length: 10 }])
        );
        assert_eq!(ranges("bytes=10-", 10), Resolution::Unsatisfiable);
        assert_eq!(ranges("bytes=-0", 10), Resolution::Unsatisfiable);
        assert_eq!(ranges("bytes=-5", 0), Resolution::Whole);
    }

    #[test]
    fn malformed_headers_are_ignored() {
        for header in ["bytes=", "bytes=a-b", "bytes=5-4", "lines=1-2", "bytes=1-2,x"] {
            assert_eq!(ByteRanges::parse(header), None, "{header}");
        }
    }

    #[test]
    fn abusive_lists_are_refused() {
        let many = format!("bytes={}", ["0-1"; 4].join(","));
        assert_eq!(ranges(&many, 10), Resolution::Unsatisfiable);
    }
}
