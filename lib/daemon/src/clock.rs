//! The clock as a dependency, which tests can replace.

use std::time::Duration;

/// A source of the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since 1970-01-01 UTC.
    fn now(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Duration {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let offset = apus_fault::clock_offset();
        let shift = Duration::try_from_secs_f64(offset.abs()).unwrap_or_default();
        if offset < 0.0 { now.saturating_sub(shift) } else { now.saturating_add(shift) }
    }
}
