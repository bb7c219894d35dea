//! Nonces of the requests that were received, for as long as their date is accepted.
//!
//! Nonces are kept by the time that their request was signed at, which a replay cannot change, and
//! are forgotten a span at a time. A request for which there is no room is refused.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::WINDOW_MS;

/// Time in one set, in milliseconds.
const SPAN_MS: u64 = 10_000;
/// Nonces kept: of some 60,000 requests a second, in at most 80 MB.
const NONCES_MAX: usize = 4 * 1024 * 1024;

/// Result of recording a nonce.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NonceCheck {
    /// It was not seen before.
    First,
    /// It was seen before, or is too old to know.
    Again,
    /// There is no room for more.
    Full,
}

#[derive(Debug, Default)]
struct Spans {
    sets: BTreeMap<u64, HashSet<u64>>,
    count: usize,
    /// Spans before this one are forgotten, also when the clock is put back.
    first: u64,
}

/// The nonces of one server.
#[derive(Debug)]
pub(super) struct NonceCache {
    spans: Mutex<Spans>,
    max: usize,
}

impl Default for NonceCache {
    fn default() -> Self {
        Self { spans: Mutex::default(), max: NONCES_MAX }
    }
}

impl NonceCache {
    /// Records the nonce of a request that was signed at `date_ms`; part of the nonce is enough.
    pub(super) fn note(&self, nonce: u64, date_ms: u64, now_ms: u64) -> NonceCheck {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let first = now_ms.saturating_sub(WINDOW_MS) / SPAN_MS;
        if first > spans.first {
            spans.first = first;
            let kept = spans.sets.split_off(&first);
            let forgotten = std::mem::replace(&mut spans.sets, kept);
            spans.count -= forgotten.values().map(HashSet::len).sum::<usize>();
        }
        let span = date_ms / SPAN_MS;
        if span < spans.first || spans.sets.get(&span).is_some_and(|set| set.contains(&nonce)) {
            return NonceCheck::Again;
        }
        if spans.count >= self.max {
            return NonceCheck::Full;
        }
        spans.sets.entry(span).or_default().insert(nonce);
        spans.count += 1;
        NonceCheck::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once_as_long_as_its_date_is_accepted_and_then_its_room_is_free() {
        let seen = NonceCache { max: 2, ..NonceCache::default() };
        let date = 1_700_000_000_000;
        assert_eq!(seen.note(1, date, date), NonceCheck::First);
        assert_eq!(seen.note(2, date, date), NonceCheck::First);
        assert_eq!(seen.note(3, date, date), NonceCheck::Full);
        for later in [0, 30_000, WINDOW_MS] {
            assert_eq!(seen.note(1, date, date + later), NonceCheck::Again);
        }
        let next = date + WINDOW_MS + SPAN_MS;
        assert_eq!(seen.note(3, next, next), NonceCheck::First);
    }

    #[test]
    fn a_clock_that_is_put_back_brings_no_forgotten_request_back() {
        let seen = NonceCache::default();
        let date = 1_700_000_000_000;
        assert_eq!(seen.note(1, date, date), NonceCheck::First);
        assert_eq!(seen.note(2, date + 300_000, date + 300_000), NonceCheck::First);
        assert_eq!(seen.note(1, date, date), NonceCheck::Again);
    }
}
