//! Counts of failed sign-ins by address and by user, in a fixed amount of memory.
//!
//! They limit the rate at which keys can be guessed. Each process has its own counts. Signed S3
//! requests are not counted: one client with an old key would lock out all others behind its address.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Default of the failures that one address, or one user, may have in a minute.
pub const PER_MINUTE: u32 = 100;
/// Number of counters, 8 bytes each. Names may share one; which one a name has is secret.
const COUNTERS: usize = 16_384;
const MINUTE_SECONDS: u64 = 60;

/// The failures of the current minute.
#[derive(Debug)]
pub struct FailedSignIns {
    /// The minute in the upper half of each, the failures in that minute in the lower half.
    counters: Vec<AtomicU64>,
    hasher: RandomState,
    per_minute: u32,
}

/// The network of one client: 64 bits of an IPv6 address, all of an IPv4 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl FailedSignIns {
    /// Allows `per_minute` failures of one address or user; 0 is unlimited.
    pub fn new(per_minute: u32) -> Self {
        let counters = if per_minute == 0 { 0 } else { COUNTERS };
        Self {
            counters: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            per_minute,
        }
    }

    fn counter(&self, name: impl Hash) -> Option<&AtomicU64> {
        let index = self.hasher.hash_one(name) % self.counters.len().max(1) as u64;
        self.counters.get(usize::try_from(index).ok()?)
    }

    fn count(&self, name: impl Hash, now_seconds: u64) -> u32 {
        let known = self.counter(name).map_or(0, |counter| counter.load(Ordering::Relaxed));
        match known >> 32 == (now_seconds / MINUTE_SECONDS) & u64::from(u32::MAX) {
            true => u32::try_from(known & u64::from(u32::MAX)).unwrap_or(u32::MAX),
            false => 0,
        }
    }

    /// Seconds to wait before another attempt, if there were too many failures. Failures of other
    /// addresses with a user's name do not lock the user out: they count only against an address
    /// that has failures itself.
    pub fn wait(&self, address: Option<IpAddr>, user: &str, now_seconds: u64) -> Option<u64> {
        if self.per_minute == 0 {
            return None;
        }
        let by_address = address.map_or(0, |address| self.count(network(address), now_seconds));
        let is_suspect = by_address > 0 || address.is_none();
        let too_many = by_address >= self.per_minute
            || (is_suspect && self.count(user, now_seconds) >= self.per_minute);
        too_many.then(|| MINUTE_SECONDS - now_seconds % MINUTE_SECONDS)
    }

    /// Counts a failure.
    pub fn note(&self, address: Option<IpAddr>, user: &str, now_seconds: u64) {
        let minute = (now_seconds / MINUTE_SECONDS) << 32;
        let counters =
            [address.and_then(|address| self.counter(network(address))), self.counter(user)];
        for counter in counters.into_iter().flatten() {
            let more = |known: u64| match known >> 32 == minute >> 32 {
                // An overflow of the lower half would change the minute.
                true => Some(known.saturating_add(1)).filter(|more| more >> 32 == known >> 32),
                false => Some(minute | 1),
            };
            // A count that cannot rise any further is left as it is.
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_waits_for_the_next_minute_after_too_many_failures() {
        let failed = FailedSignIns::new(3);
        let guesser = address("10.0.0.1");
        for guess in 0..3 {
            assert_eq!(failed.wait(guesser, &format!("a:{guess}"), 605), None);
            failed.note(guesser, &format!("a:{guess}"), 605);
        }
        assert_eq!(failed.wait(guesser, "a:other", 605), Some(55));
        assert_eq!(failed.wait(address("::ffff:10.0.0.1"), "a:other", 605), Some(55));
        assert_eq!(failed.wait(address("10.0.0.2"), "a:other", 605), None);
        assert_eq!(failed.wait(guesser, "a:other", 660), None);
    }

    #[test]
    fn failures_of_others_do_not_lock_a_user_out() {
        let failed = FailedSignIns::new(3);
        for host in 1..=3 {
            failed.note(address(&format!("10.0.0.{host}")), "a:user", 0);
        }
        assert_eq!(failed.wait(address("10.0.0.9"), "a:user", 0), None);
        assert_eq!(failed.wait(address("10.0.0.1"), "a:user", 0), Some(60));
        assert_eq!(failed.wait(address("10.0.0.1"), "a:other", 0), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_0_is_no_limit() {
        let failed = FailedSignIns::new(1);
        failed.note(address("2001:db8::1"), "a:user", 0);
        assert_eq!(failed.wait(address("2001:db8::ffff"), "a:b", 0), Some(60));
        assert_eq!(failed.wait(address("2001:db8:0:1::1"), "a:b", 0), None);
        let unlimited = FailedSignIns::new(0);
        unlimited.note(address("10.0.0.1"), "a:user", 0);
        assert_eq!(unlimited.wait(address("10.0.0.1"), "a:user", 0), None);
    }
}
