//! The relinker's notes on a device: which partitions are done (`relink.<datadir>.json`).
//!
//! Source: `swift/cli/relinker.py`, `hook_pre_device`, `partitions_filter`. Either relinker, Swift's or
//! ours, continues where the other one stopped. Notes that do not fit the ring, or are damaged, belong
//! to another increase: then all partitions are processed again, which only costs time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::PartPower;
use apus_disk::{AtomicFile, Counters};
use serde_json::{Map, Value, json};

use crate::diskfile::relink_notes;

/// Notes on one policy on one device.
#[derive(Debug)]
pub(super) struct RelinkNotes {
    path: PathBuf,
    part_power: PartPower,
    next_part_power: PartPower,
    /// The part power before the ring was doubled, from the notes of linking.
    previous: Option<PartPower>,
    /// Whether each partition is done.
    partitions: BTreeMap<u32, bool>,
}

impl RelinkNotes {
    /// Reads the notes of a device, if they belong to this change of the ring.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn load(
        device: &Path,
        kind: &str,
        part_power: PartPower,
        next_part_power: PartPower,
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
        let power = |key: &str| PartPower::new(known.get(key)?.as_u64()?.try_into().ok()?);
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

    /// The existing partitions (`there`) that are not done, the highest first, since links go
    /// upwards. With `again` all of them.
    pub(super) fn choose(&mut self, mut there: Vec<u32>, again: bool) -> Vec<u32> {
        // The new partitions need no links, and nothing is removed from them.
        let before = if self.links() { Some(self.part_power) } else { self.previous };
        if let Some(before) = before {
            there.retain(|number| u64::from(*number) < before.partitions());
        }
        if again {
            self.partitions.clear();
        }
        // A partition created since then has its links, since its writer made them. For cleanup that
        // is not certain.
        let done = !self.partitions.is_empty() && self.links();
        for number in there {
            self.partitions.entry(number).or_insert(done);
        }
        let left = self.partitions.iter().rev().filter(|(_, done)| !**done);
        left.map(|(number, _)| *number).collect()
    }

    /// Marks a partition as done, for [`store`](Self::store).
    pub(super) fn done(&mut self, partition: u32) {
        self.partitions.insert(partition, true);
    }

    /// The number of partitions that are done, and of all.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.partitions.values().filter(|done| **done).count(), self.partitions.len())
    }

    /// Stores the notes, durably.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn store(&self, counters: &Arc<Counters>) -> io::Result<()> {
        let device = self.path.parent().unwrap_or(&self.path);
        let partitions = self.partitions.iter();
        let partitions: Map<String, Value> =
            partitions.map(|(number, done)| (number.to_string(), Value::Bool(*done))).collect();
        let mut known = json!({
            "part_power": self.part_power.get(),
            "next_part_power": self.next_part_power.get(),
            "state": partitions,
        });
        if let (Some(previous), Some(known)) = (self.previous, known.as_object_mut()) {
            known.insert("prev_part_power".to_owned(), previous.get().into());
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

        fn load(&self, part_power: u32, next: u32) -> RelinkNotes {
            let of = |power: u32| PartPower::new(power).unwrap();
            RelinkNotes::load(&self.0, "objects", of(part_power), of(next)).unwrap()
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
    fn cleanup_visits_the_lower_half_according_to_the_notes_of_linking() {
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
        assert_eq!(relink_notes::own_power(&text), PartPower::new(5));
        let known: Value = serde_json::from_slice(&text).unwrap();
        let expected = json!({"part_power": 5, "next_part_power": 5, "prev_part_power": 4,
                              "state": {"3": true, "6": false}});
        assert_eq!(known, expected);
        assert_eq!(scratch.load(5, 5).choose(vec![1, 3], false), [6, 1], "one that came late");
    }

    #[test]
    fn without_notes_all_partitions_are_visited_and_damaged_notes_are_removed() {
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
