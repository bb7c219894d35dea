use std::path::PathBuf;

use apus_cluster::{PolicyIndex, Timestamp};

use super::*;

const HASH: &str = "00000000000000000000000000000abc";
const OTHER: &str = "10000000000000000000000000000abc";

struct Scratch(Partition);

impl Scratch {
    fn new(name: &str) -> Self {
        let device = std::env::temp_dir().join(format!("apus-sweep-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&device);
        std::fs::create_dir_all(&device).unwrap();
        Self(Partition { device, policy: PolicyIndex(0), number: 7 })
    }

    fn directory(&self, hash: &str) -> PathBuf {
        self.0.directory().join("abc").join(hash)
    }

    fn add(&self, hash: &str, names: &[&str]) {
        std::fs::create_dir_all(self.directory(hash)).unwrap();
        for name in names {
            std::fs::write(self.directory(hash).join(name), b"").unwrap();
        }
    }

    fn names(&self, hash: &str) -> Vec<String> {
        let mut names = apus_disk::names(&self.directory(hash)).unwrap();
        names.sort_unstable();
        names
    }

    fn hash(&self, now: u64) -> Option<String> {
        hash_suffix(&self.0, "abc", &at(now), &Counters::default()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.device);
    }
}

fn at(now: u64) -> Reclaim {
    Reclaim { now: Duration::from_secs(now), age: Duration::from_secs(1000) }
}

fn md5_of(text: &str) -> Option<String> {
    Some(format!("{:x}", md5::compute(text)))
}

/// The order and spelling of `_hash_suffix_dir` in `swift/obj/diskfile.py`; the black-box tests
/// compare with Swift itself.
#[test]
fn a_suffix_is_hashed_over_the_times_that_count() {
    let scratch = Scratch::new("hash");
    scratch.add(OTHER, &["0000001000.00000.ts"]);
    scratch.add(
        HASH,
        &[
            "0000000900.00000.ts",
            "0000001000.00000.data",
            "0000001005.00000-493e0.meta",
            "0000001004.00000+0.meta",
            "notes",
        ],
    );
    let text = "0000001005.00000.meta0000001000.00000.data0000001004.00000_ctype\
                0000001000.00000.ts";
    assert_eq!(scratch.hash(1100), md5_of(text));
    assert_eq!(scratch.names(HASH).len(), 4, "only obsolete files are removed");
}

#[test]
fn only_what_is_older_than_reclaim_age_is_removed() {
    let scratch = Scratch::new("reclaim");
    scratch.add(HASH, &["0000001000.00000.ts"]);
    scratch.add(OTHER, &["0000001000.00000+0.meta"]);
    assert_eq!(scratch.hash(2000), md5_of("0000001000.00000.ts"));
    assert_eq!(scratch.names(OTHER).len(), 1);
    assert_eq!(scratch.hash(2001), None);
    assert!(!scratch.0.directory().join("abc").exists());
    // A body is never removed, however old.
    scratch.add(HASH, &["0000001000.00000.data", "0000001001.00000+0.meta"]);
    assert!(scratch.hash(1_000_000).is_some());
    assert_eq!(scratch.names(HASH).len(), 2);
}

#[test]
fn leftovers_of_broken_writes_are_removed_after_a_day_and_unknown_files_stay() {
    let scratch = Scratch::new("leftover");
    scratch.add(HASH, &[".0000000001.00000.data.Xy095a", "notes"]);
    let now = apus_daemon::Clock::now(&apus_daemon::clock::SystemClock).as_secs();
    scratch.hash(now);
    assert_eq!(scratch.names(HASH).len(), 2);
    scratch.hash(now + 86_402);
    assert_eq!(scratch.names(HASH), ["notes"]);
}

#[test]
fn a_file_in_the_place_of_a_hash_directory_is_quarantined() {
    let scratch = Scratch::new("file");
    scratch.add(OTHER, &["0000001000.00000.data"]);
    std::fs::write(scratch.directory(HASH), b"").unwrap();
    assert_eq!(scratch.hash(1100), md5_of("0000001000.00000.data"));
    assert!(scratch.0.device.join("quarantined/objects").join(HASH).exists());
}

#[test]
fn an_object_is_removed_only_in_the_state_that_was_confirmed() {
    let scratch = Scratch::new("remove");
    let counters = Counters::default();
    scratch.add(HASH, &["0000001000.00000.data", "0000001005.00000+0.meta"]);
    let [(hash, times)] = objects_of_suffix(&scratch.0, "abc", &at(1100), &counters).unwrap()[..]
    else {
        panic!("one object");
    };
    scratch.add(HASH, &["0000001006.00000+0.meta", ".0000001000.00000.data.Xy095a"]);
    assert!(!remove_object(&scratch.0, hash, times, &counters).unwrap());
    assert_eq!(scratch.names(HASH).len(), 4);
    let [(hash, times)] = objects_of_suffix(&scratch.0, "abc", &at(1100), &counters).unwrap()[..]
    else {
        panic!("one object");
    };
    assert_eq!(times.meta, Some(Timestamp::from_seconds(1006)));
    assert!(remove_object(&scratch.0, hash, times, &counters).unwrap());
    assert!(scratch.0.remove_if_empty(&counters).unwrap());
    assert!(!scratch.0.directory().exists());
}

#[test]
fn a_partition_with_anything_in_it_stays() {
    let scratch = Scratch::new("stays");
    let counters = Counters::default();
    scratch.add(HASH, &["0000001000.00000.data"]);
    assert!(!scratch.0.remove_if_empty(&counters).unwrap());
    std::fs::remove_dir_all(scratch.directory(HASH)).unwrap();
    std::fs::write(scratch.0.directory().join("strange"), b"").unwrap();
    assert!(!scratch.0.remove_if_empty(&counters).unwrap());
    assert!(scratch.0.directory().join("strange").exists());
}
