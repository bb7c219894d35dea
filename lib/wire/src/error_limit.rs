//! Which nodes to avoid, and for how long.
//!
//! As Swift's proxy: after `suppression_limit` errors within the interval a device is left out
//! until the interval has passed; a 507 leaves it out at once. Unlike in Swift, a request that cannot
//! reach its quorum without such a device is sent to it, and a device that answers is used again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Errors of each device, keyed by `ip:port/device`.
#[derive(Debug, Default)]
pub struct ErrorLimits {
    devices: Mutex<HashMap<String, Errors>>,
}

#[derive(Debug, Default)]
struct Errors {
    count: u32,
    last: Duration,
}

/// Errors after which a device is avoided.
const SUPPRESSION_LIMIT: u32 = 10;
/// For how long. Shorter than Swift's 60 s: a restarted node should serve again soon.
const SUPPRESSION_INTERVAL: Duration = Duration::from_secs(10);

impl ErrorLimits {
    /// Whether the device is avoided at time `now`.
    pub fn is_limited(&self, device: &str, now: Duration) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(errors) = devices.get(device) else { return false };
        if now.saturating_sub(errors.last) > SUPPRESSION_INTERVAL {
            devices.remove(device);
            return false;
        }
        errors.count >= SUPPRESSION_LIMIT
    }

    /// Records one error.
    pub fn record_error(&self, device: &str, now: Duration) {
        self.add(device, now, 1);
    }

    /// Records a 507: the device is not mounted.
    pub fn record_unmounted(&self, device: &str, now: Duration) {
        self.add(device, now, SUPPRESSION_LIMIT);
    }

    /// Forgets the errors of an avoided device that answered.
    pub fn forget(&self, device: &str) {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).remove(device);
    }

    fn add(&self, device: &str, now: Duration, count: u32) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let errors = devices.entry(device.to_owned()).or_default();
        errors.count = errors.count.saturating_add(count);
        errors.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_avoided_after_ten_errors_or_one_507_and_comes_back() {
        let limits = ErrorLimits::default();
        let now = Duration::from_secs(100);
        for _ in 0..9 {
            limits.record_error("a", now);
        }
        assert!(!limits.is_limited("a", now));
        limits.record_error("a", now);
        limits.record_unmounted("b", now);
        assert!(limits.is_limited("a", now) && limits.is_limited("b", now));
        assert!(!limits.is_limited("b", now + SUPPRESSION_INTERVAL * 2));
        limits.forget("a");
        assert!(!limits.is_limited("a", now));
    }
}
