//! Lays what a power cut left on a real disk, has the real servers read it, and compares that with
//! the ledger.
//!
//! Most states look the same from where one object is seen: what lies in the places that a question
//! is about is asked only once.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use apus_cluster::pickle::{self, Value};
use apus_daemon::http::SharedHandler;
use bytes::Bytes;

use crate::bench::{self, DEVICE, Ledger, PARTITIONS, Seen, object_hash, partition_of};
use crate::model::{Kept, Tree};

/// The boot of the machine in which a file of hashes was written: after a power cut it is another.
const BOOT: &str = "user.apus.boot";

pub(crate) struct Judge {
    devices: PathBuf,
    object: SharedHandler,
    objects: HashMap<(String, u64), Seen>,
    partitions: HashMap<(u32, u64), bool>,
    containers: HashMap<(String, u64), bool>,
    promises: HashMap<(usize, u64), bool>,
    /// States that were judged, and those that had to be laid on the disk.
    pub(crate) states: usize,
    pub(crate) laid: usize,
}

/// What of a tree lies below some places.
fn part(tree: &Tree, places: &[PathBuf]) -> Tree {
    let below = |place: &PathBuf| {
        let range = tree.range(place.clone()..);
        let found = range.take_while(|(path, _)| path.starts_with(place));
        found.map(|(path, file)| (path.clone(), file.clone())).collect::<Vec<_>>()
    };
    places.iter().flat_map(below).collect()
}

fn digest(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, file) in tree {
        path.hash(&mut hasher);
        file.as_ref().map(|kept| kept.digest()).hash(&mut hasher);
    }
    hasher.finish()
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::to_text).unwrap_or_default()
}

impl Judge {
    pub(crate) fn new(devices: &Path) -> Self {
        let _ = std::fs::remove_dir_all(devices);
        std::fs::create_dir_all(devices.join(DEVICE)).unwrap();
        Self {
            devices: devices.to_owned(),
            object: bench::servers(devices).0,
            objects: HashMap::new(),
            partitions: HashMap::new(),
            containers: HashMap::new(),
            promises: HashMap::new(),
            states: 0,
            laid: 0,
        }
    }

