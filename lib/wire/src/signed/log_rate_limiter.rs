//! Rate-limits a log line to one per second, so that refused requests cannot fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Rate limiter of one log line.
#[derive(Debug, Default)]
pub(crate) struct LogRateLimiter {
    /// The second of the last line, and the number of lines suppressed since.
    last: Mutex<(u64, u64)>,
}

impl LogRateLimiter {
    /// The number of lines suppressed since the last one, or `None` when this one is suppressed, too.
    pub(crate) fn permit(&self, now: Duration) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, silent) = *last;
        if second == now.as_secs() {
            *last = (second, silent.saturating_add(1));
            return None;
        }
        *last = (now.as_secs(), 0);
        Some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_counts_those_that_were_suppressed() {
        let limiter = LogRateLimiter::default();
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(limiter.permit(at(1000)), Some(0));
        assert_eq!((limiter.permit(at(1001)), limiter.permit(at(1999))), (None, None));
        assert_eq!(limiter.permit(at(2000)), Some(2));
    }
}
