//! Lines of the comparison: offers of the sender, and requests of the receiver.
//!
//! Pure.
//!
//! `<hash> <data time>[ m:<delta>[__<offset>][,t:<delta>[__<offset>]][,durable:False]]` and
//! `<hash> [d][m]`. Deltas are in hex steps of 10 µs from the data's time without its offset.

use apus_cluster::percent;
use apus_cluster::{PathHash, Timestamp};

use crate::engine::object::Times;

/// An object that a sender has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) hash: PathHash,
    /// Of body or tombstone.
    pub(crate) data: Timestamp,
    /// Of metadata; that of the data when nothing was posted.
    pub(crate) meta: Timestamp,
    /// Of the content type; that of the data likewise.
    pub(crate) content_type: Timestamp,
}

/// Parts of an object that a receiver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// Body or tombstone.
    pub(crate) data: bool,
    /// Metadata.
    pub(crate) meta: bool,
}

impl Wanted {
    /// Whether any part is wanted.
    pub(crate) fn any(self) -> bool {
        self.data || self.meta
    }
}

fn delta(from: Timestamp, to: Timestamp) -> String {
    let mut text = if to.steps() >= from.steps() {
        format!("{:x}", to.steps() - from.steps())
    } else {
        format!("-{:x}", from.steps() - to.steps())
    };
    if to.offset() > 0 {
        text.push_str(&format!("__{:x}", to.offset()));
    }
    text
}

fn apply(from: Timestamp, text: &str) -> Option<Timestamp> {
    let (delta, offset) = text.split_once("__").unwrap_or((text, "0"));
    let offset = u64::from_str_radix(offset, 16).ok()?;
    let steps = match delta.strip_prefix('-') {
        Some(less) => from.steps().checked_sub(u64::from_str_radix(less, 16).ok()?)?,
        None => from.steps().checked_add(u64::from_str_radix(delta, 16).ok()?)?,
    };
    let time = Timestamp::from_steps(steps);
    // A capped time was beyond the greatest possible one.
    (time.steps() == steps).then(|| time.with_offset(offset))
}

impl Offer {
    pub(crate) fn new(hash: PathHash, times: &Times) -> Self {
        Self {
            hash,
            data: times.data,
            meta: times.meta.unwrap_or(times.data),
            content_type: times.content_type.unwrap_or(times.data),
        }
    }

    /// Encodes a line, without its end.
    pub(crate) fn encode(&self) -> String {
        let mut line = format!("{} {}", self.hash, self.data);
        if self.meta != self.data {
            line.push_str(&format!(" m:{}", delta(self.data, self.meta)));
            if self.content_type != self.data {
                line.push_str(&format!(",t:{}", delta(self.data, self.content_type)));
            }
        }
        line
    }

    /// Decodes a line; ignores unknown keys, since later senders may have more of them. `None` when it
    /// is not an offer of a durable object.
    pub(crate) fn decode(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let hash = PathHash::parse(&percent::decode_utf8(words.next()?)?)?;
        let data = Timestamp::parse(&percent::decode_utf8(words.next()?)?)?;
        let mut offer = Self { hash, data, meta: data, content_type: data };
        let more = percent::decode_utf8(words.next().unwrap_or_default())?;
        for item in more.split(',') {
            match item.split_once(':') {
                Some(("m", text)) => offer.meta = apply(data, text)?,
                Some(("t", text)) => offer.content_type = apply(data, text)?,
                _ => {}
            }
        }
        Some(offer)
    }

    /// The parts that a receiver with the state `local` wants: those that are newer.
    pub(crate) fn wanted(&self, local: Option<&Times>, is_tombstone: bool) -> Wanted {
        let Some(local) = local else { return Wanted { data: true, meta: true } };
        let data = self.data > local.data;
        if is_tombstone {
            // Metadata belongs to a body: it is requested when the body is stored.
            return Wanted { data, meta: false };
        }
        let content_type = local.content_type.unwrap_or(local.data);
        let newer_type = self.content_type > content_type && self.content_type > self.data;
        let meta = self.meta > local.meta.unwrap_or(local.data) || newer_type;
        Wanted { data, meta: meta && !apus_fault::planted("bug.want-no-metadata") }
    }
}

/// Encodes a line that requests parts of an object.
pub(crate) fn encode_wanted(hash: &PathHash, wanted: Wanted) -> String {
    let part = |is_wanted: bool, letter: &'static str| if is_wanted { letter } else { "" };
    format!("{hash} {}{}", part(wanted.data, "d"), part(wanted.meta, "m"))
}

