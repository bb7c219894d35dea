//! Limits the rate of updates to each container.
//!
//! So a busy container does not delay the others. Containers share buckets by their hash, as in Swift (`BucketizedUpdateSkippingLimiter`), so that
//! their number costs no memory. An update over the limit is left for the next pass.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::PathHash;
use tokio::time::Instant;

/// Buckets that containers share (`per_container_ratelimit_buckets`).
const BUCKETS: usize = 1000;

/// Rate limiter of each container.
#[derive(Debug)]
pub(super) struct ContainerPace {
    interval: Option<Duration>,
    /// When the next update of a bucket is allowed.
    next: Mutex<Vec<Option<Instant>>>,
}

impl ContainerPace {
    /// Allows `per_second` updates; zero or less for no limit.
    pub(super) fn new(per_second: f64) -> Self {
        let interval = (per_second > 0.0).then(|| Duration::try_from_secs_f64(1.0 / per_second));
        Self { interval: interval.and_then(Result::ok), next: Mutex::new(vec![None; BUCKETS]) }
    }

    /// Whether an update of the container with this hash is allowed now.
    pub(super) fn allows(&self, container: &PathHash) -> bool {
        let Some(interval) = self.interval else { return true };
        let bucket = usize::try_from(container.modulo(BUCKETS as u64)).unwrap_or(0);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = next.get_mut(bucket) else { return true };
        let now = Instant::now();
        if next.is_some_and(|next| now < next) {
            return false;
        }
        *next = Some(now + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_container_waits_and_another_does_not() {
        let pace = ContainerPace::new(2.0);
        let (busy, idle) = (PathHash([0; 16]), PathHash([1; 16]));
        assert!(pace.allows(&busy) && !pace.allows(&busy) && pace.allows(&idle));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(pace.allows(&busy));
        let free = ContainerPace::new(0.0);
        assert!(free.allows(&busy) && free.allows(&busy));
    }
}
