//! A log line at most once a second, so that nobody can fill a disk by being refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Decides whether something is told now.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// The second of the last line, and what was not told since.
    last: Mutex<(u64, u64)>,
}

impl Seldom {
    /// How many were kept silent since the last line, or `None` when this one is to be as well.
    pub(crate) fn tell(&self, now: Duration) -> Option<u64> {
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
    fn one_line_a_second_tells_how_many_were_left_out() {
        let seldom = Seldom::default();
        let at = |ms| Duration::from_millis(ms);
        assert_eq!(seldom.tell(at(1000)), Some(0));
        assert_eq!((seldom.tell(at(1001)), seldom.tell(at(1999))), (None, None));
        assert_eq!(seldom.tell(at(2000)), Some(2));
    }
}
