//! Queues misplaced rows of containers that were replicated.
//!
//! The sync point of a database is the row up to which that was done. It moves only over rows that a
//! majority of the queue's servers has, so that none is missed.
//! Source: `swift/container/replicator.py`, `dump_to_reconciler`. Swift writes entries into a
//! database next to its own and replicates that; here they are sent to their servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apus_broker::replication::{AfterPush, rows_since};
use apus_broker::{Broker, DatabaseKind, DbError};
use apus_cluster::name::NameError;
use apus_cluster::reconciler::{self, Entry, Operation, queue_container};
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName, PolicyIndex};
use apus_wire::message::database::ReplicaInfo;
use async_trait::async_trait;

use super::queue::{self, Queue, QueueError};
use crate::backend;
use crate::kind::{Containers, ObjectRecord};

/// Rows that are read at a time.
const PAGE: usize = 1000;

/// Queues misplaced rows.
#[derive(Debug)]
pub(crate) struct Feeder {
    /// The databases of this node.
    pub(crate) broker: Arc<Broker>,
    /// The queue.
    pub(crate) queue: Queue,
}

/// Reasons why not all misplaced rows were queued.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the policy changed meanwhile")]
    PolicyChanged,
}

/// The entry for a row; `None` when its name or time is invalid.
fn entry(container: &ContainerPath, row: &ObjectRecord) -> Option<(String, ObjectRecord)> {
    let times = RowTimes::decode(&row.created_at)?;
    let object = container.object(ObjectName::parse(&row.name).ok()?);
    let entry = Entry { policy: PolicyIndex(row.storage_policy_index), object };
    let operation = if row.deleted == 0 { Operation::Put } else { Operation::Delete };
    let queued = queue::row(&entry, operation, &row.created_at, &row.created_at);
    Some((queue_container(times.meta), queued))
}

impl Feeder {
    /// The state of a database now; `None` when it does not exist.
    async fn info(&self, path: &Path) -> Result<Option<ReplicaInfo>, DbError> {
        match self.broker.open(path, backend::merge_pending).await? {
            Some(database) => database.read(Containers::info).await.map(Some),
            None => Ok(None),
        }
    }

    /// The container's policy now, and rows after `after`.
    async fn page(&self, path: &Path, after: i64) -> Result<(u32, Vec<ObjectRecord>), DbError> {
        let opened = self.broker.open(path, backend::merge_pending).await?;
        let database = opened.ok_or(DbError::Missing)?;
        let page = database.read(move |connection| {
            let policy = backend::info(connection)?.policy;
            Ok((policy, rows_since::<Containers>(connection, after, PAGE)?))
        });
        page.await
    }

    /// Queues misplaced rows after row `point`. Returns how many entries were queued.
    async fn feed(&self, path: &Path, info: &ReplicaInfo, point: i64) -> Result<u64, FeedError> {
        let container = ContainerPath::new(
            AccountName::parse(&info.account)?,
            ContainerName::parse(info.container.as_deref().unwrap_or_default())?,
        );
        let (mut queued, mut after) = (0, point);
        let mut first_policy = None;
        let fed = loop {
            let (policy, rows) = self.page(path, after).await?;
            // Rows that were in their place a page ago may be misplaced now.
            if *first_policy.get_or_insert(policy) != policy {
                return Err(FeedError::PolicyChanged);
            }
            let last = rows.last().and_then(|row| row.row_id).unwrap_or(after);
            let is_end = rows.len() < PAGE;
            let mut entries: BTreeMap<String, Vec<ObjectRecord>> = BTreeMap::new();
            for row in rows.iter().filter(|row| row.storage_policy_index != policy) {
                match entry(&container, row) {
                    Some((queue, entry)) => entries.entry(queue).or_default().push(entry),
                    None => {
                        tracing::error!(?row, container = %container, "Failed to queue an invalid misplaced row")
                    }
                }
            }
            let mut sent = Ok(());
            for (queue, entries) in entries {
                sent = self.queue.add(&queue, &entries).await;
                if sent.is_err() {
                    break;
                }
                queued += entries.len() as u64;
            }
            if sent.is_err() {
                break sent;
            }
            after = last;
            if is_end {
                // Also rows that were replaced since.
                after = after.max(info.max_row);
                break Ok(());
            }
        };
        if let Some(policy) = first_policy.filter(|_| after > point) {
            let opened = self.broker.open(path, backend::merge_pending).await?;
            let database = opened.ok_or(DbError::Missing)?;
            database.write(move |connection| backend::queued(connection, after, policy)).await?;
            apus_fault::point("reconcile.point.written");
        }
        fed.map(|()| queued).map_err(FeedError::from)
    }
}

