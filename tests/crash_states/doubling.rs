//! A device whose partitions are doubled: writes to both places, the relinker's links, and the removal
//! of old names, cut off at every point.
//!
//! What is judged are names of files, since which place is read depends on rings that lie elsewhere:
//! a file that was acknowledged is in one of its two places at any time, in both while it must be, and
//! in the new one at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apus_cluster::{PartPower, PathHash, PolicyIndex};
use apus_daemon::ReconCache;
use apus_daemon::clock::SystemClock;
use apus_daemon::http::{SharedHandler, full};
use apus_fault::journal::{self, Change};
use apus_object::relinker::{self, Doubling, Outcome, Step};
use apus_ring::format::{UncheckedRing, encode};
use apus_ring::{Device, SharedRing};
use bytes::Bytes;
use http::Request;

use crate::bench::{self, DEVICE, object_hash};
use crate::model::Tree;

/// Before it is doubled.
const POWER: u32 = 2;

fn partition(hash: &PathHash, power: u32) -> u32 {
    PartPower::new(power).unwrap().partition(hash).0
}
/// Objects of each kind.
const OBJECTS: usize = 4;

/// A file that was acknowledged.
struct File {
    hash: PathHash,
    name: String,
    content: Bytes,
    /// When it was, as a length of the journal, and from when on it is in both places.
    acked: usize,
    both: usize,
}

/// What was done, and when.
pub(crate) struct Run {
    pub(crate) devices: PathBuf,
    pub(crate) changes: Vec<Change>,
    files: Vec<File>,
    /// Old names go from here on, and are gone from there on.
    removed: (usize, usize),
}

struct Doubled {
    devices: PathBuf,
    object: SharedHandler,
    files: Vec<File>,
    seconds: u64,
}

impl Doubled {
    /// `next` is the power that the proxy sends. A deletion without a body.
    async fn write(&mut self, method: &str, name: &str, body: &'static str, next: Option<u32>) {
        self.seconds += 1;
        let (time, hash) = (format!("{}.00000", self.seconds), object_hash(name));
        let path = format!("/{DEVICE}/{}/a/c/{name}", partition(&hash, POWER));
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("x-timestamp", &time).header("content-type", "a/b");
        request = request.header("content-length", body.len());
        if let Some(next) = next {
            request = request.header("x-backend-next-part-power", next);
        }
        let answer = self.object.call(request.body(full(body)).unwrap()).await;
        assert!(answer.status().is_success(), "{method} {name}: {}", answer.status());
        let acked = journal::length();
        let both = if next.is_some() { acked } else { usize::MAX };
        let (end, content) = if method == "PUT" { ("data", body) } else { ("ts", "") };
        // A newer one takes its place.
        self.files.retain(|file| file.hash != hash);
        let (name, content) = (format!("{time}.{end}"), Bytes::from_static(content.as_bytes()));
        self.files.push(File { hash, name, content, acked, both });
    }

    fn relinker(&self, step: Step, powers: (u32, u32), partitions: &[u32]) {
        let path = self.devices.join("object.ring.gz");
        let ring = UncheckedRing {
            devices: vec![Some(Device::at("127.0.0.1:6200", DEVICE).unwrap())],
            rows: vec![vec![0; 1 << powers.0]],
            part_power: powers.0,
            next_part_power: Some(powers.1),
            version: 1,
            id_width: 2,
        };
        std::fs::write(&path, encode(&ring, 1).unwrap()).unwrap();
        let ring = Arc::new(SharedRing::load(&path).unwrap());
        let doubling = Doubling::of(PolicyIndex(0), "gold", ring, step).unwrap();
        let options = relinker::Options {
            step,
            devices: self.devices.clone(),
            mount_check: false,
            only_devices: vec![DEVICE.to_owned()],
            partitions: partitions.iter().copied().collect(),
            files_per_second: 0.0,
            workers: None,
            again: false,
            clobber_hardlink_collisions: false,
            stats_interval: Duration::MAX,
            recon: ReconCache::new(&self.devices),
            clock: Arc::new(SystemClock),
        };
        assert_eq!(relinker::run(&options, &[doubling]), Outcome::Done);
    }
}

/// Doubles the partitions of a device with objects of every age.
pub(crate) async fn record(devices: &Path, armed: &str) -> Run {
    apus_fault::arm(armed);
    let _ = std::fs::remove_dir_all(devices);
    std::fs::create_dir_all(devices.join(DEVICE)).unwrap();
    journal::start(&devices.join(DEVICE));
    let object = bench::servers(devices).0;
    let (devices, files) = (devices.to_owned(), Vec::new());
    let mut bed = Doubled { devices, object, files, seconds: 1_700_000_000 };
    let name = |kind: &str, number: usize| format!("{kind}{number}");
    for kind in ["before", "overwritten", "deleted"] {
        for number in 0..OBJECTS {
            bed.write("PUT", &name(kind, number), "written before", None).await;
        }
    }
    let next = Some(POWER + 1);
    for number in 0..OBJECTS {
        bed.write("PUT", &name("announced", number), "written in both places", next).await;
        bed.write("PUT", &name("overwritten", number), "another body", next).await;
        bed.write("DELETE", &name("deleted", number), "", next).await;
    }
    // Not all partitions: cleaning up has something to link, too.
    let some = [2, 3];
    bed.relinker(Step::Relink, (POWER, POWER + 1), &some);
    let linked = journal::length();
    for file in &mut bed.files {
        if some.contains(&partition(&file.hash, POWER)) {
            file.both = file.both.min(linked);
        }
    }
    let is_left = |file: &&File| {
        file.both == usize::MAX && partition(&file.hash, POWER) != partition(&file.hash, POWER + 1)
    };
    assert!(bed.files.iter().filter(is_left).count() > 1, "cleaning up has nothing to link");
    let begun = journal::length();
    bed.relinker(Step::Cleanup, (POWER + 1, POWER + 1), &[]);
    let (removed, changes) = ((begun, journal::length()), journal::end());
    apus_fault::arm("");
    Run { devices: bed.devices, changes, files: bed.files, removed }
}

impl Run {
    /// What is wrong with a state that a power cut left after some changes.
    pub(crate) fn wrongs(&self, at: usize, tree: &Tree) -> Vec<String> {
        let mut wrongs = Vec::new();
        for file in self.files.iter().filter(|file| file.acked <= at) {
            let File { hash, name, .. } = file;
            let is_in = |power: u32| {
                let (partition, suffix) = (partition(hash, power), hash.suffix_dir());
                let path = format!("objects/{partition}/{suffix}/{hash}/{name}");
                let kept = tree.get(Path::new(&path)).and_then(Option::as_ref);
                kept.is_some_and(|kept| kept.content.bytes == file.content)
            };
            let (old, new) = (is_in(POWER), is_in(POWER + 1));
            let good = match at {
                at if at >= self.removed.1 => new,
                at if at >= file.both && at < self.removed.0 => old && new,
                _ => old || new,
            };
            if !good {
                wrongs.push(format!("{hash}/{name}: in its old place {old}, in its new {new}"));
            }
        }
        wrongs
    }
}
