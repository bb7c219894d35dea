use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use apus_cluster::{HashConf, Metadata, PathHash, Policies, Timestamp};
use apus_daemon::clock::SystemClock;
use apus_daemon::config::Conf;
use apus_daemon::http::full;
use apus_daemon::{Body, Clock, Drain, Handler, Scope};
use apus_disk::{AtomicFile, Counters, Reserve};
use apus_wire::message::container::{RowHeaders, RowVerb};
use apus_wire::{Client, Deadlines, Transport};
use http::{Request, Response};
use http_body_util::BodyExt;

use super::watcher::{AuditedObject, WatcherVerdict};
use super::*;
use crate::diskfile::metadata::encode;
use crate::diskfile::writer::CRC_ATTRIBUTE;
use crate::engine::blocks::{BLOCKS_ATTRIBUTE, BlockDigest};
use crate::engine::place::Partition;
use crate::replication::ReplicationOptions;
use crate::rows::pending::{self as row_updates, Update};
use crate::server::{ObjectServerDeps, Server};
use crate::store::quarantine_limit::QuarantineLimit;
use crate::store::suffix_hashes::HashingOptions;

/// An object server with one device.
struct Bench {
    root: PathBuf,
    server: Server,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

impl Bench {
    fn new(name: &str) -> Self {
        Self::limited(name, QuarantineLimit::default())
    }

    fn limited(name: &str, quarantine_limit: QuarantineLimit) -> Self {
        let root = std::env::temp_dir().join(format!("apus-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("sd1")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let transport = Arc::new(Transport::default());
        let conf = Conf::parse("").unwrap();
        let server = Server::new(ObjectServerDeps {
            devices: root.clone(),
            mount_check: false,
            reserve: Reserve::parse("0").unwrap(),
            hash: HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() },
            policies: Policies::new(vec![]).unwrap(),
            clock: clock.clone(),
            client: Arc::new(Client::new(transport, clock, Deadlines::default())),
            counters: Arc::default(),
            verify_ranges_bytes: 1 << 20,
            quarantine_limit,
            replication: ReplicationOptions::read(&conf.section("app:object-server")).unwrap(),
        });
        Self { root, server }
    }

    async fn call(
        &self,
        method: &str,
        name: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/sd1/0/a/c/{name}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.server.call(request.body(full(body.to_vec())).unwrap()).await
    }

    async fn put(&self, name: &str, body: &[u8]) {
        let length = body.len().to_string();
        let headers = [
            ("x-timestamp", "1700000000.00000"),
            ("content-type", "a/b"),
            ("content-length", &length),
        ];
        assert_eq!(self.call("PUT", name, &headers, body).await.status(), 201);
    }

    /// The bytes of a part; `None` when the response breaks off or is an error.
    async fn get(&self, name: &str, part: std::ops::Range<usize>) -> Option<Vec<u8>> {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let answer = self.call("GET", name, &[("range", &range)], b"").await;
        if !answer.status().is_success() {
            return None;
        }
        answer.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec())
    }

    fn hash(&self, name: &str) -> PathHash {
        self.server.store.hash.hash(&["a", "c", name])
    }

    fn directory(&self, name: &str) -> PathBuf {
        let hash = self.hash(name);
        self.root.join("sd1/objects/0").join(hash.suffix_dir()).join(hash.to_string())
    }

    fn data(&self, name: &str) -> PathBuf {
        self.directory(name).join("1700000000.00000.data")
    }

