//! Limits how many objects are quarantined per hour.
//!
//! When defective memory or a bug makes everything look damaged, most of a device stays in place,
//! and an alarm is logged.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// How much of a device may be quarantined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuarantineLimit {
    /// Objects an hour that may always be quarantined.
    pub per_hour: u64,
    /// Share, from 0 to 1, of the objects audited within the hour that may be quarantined.
    pub share: f64,
}

/// Swift has no such limit. A failing disk loses more than this; then it must be replaced.
impl Default for QuarantineLimit {
    fn default() -> Self {
        Self { per_hour: 100, share: 0.05 }
    }
}

/// Counts of a device within the hour.
#[derive(Debug, Default)]
struct HourCounts {
    began: Duration,
    audited: u64,
    quarantined: u64,
    alarmed: bool,
}

/// Counts quarantined objects of each device, and refuses too many.
#[derive(Debug)]
pub(crate) struct QuarantineLimiter {
    limit: QuarantineLimit,
    devices: Mutex<HashMap<PathBuf, HourCounts>>,
}

impl QuarantineLimiter {
    pub(crate) fn new(limit: QuarantineLimit) -> Self {
        Self { limit, devices: Mutex::default() }
    }

    fn with<T>(&self, device: &Path, now: Duration, work: impl FnOnce(&mut HourCounts) -> T) -> T {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = devices.entry(device.to_owned()).or_default();
        if now.saturating_sub(hour.began) >= HOUR {
            *hour = HourCounts { began: now, ..HourCounts::default() };
        }
        work(hour)
    }

    /// Counts an audited object. `now` is since 1970.
    pub(crate) fn record_audit(&self, device: &Path, now: Duration) {
        self.with(device, now, |hour| hour.audited += 1);
    }

    /// Counts one more quarantine and returns whether it is permitted.
    pub(crate) fn permit(&self, device: &Path, now: Duration) -> bool {
        let limit = self.limit;
        self.with(device, now, |hour| {
            let share = limit.share * hour.audited as f64;
            if hour.quarantined < limit.per_hour || (hour.quarantined as f64) < share {
                hour.quarantined += 1;
                return true;
            }
            if !std::mem::replace(&mut hour.alarmed, true) {
                tracing::error!(
                    device = %device.display(),
                    quarantined = hour.quarantined,
                    audited = hour.audited,
                    "ALARM: too many objects look damaged, or are unwanted by a watcher; no more are \
                     quarantined or deleted within this hour. Check the disk and the memory"
                );
            }
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_hourly_number_only_a_share_is_quarantined() {
        let limiter = QuarantineLimiter::new(QuarantineLimit { per_hour: 2, share: 0.1 });
        let (device, now) = (Path::new("sd1"), Duration::from_secs(1_700_000_000));
        let permitted = |now| (0..10).filter(|_| limiter.permit(device, now)).count();
        assert_eq!(permitted(now), 2);
        (0..50).for_each(|_| limiter.record_audit(device, now));
        assert_eq!(permitted(now), 3, "five in all, a tenth of fifty");
        assert!(limiter.permit(Path::new("sd2"), now), "another device");
        assert_eq!(permitted(now + HOUR), 2, "another hour");
    }
}
