use std::path::PathBuf;
use std::sync::Arc;

use apus_broker::audit::Verdict;
use apus_broker::{Broker, QuarantineOutcome};
use apus_cluster::HashConf;
use apus_cluster::listing::ListQuery;

use super::*;

struct Bench {
    root: PathBuf,
    broker: Broker,
    hash: HashConf,
    path: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Bench {
    async fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("apus-rot-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let broker = Broker::new(name, 16, Arc::default()).unwrap();
        let hash = HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() };
        let own = hash.hash(&["a"]);
        let path = apus_broker::path::database_path(&root, "accounts", 1, &own);
        let at = Timestamp::from_seconds(1_600_000_000);
        let account = AccountName::parse("a").unwrap();
        broker
            .create(&root, &path, move |connection| {
                let id = format!("{}-sd1", apus_daemon::random::uuid());
                let new = NewDatabase { path: account, id, created: at, put: at };
                backend::initialize(connection, &new)
            })
            .await
            .unwrap();
        let bench = Self { root, broker, hash, path };
        let database = bench.broker.open(&bench.path, backend::merge_pending).await;
        let database = database.unwrap().unwrap();
        let filled = database.write(move |connection| {
            for index in 0..200u64 {
                let gone = index % 10 == 0;
                let report = ContainerReport {
                    name: format!("bucket-{index:04}"),
                    put_timestamp: Timestamp::from_seconds(1_700_000_000 + index),
                    delete_timestamp: Timestamp::from_seconds(if gone { 1_700_009_000 } else { 0 }),
                    object_count: if gone { 0 } else { 5 },
                    bytes_used: if gone { 0 } else { 500 },
                    policy: u32::try_from(index % 2).unwrap(),
                };
                backend::merge_report(connection, &report)?;
                backend::merge_report(connection, &report)?;
            }
            Ok(())
        });
        filled.await.unwrap();
        bench.broker.close().await;
        bench
    }

    async fn audit(&self) -> Verdict {
        self.broker.audit::<Accounts>(&self.path, &self.hash).await.unwrap()
    }

    async fn seen(&self) -> Option<String> {
        let database = self.broker.open(&self.path, backend::merge_pending).await.ok()??;
        let seen = database.read(|connection| {
            let info = backend::info(connection)?;
            let query = ListQuery { limit: 10_000, ..ListQuery::default() };
            Ok(format!("{info:?} {:?}", backend::page(connection, &query)?))
        });
        let seen = seen.await.ok();
        self.broker.close().await;
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_visible_flipped_bit_is_found() {
    let bench = Bench::new("account-flips").await;
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: true });
    let before = bench.seen().await.unwrap();
    let good = std::fs::read(&bench.path).unwrap();
    let (mut state, mut visible) = (20_261_121u64, 0);
    for _ in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bit = usize::try_from(state >> 20).unwrap() % (good.len() * 8);
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&bench.path, &flipped).unwrap();
        let is_damaged = matches!(bench.audit().await, Verdict::Damaged(_));
        std::fs::write(&bench.path, &flipped).unwrap();
        if bench.seen().await.as_ref() != Some(&before) {
            visible += 1;
            assert!(is_damaged, "bit {bit} is visible and is not found");
        }
        for ending in ["-wal", "-shm", "-journal"] {
            let mut file = bench.path.clone().into_os_string();
            file.push(ending);
            let _ = std::fs::remove_file(file);
        }
    }
    println!("flips: 300, visible: {visible}");
    assert!(visible > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_index_loses_no_row() {
    let bench = Bench::new("account-salvage").await;
    let before = bench.seen().await.unwrap();
    let good = std::fs::read(&bench.path).unwrap();
    let name = b"bucket-0077";
    let places: Vec<usize> = good
        .windows(name.len())
        .enumerate()
        .filter(|(_, window)| window == name)
        .map(|(at, _)| at)
        .collect();
    let mut rows = Vec::new();
    for place in places {
        let mut flipped = good.clone();
        flipped[place + 9] ^= 1;
        std::fs::create_dir_all(bench.path.parent().unwrap()).unwrap();
        std::fs::write(&bench.path, &flipped).unwrap();
        let quarantined =
            bench.broker.quarantine::<Accounts>(&bench.root, &bench.path, &bench.hash, false);
        let QuarantineOutcome::Quarantined { replaced, rows: saved, .. } =
            quarantined.await.unwrap()
        else {
            panic!()
        };
        if replaced {
            assert_eq!(bench.seen().await.unwrap(), before);
        }
        rows.push((saved, replaced));
    }
    rows.sort_unstable();
    assert_eq!(rows, [(199, false), (200, true)]);
}