    /// As Swift writes it: without attributes of ours but those given.
    fn craft(&self, name: &str, body: &[u8], attributes: &[(&str, Vec<u8>)]) {
        let directory = self.directory(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut file = AtomicFile::create(&directory, &directory, &Arc::default()).unwrap();
        file.append(body).unwrap();
        let stored = [
            ("name", format!("/a/c/{name}")),
            ("X-Timestamp", "1700000000.00000".to_owned()),
            ("Content-Type", "a/b".to_owned()),
            ("Content-Length", body.len().to_string()),
            ("ETag", format!("{:x}", md5::compute(body))),
        ];
        let stored = stored.into_iter().map(|(name, value)| (name.to_owned(), value));
        file.set_metadata(&encode(&stored.collect::<Metadata>())).unwrap();
        for (key, value) in attributes {
            file.set_attribute(key, value).unwrap();
        }
        file.publish(&self.data(name), &[]).unwrap();
    }

    fn quarantined(&self) -> usize {
        apus_disk::names(&self.root.join("sd1/quarantined/objects")).unwrap().len()
    }

    async fn sweep(&self, kind: SweepKind) -> AuditReport {
        self.watched_sweep(kind, Vec::new()).await
    }

    async fn watched_sweep(&self, kind: SweepKind, watchers: Vec<Arc<dyn Watcher>>) -> AuditReport {
        let options = AuditorOptions {
            kind,
            files_per_second: 0.0,
            bytes_per_second: 0.0,
            concurrency: 1,
            log_time: Duration::from_secs(3600),
            add_checksums: true,
        };
        let cx = PassContext {
            scope: Scope::default(),
            clock: Arc::new(SystemClock),
            drain: Drain::default(),
            once: true,
        };
        let mut auditor =
            Auditor::new(self.server.store.clone(), ObjectRings::new(), options, watchers);
        auditor.pass(&cx).await.unwrap()
    }
}

fn hashing(recalculate: &BTreeSet<String>, list: bool) -> HashingOptions<'_> {
    HashingOptions { recalculate, list, reclaim_age: Duration::from_secs(604_800) }
}

fn flip(path: &Path, at: usize) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}

const LENGTHS: [usize; 5] = [3, 65_536, 65_537, 300_000, 1_500_000];

#[tokio::test]
async fn no_range_ever_holds_a_flipped_bit() {
    let bench = Bench::new("ranges");
    for length in LENGTHS {
        let body = noise(length);
        for at in [0, length / 2, length - 1] {
            let name = format!("{length}-{at}");
            bench.put(&name, &body).await;
            for part in [0..length, at..at + 1, at / 2..length, 0..(at + 1)] {
                assert_eq!(bench.get(&name, part.clone()).await.unwrap(), body[part], "{name}");
            }
            flip(&bench.data(&name), at);
            let block = at / 65_536 * 65_536;
            if block > 0 {
                let before = bench.get(&name, 0..block).await;
                assert_eq!(before.unwrap(), body[..block], "what is good is served");
            }
            let part = at.saturating_sub(3)..(at + 5).min(length);
            assert_eq!(bench.get(&name, part).await, None, "{name}");
            assert!(!bench.directory(&name).exists(), "{name} was quarantined");
            assert!(bench.root.join("sd1/objects/0/hashes.invalid").exists());
        }
    }
    assert_eq!(bench.quarantined(), LENGTHS.len() * 3);
}

