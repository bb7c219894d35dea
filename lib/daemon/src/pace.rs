//! The rate limit of a pass, in items or bytes per second.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far a pass may be ahead of its rate. Waiting for each small amount would cost a timer and a
/// wake-up each, which is most of what an idle daemon costs.
const AHEAD_MAX: Duration = Duration::from_millis(500);

/// Lets through at most a given amount per second, in bursts of at most 500 ms worth.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    /// When the next amount may start.
    next: Option<Instant>,
}

impl Pace {
    /// A limit of `per_second` items or bytes; zero or less means no limit, as in Swift's options.
    pub fn per_second(per_second: f64) -> Self {
        Self { per_second, next: None }
    }

    /// Waits until `amount` more is allowed.
    pub async fn take(&mut self, amount: f64) {
        if self.per_second <= 0.0 {
            return;
        }
        let now = Instant::now();
        // Idle time is not saved for a burst.
        let start = self.next.map_or(now, |next| next.max(now));
        let cost = Duration::try_from_secs_f64(amount / self.per_second).unwrap_or_default();
        self.next = Some(start + cost);
        if start > now + AHEAD_MAX {
            sleep_until(start).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hundred_at_ten_a_second_take_ten_seconds() {
        let mut pace = Pace::per_second(10.0);
        let began = Instant::now();
        for _ in 0..=100 {
            pace.take(1.0).await;
        }
        let elapsed = began.elapsed();
        let ten = Duration::from_secs(10);
        assert!(elapsed <= ten && elapsed >= ten - AHEAD_MAX, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_means_no_waiting() {
        let mut pace = Pace::per_second(0.0);
        let began = Instant::now();
        pace.take(1e9).await;
        pace.take(1e9).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