    /// Puts a tree in place of what is on the device.
    fn lay(&mut self, tree: &Tree) {
        let device = self.devices.join(DEVICE);
        std::fs::remove_dir_all(&device).unwrap();
        std::fs::create_dir(&device).unwrap();
        for (path, file) in tree {
            let path = device.join(path);
            let Some(kept) = file else {
                std::fs::create_dir_all(path).unwrap();
                continue;
            };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &kept.content.bytes).unwrap();
            for (key, value) in &kept.content.attributes {
                let value = if key == BOOT { b"another" } else { value.as_slice() };
                rustix::fs::setxattr(&path, key, value, rustix::fs::XattrFlags::empty()).unwrap();
            }
        }
        self.laid += 1;
    }

    async fn see(&mut self, name: &str, tree: &Tree) -> Seen {
        let hash = object_hash(name);
        let suffix = hash.suffix_dir();
        let directory = format!("objects/{}/{suffix}/{hash}", partition_of(&hash));
        let part = part(tree, &[directory.into(), "apus-metadata".into()]);
        let key = (name.to_owned(), digest(&part));
        if let Some(known) = self.objects.get(&key) {
            return known.clone();
        }
        self.lay(&part);
        let seen = bench::get(&self.object, name).await;
        self.objects.insert(key, seen.clone());
        seen
    }

    /// Whether the hashes that a partition reports are those of its content.
    async fn hashes_are_true(&mut self, partition: u32, tree: &Tree) -> bool {
        let place = PathBuf::from(format!("objects/{partition}"));
        let part = part(tree, std::slice::from_ref(&place));
        let key = (partition, digest(&part));
        if let Some(known) = self.partitions.get(&key) {
            return *known;
        }
        self.lay(&part);
        let reported = bench::hashes(&self.object, partition).await;
        for name in ["hashes.pkl", "hashes.invalid"] {
            let _ = std::fs::remove_file(self.devices.join(DEVICE).join(&place).join(name));
        }
        let decoded = |pickled: &Bytes| {
            let Ok(Value::Dict(items)) = pickle::loads(pickled) else { panic!("no hashes") };
            let items = items.into_iter().map(|(key, value)| (key.to_text(), value.to_text()));
            items.collect::<BTreeMap<_, _>>()
        };
        let good = decoded(&reported) == decoded(&bench::hashes(&self.object, partition).await);
        self.partitions.insert(key, good);
        good
    }

    async fn has_container(&mut self, partition: u32, name: &str, tree: &Tree) -> bool {
        let hash = bench::hash_conf().hash(&["a", name]);
        let place = format!("containers/{partition}/{}/{hash}", hash.suffix_dir());
        let part = part(tree, &[place.into()]);
        let key = (name.to_owned(), digest(&part));
        if let Some(known) = self.containers.get(&key) {
            return *known;
        }
        self.lay(&part);
        let container = bench::servers(&self.devices).1;
        let there = bench::has_container(&container, partition, name).await;
        self.containers.insert(key, there);
        there
    }

    /// What is wrong with a state: what was promised before change `at` and is not kept.
    pub(crate) async fn wrongs(&mut self, ledger: &Ledger, at: usize, tree: &Tree) -> Vec<String> {
        self.states += 1;
        let mut wrongs = Vec::new();
        for (name, steps) in &ledger.objects {
            let seen = self.see(name, tree).await;
            let last = steps.iter().rposition(|step| step.acked.is_some_and(|acked| acked <= at));
            let begun = |step: &&bench::Step| step.begun < at;
            let mut legal: Vec<&Seen> =
                steps.iter().skip(last.unwrap_or(0)).filter(begun).map(|step| &step.then).collect();
            if last.is_none() {
                legal.push(&Seen::Absent);
            }
            // A body that the test damaged may be seen as such, until it is written again.
            let damaged = |step: &bench::Step| step.then == Seen::Absent;
            let breaks_off = matches!(&seen, Seen::Strange(text) if text.contains("breaks off"));
            let excused = breaks_off
                && name.starts_with("damaged")
                && last.is_some_and(|last| damaged(&steps[last]));
            if !legal.contains(&&seen) && !excused {
                wrongs.push(format!(
                    "{name}: {}, expected one of {}",
                    show(&seen),
                    legal.iter().map(|seen| show(seen)).collect::<Vec<_>>().join(" / ")
                ));
            }
        }
        for (partition, name, acked) in &ledger.containers {
            if *acked <= at && !self.has_container(*partition, name, tree).await {
                wrongs.push(format!("container {name} is lost"));
            }
        }
        for (name, path, operation, acked) in &ledger.notes {
            let whole = |kept: &Rc<Kept>| {
                let note = pickle::loads(&kept.content.bytes).ok()?;
                Some(text(&note, "op") == *operation && text(&note, "obj") == *name)
            };
            let kept = tree.get(path).and_then(Option::as_ref);
            if *acked <= at && kept.and_then(whole) != Some(true) {
                wrongs.push(format!("the row of {name} ({operation}) is lost"));
            }
        }
        for (bytes, from) in &ledger.evidence {
            let mut files = tree.values().flatten();
            if *from <= at && !files.any(|kept| kept.content.bytes == *bytes) {
                wrongs.push("what was damaged is gone".to_owned());
            }
        }
        for (index, (name, time, acked)) in ledger.promises.iter().enumerate() {
            if *acked > at {
                continue;
            }
            let part = part(tree, &["apus-promised".into()]);
            let key = (index, digest(&part));
            if !self.promises.contains_key(&key) {
                self.lay(&part);
                let object = bench::servers(&self.devices).0;
                let forgotten = bench::may_reserve(&object, name, *time).await;
                self.promises.insert(key, forgotten);
            }
            if self.promises[&key] {
                wrongs.push(format!("the promise of {name} is forgotten"));
            }
        }
        for partition in 0..PARTITIONS {
            if !self.hashes_are_true(partition, tree).await {
                wrongs.push(format!(
                    "partition {partition} reports hashes of content that does not exist"
                ));
            }
        }
        wrongs
    }
}

fn show(seen: &Seen) -> String {
    match seen {
        Seen::Present { body, time, colour } => format!("{} bytes of {time} {colour}", body.len()),
        Seen::Absent => "nothing".to_owned(),
        Seen::Strange(text) => text.clone(),
    }
}
