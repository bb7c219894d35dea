//! Passes of the replicator over databases that are in sync.
//!
//! None is opened until something changes on which its state depends. Opened files are counted.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apus_broker::path::{Devices, database_path};
use apus_broker::replication::{Replicated, ReplicationOptions, Replicator, ReplicatorDeps};
use apus_broker::{Broker, NewDatabase, stat};
use apus_cluster::{AccountName, HashConf, Policies, Timestamp};
use apus_daemon::clock::SystemClock;
use apus_daemon::config::Conf;
use apus_daemon::{Clock, Drain, Pass, PassContext, Scope};
use apus_ring::builder::{NewDevice, RingBuilder};
use apus_ring::format::v1;
use apus_ring::{Local, SharedRing};
use apus_wire::Transport;

use crate::backend::{self, ContainerReport};
use crate::kind::Accounts;
use crate::schema::SCHEMA;
use crate::server::{Parts, Server};

const DEVICES: [&str; 3] = ["sd1", "sd2", "sd3"];
const RECLAIM_AGE: u64 = 10_000;

/// Time that a test moves, in seconds since 1970.
#[derive(Debug)]
struct MovedClock(AtomicU64);

impl Clock for MovedClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct Bench {
    root: PathBuf,
    clock: Arc<MovedClock>,
    broker: Arc<Broker>,
    ring: Arc<SharedRing>,
    replicator: Replicator<Accounts>,
    files: Vec<PathBuf>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn write_ring(file: &std::path::Path) {
    let mut builder = RingBuilder::new(1, 3.0, 1).unwrap();
    for (zone, device) in DEVICES.iter().enumerate() {
        builder.add(NewDevice {
            region: 1,
            zone: u32::try_from(zone).unwrap(),
            ip: "127.0.0.1".to_owned(),
            port: 6202,
            replication_ip: None,
            replication_port: None,
            device: (*device).to_owned(),
            weight: 1.0,
            meta: String::new(),
        });
    }
    builder.rebalance(0, 1).unwrap();
    std::fs::write(file, v1::encode(&builder.ring_data()).unwrap()).unwrap();
}

impl Bench {
    /// An account on one of three devices, which passes then copy to the others.
    async fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("apus-idle-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for device in DEVICES {
            std::fs::create_dir_all(root.join(device)).unwrap();
        }
        write_ring(&root.join("account.ring.gz"));
        let ring = Arc::new(SharedRing::load(&root.join("account.ring.gz")).unwrap());
        // All changes are old by then.
        let clock = Arc::new(MovedClock(AtomicU64::new(SystemClock.now().as_secs() + 3600)));
        // None is kept open, so every use counts.
        let broker = Arc::new(Broker::new(name, 0, Arc::default()).unwrap());
        let hash = HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() };
        let server = Server::new(Parts {
            devices: root.clone(),
            mount_check: false,
            hash: hash.clone(),
            policies: Policies::new(Vec::new()).unwrap(),
            clock: clock.clone(),
            broker: broker.clone(),
            constraints: Arc::default(),
        });
        let transport = Arc::new(Transport::new(None));
        transport.register("127.0.0.1:6202", Arc::new(server));
        let own = hash.hash(&["a"]);
        let partition = ring.get().partition(&own);
        let file = |device| database_path(&root.join(device), "accounts", partition, &own);
        let files: Vec<PathBuf> = DEVICES.iter().map(file).collect();
        let conf = format!("[r]\ndatabases_per_second = 0\nreclaim_age = {RECLAIM_AGE}\n");
        let parts = ReplicatorDeps {
            broker: broker.clone(),
            devices: Devices::new(&root, false),
            hash,
            ring: ring.clone(),
            local: Local::new(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 6202),
            transport,
            after: None,
        };
        let options = ReplicationOptions::read(&Conf::parse(&conf).unwrap().section("r")).unwrap();
        let replicator = Replicator::new(parts, options);
        let at = Timestamp::from_seconds(clock.now().as_secs() - 60);
        let account = AccountName::parse("a").unwrap();
        let make = move |connection: &mut apus_broker::Connection| {
            let id = stat::new_id("sd1");
            let new = NewDatabase { path: account, id, created: at, put: at };
            backend::initialize(connection, &new)
        };
        broker.create(&root.join("sd1"), &files[0], make).await.unwrap();
        Self { root, clock, broker, ring, replicator, files }
    }

    /// Runs one pass; returns its counts and how many files were opened.
    async fn pass(&mut self) -> (Replicated, u64) {
        let cx = PassContext {
            scope: Scope::default(),
            clock: self.clock.clone(),
            drain: Drain::default(),
            once: false,
        };
        let before = self.broker.counters().opens();
        let report = self.replicator.pass(&cx).await.unwrap();
        (report, self.broker.counters().opens() - before)
    }

    /// Passes until one opens nothing.
    async fn settle(&mut self) {
        for _ in 0..8 {
            if self.pass().await.1 == 0 {
                return;
            }
        }
        panic!("databases are opened in every pass");
    }

    fn row(&self, name: &str, is_deleted: bool) -> ContainerReport {
        let now = self.clock.now().as_secs();
        let (put_timestamp, deleted) = (Timestamp::from_seconds(now - 2), now - 1);
        ContainerReport {
            name: name.to_owned(),
            put_timestamp,
            delete_timestamp: Timestamp::from_seconds(if is_deleted { deleted } else { 0 }),
            object_count: 0,
            bytes_used: 0,
            policy: 0,
        }
    }

    async fn write(&self, replica: usize, report: ContainerReport) {
        let opened = self.broker.open(&self.files[replica], backend::merge_pending).await;
        let database = opened.unwrap().unwrap();
        database.write(move |connection| backend::merge_report(connection, &report)).await.unwrap();
    }

    /// Rows of a replica, with deleted ones.
    async fn rows(&self, replica: usize) -> i64 {
        let opened = self.broker.open(&self.files[replica], backend::merge_pending).await;
        let database = opened.unwrap().unwrap();
        let count = database.read(|connection| {
            let mut count = 0;
            connection.query("SELECT count(*) FROM container", &[], |row| {
                count = row.int(0);
                false
            })?;
            Ok(count)
        });
        count.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_in_sync_are_counted_and_not_opened() {
    let mut bench = Bench::new("sync").await;
    bench.settle().await;
    assert!(bench.files.iter().all(|file| file.exists()));
    for _ in 0..3 {
        let (report, opens) = bench.pass().await;
        assert_eq!(opens, 0);
        assert_eq!((report.attempted, report.success, report.no_change), (3, 6, 6));
        assert_eq!((report.failure, report.behind), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_any_replica_is_seen_by_the_next_pass() {
    let mut bench = Bench::new("change").await;
    for replica in 0..3 {
        bench.settle().await;
        bench.write(replica, bench.row(&format!("c{replica}"), false)).await;
        bench.pass().await;
        for other in 0..3 {
            assert_eq!(bench.rows(other).await, i64::try_from(replica + 1).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_replica_is_back_after_the_next_pass() {
    let mut bench = Bench::new("lost").await;
    bench.write(0, bench.row("c", false)).await;
    for (lost, device) in DEVICES.iter().enumerate() {
        bench.settle().await;
        std::fs::remove_dir_all(bench.root.join(device).join("accounts")).unwrap();
        let (report, _) = bench.pass().await;
        assert!(report.rsync > 0, "{report:?}");
        assert_eq!(bench.rows(lost).await, 1);
    }
    // A whole device with everything on it.
    bench.settle().await;
    std::fs::rename(bench.root.join("sd2"), bench.root.join("away")).unwrap();
    let (report, _) = bench.pass().await;
    assert!(report.failure > 0 && report.unmounted == 1, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_records_an_older_file_and_a_new_ring_are_noticed() {
    let mut bench = Bench::new("others").await;
    bench.settle().await;
    let file = bench.files[1].clone();
    let pending = PathBuf::from(format!("{}.pending", file.display()));
    std::fs::write(&pending, ":none").unwrap();
    assert!(bench.pass().await.1 > 0);
    assert_eq!(std::fs::metadata(&pending).unwrap().len(), 0);

    bench.settle().await;
    let older = bench.root.join("older.db");
    std::fs::copy(&file, &older).unwrap();
    bench.write(1, bench.row("c", false)).await;
    bench.settle().await;
    std::fs::rename(&older, &file).unwrap();
    bench.pass().await;
    bench.pass().await;
    assert_eq!(bench.rows(1).await, 1);

    bench.settle().await;
    let ring = bench.root.join("account.ring.gz");
    std::fs::remove_file(&ring).unwrap();
    write_ring(&ring);
    assert!(bench.ring.refresh().unwrap());
    assert!(bench.pass().await.1 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_reclaimed_though_nothing_changed() {
    let mut bench = Bench::new("old").await;
    bench.write(0, bench.row("gone", true)).await;
    bench.settle().await;
    assert_eq!(bench.rows(2).await, 1);
    bench.clock.0.fetch_add(RECLAIM_AGE + 10, Ordering::Relaxed);
    bench.pass().await;
    for replica in 0..3 {
        assert_eq!(bench.rows(replica).await, 0);
    }
    // The account itself.
    let opened = bench.broker.open(&bench.files[0], backend::merge_pending).await;
    let now = Timestamp::from_seconds(bench.clock.now().as_secs());
    let delete =
        move |connection: &mut apus_broker::Connection| stat::delete(connection, &SCHEMA, now);
    opened.unwrap().unwrap().write(delete).await.unwrap();
    bench.settle().await;
    assert!(bench.files.iter().all(|file| file.exists()));
    bench.clock.0.fetch_add(RECLAIM_AGE + 10, Ordering::Relaxed);
    bench.pass().await;
    assert!(!bench.files.iter().any(|file| file.exists()));
}
