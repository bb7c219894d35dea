use apus_cluster::backend_auth::{BackendAuth, ClusterKey, Mode};

use super::super::file::tests::{file_of, raw, ring_file};
use super::super::{FILE_BYTES_MAX, Rank};
use super::*;

/// A directory of its own, gone at the end.
pub(in crate::rings) struct Directory(pub(in crate::rings) PathBuf);

impl Directory {
    pub(in crate::rings) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apus-rings-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(in crate::rings) fn keys(digits: &[&str]) -> RingKeys {
    let keys = digits.iter().map(|digits| ClusterKey::parse(&digits.repeat(32)).unwrap());
    RingKeys::new(&BackendAuth { mode: Mode::Signed, keys: keys.collect() }).unwrap()
}

fn folder(directory: &Directory) -> RingFolder {
    RingFolder::new(&directory.0, keys(&["ab"]), Vec::new())
}

fn put(folder: &RingFolder, file: &RingFile, series: u64) -> Result<Step, Refusal> {
    folder.install(file, &folder.keys().sign(file, series).unwrap())
}

fn rank(folder: &RingFolder, file: &RingFile) -> Option<Rank> {
    folder.entry(file.name()).unwrap().unwrap().rank()
}

#[test]
fn a_ring_is_there_with_what_was_said_of_it_and_the_same_again_changes_nothing() {
    let directory = Directory::new("again");
    let (folder, file) = (folder(&directory), ring_file("object", 7));
    assert_eq!(folder.entry(file.name()), Ok(None));
    assert_eq!(put(&folder, &file, 0), Ok(Step::Install));
    assert_eq!(std::fs::read(directory.0.join("object.ring.gz")).unwrap(), *file.bytes());
    let entry = folder.entry(file.name()).unwrap().unwrap();
    assert_eq!((entry.signed().unwrap().version, entry.md5.as_str()), (7, file.md5()));
    assert_eq!(put(&folder, &file, 0), Ok(Step::Nothing));
    assert_eq!(folder.manifest().unwrap().rings, vec![entry]);
    let mut names: Vec<_> = std::fs::read_dir(&directory.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, [".apus-rings.lock", "object.ring.gz", "object.ring.gz.signature"]);
}

#[test]
fn an_older_ring_or_another_of_the_same_version_is_refused_with_both_versions() {
    let directory = Directory::new("older");
    let folder = folder(&directory);
    let (old, new) = (ring_file("object", 7), ring_file("object", 8));
    put(&folder, &old, 0).unwrap();
    assert_eq!(put(&folder, &new, 0), Ok(Step::Install));
    // Replayed: it is signed, and still older.
    let refusal = put(&folder, &old, 0).unwrap_err();
    assert_eq!(refusal.status().as_u16(), 409);
    assert!(refusal.to_string().contains("version 7"), "{refusal}");
    assert!(refusal.to_string().contains("version 8"), "{refusal}");
    let mut other = raw(8);
    other.devices[0].as_mut().unwrap().weight = 2.0;
    let refusal = put(&folder, &file_of("object", &other), 0).unwrap_err();
    assert!(refusal.to_string().contains("another ring"), "{refusal}");
    assert_eq!(rank(&folder, &new), Some(Rank { series: 0, version: 8 }));
}

#[test]
fn a_ring_that_was_forced_wins_everywhere_and_what_it_replaced_does_not_come_back() {
    let directory = Directory::new("forced");
    let folder = folder(&directory);
    let (old, new) = (ring_file("object", 7), ring_file("object", 8));
    put(&folder, &new, 0).unwrap();
    assert_eq!(put(&folder, &old, 1), Ok(Step::Install));
    assert!(matches!(put(&folder, &new, 0), Err(Refusal::NotNewer { .. })));
    // Of the same file a lower series says nothing new.
    assert_eq!(put(&folder, &old, 0), Ok(Step::Nothing));
    assert_eq!(rank(&folder, &old), Some(Rank { series: 1, version: 7 }));
    assert_eq!(put(&folder, &new, 1), Ok(Step::Install));
}

#[test]
fn a_file_that_no_statement_fits_is_used_but_not_passed_on_and_keeps_its_series() {
    let directory = Directory::new("unfit");
    let folder = folder(&directory);
    let (pushed, brought) = (ring_file("object", 7), ring_file("object", 9));
    let path = directory.0.join("object.ring.gz");
    std::fs::write(&path, brought.bytes()).unwrap();
    let entry = folder.entry(brought.name()).unwrap().unwrap();
    assert!(entry.fault.unwrap().contains("it was not pushed"));
    assert!(folder.open_signed(brought.name()).unwrap().is_none());
    std::fs::remove_file(&path).unwrap();

    put(&folder, &pushed, 2).unwrap();
    assert!(folder.open_signed(pushed.name()).unwrap().is_some());
    std::fs::write(&path, brought.bytes()).unwrap();
    let entry = folder.entry(brought.name()).unwrap().unwrap();
    assert!(entry.fault.as_ref().unwrap().contains("was signed"), "{entry:?}");
    assert!(folder.open_signed(brought.name()).unwrap().is_none());
    assert_eq!(entry.rank(), Some(Rank { series: 2, version: 9 }));
    // Its own statement makes it whole again, in the series that is known.
    assert!(matches!(put(&folder, &brought, 1), Err(Refusal::NotNewer { .. })));
    assert_eq!(put(&folder, &brought, 2), Ok(Step::Sign));
    assert!(folder.open_signed(brought.name()).unwrap().is_some());
}

#[test]
fn a_crash_between_ring_and_statement_is_mended_by_the_same_push() {
    let directory = Directory::new("crash");
    let folder = folder(&directory);
    let (old, new) = (ring_file("object", 7), ring_file("object", 8));
    put(&folder, &old, 0).unwrap();
    // As it is when the new ring has its name and the statement has not.
    std::fs::write(directory.0.join("object.ring.gz"), new.bytes()).unwrap();
    std::fs::write(directory.0.join(".object.ring.gz.signature.apus-unfinished"), b"{").unwrap();
    assert!(folder.open_signed(new.name()).unwrap().is_none());
    assert_eq!(put(&folder, &new, 0), Ok(Step::Sign));
    assert!(folder.open_signed(new.name()).unwrap().is_some());
    assert!(!directory.0.join(".object.ring.gz.signature.apus-unfinished").exists());
}

#[test]
fn a_damaged_file_is_mended_by_its_own_ring_and_by_newer_ones_only() {
    let directory = Directory::new("damaged");
    let folder = folder(&directory);
    let (older, ring) = (ring_file("object", 6), ring_file("object", 7));
    put(&folder, &ring, 0).unwrap();
    let half = &ring.bytes()[..ring.bytes().len() / 2];
    std::fs::write(directory.0.join("object.ring.gz"), half).unwrap();
    assert!(folder.open_signed(ring.name()).unwrap().is_none());
    assert!(matches!(put(&folder, &older, 0), Err(Refusal::NotNewer { .. })));
    assert_eq!(put(&folder, &ring, 0), Ok(Step::Install));
    assert!(folder.open_signed(ring.name()).unwrap().is_some());
}

#[test]
fn only_a_statement_of_this_cluster_over_just_these_bytes_is_taken() {
    let directory = Directory::new("foreign");
    let folder = folder(&directory);
    let file = ring_file("object", 7);
    let foreign = keys(&["cd"]).sign(&file, 0).unwrap();
    assert_eq!(folder.install(&file, &foreign).unwrap_err().status().as_u16(), 403);
    let good = folder.keys().sign(&file, 0).unwrap();
    let other = ring_file("object", 8);
    assert_eq!(folder.install(&other, &good).unwrap_err().status().as_u16(), 400);
    assert_eq!(folder.entry(file.name()), Ok(None));
}

#[test]
fn after_a_change_of_keys_the_same_ring_is_signed_again() {
    let directory = Directory::new("keys");
    let file = ring_file("object", 7);
    put(&folder(&directory), &file, 0).unwrap();
    let changed = RingFolder::new(&directory.0, keys(&["cd", "ab"]), Vec::new());
    assert!(changed.open_signed(file.name()).unwrap().is_some(), "the previous key is believed");
    changed.renew_statements().unwrap();
    assert_eq!(put(&changed, &file, 0), Ok(Step::Nothing));
    let done = RingFolder::new(&directory.0, keys(&["cd"]), Vec::new());
    assert!(done.open_signed(file.name()).unwrap().is_some());
}

#[test]
fn part_powers_follow_swifts_increase_step_by_step() {
    let directory = Directory::new("power");
    let folder = folder(&directory);
    let mut version = 7;
    let mut try_power_of = |kind: &str, power: u32, next: Option<u32>| {
        version += 1;
        let rows = raw(1).rows.iter().map(|row| vec![row[0]; 1 << power]).collect();
        let ring = apus_ring::format::UncheckedRing {
            part_power: power,
            next_part_power: next,
            rows,
            ..raw(version)
        };
        put(&folder, &file_of(kind, &ring), 0).map_err(|refusal| refusal.status().as_u16())
    };
    for kind in ["account", "container"] {
        assert_eq!(try_power_of(kind, 4, Some(5)), Ok(Step::Install));
        assert_eq!(try_power_of(kind, 5, Some(5)), Err(409), "{kind}");
    }
    let mut try_power = |power, next| try_power_of("object-1", power, next);
    assert_eq!(try_power(4, None), Ok(Step::Install));
    for (power, next) in [(5, None), (5, Some(5)), (3, None), (4, Some(6)), (4, Some(3))] {
        assert_eq!(try_power(power, next), Err(409), "{power} {next:?}");
    }
    // Prepared, cancelled, ended.
    assert_eq!(try_power(4, Some(5)), Ok(Step::Install));
    assert_eq!(try_power(4, Some(4)), Ok(Step::Install));
    assert_eq!(try_power(5, Some(5)), Err(409));
    assert_eq!(try_power(4, None), Ok(Step::Install));
    // Prepared, doubled, ended.
    assert_eq!(try_power(4, Some(5)), Ok(Step::Install));
    assert_eq!(try_power(5, Some(5)), Ok(Step::Install));
    assert_eq!(try_power(5, None), Ok(Step::Install));
}

#[test]
fn a_ring_with_partitions_without_a_device_is_refused() {
    let directory = Directory::new("unsigned");
    let mut ring = raw(7);
    for row in &mut ring.rows {
        row[3] = u32::MAX;
    }
    let refusal = put(&folder(&directory), &file_of("object", &ring), 0).unwrap_err();
    assert_eq!(refusal.status().as_u16(), 400);
    assert!(refusal.to_string().contains("partition 3"), "{refusal}");
}

#[test]
fn of_two_versions_that_come_at_once_the_higher_stays_in_either_order() {
    for round in 0..20 {
        let directory = Directory::new(&format!("race-{round}"));
        // Folders of their own, as two processes have them.
        let outcome = std::thread::scope(|scope| {
            let racers: Vec<_> = (1..=4)
                .map(|version| {
                    let directory = &directory;
                    scope.spawn(move || put(&folder(directory), &ring_file("object", version), 0))
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect::<Vec<_>>()
        });
        let folder = folder(&directory);
        assert_eq!(outcome[3], Ok(Step::Install));
        assert!(
            outcome[..3].iter().all(|outcome| matches!(
                outcome,
                Ok(Step::Install) | Err(Refusal::NotNewer { .. })
            )),
            "{outcome:?}"
        );
        let name = RingName::parse("object.ring.gz").unwrap();
        let (_, statement) = folder.open_signed(&name).unwrap().unwrap();
        assert_eq!(statement.version, 4);
    }
}

#[test]
fn a_new_ring_is_in_force_at_once_and_keeps_mode_and_length_within_bounds() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("force");
    let path = directory.0.join("object.ring.gz");
    std::fs::write(&path, ring_file("object", 7).bytes()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let used = Arc::new(SharedRing::load(&path).unwrap());
    let folder = RingFolder::new(&directory.0, keys(&["ab"]), vec![used.clone()]);
    put(&folder, &ring_file("object", 8), 0).unwrap();
    assert_eq!(used.get().version(), 8);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let entry = folder.entry(&RingName::parse("object.ring.gz").unwrap()).unwrap().unwrap();
    assert_eq!(entry.loaded_version, Some(8));
    std::fs::File::create(&path).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let entries = folder.manifest().unwrap().rings;
    assert!(entries[0].fault.as_ref().unwrap().contains("expected at most"), "{entries:?}");
}