#[tokio::test]
async fn a_whole_body_breaks_off_before_its_bad_block() {
    let bench = Bench::new("whole");
    let body = noise(1_500_000);
    bench.put("o", &body).await;
    flip(&bench.data("o"), 1_000_000);
    let mut answer = bench.call("GET", "o", &[], b"").await.into_body();
    let mut got = Vec::new();
    let broken = loop {
        match answer.frame().await {
            Some(Ok(frame)) => got.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken && got.len() <= 1_000_000 / 65_536 * 65_536);
    assert_eq!(got, body[..got.len()]);
}

#[tokio::test]
async fn large_blocks_are_checked_before_they_are_sent() {
    let bench = Bench::new("large");
    let body = noise(3_000_000);
    let mut digest = BlockDigest::new(None);
    digest.update(&body);
    let mut blocks = digest.finish().unwrap();
    while blocks.double() {}
    assert_eq!(blocks.size, 2 << 20);
    for (name, at) in [("first", 2_000_000), ("second", 2_999_999)] {
        bench.craft(name, &body, &[(BLOCKS_ATTRIBUTE, blocks.encode())]);
        for part in [0..3_000_000, 5..1_000_000, 2_097_151..2_097_153, 2_500_000..2_500_001] {
            assert_eq!(bench.get(name, part.clone()).await.unwrap(), body[part]);
        }
        flip(&bench.data(name), at);
        assert_eq!(bench.get(name, 1_999_000..2_999_999).await, None);
        assert!(!bench.directory(name).exists());
    }
}

#[tokio::test]
async fn the_auditor_finds_each_flipped_bit_and_nothing_else() {
    let bench = Bench::new("flips");
    let mut damaged = 0;
    for length in LENGTHS {
        for at in [0, length / 2, length - 1] {
            bench.put(&format!("good-{length}-{at}"), &noise(length)).await;
            let name = format!("bad-{length}-{at}");
            bench.put(&name, &noise(length)).await;
            flip(&bench.data(&name), at);
            damaged += 1;
        }
    }
    assert_eq!(bench.sweep(SweepKind::ZeroByteFiles).await.quarantined, 0, "it reads no bodies");
    let audited = bench.sweep(SweepKind::All).await;
    assert_eq!((audited.quarantined, audited.errors), (damaged, 0), "{audited:?}");
    assert_eq!(audited.checksums_added, 0);
    assert_eq!(bench.quarantined() as u64, damaged);
    let again = bench.sweep(SweepKind::All).await;
    assert_eq!((again.quarantined, again.passes), (0, damaged));
}

#[tokio::test]
async fn both_sweeps_find_damage_outside_the_body() {
    for kind in [SweepKind::All, SweepKind::ZeroByteFiles] {
        let bench = Bench::new(kind.name());
        for name in
            ["good", "cut", "grown", "emptied", "renamed", "moved", "posted", "deleted", "stray"]
        {
            bench.put(name, &noise(5000)).await;
        }
        bench.put("empty", b"").await;
        let post = [("x-timestamp", "1700000001.00000"), ("x-object-meta-a", "b")];
        for name in ["good", "posted"] {
            assert_eq!(bench.call("POST", name, &post, b"").await.status(), 202);
        }
        assert_eq!(bench.call("DELETE", "deleted", &post[..1], b"").await.status(), 204);
        let truncate = |name, length| {
            std::fs::OpenOptions::new().write(true).open(bench.data(name)).unwrap().set_len(length)
        };
        truncate("cut", 4999).unwrap();
        truncate("grown", 5001).unwrap();
        truncate("emptied", 0).unwrap();
        let other = bench.directory("renamed").join("1700000000.00001.data");
        std::fs::rename(bench.data("renamed"), other).unwrap();
        let meta = bench.directory("posted").join("1700000001.00000.meta");
        let tombstone = bench.directory("deleted").join("1700000001.00000.ts");
        for path in [meta, tombstone] {
            let file = std::fs::File::open(path).unwrap();
            let counters = Counters::default();
            apus_disk::write_attribute(&file, "user.swift.metadata", b"\x80\x02}q\0.", &counters)
                .unwrap();
        }
        // One bit of a directory's name: another hash, and no hash.
        let named = |name: &str, from, to: &str| {
            let path = bench.directory(name);
            let own = path.file_name().unwrap().to_str().unwrap().to_owned();
            let other = format!("{to}{}", &own[from..]);
            std::fs::rename(&path, path.with_file_name(other)).unwrap();
        };
        let first = if bench.hash("moved").to_string().starts_with('0') { "1" } else { "0" };
        named("moved", 1, first);
        named("stray", 1, "%");
        let audited = bench.sweep(kind).await;
        assert_eq!((audited.quarantined, audited.errors), (8, 0), "{audited:?}");
        assert!(bench.data("good").exists() && bench.data("empty").exists());
    }
}

#[tokio::test]
async fn bodies_of_swift_have_checksums_after_an_audit() {
    let bench = Bench::new("adopt");
    let body = noise(2_000_000);
    bench.craft("long", &body, &[]);
    bench.craft("short", &body[..1000], &[]);
    flip(&bench.data("long"), 1_700_000);
    let near = 1_699_000..1_701_000;
    assert_ne!(
        bench.get("long", near.clone()).await.unwrap(),
        body[near.clone()],
        "nothing detects it"
    );
    flip(&bench.data("long"), 1_700_000);
    let audited = bench.sweep(SweepKind::All).await;
    assert_eq!((audited.checksums_added, audited.quarantined), (2, 0));
    assert_eq!(bench.get("long", near.clone()).await.unwrap(), body[near.clone()]);
    flip(&bench.data("long"), 1_700_000);
    assert_eq!(bench.get("long", near).await, None);
    // A short one is read whole in any case.
    bench.craft("wrong", &body[..1000], &[]);
    flip(&bench.data("wrong"), 999);
    assert_eq!(bench.get("wrong", 0..10).await, None);
    assert_eq!(bench.quarantined(), 2);
}

#[tokio::test]
async fn too_many_damaged_objects_are_left_in_place() {
    let bench = Bench::limited("flood", QuarantineLimit { per_hour: 3, share: 0.0 });
    for index in 0..10 {
        bench.put(&format!("o{index}"), b"12345").await;
        flip(&bench.data(&format!("o{index}")), 2);
    }
    assert_eq!(bench.get("o0", 0..5).await, None);
    let audited = bench.sweep(SweepKind::All).await;
    assert_eq!((audited.quarantined, audited.left_damaged), (2, 7));
    assert_eq!(bench.quarantined(), 3);
    for index in 0..10 {
        assert_eq!(bench.get(&format!("o{index}"), 0..5).await, None, "never served");
    }
}

#[tokio::test]
async fn a_damaged_row_update_is_repaired_or_written_again_from_its_object() {
    let bench = Bench::new("pending");
    bench.put("o", b"12345").await;
    let device = bench.root.join("sd1");
    let committer = bench.server.store.devices.committer("sd1").unwrap();
    let update = |object: &str| Update {
        verb: RowVerb::Put,
        account: "a".to_owned(),
        container: "c".to_owned(),
        object: object.to_owned(),
        headers: RowHeaders(Metadata::from([("x-size".to_owned(), "12345".to_owned())])),
        container_path: None,
        db_state: None,
    };
    let place = |hash: PathHash| crate::engine::place::Place {
        device: device.clone(),
        policy: PolicyIndex(0),
        partition: 0,
        hash,
    };
    let context =
        pending::RepairContext { store: &bench.server.store, place: &place, committer: &committer };
    let time = Timestamp::parse("1700000000.00000").unwrap();
    let write = |name: &str| {
        let hash = bench.hash(name);
        row_updates::write((&device, PolicyIndex(0), &hash), time, &update(name), &committer)
            .unwrap();
        let file = row_updates::name(&hash, time);
        device.join("async_pending").join(hash.suffix_dir()).join(file)
    };
    let file = write("o");
    assert_eq!(pending::check(&file, &context).unwrap(), pending::UpdateCheck::Good);
    let bytes = std::fs::read(&file).unwrap();
    let quarantined = device.join("quarantined/async_pending");
    for bit in (0..bytes.len() * 8).step_by(13) {
        let file = write("o");
        flip_bit(&file, bit);
        assert!(row_updates::read(&file).is_err(), "it is not sent");
        assert_eq!(
            pending::check(&file, &context).unwrap(),
            pending::UpdateCheck::Repaired,
            "{bit}"
        );
        let stored = row_updates::read(&file).unwrap().unwrap();
        assert!(stored.headers().0["x-size"] == "12345");
        let file = write("o");
        flip_bit(&file, bit);
        flip_bit(&file, (bit + 77) % (bytes.len() * 8));
        assert!(row_updates::read(&file).is_err(), "it is not sent");
        assert_eq!(
            pending::check(&file, &context).unwrap(),
            pending::UpdateCheck::Rewritten,
            "{bit}"
        );
        let stored = row_updates::read(&file).unwrap().unwrap();
        assert_eq!(stored.names().unwrap(), ["a", "c", "o"]);
        assert!(stored.headers().0["x-size"] == "5");
        std::fs::remove_dir_all(&quarantined).unwrap();
    }
    let other = write("o");
    let (open, counters) = (std::fs::File::open(&other).unwrap(), Counters::default());
    let mut checksum = [0; 16];
    apus_disk::read_attribute(&open, CRC_ATTRIBUTE, &mut checksum, &counters).unwrap();
    checksum[5] ^= 1;
    apus_disk::write_attribute(&open, CRC_ATTRIBUTE, &checksum, &counters).unwrap();
    assert_eq!(pending::check(&other, &context).unwrap(), pending::UpdateCheck::Repaired);
    std::fs::remove_dir_all(&quarantined).unwrap();
    let lost = write("gone");
    flip_bit(&lost, 100);
    flip_bit(&lost, 200);
    assert_eq!(pending::check(&lost, &context).unwrap(), pending::UpdateCheck::Lost);
    assert!(!lost.exists());
    assert_eq!(apus_disk::names(&quarantined).unwrap().len(), 1);
}

fn flip_bit(path: &Path, bit: usize) {
    // In place: the attributes stay.
    let mut bytes = std::fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
}

#[tokio::test]
async fn no_flipped_bit_of_the_metadata_is_served_or_kept() {
    let bench = Bench::new("xattrs");
    let counters = Counters::default();
    bench.put("o", &noise(100_000)).await;
    let file = std::fs::File::open(bench.data("o")).unwrap();
    std::fs::rename(bench.directory("o"), bench.root.join("first")).unwrap();
    let mut moved = 0;
    for key in ["user.swift.metadata", "user.swift.metadata_checksum", BLOCKS_ATTRIBUTE] {
        let mut value = vec![0; 4096];
        let length = apus_disk::read_attribute(&file, key, &mut value, &counters).unwrap();
        value.truncate(length);
        for bit in (0..length * 8).step_by(29) {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The last one was quarantined.
            bench.put("o", &noise(100_000)).await;
            let file = std::fs::File::open(bench.data("o")).unwrap();
            apus_disk::write_attribute(&file, key, &flipped, &counters).unwrap();
            if bit % 2 == 0 {
                assert_eq!(bench.get("o", 10..20).await, None, "{key} {bit}");
            } else {
                assert_eq!(bench.sweep(SweepKind::All).await.quarantined, 1, "{key} {bit}");
            }
            moved += 1;
        }
    }
    assert!(moved > 50 && bench.quarantined() == moved, "{moved}");
}

#[tokio::test]
async fn a_sweep_resumes_where_it_was_stopped() {
    let bench = Bench::new("resume");
    bench.put("o", b"12345").await;
    let objects = bench.root.join("sd1/objects");
    std::fs::write(objects.join("auditor_status_ALL.json"), r#"{"partitions": []}"#).unwrap();
    let options = AuditorOptions {
        kind: SweepKind::All,
        files_per_second: 0.0,
        bytes_per_second: 0.0,
        concurrency: 1,
        log_time: Duration::from_secs(3600),
        add_checksums: true,
    };
    let cx = PassContext {
        scope: Scope::default(),
        clock: Arc::new(SystemClock),
        drain: Drain::default(),
        once: false,
    };
    let mut auditor =
        Auditor::new(bench.server.store.clone(), ObjectRings::new(), options, Vec::new());
    assert_eq!(auditor.pass(&cx).await.unwrap().passes, 0, "it had been to all partitions");
    assert_eq!(auditor.pass(&cx).await.unwrap().passes, 1, "a new sweep");
    auditor.options.log_time = Duration::ZERO;
    assert_eq!(auditor.pass(&cx).await.unwrap().passes, 0, "no time at all");
    let status = std::fs::read(objects.join("auditor_status_ALL.json")).unwrap();
    assert_eq!(status, br#"{"partitions":["0"]}"#);
}

/// Gives the same verdict on every object, and records its calls.
#[derive(Debug)]
struct TestWatcher {
    verdict: WatcherVerdict,
    /// Before it answers, an object is written again.
    writes: Option<Server>,
    calls: std::sync::Mutex<Vec<String>>,
}

impl TestWatcher {
    fn new(verdict: WatcherVerdict, writes: Option<Server>) -> Arc<Self> {
        Arc::new(Self { verdict, writes, calls: std::sync::Mutex::default() })
    }

    fn note(&self, sweep: SweepKind, what: &str) {
        self.calls.lock().unwrap().push(format!("{} {what}", sweep.name()));
    }
}

#[async_trait]
impl Watcher for TestWatcher {
    fn name(&self) -> &'static str {
        "test"
    }

    fn start(&self, sweep: SweepKind) {
        self.note(sweep, "start");
    }

    async fn see_object(&self, sweep: SweepKind, seen: &AuditedObject<'_>) -> WatcherVerdict {
        self.note(sweep, seen.name);
        if let Some(server) = &self.writes {
            let request = Request::builder()
                .method("PUT")
                .uri(format!("/sd1/0{}", seen.name))
                .header("x-timestamp", "1700000002.00000")
                .header("content-type", "a/b")
                .header("content-length", "3");
            let written = server.call(request.body(full("new")).unwrap()).await;
            assert_eq!(written.status(), 201);
        }
        self.verdict
    }

    fn end(&self, sweep: SweepKind) {
        self.note(sweep, "end");
    }
}

#[tokio::test]
async fn watchers_see_good_objects_and_their_verdicts_are_carried_out() {
    let bench = Bench::new("watched");
    for name in ["bad", "deleted", "expired", "good"] {
        bench.put(name, b"12345").await;
    }
    flip(&bench.data("bad"), 2);
    let later = ("x-timestamp", "1700000001.00000");
    assert_eq!(bench.call("DELETE", "deleted", &[later], b"").await.status(), 204);
    let expires = [later, ("x-delete-at", "1700000009")];
    assert_eq!(bench.call("POST", "expired", &expires, b"").await.status(), 202);
    for kind in [SweepKind::ZeroByteFiles, SweepKind::All] {
        let keeps = TestWatcher::new(WatcherVerdict::Keep, None);
        bench.watched_sweep(kind, vec![keeps.clone()]).await;
        let mut calls = keeps.calls.lock().unwrap().clone();
        // The order of objects is that of their directories.
        let last = calls.len() - 1;
        calls[1..last].sort_unstable();
        // Without its body, what is damaged in it looks good.
        let seen: &[&str] = match kind {
            SweepKind::All => &["start", "/a/c/good", "end"],
            SweepKind::ZeroByteFiles => &["start", "/a/c/bad", "/a/c/good", "end"],
        };
        let seen: Vec<_> = seen.iter().map(|what| format!("{} {what}", kind.name())).collect();
        assert_eq!(calls, seen);
    }
    let partition = bench.root.join("sd1/objects/0");
    std::fs::write(partition.join("hashes.invalid"), "").unwrap();
    let audited = bench
        .watched_sweep(SweepKind::All, vec![TestWatcher::new(WatcherVerdict::Delete, None)])
        .await;
    assert_eq!((audited.deleted, audited.quarantined), (1, 0));
    assert!(!bench.directory("good").exists() && bench.directory("expired").exists());
    let suffix = format!("{}\n", bench.hash("good").suffix_dir());
    assert_eq!(
        std::fs::read_to_string(partition.join("hashes.invalid")).unwrap(),
        format!("\n{suffix}")
    );
    bench.put("good", b"12345").await;
    let audited = bench
        .watched_sweep(SweepKind::All, vec![TestWatcher::new(WatcherVerdict::Quarantine, None)])
        .await;
    assert_eq!((audited.deleted, audited.quarantined), (0, 1));
    assert_eq!(bench.quarantined(), 2);
}

#[tokio::test]
async fn an_object_written_during_a_watchers_verdict_stays() {
    for verdict in [WatcherVerdict::Delete, WatcherVerdict::Quarantine] {
        let bench = Bench::new(&format!("overtaken-{verdict:?}"));
        bench.put("o", b"12345").await;
        let watcher = TestWatcher::new(verdict, Some(bench.server.clone()));
        let audited = bench.watched_sweep(SweepKind::All, vec![watcher]).await;
        assert_eq!((audited.deleted, audited.quarantined), (0, 0));
        assert_eq!(bench.get("o", 0..3).await.unwrap(), b"new");
    }
}

#[tokio::test]
async fn verdicts_of_a_watcher_are_limited() {
    for verdict in [WatcherVerdict::Delete, WatcherVerdict::Quarantine] {
        let limit = QuarantineLimit { per_hour: 2, share: 0.0 };
        let bench = Bench::limited(&format!("verdicts-{verdict:?}"), limit);
        for index in 0..5 {
            bench.put(&format!("o{index}"), b"12345").await;
        }
        let audited =
            bench.watched_sweep(SweepKind::All, vec![TestWatcher::new(verdict, None)]).await;
        assert_eq!(audited.deleted + audited.quarantined, 2);
    }
}

#[tokio::test]
async fn a_suffix_whose_note_a_power_cut_lost_is_hashed_again() {
    for kind in [SweepKind::All, SweepKind::ZeroByteFiles] {
        let bench = Bench::new(&format!("stale-{}", kind.name()));
        let partition =
            Partition { device: bench.root.join("sd1"), policy: PolicyIndex(0), number: 0 };
        let noted = bench.root.join("sd1/objects/0/hashes.invalid");
        let hashes = async || {
            // As a minute later: what is noted has been linked.
            let file = std::fs::File::options().write(true).open(&noted).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            let none = BTreeSet::new();
            bench
                .server
                .store
                .suffix_hashes("sd1", &partition, hashing(&none, true))
                .await
                .unwrap()
                .hashes
        };
        bench.put("changed", b"12345").await;
        bench.put("other", b"12345").await;
        let before = hashes().await;
        let later = [("x-timestamp", "1700000001.00000"), ("x-object-meta-a", "b")];
        assert_eq!(bench.call("POST", "changed", &later, b"").await.status(), 202);
        assert_eq!(bench.sweep(kind).await.hashes_stale, 0, "it is noted");
        std::fs::write(&noted, "").unwrap();
        assert_eq!(hashes().await, before, "nothing shows the change");
        bench.put("new", b"12345").await;
        std::fs::write(&noted, "").unwrap();
        let audited = bench.sweep(kind).await;
        assert_eq!((audited.hashes_stale, audited.errors), (2, 0));
        assert_eq!(bench.sweep(kind).await.hashes_stale, 0, "it is noted");
        let after = hashes().await;
        let differs = |name| {
            let suffix = bench.hash(name).suffix_dir();
            before.get(&suffix) != after.get(&suffix)
        };
        assert_eq!(["changed", "new", "other"].map(differs), [true, true, false]);
        assert_eq!(bench.sweep(kind).await.hashes_stale, 0);
        let gone = bench.hash("other").suffix_dir();
        std::fs::remove_dir_all(bench.root.join("sd1/objects/0").join(&gone)).unwrap();
        assert_eq!(bench.sweep(kind).await.hashes_stale, 1, "the suffix does not exist");
        assert!(!hashes().await.contains_key(&gone));
    }
}

#[tokio::test]
async fn a_suffix_that_was_written_after_the_hashes_were_read_is_not_stale() {
    let bench = Bench::new("outdated");
    let partition = Partition { device: bench.root.join("sd1"), policy: PolicyIndex(0), number: 0 };
    let noted = bench.root.join("sd1/objects/0/hashes.invalid");
    let none = BTreeSet::new();
    let rehash = async || {
        let file = std::fs::File::options().write(true).open(&noted).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        bench.server.store.suffix_hashes("sd1", &partition, hashing(&none, true)).await.unwrap();
    };
    bench.put("changed", b"12345").await;
    rehash().await;
    let engine = bench.server.store.engine(PolicyIndex(0));
    let (known, suffix) =
        (engine.known_hashes(&partition).unwrap(), bench.hash("changed").suffix_dir());
    assert!(known.of(&suffix).is_some_and(|hash| hash.is_some()));
    assert!(!engine.invalidate_if_stale(&partition, &suffix, &known).unwrap());
    let later = [("x-timestamp", "1700000001.00000"), ("x-object-meta-a", "b")];
    assert_eq!(bench.call("POST", "changed", &later, b"").await.status(), 202);
    assert!(!engine.invalidate_if_stale(&partition, &suffix, &known).unwrap(), "it is noted");
    rehash().await;
    assert!(
        !engine.invalidate_if_stale(&partition, &suffix, &known).unwrap(),
        "it is hashed again"
    );
    assert_ne!(engine.known_hashes(&partition).unwrap().of(&suffix), known.of(&suffix));
}

#[tokio::test]
async fn a_suffix_that_is_hashed_before_its_first_object_has_its_name_is_hashed_again() {
    let bench = Bench::new("unsettled");
    let partition = Partition { device: bench.root.join("sd1"), policy: PolicyIndex(0), number: 0 };
    bench.put("other", b"12345").await;
    bench.put("new", b"12345").await;
    let (suffix, none) = (bench.hash("new").suffix_dir(), BTreeSet::new());
    let (directory, elsewhere) =
        (partition.directory().join(&suffix), bench.root.join("elsewhere"));
    std::fs::rename(&directory, &elsewhere).unwrap();
    let hashes = async || {
        bench
            .server
            .store
            .suffix_hashes("sd1", &partition, hashing(&none, false))
            .await
            .unwrap()
            .hashes
    };
    assert!(!hashes().await.contains_key(&suffix), "it is noted and not there");
    std::fs::rename(&elsewhere, &directory).unwrap();
    assert!(hashes().await.contains_key(&suffix));
}
