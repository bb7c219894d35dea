//! Waits after failed deliveries: doubled with each failure, with jitter.

use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Doublings after which the wait is at its greatest in any case.
const DOUBLINGS_MAX: u32 = 20;

/// Failures in a row, and when the next attempt is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
    /// Since 1970.
    due: Duration,
}

impl Backoff {
    /// Whether an attempt may be made at `now`, since 1970.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Counts a failure at `now`. `share`, from 0 to 1, takes up to half of the wait away, so that
    /// nodes do not repeat their requests at the same time.
    pub(super) fn fail(&mut self, now: Duration, max: Duration, share: f64) {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        self.due = now.saturating_add(doubled.min(max).mul_f64(1.0 - share.clamp(0.0, 1.0) / 2.0));
    }

    /// Forgets the failures.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_greatest_and_a_success_ends_them() {
        let (now, max) = (Duration::from_secs(1000), Duration::from_secs(10));
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(now));
        for (share, milliseconds) in
            [(0.0, 1000), (0.0, 2000), (1.0, 2000), (0.5, 6000), (0.0, 10_000), (1.0, 5000)]
        {
            backoff.fail(now, max, share);
            let wait = Duration::from_millis(milliseconds);
            assert!(!backoff.is_due(now + wait - Duration::from_millis(1)), "{backoff:?}");
            assert!(backoff.is_due(now + wait), "{backoff:?}");
        }
        for _ in 0..100 {
            backoff.fail(now, max, 0.0);
        }
        assert!(backoff.is_due(now + max));
        backoff.succeed();
        assert!(backoff.is_due(now));
    }
}
