use std::path::{Path, PathBuf};
use std::sync::Arc;

use apus_broker::audit::Verdict;
use apus_broker::replication::rows_since;
use apus_broker::{Broker, Database, QuarantineOutcome, stat};
use apus_cluster::HashConf;
use apus_cluster::listing::ListQuery;

use super::*;
use crate::listing;

const ROWS: usize = 300;

/// One database on one device.
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

fn row(index: usize, deleted: bool) -> ObjectRow {
    ObjectRow {
        name: format!("photos/{index:04}.jpg"),
        times: RowTimes::all(Timestamp::from_seconds(1_700_000_000 + index as u64)),
        size: if deleted { 0 } else { 1000 + index as u64 },
        content_type: if deleted { "application/deleted" } else { "image/jpeg" }.to_owned(),
        etag: if deleted { "noetag".to_owned() } else { format!("{index:032x}") },
        deleted,
        policy: 0,
    }
}

impl Bench {
    /// A container with rows, closed.
    async fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("apus-rot-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let broker = Broker::new(name, 16, Arc::default()).unwrap();
        let hash = HashConf { prefix: b"p".to_vec(), suffix: b"s".to_vec() };
        let own = hash.hash(&["a", "c"]);
        let path = apus_broker::path::database_path(&root, "containers", 1, &own);
        let container = ContainerPath::new(
            AccountName::parse("a").unwrap(),
            ContainerName::parse("c").unwrap(),
        );
        let at = Timestamp::from_seconds(1_600_000_000);
        broker
            .create(&root, &path, move |connection| {
                let id = format!("{}-sd1", apus_daemon::random::uuid());
                let new = NewDatabase { path: container, id, created: at, put: at };
                backend::initialize(connection, &new, 0)
            })
            .await
            .unwrap();
        let bench = Self { root, broker, hash, path };
        bench
            .open()
            .await
            .write(move |connection| {
                let changes = [("X-Container-Read", ".r:*"), ("X-Container-Meta-Colour", "blue")];
                let changes = changes.map(|(name, value)| (name.to_owned(), value.to_owned()));
                stat::put_metadata(
                    connection,
                    &SCHEMA,
                    &changes.into(),
                    at.next(),
                    &Default::default(),
                )?;
                for index in 0..ROWS {
                    backend::merge_row(connection, row(index, false))?;
                }
                for index in (0..ROWS).step_by(10) {
                    let mut row = row(index, true);
                    row.times = RowTimes::all(Timestamp::from_seconds(1_700_001_000));
                    backend::merge_row(connection, row)?;
                }
                Ok(())
            })
            .await
            .unwrap();
        bench.broker.close().await;
        bench
    }

    async fn open(&self) -> Arc<Database> {
        self.broker.open(&self.path, backend::merge_pending).await.unwrap().unwrap()
    }

    async fn audit(&self) -> Verdict {
        self.broker.audit::<Containers>(&self.path, &self.hash).await.unwrap()
    }

    /// Everything that is visible of the container; `None` when it cannot be read.
    async fn seen(&self) -> Option<String> {
        let database = self.broker.open(&self.path, backend::merge_pending).await.ok()??;
        let seen = database.read(|connection| {
            let mut info = backend::info(connection)?;
            // A wrong report to the account is sent again.
            info.reported = Some(info.current());
            let query = ListQuery { limit: 10_000, ..ListQuery::default() };
            let page = listing::page(connection, &query, info.policy)?;
            let all = listing::page_with_deleted(connection, &query, info.policy)?;
            Ok(format!("{info:?} {page:?} {all:?}"))
        });
        let seen = seen.await.ok();
        self.broker.close().await;
        seen
    }
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_visible_flipped_bit_is_found() {
    let bench = Bench::new("flips").await;
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: true });
    let good = std::fs::read(&bench.path).unwrap();
    let before = bench.seen().await.unwrap();
    let good_after_use = std::fs::read(&bench.path).unwrap();
    assert_eq!(good.len(), good_after_use.len());
    let (mut state, mut visible, mut found) = (20_261_121u64, 0, 0);
    for _ in 0..600 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bit = usize::try_from(state >> 20).unwrap() % (good.len() * 8);
        std::fs::write(&bench.path, &good).unwrap();
        flip(&bench.path, bit);
        let verdict = bench.audit().await;
        let is_damaged = matches!(verdict, Verdict::Damaged(_));
        found += usize::from(is_damaged);
        std::fs::write(&bench.path, &good).unwrap();
        flip(&bench.path, bit);
        if bench.seen().await.as_ref() != Some(&before) {
            visible += 1;
            assert!(is_damaged, "bit {bit} is visible and is not found: {verdict:?}");
        }
        for ending in ["-wal", "-shm", "-journal"] {
            let mut file = bench.path.clone().into_os_string();
            file.push(ending);
            let _ = std::fs::remove_file(file);
        }
    }
    println!("flips: 600, visible: {visible}, found: {found}");
    assert!(visible > 100 && found >= visible);
}

