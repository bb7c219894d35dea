use std::path::PathBuf;

use apus_ring::builder::file;
use apus_ring::search::DeviceSpec;
use serde_json::json;

use super::super::joining::{Joining, JoiningDevice};
use super::*;

const RINGS: [(&str, u16); 3] = [("account", 6202), ("container", 6201), ("object", 6200)];

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Builders of four nodes with a zone and a device each, rebalanced, and their rings.
fn folder(name: &str) -> Folder {
    let path = std::env::temp_dir().join(format!("apus-manager-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    for (ring, port) in RINGS {
        let mut builder = RingBuilder::new(6, 3.0, 0).unwrap();
        for number in 1..=4 {
            let text = format!("r1z{number}-10.0.0.{number}:{port}/sd{number}");
            let wanted = DeviceSpec { weight: Some(100.0), ..DeviceSpec::add(&text).unwrap() };
            builder.add(wanted.new_device().unwrap());
        }
        place(&mut builder, 1_000_000, 7).unwrap();
        std::fs::write(path.join(format!("{ring}.builder")), file::encode(&builder)).unwrap();
        let bytes = format::encode(&builder.ring_data(), 1).unwrap();
        std::fs::write(path.join(format!("{ring}.ring.gz")), &bytes).unwrap();
    }
    Folder(path)
}

fn open(folder: &Folder, policy: Policy) -> Manager {
    Manager::open(&folder.0, policy).unwrap()
}

fn joining(weight: Option<f64>) -> Joining {
    Joining {
        ip: "10.0.0.5".to_owned(),
        region: None,
        zone: None,
        ports: RINGS.iter().map(|(ring, port)| ((*ring).to_owned(), *port)).collect(),
        devices: vec![JoiningDevice { name: "sd5".to_owned(), weight, size: Some(3000) }],
        policies: Vec::new(),
        dry_run: false,
    }
}

type Rows = BTreeMap<&'static str, Vec<Vec<u32>>>;

/// The rows of the ring files.
fn rows(folder: &Folder) -> Rows {
    let read = |ring: &str| {
        let bytes = std::fs::read(folder.0.join(format!("{ring}.ring.gz"))).unwrap();
        format::decode(&bytes).unwrap().rows
    };
    RINGS.iter().map(|(ring, _)| (*ring, read(ring))).collect()
}

/// The most replicas of one partition that are elsewhere than before.
fn moved_at_once(before: &[Vec<u32>], after: &[Vec<u32>]) -> usize {
    let moved = |part: usize| {
        let old: BTreeSet<u32> = before.iter().map(|row| row[part]).collect();
        after.iter().filter(|row| !old.contains(&row[part])).count()
    };
    (0..before[0].len()).map(moved).max().unwrap()
}

fn parts(manager: &Manager, ip: &str, device: &str) -> u64 {
    manager.parts_of(&Place { ip: ip.to_owned(), device: device.to_owned() })
}

#[test]
fn a_join_is_registered_once_and_holds_its_share_after_the_steps() {
    let folder = folder("join");
    let mut manager = open(&folder, Policy::Automatic);
    let registration = manager.join(&joining(Some(100.0)), &BTreeMap::new(), 1_000_000).unwrap();
    assert_eq!((&registration["region"], &registration["zone"]), (&json!(1), &json!(5)));
    let again = manager.join(&joining(Some(100.0)), &BTreeMap::new(), 1_000_000).unwrap();
    assert!(again["devices"].as_array().unwrap().iter().all(|one| one["added"] == false));
    let newcomers = manager.newcomers();
    assert_eq!(newcomers.len(), 3);
    assert!(
        newcomers
            .iter()
            .all(|(server, name)| name == "sd5" && server.address.starts_with("10.0.0.5:"))
    );
    let before = rows(&folder);
    for _ in 0..10 {
        let last = rows(&folder);
        if manager.step(1_000_000).unwrap().is_empty() {
            break;
        }
        for (ring, rows) in rows(&folder) {
            assert!(moved_at_once(&last[ring], &rows) <= 1, "{ring}");
        }
    }
    assert_ne!(rows(&folder), before);
    assert!(manager.pending(1_000_000).is_empty());
    // 64 partitions, three replicas, five devices, three rings.
    assert!((105..=125).contains(&parts(&manager, "10.0.0.5", "sd5")));
}

#[test]
fn a_weight_follows_the_size_by_default() {
    let folder = folder("weight");
    let mut manager = open(&folder, Policy::Ask);
    let place = Place { ip: "10.0.0.1".to_owned(), device: "sd1".to_owned() };
    let sizes = BTreeMap::from([(place, 2000)]);
    let dry = Joining { dry_run: true, ..joining(None) };
    let registration = manager.join(&dry, &sizes, 0).unwrap();
    assert!(registration["devices"].as_array().unwrap().iter().all(|one| one["weight"] == 150.0));
    assert!(manager.pending(0).is_empty(), "nothing was written");
    let error = manager.join(&joining(None), &BTreeMap::new(), 0).unwrap_err();
    assert!(error.contains("PATH:WEIGHT"), "{error}");
}

#[test]
fn invalid_requests_are_refused_and_change_nothing() {
    let folder = folder("refuse");
    let mut manager = open(&folder, Policy::Ask);
    let mut refused = |joining: Joining, word: &str| {
        let error = manager.join(&joining, &BTreeMap::new(), 0).unwrap_err();
        assert!(error.contains(word), "{error}");
    };
    let good = joining(Some(1.0));
    refused(Joining { ip: "here".to_owned(), ..good.clone() }, "IP address");
    refused(Joining { devices: Vec::new(), ..good.clone() }, "devices");
    refused(Joining { policies: vec![3], ..good.clone() }, "policy 3");
    refused(Joining { ports: BTreeMap::new(), ..good.clone() }, "ports");
    refused(joining(Some(0.0)), "above 0");
    refused(joining(Some(f64::NAN)), "above 0");
    refused(joining(Some(f64::INFINITY)), "above 0");
    for bad in ["a/b", "..", "", "a_b", "a b"] {
        let mut named = good.clone();
        named.devices[0].name = bad.to_owned();
        refused(named, "a name of letters");
    }
    refused(
        Joining {
            zone: Some(1),
            ip: "10.0.0.1".to_owned(),
            ports: RINGS.iter().map(|(ring, _)| ((*ring).to_owned(), 1)).collect(),
            devices: vec![JoiningDevice { name: "sd1".to_owned(), weight: Some(1.0), size: None }],
            ..good
        },
        "at port",
    );
    assert!(manager.pending(0).is_empty());
    for (search, word) in [("", "every device"), ("10.0.0.9", "no matching"), ("x", "")] {
        let error = manager.drain(search, false, 0).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    manager.drain("10.0.0.1", false, 0).unwrap();
    let error = manager.drain("10.0.0.2", false, 0).unwrap_err();
    assert!(error.contains("2 devices would be left"), "{error}");
    assert!(manager.cancel("10.0.0.2", 0).unwrap_err().contains("none of the devices"));
    assert!(manager.remove("10.0.0.1", 0).unwrap_err().contains("safe to pull"));
}

#[test]
fn a_drain_takes_all_partitions_in_every_ring_and_gives_weights_back_when_cancelled() {
    let folder = folder("drain");
    let mut manager = open(&folder, Policy::Automatic);
    manager.drain("z2-10.0.0.2:6200/sd2", true, 5).unwrap();
    assert!(manager.pending(0).is_empty(), "a dry run");
    // The object ring's port, and still the device of all rings.
    manager.drain("z2-10.0.0.2:6200/sd2", false, 5).unwrap();
    manager.drain("10.0.0.2", false, 9).unwrap();
    let drains = &manager.builders.state.drains;
    assert_eq!((drains.len(), drains[0].since, drains[0].weights.len()), (1, 5, 3));
    assert_eq!(manager.pending(0).len(), 3);
    while !manager.step(1_000_000).unwrap().is_empty() {}
    assert_eq!(parts(&manager, "10.0.0.2", "sd2"), 0);
    manager.cancel("10.0.0.2", 0).unwrap();
    assert!(manager.builders.state.drains.is_empty());
    while !manager.step(1_000_000).unwrap().is_empty() {}
    assert!(parts(&manager, "10.0.0.2", "sd2") > 100);
}

#[test]
fn a_device_that_was_safe_to_pull_leaves_all_rings() {
    let folder = folder("remove");
    let mut manager = open(&folder, Policy::Automatic);
    manager.drain("10.0.0.3", false, 0).unwrap();
    while !manager.step(1_000_000).unwrap().is_empty() {}
    let place = Place { ip: "10.0.0.3".to_owned(), device: "sd3".to_owned() };
    manager.note_safe(&place, Some(77)).unwrap();
    manager.note_safe(&place, Some(99)).unwrap();
    assert_eq!(manager.builders.state.drains[0].safe_since, Some(77));
    let back = Joining {
        ip: "10.0.0.3".to_owned(),
        devices: vec![JoiningDevice { name: "sd3".to_owned(), weight: Some(1.0), size: None }],
        ..joining(None)
    };
    let refused = |manager: &mut Manager, word: &str| {
        let error = manager.join(&back, &BTreeMap::new(), 0).unwrap_err();
        assert!(error.contains(word), "{error}");
    };
    refused(&mut manager, "is being drained");
    manager.remove("10.0.0.3", 0).unwrap();
    refused(&mut manager, "leaves a ring");
    while !manager.step(1_000_000).unwrap().is_empty() {}
    assert!(manager.found("10.0.0.3").unwrap().is_empty());
    assert!(manager.servers().keys().all(|server| !server.address.starts_with("10.0.0.3:")));
    assert!(manager.builders.state.drains.is_empty());
}

#[test]
fn nothing_moves_before_approval() {
    let folder = folder("ask");
    let mut manager = open(&folder, Policy::Ask);
    let before = rows(&folder);
    manager.join(&joining(Some(100.0)), &BTreeMap::new(), 0).unwrap();
    assert!(manager.step(1_000_000).unwrap().is_empty());
    let foresight = manager.foresight(1_000_000).unwrap();
    assert!(foresight["object"]["replicas"].as_u64().unwrap() > 20, "{foresight}");
    assert_eq!(rows(&folder), before);
    assert_eq!(manager.approve(1_000_000).unwrap(), ["account", "container", "object"]);
    assert_eq!(manager.step(1_000_000).unwrap().len(), 3);
    // What comes later is another question, also after a restart.
    manager.drain("10.0.0.4", false, 0).unwrap();
    let mut manager = open(&folder, Policy::Ask);
    assert!(manager.pending(1_000_000).iter().all(|one| !one.is_approved));
    assert!(manager.step(1_000_000).unwrap().is_empty());
}

#[test]
fn min_part_hours_are_waited_for() {
    let folder = folder("hours");
    let mut manager = open(&folder, Policy::Automatic);
    for (ring, _) in RINGS {
        let mut builder = manager.builders.get(ring).unwrap().clone();
        builder.min_part_hours = 24;
        manager.builders.save(ring, builder, 0).unwrap();
    }
    manager.drain("10.0.0.1", false, 0).unwrap();
    assert!(manager.step(1_000_000 + 3600).unwrap().is_empty());
    assert!(manager.pending(1_000_000 + 3600)[0].seconds_left > 80_000);
    assert_eq!(manager.step(1_000_000 + 25 * 3600).unwrap().len(), 3);
}

/// The steps of an operator and of the rounds, from any state that a process left.
fn all_of_it(manager: &mut Manager, folder: &Folder, published: &mut Rows) -> Result<(), String> {
    manager.recover(1_000_000)?;
    if !manager.builders.state.drains.iter().any(|one| one.place.ip == "10.0.0.2") {
        manager.join(&joining(Some(100.0)), &BTreeMap::new(), 1_000_000)?;
        manager.drain("10.0.0.2", false, 1_000_000)?;
    }
    manager.approve(1_000_000)?;
    while !manager.step(1_000_000)?.is_empty() {
        manager.recover(1_000_000)?;
        *published = rows(folder);
    }
    Ok(())
}

#[test]
fn a_process_that_dies_after_any_write_loses_nothing_and_does_nothing_twice() {
    let mut deaths = 0;
    for writes in 0.. {
        let folder = folder("death");
        let mut manager = open(&folder, Policy::Ask);
        manager.builders.writes_left = Some(writes);
        let mut published = rows(&folder);
        let died = all_of_it(&mut manager, &folder, &mut published).is_err();
        deaths += usize::from(died);
        // The next process, which pushes rings before anything else.
        let mut manager = open(&folder, Policy::Ask);
        manager.recover(1_000_000).unwrap();
        for (ring, rows) in rows(&folder) {
            let builder = manager.builders.get(ring).unwrap();
            assert_eq!(rows, builder.rows, "{ring} after {writes} writes");
            assert!(moved_at_once(&published[ring], &rows) <= 1, "{ring} after {writes} writes");
        }
        all_of_it(&mut manager, &folder, &mut published).unwrap();
        for (ring, _) in RINGS {
            let builder = manager.builders.get(ring).unwrap();
            assert_eq!(builder.devices().count(), 5, "{ring} after {writes} writes");
        }
        assert_eq!(parts(&manager, "10.0.0.2", "sd2"), 0);
        assert!(parts(&manager, "10.0.0.5", "sd5") > 100);
        assert_eq!(
            manager.builders.state.drains[0].weights.values().collect::<Vec<_>>(),
            [&100.0; 3]
        );
        manager.cancel("10.0.0.2", 0).unwrap();
        if !died {
            break;
        }
    }
    assert!(deaths > 20, "{deaths}");
}
