//! How far the relinker has come on a device: `relink.<datadir>.json`, and the lock that goes with it.
//!
//! Source: `swift/cli/relinker.py`, `hook_pre_device`, `partitions_filter`. Ours goes on where Swift's
//! stopped, and the other way round. Notes that do not fit the ring, or are damaged, are of another
//! increase: everything is begun anew then, which costs time and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_disk::{AtomicFile, Counters};
use serde_json::{Map, Value, json};

use crate::diskfile::relink_notes;

/// What is noted of one policy on one device.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    part_power: u32,
    next_part_power: u32,
    /// Before the ring was doubled, as the notes of linking say.
    previous: Option<u32>,
    /// Whether each partition is done.
    partitions: BTreeMap<u32, bool>,
}

impl State {
    /// Reads the notes of a device, if they are of this change of the ring.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn load(
        device: &Path,
        kind: &str,
        part_power: u32,
        next_part_power: u32,
    ) -> io::Result<Self> {
        let path = device.join(relink_notes::file(kind));
        let (previous, partitions) = (None, BTreeMap::new());
        let mut state = Self { path, part_power, next_part_power, previous, partitions };
        let text = match std::fs::read(&state.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state),
            text => text?,
        };
        let known = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        if state.take(&known).is_none() {
            apus_disk::remove_file(&state.path)?;
        }
        Ok(state)
    }

    fn take(&mut self, known: &Value) -> Option<()> {
        let power = |key: &str| known.get(key)?.as_u64()?.try_into().ok();
        if power("next_part_power") != Some(self.next_part_power) {
            return None;
        }
        let own = power("part_power")?;
        if own != self.part_power {
            self.previous = Some(own);
            return None;
        }
        let done = |(name, done): (&String, &Value)| Some((name.parse().ok()?, done.as_bool()?));
        self.partitions =
            known.get("state")?.as_object()?.iter().map(done).collect::<Option<_>>()?;
        Some(())
    }

    /// Whether links are made; otherwise old ones are removed.
    fn links(&self) -> bool {
        self.part_power != self.next_part_power
    }

    /// Of the partitions that are `there` those that are still to be done, the highest first, since
    /// links go upwards. With `again` all of them.
    pub(super) fn choose(&mut self, mut there: Vec<u32>, again: bool) -> Vec<u32> {
        // Nothing is to be linked from, or removed of, the new ones.
        let before = if self.links() { Some(self.part_power) } else { self.previous };
        if let Some(before) = before {
            there.retain(|number| u64::from(*number) < 1 << before);
        }
        if again {
            self.partitions.clear();
        }
        // One that came since then was made by who links what it writes; for removing, who knows.
        let done = !self.partitions.is_empty() && self.links();
        for number in there {
            self.partitions.entry(number).or_insert(done);
        }
        let left = self.partitions.iter().rev().filter(|(_, done)| !**done);
        left.map(|(number, _)| *number).collect()
    }

    /// Notes, for [`store`](Self::store), that a partition is done.
    pub(super) fn done(&mut self, partition: u32) {
        self.partitions.insert(partition, true);
    }

    /// Partitions that are done, and all of them.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.partitions.values().filter(|done| **done).count(), self.partitions.len())
    }

    /// Writes the notes, durably.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn store(&self, counters: &Arc<Counters>) -> io::Result<()> {
        let device = self.path.parent().unwrap_or(&self.path);
        let partitions = self.partitions.iter();
        let partitions: Map<String, Value> =
            partitions.map(|(number, done)| (number.to_string(), Value::Bool(*done))).collect();
        let mut known = json!({
            "part_power": self.part_power,
            "next_part_power": self.next_part_power,
            "state": partitions,
        });
        if let (Some(previous), Some(known)) = (self.previous, known.as_object_mut()) {
            known.insert("prev_part_power".to_owned(), previous.into());
        }
        let mut file = AtomicFile::create(device, &device.join("tmp"), counters)?;
        file.append(known.to_string().as_bytes())?;
        file.sync()?;
        file.publish(&self.path, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("apus-relink-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn load(&self, part_power: u32, next: u32) -> State {
            State::load(&self.0, "objects", part_power, next).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_done_is_not_done_again_and_new_partitions_count_as_linked() {
        let scratch = Scratch::new("resume");
        let mut state = scratch.load(4, 5);
        assert_eq!(state.choose(vec![3, 1, 16, 15], false), [15, 3, 1], "16 is a new one");
        state.done(15);
        state.store(&Arc::default()).unwrap();
        let mut state = scratch.load(4, 5);
        assert_eq!(state.choose(vec![1, 3, 7, 15], false), [3, 1], "7 came while it was linked");
        assert_eq!(state.counts(), (2, 4));
        assert_eq!(state.choose(vec![1, 3], true), [3, 1]);
    }

    #[test]
    fn removing_goes_over_the_lower_half_as_the_notes_of_linking_tell() {
        let scratch = Scratch::new("lower");
        let path = scratch.0.join("relink.objects.json");
        // As Swift's writes them.
        std::fs::write(&path, r#"{"part_power": 4, "next_part_power": 5, "state": {"3": true}}"#)
            .unwrap();
        let mut state = scratch.load(5, 5);
        assert!(!path.exists());
        assert_eq!(state.choose(vec![3, 6, 16, 31], false), [6, 3]);
        state.done(3);
        state.store(&Arc::default()).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(relink_notes::own_power(&text), Some(5));
        let known: Value = serde_json::from_slice(&text).unwrap();
        let expected = json!({"part_power": 5, "next_part_power": 5, "prev_part_power": 4,
                              "state": {"3": true, "6": false}});
        assert_eq!(known, expected);
        assert_eq!(scratch.load(5, 5).choose(vec![1, 3], false), [6, 1], "one that came late");
    }

    #[test]
    fn without_notes_all_partitions_are_looked_at_and_damaged_ones_are_dropped() {
        let scratch = Scratch::new("damaged");
        let path = scratch.0.join("relink.objects.json");
        for bad in [
            "{torn",
            "[]",
            r#"{"part_power":4,"next_part_power":5,"state":{"x":1}}"#,
            r#"{"part_power":3,"next_part_power":4,"state":{}}"#,
        ] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(scratch.load(4, 5).choose(vec![1], false), [1], "{bad}");
            assert!(!path.exists());
        }
        assert_eq!(scratch.load(4, 4).choose(vec![3, 31], false), [31, 3]);
    }
}
