//! Boundaries of heads and bodies in a stream of HTTP/1.1 messages.
//!
//! For code that changes heads and must never change a body. After bytes that are not fully
//! understood, everything is [`Part::Rest`], and no head is found again.

/// The part of a stream that contains its next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A head, or the beginning of one.
    Head,
    /// A body with this number of bytes left.
    Length(u64),
    /// The size of a chunk, read so far; `None` before its first digit.
    Size(Option<u64>),
    /// The text after a chunk's size in its line.
    Extension(u64),
    /// A chunk with this number of bytes left.
    Chunk(u64),
    /// The line feed after a chunk.
    ChunkEnd,
    /// The lines after the last chunk, and whether the line is empty so far.
    Trailer(bool),
    /// Anything, to the end of the stream.
    Rest,
}

impl Part {
    /// Advances over the beginning of `bytes` that is not a head, and returns its length.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            let many =
                |missing: u64| usize::try_from(missing).map_or(rest.len(), |n| n.min(rest.len()));
            let (next, passed) = match *self {
                Self::Head => break,
                Self::Rest => return bytes.len(),
                Self::Length(missing) => {
                    let passed = many(missing);
                    match missing - passed as u64 {
                        0 => (Self::Head, passed),
                        missing => (Self::Length(missing), passed),
                    }
                }
                Self::Chunk(missing) => {
                    let passed = many(missing);
                    match missing - passed as u64 {
                        // Two bytes end a chunk; the first was counted with it.
                        0 => (Self::ChunkEnd, passed),
                        missing => (Self::Chunk(missing), passed),
                    }
                }
                Self::ChunkEnd if *first == b'\n' => (Self::Size(None), 1),
                Self::Size(size) => (Self::size(size, *first), 1),
                Self::Extension(0) if *first == b'\n' => (Self::Trailer(true), 1),
                Self::Extension(size) if *first == b'\n' => match size.checked_add(1) {
                    Some(size) => (Self::Chunk(size), 1),
                    None => (Self::Rest, 1),
                },
                Self::Trailer(true) if *first == b'\n' => (Self::Head, 1),
                Self::Trailer(empty) => {
                    (Self::Trailer(*first == b'\n' || (empty && *first == b'\r')), 1)
                }
                Self::Extension(_) => (*self, 1),
                Self::ChunkEnd => (Self::Rest, 1),
            };
            *self = next;
            rest = rest.get(passed..).unwrap_or(after);
        }
        bytes.len() - rest.len()
    }

    /// One more byte of a chunk's size.
    fn size(size: Option<u64>, byte: u8) -> Self {
        match (char::from(byte).to_digit(16), size, byte) {
            (Some(digit), size, _) => size
                .unwrap_or(0)
                .checked_mul(16)
                .and_then(|size| size.checked_add(digit.into()))
                .map_or(Self::Rest, |size| Self::Size(Some(size))),
            (None, Some(size), b'\r' | b';') => Self::Extension(size),
            _ => Self::Rest,
        }
    }
}

/// The head of a request or a response.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The first line, without its line end.
    pub(crate) first: &'a [u8],
    /// Names, each with the rest of its line: the colon and the value.
    pub(crate) fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    /// Parses a head; `None` unless every line is valid HTTP/1.1 and ends with CR and LF.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let lines = bytes.strip_suffix(b"\n\r\n")?.split(|byte| *byte == b'\n');
        let mut lines = lines.map(|line| {
            line.strip_suffix(b"\r").filter(|line| !line.is_empty() && !line.contains(&b'\r'))
        });
        let first = lines.next()??;
        let fields = lines.map(|line| {
            let line = line?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            // No continued lines, no space before the colon.
            let (name, value) = line.split_at_checked(colon)?;
            (!name.is_empty() && !name.iter().any(u8::is_ascii_whitespace)).then_some((name, value))
        });
        Some(Self { first, fields: fields.collect::<Option<_>>()? })
    }

    /// The values of a header, without blanks around them.
    pub(crate) fn values<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let of_name = move |field: &&(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        let value = |field: &(&'a [u8], &'a [u8])| field.1.get(1..).unwrap_or(&[]).trim_ascii();
        self.fields.iter().filter(of_name).map(value)
    }

    /// The part after the head; `none` without headers about it.
    pub(crate) fn body(&self, none: Part) -> Part {
        let mut lengths = self.values("content-length");
        let mut codings = self.values("transfer-encoding");
        match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
            (None, _, None, _) => none,
            (Some(length), None, None, _) if length.iter().all(u8::is_ascii_digit) => {
                match str::from_utf8(length).map(str::parse) {
                    Ok(Ok(0)) => Part::Head,
                    Ok(Ok(length)) => Part::Length(length),
                    _ => Part::Rest,
                }
            }
            (None, _, Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => {
                Part::Size(None)
            }
            // Both, or several: another reader may see another body.
            _ => Part::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        let body = b"3\r\nab\n\r\n1F;x=\"1\"\r\n0123456789ab\r\n\r\n0\r\n\r\n9012345678\r\n0\r\nA: 1\r\n\r\n";
        for split in 0..=body.len() {
            let mut part = Part::Size(None);
            let stream = [body.as_slice(), b"GET"].concat();
            let (one, two) = stream.split_at(split);
            assert_eq!(part.pass(one), one.len());
            assert_eq!(part.pass(two), two.len() - 3, "split at {split}");
            assert_eq!(part, Part::Head);
        }
    }

    #[test]
    fn after_an_invalid_chunk_no_head_is_found() {
        for body in ["x\r\n", "\r\n", "10000000000000000\r\n", "ffffffffffffffff\r\n", "1\r\nabc"] {
            let mut part = Part::Size(None);
            assert_eq!(part.pass(body.as_bytes()), body.len());
            assert_eq!(part, Part::Rest, "{body:?}");
        }
    }

    #[test]
    fn an_ambiguous_head_makes_the_rest_of_the_stream_opaque() {
        let of = |fields: &str| {
            let head = format!("PUT / HTTP/1.1\r\n{fields}\r\n");
            Head::parse(head.as_bytes()).map(|head| head.body(Part::Head))
        };
        assert_eq!(of("A: 1\r\n"), Some(Part::Head));
        assert_eq!(of("content-length: 7 \r\n"), Some(Part::Length(7)));
        assert_eq!(of("Content-Length: 0\r\n"), Some(Part::Head));
        assert_eq!(of("Transfer-Encoding: Chunked\r\n"), Some(Part::Size(None)));
        for odd in [
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 7\r\nContent-Length: 7\r\n",
            "Content-Length: +7\r\n",
            "Content-Length: \r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert_eq!(of(odd), Some(Part::Rest), "{odd:?}");
        }
        for bad in ["A: 1\r\n b\r\n", "A : 1\r\n", "A: 1\n", "A\r\n", "A: 1\rB: 2\r\n", ": 1\r\n"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