#[async_trait]
impl AfterPush for Feeder {
    async fn pushed(&self, database: &Path, info: &ReplicaInfo) {
        if info.account == reconciler::ACCOUNT {
            return;
        }
        // A push, or another replica meanwhile, may have changed the policy or added rows.
        let info = match self.info(database).await {
            Ok(Some(info)) => info,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, database = %database.display(), "Failed to look for misplaced objects");
                return;
            }
        };
        let Some(point) = info.queued.filter(|point| *point < info.max_row) else { return };
        match self.feed(database, &info, point).await {
            Ok(0) => {}
            Ok(entries) => {
                tracing::info!(entries, database = %database.display(), "Queued misplaced objects");
            }
            Err(error) => {
                tracing::warn!(%error, database = %database.display(), "Failed to queue misplaced objects");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apus_broker::NewDatabase;
    use apus_broker::replication::Replica;
    use apus_cluster::Timestamp;

    use super::*;

    fn row(deleted: u8, created_at: &str) -> ObjectRecord {
        ObjectRecord {
            row_id: Some(7),
            name: "o/ü".to_owned(),
            created_at: created_at.to_owned(),
            size: Some(5),
            content_type: Some("a/b".to_owned()),
            etag: Some("e".to_owned()),
            deleted,
            storage_policy_index: 1,
            ..ObjectRecord::default()
        }
    }

    fn container() -> ContainerPath {
        ContainerPath::new(AccountName::parse("a").unwrap(), ContainerName::parse("c").unwrap())
    }

    /// A container of policy 0.
    struct Bench {
        root: std::path::PathBuf,
        database: Arc<apus_broker::Database>,
    }

    impl Bench {
        async fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("apus-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(&root).unwrap();
            let broker = Broker::new(name, 4, Arc::default()).unwrap();
            let path = root.join("containers/c.db");
            let at = Timestamp::from_seconds(1_600_000_000);
            broker
                .create(&root, &path, move |connection| {
                    let id = "id-sd1".to_owned();
                    let new = NewDatabase { path: container(), id, created: at, put: at };
                    backend::initialize(connection, &new, 0)
                })
                .await
                .unwrap();
            let database = broker.open(&path, backend::merge_pending).await.unwrap().unwrap();
            Self { root, database }
        }

        async fn write<T: Send + 'static>(
            &self,
            work: impl FnOnce(&mut apus_broker::Connection) -> Result<T, DbError> + Send + 'static,
        ) -> T {
            self.database.write(work).await.unwrap()
        }

        async fn info(&self) -> ReplicaInfo {
            self.write(Containers::info).await
        }

        /// A row of policy 1.
        async fn row(&self, deleted: u8) {
            let time = format!("170000000{deleted}.00000");
            self.write(move |connection| Containers::merge_row(connection, row(deleted, &time)))
                .await;
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }

    #[tokio::test]
    async fn rows_are_checked_again_when_the_policy_changes() {
        let bench = Bench::new("feed-policy").await;
        assert_eq!(bench.info().await.queued, None, "one policy needs no check");
        bench.row(0).await;
        assert_eq!(bench.info().await.queued, Some(-1));
        bench.write(|connection| backend::queued(connection, 1, 0)).await;
        assert_eq!(bench.info().await.queued, Some(1));
        // A check under another policy of the container does not count.
        bench.write(|connection| backend::queued(connection, 2, 7)).await;
        bench.write(|connection| backend::queued(connection, 0, 0)).await;
        assert_eq!(bench.info().await.queued, Some(1));
        let older = ReplicaInfo {
            storage_policy_index: Some(1),
            put_timestamp: "1500000000.00000".to_owned(),
            status_changed_at: "1500000000.00000".to_owned(),
            ..bench.info().await
        };
        let now = Timestamp::from_seconds(1_700_000_009);
        assert!(
            bench.write(move |connection| Containers::reconcile(connection, &older, now)).await
        );
        let info = bench.info().await;
        assert_eq!((info.storage_policy_index, info.queued), (Some(1), Some(-1)));
    }

    #[tokio::test]
    async fn a_container_that_is_made_again_leaves_rows_that_were_deleted_with_it() {
        let bench = Bench::new("feed-again").await;
        bench.row(0).await;
        assert!(!bench.write(backend::is_empty).await, "an object of another policy is an object");
        let again = Timestamp::from_seconds(1_700_000_005);
        bench.write(move |connection| backend::put(connection, again, Some(2))).await;
        assert_eq!(bench.info().await.queued, Some(-1), "there is something to move");
        bench.row(1).await;
        assert!(bench.write(backend::is_empty).await);
        bench.write(move |connection| backend::put(connection, again.next(), Some(3))).await;
        let info = bench.info().await;
        assert_eq!(info.queued, Some(info.max_row));
    }

    #[test]
    fn an_entry_is_what_swift_makes_of_a_row() {
        // swift.container.reconciler.get_row_to_q_entry_translator
        let (queue, queued) = entry(&container(), &row(0, "1700000000.12345+0+16e36000")).unwrap();
        assert_eq!(queue, "1700002800");
        let json = serde_json::to_value(&queued).unwrap();
        let expected = serde_json::json!({
            "name": "1:/a/c/o/ü",
            "deleted": 0,
            "created_at": "1700000000.12345+0+16e36000",
            "etag": "1700000000.12345+0+16e36000",
            "content_type": "application/x-put",
            "size": 0,
            "storage_policy_index": 0,
        });
        assert_eq!(json, expected);
        let (_, queued) = entry(&container(), &row(1, "1700000000.12345")).unwrap();
        assert_eq!(queued.content_type.unwrap(), "application/x-delete");
        assert!(entry(&container(), &row(0, "long ago")).is_none());
    }
}
