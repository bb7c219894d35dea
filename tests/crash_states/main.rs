//! Cuts the power at every point of a workload and in every way that a strict file system allows,
//! and looks whether everything that had been acknowledged is there, whole, and nothing came back.
//!
//! The servers run in this process on a real directory; the seams of `lib/disk` note every change
//! and every sync. The model (`model.rs`) makes of that what may be left, the judge (`judge.rs`)
//! has the real servers read it. The seed of a run is printed; `APUS_SEED` repeats it.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod bench;
mod doubling;
mod judge;
mod model;

use std::path::PathBuf;

use apus_fault::journal::{self, Change};
use bench::{Bench, DEVICE, Ledger, PARTITIONS, object_hash, partition_of};
use http::StatusCode;
use judge::Judge;
use model::{Keep, Model};

/// Random parts that are kept of what is not synced, at each point.
const MIXTURES: u64 = 2;
/// An address at which no server listens.
const AWAY: [(&str, &str); 3] = [
    ("x-container-host", "127.0.0.1:1"),
    ("x-container-partition", "7"),
    ("x-container-device", "sd9"),
];

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{name}-{}", std::process::id()))
}

/// A place for what need not survive: in memory, where that holds attributes.
fn memory(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("/dev/shm/apus-crash-{name}-{}", std::process::id()));
    let flags = rustix::fs::XattrFlags::empty();
    let usable = std::fs::create_dir_all(&path).is_ok()
        && rustix::fs::setxattr(&path, "user.apus.test", b"x", flags).is_ok();
    if usable { path } else { scratch(name) }
}

/// The first name with such a beginning that lies in a partition.
fn in_partition(prefix: &str, partition: u32) -> String {
    let mut names = (0..).map(|number| format!("{prefix}{number}"));
    names.find(|name| partition_of(&object_hash(name)) == partition).unwrap()
}

/// Everything that a device promises, each at least once.
async fn work(bench: &mut Bench) {
    // A write that fails leaves new directories; the next one below them must not rely on them.
    let fails = in_partition("fails", 0);
    apus_fault::arm_additionally("file.sync.begun error@1");
    bench.put(&fails, b"x", &[]).await;
    apus_fault::arm_additionally("directory.sync.begun error@1");
    assert!(!bench.make_container(0, "fails").await.is_success());
    apus_fault::arm_additionally("");
    bench.put(&in_partition("after", 0), b"after a failure", &[]).await;
    assert_eq!(bench.make_container(0, "after").await, StatusCode::CREATED);
    assert_eq!(bench.make_container(1, "other").await, StatusCode::CREATED);

    let life = in_partition("life", 1);
    bench.put(&life, b"one", &[]).await;
    bench.put(&life, &[b'2'; 3000], &[]).await;
    bench.hashes(1).await;
    bench.post(&life, "yellow").await;
    bench.delete(&life, &[]).await;
    bench.put(&life, b"again", &[]).await;
    bench.post(&life, "black").await;
    bench.hashes(1).await;
    bench.put(&life, b"overwritten", &[]).await;
    bench.put(&in_partition("long", 1), &vec![b'l'; 1_300_000], &[]).await;
    let large = "m".repeat(7000);
    bench
        .put(&in_partition("described", 1), b"much metadata", &[("x-object-meta-more", &large)])
        .await;

    // Directories of a process that is gone.
    let (broken, other) = (in_partition("broken", 2), in_partition("elsewhere", 0));
    bench.put(&other, b"so that something was committed", &[]).await;
    bench.break_off(&broken).await;
    bench.restart();
    bench.put(&broken, b"after a restart", &[]).await;

    bench.put(&in_partition("row", 2), b"not reported", &AWAY).await;
    bench.delete(&in_partition("row", 2), &AWAY).await;
    bench.put(&in_partition("rows", 1), b"not reported", &AWAY).await;
    let gone = in_partition("gone", 0);
    bench.put(&gone, b"to be deleted", &[]).await;
    bench.receive(&in_partition("received", 0), &[b'r'; 5000], &gone).await;
    bench.reserve(&life).await;

    let damaged = in_partition("damaged", 2);
    bench.put(&damaged, b"a body that will be damaged", &[]).await;
    bench.damage(&damaged).await;
    bench.put(&damaged, b"healed", &[]).await;

    for round in 0..2 {
        let names: Vec<String> =
            (0..8).map(|number| format!("crowd{}", number + 4 * round)).collect();
        bench.put_all(&names, &[b'c'; 2000]).await;
    }
    for partition in 0..PARTITIONS {
        bench.hashes(partition).await;
    }
    bench.put(&life, b"after the hashes", &[]).await;
}

/// Runs the workload; gives what was noted and what was promised.
async fn record(name: &str, armed: &str) -> (PathBuf, Vec<Change>, Ledger) {
    apus_fault::arm(armed);
    let devices = scratch(name);
    let mut bench = Bench::new(&devices);
    work(&mut bench).await;
    let changes = journal::end();
    // Nothing that the judge does need survive.
    apus_fault::arm("bug.skip-file-sync on\nbug.skip-directory-sync on\nbug.forget-left-behind on");
    (devices, changes, bench.ledger)
}

