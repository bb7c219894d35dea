//! Devices that come back after a long time, with objects whose deletion nobody remembers.
//!
//! Each finished sweep leaves its time on the device. When the last one is longer ago than
//! tombstones are kept, what was deleted meanwhile may be forgotten everywhere else. Then the
//! beginning of the gap is noted, and an older object is not pushed but counted as suspect, until an
//! operator removes the note `<device>/apus-returned`, unless another primary vouches for it.
//!
//! Who has been there all the time is a witness: it would have taken the object's deletion, so what
//! it has was not deleted, and what it lacks was. Whoever came back as well, or is new, has what it
//! has for no better reason than we: its word counts only if no witness lacks the object, and if no
//! primary is silent that may be one. Since when a device is there each tells in its answer.

use std::collections::{BTreeMap, BTreeSet};
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
/// Since when there was no gap between sweeps that is longer than tombstones are kept.
const PRESENT: &str = "apus-present";
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
    if !is_gap(last, now, reclaim_age) {
        return Ok(None);
    }
    // First: whoever finds the note looks no further.
    write(device, PRESENT, Timestamp::from_duration(now), counters)?;
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

/// Whether tombstones were dropped since the last sweep that were written after it.
fn is_gap(last: Timestamp, now: Duration, reclaim_age: Duration) -> bool {
    now.saturating_sub(Duration::from_secs(last.seconds())) > reclaim_age
}

/// Notes that a sweep of the device came to its end. Blocking.
pub(super) fn swept(device: &Path, now: Duration, counters: &Arc<Counters>) -> io::Result<()> {
    let now = Timestamp::from_duration(now);
    if read(&device.join(PRESENT))?.is_none() {
        write(device, PRESENT, now, counters)?;
    }
    write(device, HEARTBEAT, now, counters)
}

/// Since when the device is there without a gap; `None` when nothing says so. Blocking.
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

/// What is known of an object that may have been deleted.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    a_witness_has: bool,
    a_witness_lacks: bool,
    another_has: bool,
}

/// What other primaries say of objects that may have been deleted since a time.
struct Testimony {
    since: Timestamp,
    doubts: BTreeMap<PathHash, Doubt>,
    any_silent: bool,
}

impl Testimony {
    fn of(since: Timestamp, objects: impl Iterator<Item = PathHash>) -> Self {
        let doubts = objects.map(|hash| (hash, Doubt::default())).collect();
        Self { since, doubts, any_silent: false }
    }

    /// A primary that is there since a time, if it told, lacks some of them.
    fn hear(&mut self, present: Option<Timestamp>, lacking: &BTreeSet<PathHash>) {
        let is_witness = present.is_some_and(|present| present <= self.since);
        for (hash, doubt) in &mut self.doubts {
            match (is_witness, lacking.contains(hash)) {
                (true, true) => doubt.a_witness_lacks = true,
                (true, false) => doubt.a_witness_has = true,
                (false, true) => {}
                (false, false) => doubt.another_has = true,
            }
        }
    }

    fn held(self) -> BTreeSet<PathHash> {
        let any_silent = self.any_silent;
        let is_held = |doubt: &Doubt| {
            let word = doubt.another_has && !doubt.a_witness_lacks && !any_silent;
            !doubt.a_witness_has && !word
        };
        self.doubts.into_iter().filter(|(_, doubt)| is_held(doubt)).map(|(hash, _)| hash).collect()
    }
}

/// Objects that may have been deleted while the device was away: older than that, and nobody who can
/// tell vouches for them.
pub(super) async fn held(job: &Job, batch: &Batch) -> BTreeSet<PathHash> {
    let Some(since) = job.away_since else { return BTreeSet::new() };
    let old: Vec<_> = batch.offers.iter().filter(|offer| offer.data < since).copied().collect();
    let mut testimony = Testimony::of(since, old.iter().map(|offer| offer.hash));
    if old.is_empty() {
        return BTreeSet::new();
    }
    for node in job.other_primaries() {
        match exchange(&job.source(), &node, &old, Send::Nothing).await {
            Ok(done) => {
                let lacking = done.wanted.iter().filter(|(_, parts)| parts.data);
                let lacking = lacking.map(|(hash, _)| *hash).collect();
                testimony.hear(done.present_since, &lacking);
            }
            Err(_) => testimony.any_silent = true,
        }
    }
    testimony.held()
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

    #[test]
    fn a_device_is_there_since_its_first_sweep_or_since_it_came_back() {
        let device = std::env::temp_dir().join(format!("apus-present-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        let (counters, age) = (Arc::default(), Duration::from_secs(100));
        let at = Duration::from_secs;
        let present = |now| {
            let since = present_since(&device, at(now), age).unwrap();
            since.map(|since| since.seconds())
        };
        assert_eq!(present(1000), None, "nobody knows");
        for now in [1000, 1050, 1100] {
            swept(&device, at(now), &counters).unwrap();
            assert_eq!(present(now), Some(1000));
        }
        assert_eq!(present(1200), Some(1000));
        assert_eq!(present(1201), Some(1201), "before anybody has noted the gap");
        away_since(&device, at(1300), age, &counters).unwrap();
        swept(&device, at(1310), &counters).unwrap();
        assert_eq!(present(1310), Some(1300));
        std::fs::remove_file(device.join(RETURNED)).unwrap();
        assert_eq!(present(1310), Some(1300), "the note is about objects");
        std::fs::remove_dir_all(&device).unwrap();
    }

    #[test]
    fn who_came_back_too_vouches_only_where_no_witness_may_know_better() {
        let [x, y] = [1, 2].map(|number| PathHash::parse(&format!("{number:032x}")).unwrap());
        let at = Timestamp::from_seconds;
        let (witness, returned, unknown) = (Some(at(500)), Some(at(2000)), None);
        // Of two objects, those who answer lack the first or none.
        let held = |answers: &[(Option<Timestamp>, bool)], any_silent| {
            let mut testimony = Testimony::of(at(1000), [x, y].into_iter());
            for (present, lacks) in answers {
                testimony.hear(*present, &BTreeSet::from_iter(lacks.then_some(x)));
            }
            testimony.any_silent = any_silent;
            testimony.held().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(held(&[], false), [x, y], "nobody vouches");
        assert_eq!(held(&[(witness, true)], false), [x]);
        assert_eq!(held(&[(witness, false)], true), []);
        assert_eq!(held(&[(witness, true), (witness, false)], false), []);
        assert_eq!(held(&[(witness, true), (returned, false)], false), [x]);
        assert_eq!(held(&[(returned, true), (returned, false)], false), [], "nobody knows better");
        assert_eq!(held(&[(unknown, true), (unknown, false)], false), [], "as Swift's nodes");
        assert_eq!(held(&[(returned, false)], true), [x, y], "a witness may be silent");
    }
}
