//! Files on a device that record since when it takes part in replication.
//!
//! Each finished sweep of the replicator leaves its time on the device. When the last one is longer
//! ago than tombstones are kept, deletions that happened meanwhile may be forgotten everywhere else.
//! Then the beginning of the gap is noted in `<device>/apus-returned`, until an operator removes it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_disk::{AtomicFile, Counters};

/// The time of the last finished sweep.
const HEARTBEAT: &str = "apus-replicated";
/// The time since which no gap between sweeps was longer than tombstones are kept.
const PRESENT: &str = "apus-present";
/// The time at which the device went away; the operator removes this file.
const RETURNED: &str = "apus-returned";

fn read(path: &Path) -> io::Result<Option<Timestamp>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Timestamp::parse(text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(device: &Path, name: &str, time: Timestamp, counters: &Arc<Counters>) -> io::Result<()> {
    let mut file = AtomicFile::create(device, &device.join("tmp"), counters)?;
    file.append(format!("{time}\n").as_bytes())?;
    file.sync()?;
    file.publish(&device.join(name), &[])
}

/// The time at which a device went away for longer than tombstones are kept; `None` when it did not.
/// Blocking.
pub(crate) fn away_since(
    device: &Path,
    now: Duration,
    reclaim_age: Duration,
    counters: &Arc<Counters>,
) -> io::Result<Option<Timestamp>> {
    if let Some(noted) = read(&device.join(RETURNED))? {
        return Ok(Some(noted));
    }
    let Some(last) = read(&device.join(HEARTBEAT))? else { return Ok(None) };
    if !is_gap(last, now, reclaim_age) {
        return Ok(None);
    }
    // First: a reader of the other file looks no further.
    write(device, PRESENT, Timestamp::from_duration(now), counters)?;
    write(device, RETURNED, last, counters)?;
    tracing::error!(
        device = %device.display(),
        last_sweep = last.iso(),
        "This device was away for longer than reclaim_age. Objects on it that are older than its \
         last sweep and that no other node has may have been deleted meanwhile; they are kept here \
         but not pushed. Remove its file {RETURNED} to push them again"
    );
    Ok(Some(last))
}

/// Whether tombstones that were written after the last sweep may have been reclaimed.
fn is_gap(last: Timestamp, now: Duration, reclaim_age: Duration) -> bool {
    now.saturating_sub(Duration::from_secs(last.seconds())) > reclaim_age
}

/// Records that a sweep of the device finished. Blocking.
pub(crate) fn record_sweep(
    device: &Path,
    now: Duration,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let now = Timestamp::from_duration(now);
    if read(&device.join(PRESENT))?.is_none() {
        write(device, PRESENT, now, counters)?;
    }
    write(device, HEARTBEAT, now, counters)
}

/// The time since which the device is present without a gap; `None` when it is not known. Blocking.
pub(crate) fn present_since(
    device: &Path,
    now: Duration,
    reclaim_age: Duration,
) -> io::Result<Option<Timestamp>> {
    match read(&device.join(HEARTBEAT))? {
        Some(last) if is_gap(last, now, reclaim_age) => Ok(Some(Timestamp::from_duration(now))),
        Some(_) => read(&device.join(PRESENT)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_longer_than_reclaim_age_is_noted_until_the_note_is_removed() {
        let device = std::env::temp_dir().join(format!("apus-returned-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        let (counters, age) = (Arc::default(), Duration::from_secs(100));
        let at = Duration::from_secs;
        let since = |now| away_since(&device, at(now), age, &counters).unwrap();
        assert_eq!(since(5000), None, "a device that was never swept");
        record_sweep(&device, at(1000), &counters).unwrap();
        assert_eq!(since(1100), None);
        assert_eq!(since(1101), Some(Timestamp::from_seconds(1000)));
        record_sweep(&device, at(1101), &counters).unwrap();
        assert_eq!(since(1102), Some(Timestamp::from_seconds(1000)), "until it is removed");
        std::fs::remove_file(device.join(RETURNED)).unwrap();
        assert_eq!(since(1102), None);
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn a_device_is_present_since_its_first_sweep_or_since_it_came_back() {
        let device = std::env::temp_dir().join(format!("apus-present-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        let (counters, age) = (Arc::default(), Duration::from_secs(100));
        let at = Duration::from_secs;
        let present = |now| {
            let since = present_since(&device, at(now), age).unwrap();
            since.map(|since| since.seconds())
        };
        assert_eq!(present(1000), None, "not known");
        for now in [1000, 1050, 1100] {
            record_sweep(&device, at(now), &counters).unwrap();
            assert_eq!(present(now), Some(1000));
        }
        assert_eq!(present(1200), Some(1000));
        assert_eq!(present(1201), Some(1201), "before the gap is noted");
        away_since(&device, at(1300), age, &counters).unwrap();
        record_sweep(&device, at(1310), &counters).unwrap();
        assert_eq!(present(1310), Some(1300));
        std::fs::remove_file(device.join(RETURNED)).unwrap();
        assert_eq!(present(1310), Some(1300), "the note is about objects");
        std::fs::remove_dir_all(&device).unwrap();
    }
}