/// Judges all states, or as many as it takes to find enough that is wrong.
async fn explore(
    (devices, changes, ledger): &(PathBuf, Vec<Change>, Ledger),
    judge: &mut Judge,
    (seed, mixtures): (u64, u64),
    wrongs_max: usize,
) -> Vec<String> {
    let mut model = Model::new(&devices.join(DEVICE));
    let mut wrongs = Vec::new();
    for at in 0..=changes.len() {
        let mixtures = (0..mixtures).map(|number| Keep::Some(seed ^ (number << 32) ^ at as u64));
        for keep in [Keep::Nothing, Keep::Everything].into_iter().chain(mixtures) {
            let found = judge.wrongs(ledger, at, &model.crash(keep)).await;
            let last = at.checked_sub(1).and_then(|last| changes.get(last));
            let last = format!("{last:?}").chars().take(200).collect::<String>();
            wrongs.extend(
                found.into_iter().map(|wrong| format!("{at} {keep:?}: {wrong} (after {last})")),
            );
        }
        if wrongs.len() >= wrongs_max {
            break;
        }
        if let Some(change) = changes.get(at) {
            model.apply(change);
        }
    }
    wrongs
}

/// The same for a device whose partitions were doubled; no server is needed to judge it.
fn explore_doubling(run: &doubling::Run, seed: u64) -> Vec<String> {
    let mut model = Model::new(&run.devices.join(DEVICE));
    let mut wrongs = Vec::new();
    for at in 0..=run.changes.len() {
        let some = [Keep::Some(seed ^ at as u64), Keep::Some((seed << 32) ^ at as u64)];
        for keep in [Keep::Nothing, Keep::Everything].into_iter().chain(some) {
            let found = run.wrongs(at, &model.crash(keep));
            let last = at.checked_sub(1).and_then(|last| run.changes.get(last));
            let last = format!("{last:?}").chars().take(200).collect::<String>();
            wrongs.extend(
                found.into_iter().map(|wrong| format!("{at} {keep:?}: {wrong} (after {last})")),
            );
        }
        if let Some(change) = run.changes.get(at) {
            model.apply(change);
        }
    }
    wrongs
}

/// That the journal knows everything which is on the disk: nothing goes past the seams.
fn nothing_was_done_behind_the_journal(devices: &std::path::Path, changes: &[Change]) {
    let root = devices.join(DEVICE);
    let mut model = Model::new(&root);
    changes.iter().for_each(|change| model.apply(change));
    let known = model.crash(Keep::Everything);
    let mut waiting = vec![root.clone()];
    let mut found = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(&root).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            // SQLite's own files; that of the database itself is known by name.
            if name.ends_with("-wal") || name.ends_with("-shm") {
                continue;
            }
            let noted =
                known.get(below).unwrap_or_else(|| panic!("{below:?} is not in the journal"));
            found += 1;
            match noted {
                None => waiting.push(path),
                Some(_) if name.ends_with(".db") => {}
                Some(kept) => {
                    assert_eq!(kept.content.bytes, std::fs::read(&path).unwrap(), "{below:?}");
                    for (key, value) in &kept.content.attributes {
                        let mut real = vec![0; 70_000];
                        let length = rustix::fs::getxattr(&path, key.as_str(), real.as_mut_slice());
                        assert_eq!(&real[..length.unwrap()], value, "{below:?} {key}");
                    }
                }
            }
        }
    }
    assert_eq!(found, known.len(), "the journal knows of more than there is");
}

fn seed() -> u64 {
    let given = std::env::var("APUS_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from_le_bytes(apus_daemon::random::bytes()) % 1_000_000)
}

/// One test, since the journal and the faults are those of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_that_a_power_cut_may_leave_has_all_that_was_acknowledged() {
    let seed = seed();
    let judging = memory("judge");
    let mut judge = Judge::new(&judging);
    let begun = std::time::Instant::now();
    // The other kind of file system has names for files on their way.
    let runs = [("unnamed", "", MIXTURES), ("named", "without-unnamed-files on", 1)];
    for (name, armed, mixtures) in runs {
        let run = record(name, armed).await;
        nothing_was_done_behind_the_journal(&run.0, &run.1);
        let wrongs = explore(&run, &mut judge, (seed, mixtures), 20).await;
        println!(
            "reliability: part=crash-states run={name} changes={} states={} laid={} wrong={} seed={seed} seconds={:.1}",
            run.1.len(),
            judge.states,
            judge.laid,
            wrongs.len(),
            begun.elapsed().as_secs_f64()
        );
        assert!(wrongs.is_empty(), "seed={seed}\n{}", wrongs.join("\n"));
        std::fs::remove_dir_all(run.0).unwrap();
    }
    let doubled = doubling::record(&scratch("doubled"), "").await;
    nothing_was_done_behind_the_journal(&doubled.devices, &doubled.changes);
    let wrongs = explore_doubling(&doubled, seed);
    println!(
        "reliability: part=crash-states run=doubled changes={} wrong={} seed={seed} seconds={:.1}",
        doubled.changes.len(),
        wrongs.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(wrongs.is_empty(), "seed={seed}\n{}", wrongs.join("\n"));
    for bug in ["bug.skip-other-path", "bug.skip-directory-sync"] {
        let run = doubling::record(&scratch("doubled"), &format!("{bug} on")).await;
        assert!(!explore_doubling(&run, seed).is_empty(), "{bug} is not found");
    }
    std::fs::remove_dir_all(&doubled.devices).unwrap();
    // What the model is there for: it must find each of these.
    for bug in [
        "bug.skip-file-sync",
        "bug.skip-directory-sync",
        "bug.skip-new-parent-sync",
        "bug.forget-left-behind",
        "bug.quarantine-without-sync",
    ] {
        let run = record("bug", &format!("{bug} on")).await;
        let wrongs = explore(&run, &mut judge, (seed, 1), 1).await;
        println!(
            "reliability: part=crash-states bug={bug} seconds={:.1} found={:?}",
            begun.elapsed().as_secs_f64(),
            wrongs.first()
        );
        assert!(!wrongs.is_empty(), "{bug} is not found");
        std::fs::remove_dir_all(run.0).unwrap();
    }
    std::fs::remove_dir_all(judging).unwrap();
}
