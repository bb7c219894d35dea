use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_cluster::{PartPower, PathHash, PolicyIndex};

use super::links::Links;
use super::progress::Stats;
use crate::diskfile::metadata::overflow_path;
use crate::engine::place::{Partition, Place};

/// In partition 628 of 2^10, and 1256 of 2^11.
const HASH: &str = "9d00c9d091fea9ea855f29c22714dc83";
const T1: &str = "0000000001.00000";
const T2: &str = "0000000002.00000";
const T3: &str = "0000000003.00000";

/// A device with one object in its old and its new partition.
struct Bed {
    device: PathBuf,
    stats: Stats,
}

impl Bed {
    fn new(name: &str) -> Self {
        let device = std::env::temp_dir().join(format!("apus-links-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        Self { device, stats: Stats::default() }
    }

    fn partition(&self, number: u32) -> Partition {
        Partition { device: self.device.clone(), policy: PolicyIndex(0), number }
    }

    fn hash() -> PathHash {
        PathHash::parse(HASH).unwrap()
    }

    fn place(&self, number: u32) -> Place {
        self.partition(number).place(Self::hash())
    }

    /// Files of the old place, by name.
    fn old(self, names: &[&str]) -> Self {
        self.fill(628, names)
    }

    /// Files of the new place; not the same ones.
    fn new_place(self, names: &[&str]) -> Self {
        self.fill(1256, names)
    }

    /// Names in the new place of files of the old one.
    fn linked(self, names: &[&str]) -> Self {
        let (old, new) = (self.place(628).directory(), self.place(1256).directory());
        std::fs::create_dir_all(&new).unwrap();
        for name in names {
            std::fs::hard_link(old.join(name), new.join(name)).unwrap();
        }
        self
    }

    fn fill(self, number: u32, names: &[&str]) -> Self {
        let directory = self.place(number).directory();
        std::fs::create_dir_all(&directory).unwrap();
        for name in names {
            std::fs::write(directory.join(name), format!("{number} {name}")).unwrap();
        }
        self
    }

    fn run(mut self, cleanup: bool, clobber: bool) -> Self {
        let (partition, counters) = (self.partition(628), Arc::default());
        let stats = &mut self.stats;
        let power = PartPower::new(11).unwrap();
        let mut links = Links { cleanup, clobber, power, stats, counters: &counters };
        let found = links.misplaced(&partition, "c83").unwrap();
        assert_eq!(found, [Self::hash()]);
        links.suffix(&partition, &found);
        self
    }

    fn relink(self) -> Self {
        self.run(false, false)
    }

    fn cleanup(self) -> Self {
        self.run(true, false)
    }

    fn names(&self, number: u32) -> Vec<String> {
        let mut names = apus_disk::names(&self.place(number).directory()).unwrap();
        names.sort();
        names
    }

    /// Names in the old and in the new place.
    fn both(&self) -> [Vec<String>; 2] {
        [628, 1256].map(|number| self.names(number))
    }

    fn is_reported(&self, number: u32) -> bool {
        let noted = self.partition(number).directory().join("hashes.invalid");
        std::fs::read_to_string(noted).is_ok_and(|noted| noted.lines().any(|line| line == "c83"))
    }

    fn content(&self, number: u32, name: &str) -> String {
        std::fs::read_to_string(self.place(number).directory().join(name)).unwrap()
    }

    /// Files, linked, removed, errors.
    fn counts(&self) -> [u64; 4] {
        let Stats { files, linked, removed, errors, .. } = self.stats;
        [files, linked, removed, errors]
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.device);
    }
}

fn name(time: &str, extension: &str) -> String {
    format!("{time}.{extension}")
}

#[test]
fn body_and_metadata_are_linked_and_the_suffix_is_hashed_again() {
    let (data, meta) = (name(T1, "data"), name(T2, "meta"));
    let bed = Bed::new("plain").old(&[&data, &meta]).relink();
    let expected = [data.clone(), meta.clone()];
    assert_eq!(bed.both(), [expected.to_vec(), expected.to_vec()]);
    assert_eq!(bed.counts(), [2, 2, 0, 0]);
    assert!(bed.is_reported(1256) && !bed.is_reported(628));
    let same = |name: &str| {
        let [old, new] = [628, 1256].map(|number| bed.place(number).directory().join(name));
        apus_disk::is_same_file(&old, &new).unwrap()
    };
    assert!(same(&data) && same(&meta));
    let again = bed.relink();
    assert_eq!(again.counts(), [4, 2, 0, 0], "nothing is linked twice");
}

#[test]
fn a_tombstone_is_linked_and_what_it_hides_goes() {
    let (data, tombstone) = (name(T1, "data"), name(T2, "ts"));
    let bed = Bed::new("tombstone").old(&[&data, &tombstone]).relink();
    assert_eq!(bed.both(), [vec![tombstone.clone()], vec![tombstone]]);
}

#[test]
fn an_old_tombstone_is_not_reclaimed_before_the_data_that_it_hides_is_gone() {
    let (data, tombstone) = (name(T1, "data"), name(T2, "ts"));
    // Of 1970, older than any `reclaim_age`.
    let bed = Bed::new("reclaim").old(&[&data]).new_place(&[&tombstone]).cleanup();
    assert_eq!(bed.both(), [vec![], vec![tombstone]]);
    assert_eq!(bed.counts(), [0, 0, 1, 0]);
}

#[test]
fn what_is_newer_in_the_new_place_stays_alone() {
    let (first, second) = (name(T1, "data"), name(T2, "data"));
    let bed = Bed::new("newer").old(&[&first]).new_place(&[&second]).relink();
    assert_eq!(bed.both(), [vec![first], vec![second.clone()]]);
    let bed = bed.cleanup();
    assert_eq!(bed.both(), [vec![], vec![second]]);
    assert!(bed.is_reported(628));
}

#[test]
fn metadata_of_an_older_body_is_not_brought_to_a_newer_one_but_newer_metadata_is() {
    let (old, meta) = (name(T1, "data"), name(T3, "meta"));
    let new = name(T2, "data");
    let bed = Bed::new("meta").old(&[&old, &meta]).new_place(&[&new]).cleanup();
    assert_eq!(bed.both(), [vec![], vec![new, meta.clone()]]);
    let (old, meta) = (name(T1, "data"), name(T2, "meta"));
    let new = name(T3, "data");
    let bed = Bed::new("meta").old(&[&old, &meta]).new_place(&[&new]).cleanup();
    assert_eq!(bed.both(), [vec![], vec![new]]);
}

#[test]
fn cleanup_links_what_is_missing_before_it_removes() {
    let data = name(T1, "data");
    let bed = Bed::new("missing").old(&[&data]).cleanup();
    assert_eq!(bed.both(), [vec![], vec![data.clone()]]);
    assert_eq!(bed.content(1256, &data), format!("628 {data}"));
    assert_eq!(bed.counts(), [1, 1, 1, 0]);
    assert!(bed.is_reported(1256) && bed.is_reported(628));
    assert!(!bed.place(628).directory().exists(), "no empty directory stays");
}

#[test]
fn cleanup_removes_nothing_where_a_link_cannot_be_made() {
    let (data, meta) = (name(T1, "data"), name(T2, "meta"));
    let bed = Bed::new("collision").old(&[&data, &meta]).new_place(&[&data]).cleanup();
    assert_eq!(bed.both(), [vec![data.clone(), meta.clone()], vec![data.clone(), meta]]);
    assert_eq!(bed.counts(), [2, 1, 0, 1]);
    assert_eq!(bed.content(1256, &data), format!("1256 {data}"));
}

#[test]
fn another_file_of_the_same_name_is_an_error_unless_it_may_be_quarantined() {
    let data = name(T1, "data");
    let bed = Bed::new("clobber").old(&[&data]).new_place(&[&data]).relink();
    assert_eq!(bed.counts(), [1, 0, 0, 1]);
    let mut bed = bed.run(false, true);
    assert_eq!(bed.counts(), [2, 1, 0, 1]);
    assert_eq!(bed.content(1256, &data), format!("628 {data}"));
    let quarantined = bed.device.join("quarantined/objects").join(HASH).join(&data);
    assert_eq!(std::fs::read_to_string(quarantined).unwrap(), format!("1256 {data}"));
    // When cleaning up clients have used the new one.
    std::fs::remove_file(bed.place(1256).directory().join(&data)).unwrap();
    bed = bed.new_place(&[&data]).run(true, true);
    assert_eq!(bed.both(), [vec![], vec![data.clone()]]);
    assert_eq!(bed.content(1256, &data), format!("1256 {data}"));
}

#[test]
fn two_tombstones_of_one_time_are_one() {
    let tombstone = name(T1, "ts");
    let bed = Bed::new("tombstones").old(&[&tombstone]).new_place(&[&tombstone]).cleanup();
    assert_eq!(bed.both(), [vec![], vec![tombstone]]);
    assert_eq!(bed.counts(), [1, 0, 1, 0]);
}

#[test]
fn unknown_files_are_linked_and_temporary_ones_are_left() {
    let (data, fragment, going) = (name(T1, "data"), format!("{T1}#3#d.data"), ".x.data.aB3_dE");
    let bed = Bed::new("unknown").old(&[&data, &fragment, going]).linked(&[&data]).cleanup();
    assert_eq!(bed.both(), [vec![going.to_owned()], vec![fragment, data]]);
}

#[test]
fn metadata_next_to_the_data_file_is_removed_only_with_its_last_name() {
    let (first, second) = (name(T1, "data"), name(T2, "data"));
    let bed = Bed::new("overflow").old(&[&second]).linked(&[&second]);
    let overflow = |bed: &Bed, name: &str| overflow_path(&bed.device, &Bed::hash(), name);
    let keep = |path: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "metadata").unwrap();
    };
    keep(&overflow(&bed, &second));
    let bed = bed.cleanup();
    assert!(overflow(&bed, &second).exists(), "the new name needs it");
    let bed = bed.old(&[&first]);
    keep(&overflow(&bed, &first));
    let bed = bed.cleanup();
    assert_eq!(bed.both(), [vec![], vec![second.clone()]]);
    assert!(!overflow(&bed, &first).exists());
    assert!(overflow(&bed, &second).exists());
}
