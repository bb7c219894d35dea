//! Content of objects: random bytes by seed and index.
//!
//! A body can be sent and checked piece by piece without being kept. One pool of random bytes serves
//! all objects; each object reads it in a circle from its own offset. The length of the pool is
//! prime, so that parts of a round size differ.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Length of the circle: the first prime above 4 MiB.
const PERIOD: usize = 4_194_319;
/// The longest piece of a body; the pool repeats its beginning for so long.
const PIECE_MAX: usize = 256 * 1024;
/// Distance between the beginnings of two neighbours; anything but a multiple of `PERIOD` will do.
const STRIDE: u64 = 1_618_033;

/// Random bytes for all objects of a run.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    bytes: Bytes,
}

/// The bytes of one object, of a part of one, or of a document; shrinks as they are read.
#[derive(Debug, Clone)]
pub(super) struct Content {
    bytes: Bytes,
    period: usize,
    position: usize,
    left: u64,
}

/// Vigna's `splitmix64`.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Pool {
    /// The pool of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut bytes: Vec<u8> = Vec::with_capacity(PERIOD + PIECE_MAX + 8);
        while bytes.len() < PERIOD {
            bytes.extend(random(&mut state).to_le_bytes());
        }
        bytes.truncate(PERIOD);
        bytes.extend_from_within(..PIECE_MAX);
        Self { bytes: bytes.into() }
    }

    /// What the object with this index holds.
    pub(super) fn content(&self, index: u64, size: u64) -> Content {
        let position = (index % PERIOD as u64 * STRIDE % PERIOD as u64) as usize;
        Content { bytes: self.bytes.clone(), period: PERIOD, position, left: size }
    }
}

impl Content {
    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::document(Bytes::new())
    }

    /// These bytes and no others.
    pub(super) fn document(bytes: Bytes) -> Self {
        Self { period: bytes.len(), left: bytes.len() as u64, bytes, position: 0 }
    }

    /// The bytes from `start` on, at most `size` of them.
    pub(super) fn part(&self, start: u64, size: u64) -> Self {
        let mut part = self.clone();
        let start = start.min(self.left);
        part.advance(start);
        part.left = size.min(part.left);
        part
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn advance(&mut self, size: u64) {
        self.left = self.left.saturating_sub(size);
        let end = self.position as u64 + size;
        self.position = end.checked_rem(self.period as u64).unwrap_or(0) as usize;
    }

    /// The next piece, at most `limit` bytes; `None` at the end.
    fn next(&mut self, limit: usize) -> Option<Bytes> {
        let room = self.bytes.len().saturating_sub(self.position);
        let size = limit.min(PIECE_MAX).min(room) as u64;
        let size = size.min(self.left);
        if size == 0 {
            return None;
        }
        let piece = self.bytes.slice(self.position..self.position + size as usize);
        self.advance(size);
        Some(piece)
    }

    /// Whether `received` is what comes next.
    pub(super) fn matches(&mut self, mut received: &[u8]) -> bool {
        while !received.is_empty() {
            let Some(piece) = self.next(received.len()) else { return false };
            match received.split_at_checked(piece.len()) {
                Some((head, rest)) if head == piece => received = rest,
                _ => return false,
            }
        }
        true
    }

    /// Hands every piece to `take`.
    pub(super) fn each(mut self, mut take: impl FnMut(&[u8])) {
        while let Some(piece) = self.next(PIECE_MAX) {
            take(&piece);
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next(PIECE_MAX).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(content: Content) -> Vec<u8> {
        let mut all = Vec::new();
        content.each(|piece| all.extend_from_slice(piece));
        all
    }

    #[test]
    fn content_follows_from_seed_and_index_alone() {
        let first = whole(Pool::new(7).content(3, 5000));
        assert_eq!(first.len(), 5000);
        assert_eq!(first, whole(Pool::new(7).content(3, 5000)));
        assert_ne!(first, whole(Pool::new(7).content(4, 5000)));
        assert_ne!(first, whole(Pool::new(8).content(3, 5000)));
    }

    #[test]
    fn one_flipped_bit_is_found_wherever_the_body_was_cut() {
        let content = Pool::new(1).content(9, 600_000);
        let mut body = whole(content.clone());
        for cut in [1, 4096, 262_144, 599_999] {
            let mut check = content.clone();
            assert!(body.chunks(cut).all(|piece| check.matches(piece)));
            assert_eq!(check.left(), 0);
        }
        for at in [0, 300_000, 599_999] {
            body[at] ^= 1;
            let mut check = content.clone();
            assert!(!body.chunks(70_000).all(|piece| check.matches(piece)), "{at}");
            body[at] ^= 1;
        }
    }

    #[test]
    fn a_byte_too_many_does_not_match() {
        let mut check = Pool::new(1).content(0, 3);
        let body = whole(Pool::new(1).content(0, 4));
        assert!(!check.matches(&body));
    }

    #[test]
    fn parts_put_together_are_the_whole_across_the_end_of_the_pool() {
        let size = 2 * PERIOD as u64 + 5;
        let content = Pool::new(2).content(1, size);
        let mut check = content.clone();
        for start in (0..size).step_by(1_000_003) {
            content.part(start, 1_000_003).each(|piece| assert!(check.matches(piece)));
        }
        assert_eq!(check.left(), 0);
    }

    #[test]
    fn parts_of_a_round_size_differ() {
        let content = Pool::new(2).content(0, 64 << 20);
        let begin = |part: u64| whole(content.part(part * (4 << 20), 64));
        assert!((1..16).all(|part| begin(part) != begin(0)));
    }

    #[test]
    fn neighbours_begin_in_different_places() {
        let pool = Pool::new(3);
        let mut places: Vec<usize> =
            (0..100_000).map(|index| pool.content(index, 1).position).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 100_000);
    }
}
