//! Devices that come back after a long time, with objects whose deletion nobody remembers.
//!
//! Each finished sweep leaves its time on the device. When the last one is longer ago than
//! tombstones are kept, what was deleted meanwhile may be forgotten everywhere else. Then the
//! beginning of the gap is noted, and an older object that no other primary has is not pushed, but
//! counted as suspect, until an operator removes the note `<device>/apus-returned`. Objects that at
//! least one other primary has are none of this: they are pushed as always.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{PathHash, Timestamp};
use apus_disk::{AtomicFile, Counters};

use super::job::{Batch, Job};
use super::sender::{Send, exchange};

/// The time of the last finished sweep.
const HEARTBEAT: &str = "apus-replicated";
/// Since when the device was away, until somebody removes it.
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

/// Since when the device was away for longer than tombstones are kept; `None` when it was not.
/// Blocking.
pub(super) fn away_since(
    device: &Path,
    now: Duration,
    reclaim_age: Duration,
    counters: &Arc<Counters>,
) -> io::Result<Option<Timestamp>> {
    if let Some(noted) = read(&device.join(RETURNED))? {
        return Ok(Some(noted));
    }
    let Some(last) = read(&device.join(HEARTBEAT))? else { return Ok(None) };
    let gap = now.saturating_sub(Duration::from_secs(last.seconds()));
    if gap <= reclaim_age {
        return Ok(None);
    }
    write(device, RETURNED, last, counters)?;
    tracing::error!(
        device = %device.display(),
        last_sweep = last.iso(),
        "this device was away for longer than reclaim_age: objects on it that are older than its \
         last sweep and that no other node has may have been deleted meanwhile, and are kept here \
         but not pushed; remove its file {RETURNED} to have them pushed again"
    );
    Ok(Some(last))
}

/// Notes that a sweep of the device came to its end. Blocking.
pub(super) fn swept(device: &Path, now: Duration, counters: &Arc<Counters>) -> io::Result<()> {
    write(device, HEARTBEAT, Timestamp::from_duration(now), counters)
}

/// Objects that may have been deleted while the device was away: older than that, and on no other
/// primary. A primary that cannot be asked is none that has them.
pub(super) async fn held(job: &Job, batch: &Batch) -> BTreeSet<PathHash> {
    let Some(since) = job.away_since else { return BTreeSet::new() };
    let old: Vec<_> = batch.offers.iter().filter(|offer| offer.data < since).copied().collect();
    let mut held: BTreeSet<PathHash> = old.iter().map(|offer| offer.hash).collect();
    for node in job.other_primaries() {
        if held.is_empty() {
            break;
        }
        let Ok(done) = exchange(&job.source(), &node, &old, Send::Nothing).await else { continue };
        let lacking = done.wanted.iter().filter(|(_, parts)| parts.data);
        let lacking: BTreeSet<PathHash> = lacking.map(|(hash, _)| *hash).collect();
        held.retain(|hash| lacking.contains(hash));
    }
    held
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
        swept(&device, at(1000), &counters).unwrap();
        assert_eq!(since(1100), None);
        assert_eq!(since(1101), Some(Timestamp::from_seconds(1000)));
        swept(&device, at(1101), &counters).unwrap();
        assert_eq!(since(1102), Some(Timestamp::from_seconds(1000)), "until it is removed");
        std::fs::remove_file(device.join(RETURNED)).unwrap();
        assert_eq!(since(1102), None);
        std::fs::remove_dir_all(&device).unwrap();
    }
}
