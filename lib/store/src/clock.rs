//! The proxy's hybrid clock: ahead of every time it issued or observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::Clock;

/// Issues a unique time for every write.
#[derive(Debug)]
pub struct HybridClock {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl HybridClock {
    /// Creates a hybrid clock over the machine's clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: AtomicU64::new(0) }
    }

    /// A time later than all that were issued or observed before.
    pub fn stamp(&self) -> Timestamp {
        let now = Timestamp::from_duration(self.clock.now()).steps();
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = now.max(last + 1);
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Timestamp::from_steps(next),
                Err(other) => last = other,
            }
        }
    }

    /// Records a time that a node reported, so that the next stamp is later.
    pub fn observe(&self, time: Timestamp) {
        self.last.fetch_max(time.steps(), Ordering::Relaxed);
    }

    /// The machine's time since 1970.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The machine's time, for expiry and the like.
    pub fn now_seconds(&self) -> u64 {
        self.clock.now().as_secs()
    }
}