/// Decodes such a line; an old receiver names no parts, and takes bodies.
pub(crate) fn decode_wanted(line: &str) -> Option<(PathHash, Wanted)> {
    let mut words = line.split_ascii_whitespace();
    let hash = PathHash::parse(&percent::decode_utf8(words.next()?)?)?;
    let parts = words.next().unwrap_or_default();
    let wanted = Wanted { data: parts.contains('d'), meta: parts.contains('m') };
    Some((hash, if wanted.any() { wanted } else { Wanted { data: true, meta: false } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "9d00c9d091fea9ea855f29c22714dc83";

    fn offer(line: &str) -> Offer {
        Offer::decode(line).unwrap()
    }

    fn times(data: u64, meta: Option<u64>, content_type: Option<u64>) -> Times {
        let time = Timestamp::from_seconds;
        Times { data: time(data), meta: meta.map(time), content_type: content_type.map(time) }
    }

    /// Lines as Swift's `encode_missing` makes them.
    #[test]
    fn offers_are_swifts_lines() {
        for line in [
            format!("{HASH} 1700000000.12345"),
            format!("{HASH} 1700000000.12345 m:186a0"),
            format!("{HASH} 1700000000.12345 m:186a0,t:c350"),
            format!("{HASH} 1700000000.12345_0000000000000002 m:0__3"),
            format!("{HASH} 1700000000.12345 m:186a0__1,t:c350__2"),
        ] {
            assert_eq!(offer(&line).encode(), line);
        }
        let read = offer(&format!("{HASH} 1700000000.12345 m:186a0,t:c350,durable:False,x:y"));
        assert_eq!(read.meta.to_string(), "1700000001.12345");
        assert_eq!(read.content_type.to_string(), "1700000000.62345");
    }

    #[test]
    fn malformed_offers_are_refused() {
        for line in [
            "",
            HASH,
            "abc 1700000000.00000",
            &format!("{HASH} never"),
            &format!("{HASH} 1700000000.00000 m:xyz"),
            &format!("{HASH} 1700000000.00000 m:-ffffffffffffffff"),
            &format!("{HASH} 1700000000.00000 m:ffffffffffffffff"),
        ] {
            assert_eq!(Offer::decode(line), None, "{line}");
        }
    }

    #[test]
    fn each_newer_part_is_wanted_and_nothing_else() {
        let hash = PathHash::parse(HASH).unwrap();
        let wanted = |remote: Times, local: Option<Times>| {
            encode_wanted(&hash, Offer::new(hash, &remote).wanted(local.as_ref(), false))
                .split_off(33)
        };
        assert_eq!(wanted(times(5, None, None), None), "dm");
        assert_eq!(wanted(times(5, None, None), Some(times(5, None, None))), "");
        assert_eq!(wanted(times(5, Some(9), None), Some(times(4, Some(9), None))), "d");
        assert_eq!(wanted(times(5, Some(9), None), Some(times(6, None, None))), "m");
        assert_eq!(wanted(times(5, Some(9), None), Some(times(4, Some(8), None))), "dm");
        // An older POST with a newer content type than ours.
        assert_eq!(wanted(times(5, Some(8), Some(8)), Some(times(5, Some(9), None))), "m");
        assert_eq!(wanted(times(5, Some(8), Some(8)), Some(times(5, Some(9), Some(8)))), "");
        let local = times(7, None, None);
        let newer = Offer::new(hash, &times(8, Some(9), None)).wanted(Some(&local), true);
        assert_eq!(newer, Wanted { data: true, meta: false });
        let older = Offer::new(hash, &times(6, Some(9), None)).wanted(Some(&local), true);
        assert!(!older.any());
    }

    #[test]
    fn wanted_parts_round_trip_and_an_old_receiver_wants_the_body() {
        let hash = PathHash::parse(HASH).unwrap();
        for wanted in [
            Wanted { data: true, meta: false },
            Wanted { data: false, meta: true },
            Wanted { data: true, meta: true },
        ] {
            assert_eq!(decode_wanted(&encode_wanted(&hash, wanted)), Some((hash, wanted)));
        }
        assert_eq!(decode_wanted(HASH), Some((hash, Wanted { data: true, meta: false })));
        assert_eq!(decode_wanted(":ERROR: 0 'x'"), None);
    }
}