/// The places of a text in the database.
fn places(path: &Path, text: &str) -> Vec<usize> {
    let bytes = std::fs::read(path).unwrap();
    let windows = bytes.windows(text.len()).enumerate();
    windows.filter(|(_, window)| *window == text.as_bytes()).map(|(at, _)| at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_hides_the_table_of_digests() {
    let bench = Bench::new("hidden").await;
    let good = std::fs::read(&bench.path).unwrap();
    // Its line in the schema: type, name and name of the table.
    let line = format!("table{0}{0}", apus_broker::digest::TABLE);
    let found = places(&bench.path, &line);
    assert_eq!(found.len(), 1);
    for bit in found[0] * 8..(found[0] + line.len()) * 8 {
        std::fs::write(&bench.path, &good).unwrap();
        flip(&bench.path, bit);
        let verdict = bench.audit().await;
        assert!(matches!(verdict, Verdict::Damaged(_)), "bit {bit}: {verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rows_that_can_be_trusted_are_salvaged() {
    let mut outcomes = Vec::new();
    for place in 0..2 {
        let bench = Bench::new(&format!("salvage-{place}")).await;
        let before = bench.seen().await.unwrap();
        let database = bench.open().await;
        let quarantined =
            bench.broker.quarantine::<Containers>(&bench.root, &bench.path, &bench.hash, false);
        assert_eq!(quarantined.await.unwrap(), QuarantineOutcome::Good, "nothing is wrong with it");
        bench.broker.close().await;
        drop(database);
        // In the table, and in the index that listings are read from.
        let found = places(&bench.path, &format!("{:032x}", 77));
        assert_eq!(found.len(), 2);
        flip(&bench.path, found[place] * 8 + 3);
        let database = bench.open().await;
        let quarantined =
            bench.broker.quarantine::<Containers>(&bench.root, &bench.path, &bench.hash, false);
        let outcome = quarantined.await.unwrap();
        let quarantined_folder = bench.root.join("quarantined/containers");
        let name = bench.path.file_stem().unwrap();
        assert!(quarantined_folder.join(name).join(bench.path.file_name().unwrap()).exists());
        match &outcome {
            QuarantineOutcome::Quarantined { replaced: true, rows: 300, salvaged: None } => {
                assert_eq!(bench.audit().await, Verdict::Good { is_covered: true });
                // A handle that was open before uses the new one.
                let count = database.read(|connection| Ok(backend::info(connection)?.object_count));
                assert_eq!(count.await.unwrap(), 270);
                assert_eq!(bench.seen().await.unwrap().len(), before.len());
            }
            QuarantineOutcome::Quarantined { replaced: false, rows: 299, salvaged: Some(_) } => {
                assert!(!bench.path.exists(), "half a listing is worse than none");
                assert!(quarantined_folder.join(name).join("salvaged.db").exists());
            }
            other => panic!("{other:?}"),
        }
        outcomes.push(outcome);
    }
    assert_ne!(outcomes[0], outcomes[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_others_are_covered_by_the_next_audit() {
    let bench = Bench::new("cover").await;
    // As Swift writes: without digests.
    let database = bench.open().await;
    let swift = database.write(|connection| {
        connection.run(
            "INSERT INTO object (name, created_at, size, content_type, etag, deleted,
                 storage_policy_index) VALUES ('swift', '1700000000.00000', 5, 'a/b', 'x', 0, 0)",
            &[],
        )?;
        connection.run("UPDATE container_stat SET put_timestamp = '1700000000.00000'", &[])?;
        connection.run("DELETE FROM object WHERE name = 'photos/0007.jpg'", &[])
    });
    swift.await.unwrap();
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: false });
    let cover = |after| {
        let database = database.clone();
        async move {
            let work = move |connection: &mut Connection| {
                apus_broker::audit::cover(connection, &SCHEMA, after)
            };
            database.write(work).await.unwrap()
        }
    };
    let last = cover(0).await.unwrap();
    assert_eq!(cover(last).await, None);
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: true });
    // A database of Swift has neither the table nor the triggers nor our index.
    let stripped = database.write(|connection| {
        connection.script(
            "DROP TRIGGER apus_row_digest_delete; DROP TRIGGER apus_info_digest_delete;
             DROP TABLE apus_row_digest; DROP INDEX ix_apus_listing;",
        )
    });
    stripped.await.unwrap();
    bench.broker.close().await;
    drop(database);
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: false });
    let database = bench.open().await;
    let mut after = Some(0);
    while let Some(from) = after {
        let work =
            move |connection: &mut Connection| apus_broker::audit::cover(connection, &SCHEMA, from);
        after = database.write(work).await.unwrap();
    }
    assert_eq!(bench.audit().await, Verdict::Good { is_covered: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_path_is_not_replaced() {
    let bench = Bench::new("misplaced").await;
    let other = bench.hash.hash(&["a", "other"]);
    let wrong = apus_broker::path::database_path(&bench.root, "containers", 1, &other);
    std::fs::create_dir_all(wrong.parent().unwrap()).unwrap();
    std::fs::copy(&bench.path, &wrong).unwrap();
    let quarantined = bench.broker.quarantine::<Containers>(&bench.root, &wrong, &bench.hash, true);
    let moved = QuarantineOutcome::Quarantined { replaced: false, rows: 0, salvaged: None };
    assert_eq!(quarantined.await.unwrap(), moved);
    assert!(!wrong.exists() && bench.path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_match_its_digest_is_sent_to_no_client_and_no_replica() {
    let bench = Bench::new("mismatch").await;
    let database = bench.open().await;
    let counts = |prefix: &'static str| {
        let query =
            ListQuery { limit: 10_000, prefix: Some(prefix.to_owned()), ..ListQuery::default() };
        database.read(move |connection| {
            let page = listing::page(connection, &query, 0).map(|page| page.len());
            let all = listing::page_with_deleted(connection, &query, 0).map(|page| page.len());
            let sent = rows_since::<Containers>(connection, -1, 10_000).map(|rows| rows.len());
            Ok((page, all, sent))
        })
    };
    let (page, all, sent) = counts("").await.unwrap();
    assert_eq!((page.unwrap(), all.unwrap(), sent.unwrap()), (ROWS - ROWS / 10, ROWS, ROWS));
    database
        .write(|connection| {
            // As a flipped bit leaves it: no trigger runs.
            connection.run("DROP TRIGGER object_update", &[])?;
            connection.run("UPDATE object SET size = 6 WHERE name = 'photos/0077.jpg'", &[])
        })
        .await
        .unwrap();
    let (page, all, sent) = counts("").await.unwrap();
    for error in [page.unwrap_err(), all.unwrap_err(), sent.unwrap_err()] {
        assert!(error.to_string().contains("digest"), "{error}");
        assert!(error.is_damage(), "the server quarantines it");
    }
    let (page, ..) = counts("photos/02").await.unwrap();
    assert_eq!(page.unwrap(), 90, "other rows are good");
    let known = |connection: &mut Connection| {
        Ok((digest::check_info(connection, &SCHEMA), Containers::info(connection).map(|_| ())))
    };
    assert!(matches!(database.read(known).await.unwrap(), (Ok(()), Ok(()))));
    database
        .write(|connection| {
            connection.run("DROP TRIGGER apus_info_digest_delete", &[])?;
            connection.run("UPDATE container_info SET metadata = replace(metadata, 'r', 's')", &[])
        })
        .await
        .unwrap();
    assert!(matches!(database.read(known).await.unwrap(), (Err(_), Err(_))));
}

/// A new digest would make the damaged row look good.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_match_its_digest_is_not_overwritten() {
    let bench = Bench::new("on-top").await;
    let database = bench.open().await;
    let damaged = database.write(|connection| {
        connection.run("DROP TRIGGER object_update", &[])?;
        connection
            .run("UPDATE object SET created_at = '1800000000.00000' WHERE size = 1077", &[])?;
        connection.run("DROP TRIGGER apus_info_digest_delete", &[])?;
        connection.run("UPDATE container_info SET status_changed_at = '1800000000.00000'", &[])
    });
    damaged.await.unwrap();
    let later = Timestamp::from_seconds(1_700_002_000);
    let newer = |index| ObjectRow { times: RowTimes::all(later), ..row(index, false) };
    let merged = |row| database.write(move |connection| backend::merge_row(connection, row));
    let put = database.write(move |connection| stat::put(connection, &SCHEMA, later));
    for refused in [merged(newer(77)).await, put.await] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("digest"), "{error}");
        assert!(error.is_damage(), "the server quarantines it");
    }
    merged(newer(78)).await.unwrap();
    assert!(matches!(bench.audit().await, Verdict::Damaged(_)), "it is still found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_have_been_reported_is_reported_again() {
    let bench = Bench::new("reported-again").await;
    let database = bench.open().await;
    let is_reported = |sql: &'static str| {
        database.write(move |connection| {
            let info = backend::info(connection)?;
            backend::reported(connection, &info.current())?;
            connection.run(sql, &[])?;
            let info = backend::info(connection)?;
            Ok(info.reported == Some(info.current()))
        })
    };
    assert!(is_reported("SELECT 1").await.unwrap());
    for sql in [
        "UPDATE container_info SET reported_delete_timestamp = '00000000p0.00000'",
        "UPDATE container_info SET reported_put_timestamp = CAST(X'31B0' AS TEXT)",
        "UPDATE container_info SET reported_object_count = reported_object_count + 1",
    ] {
        assert!(!is_reported(sql).await.unwrap(), "{sql}");
    }
}
