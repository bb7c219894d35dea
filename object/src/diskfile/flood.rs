//! A bound on what is moved aside in an hour: when memory or a bug makes everything look damaged,
//! most of a device stays where it is, and somebody is told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// How much of a device may be moved aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuarantineLimit {
    /// Objects an hour that may always be moved aside.
    pub per_hour: u64,
    /// Share, from 0 to 1, of the objects audited within the hour that may be moved aside.
    pub share: f64,
}

/// Swift has no such limit. A disk that dies loses more than this; then it is to be replaced.
impl Default for QuarantineLimit {
    fn default() -> Self {
        Self { per_hour: 100, share: 0.05 }
    }
}

/// What happened on a device within the hour.
#[derive(Debug, Default)]
struct Hour {
    began: Duration,
    audited: u64,
    moved: u64,
    told: bool,
}

/// Counts what is moved aside on each device.
#[derive(Debug)]
pub(crate) struct Flood {
    limit: QuarantineLimit,
    devices: Mutex<HashMap<PathBuf, Hour>>,
}

impl Flood {
    pub(crate) fn new(limit: QuarantineLimit) -> Self {
        Self { limit, devices: Mutex::default() }
    }

    fn with<T>(&self, device: &Path, now: Duration, work: impl FnOnce(&mut Hour) -> T) -> T {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = devices.entry(device.to_owned()).or_default();
        if now.saturating_sub(hour.began) >= HOUR {
            *hour = Hour { began: now, ..Hour::default() };
        }
        work(hour)
    }

    /// Notes that an object was audited. `now` is since 1970.
    pub(crate) fn audited(&self, device: &Path, now: Duration) {
        self.with(device, now, |hour| hour.audited += 1);
    }

    /// Whether one more may be moved aside, which is counted.
    pub(crate) fn may_move(&self, device: &Path, now: Duration) -> bool {
        let limit = self.limit;
        self.with(device, now, |hour| {
            let share = limit.share * hour.audited as f64;
            if hour.moved < limit.per_hour || (hour.moved as f64) < share {
                hour.moved += 1;
                return true;
            }
            if !std::mem::replace(&mut hour.told, true) {
                tracing::error!(
                    device = %device.display(),
                    moved = hour.moved,
                    audited = hour.audited,
                    "ALARM: too much looks damaged, or unwanted by a watcher; nothing more is moved \
                     aside or deleted within this hour. Look at the disk and at the memory"
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
    fn after_some_an_hour_only_a_share_is_moved_aside() {
        let flood = Flood::new(QuarantineLimit { per_hour: 2, share: 0.1 });
        let (device, now) = (Path::new("sd1"), Duration::from_secs(1_700_000_000));
        let moved = |now| (0..10).filter(|_| flood.may_move(device, now)).count();
        assert_eq!(moved(now), 2);
        (0..50).for_each(|_| flood.audited(device, now));
        assert_eq!(moved(now), 3, "five in all, a tenth of fifty");
        assert!(flood.may_move(Path::new("sd2"), now), "another device");
        assert_eq!(moved(now + HOUR), 2, "another hour");
    }
}
