//! Replicas that were made with different policies agree on the oldest, in whichever order they meet.

use std::path::PathBuf;
use std::sync::Arc;

use apus_broker::replication::Replica;
use apus_broker::{Broker, Database, DatabaseKind, NewDatabase};
use apus_cluster::{AccountName, ContainerName, ContainerPath, Timestamp};
use apus_wire::message::database::ReplicaInfo;

use super::super::Containers;
use crate::backend;

/// The policies of three replicas, made one second after another.
const POLICIES: [u32; 3] = [2, 0, 1];

struct Replicas {
    root: PathBuf,
    broker: Broker,
    databases: Vec<Arc<Database>>,
}

impl Replicas {
    async fn new() -> Self {
        let root = std::env::temp_dir().join(format!("apus-policies-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let broker = Broker::new("policies", 16, Arc::default()).unwrap();
        let mut databases = Vec::new();
        for (index, policy) in POLICIES.into_iter().enumerate() {
            let container = ContainerPath::new(
                AccountName::parse("a").unwrap(),
                ContainerName::parse("c").unwrap(),
            );
            let path = root.join(format!("sd{index}/c.db"));
            let at = Timestamp::from_seconds(1_600_000_000 + index as u64);
            broker
                .create(&root, &path, move |connection| {
                    let id = format!("{}-sd{index}", apus_daemon::random::uuid());
                    let new = NewDatabase { path: container, id, created: at, put: at };
                    backend::initialize(connection, &new, policy)
                })
                .await
                .unwrap();
            databases.push(broker.open(&path, backend::merge_pending).await.unwrap().unwrap());
        }
        Self { root, broker, databases }
    }

    async fn info(&self, index: usize) -> ReplicaInfo {
        self.databases[index].read(Containers::info).await.unwrap()
    }

    async fn adopt(&self, index: usize, remote: &ReplicaInfo, now: Timestamp) {
        let remote = remote.clone();
        let adopt = move |connection: &mut _| Containers::reconcile(connection, &remote, now);
        self.databases[index].write(adopt).await.unwrap();
    }

    async fn policies(&self) -> Vec<Option<i64>> {
        let mut policies = Vec::new();
        for index in 0..POLICIES.len() {
            policies.push(self.info(index).await.storage_policy_index);
        }
        policies
    }
}

/// All orders of the six pushes among three replicas.
fn orders(rest: &[(usize, usize)]) -> Vec<Vec<(usize, usize)>> {
    if rest.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: &(usize, usize)| {
        let others: Vec<_> = rest.iter().copied().filter(|other| other != first).collect();
        orders(&others).into_iter().map(|order| [vec![*first], order].concat()).collect::<Vec<_>>()
    };
    rest.iter().flat_map(with_first).collect()
}

/// A replicator pushes the state that its database had when its pass began; meanwhile others change
/// it. Each replica looks at what it has in the transaction that adopts.
#[tokio::test(flavor = "multi_thread")]
async fn one_pass_of_all_replicators_at_once_ends_with_the_oldest_policy_everywhere() {
    let pushes = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
    for (number, order) in orders(&pushes).into_iter().enumerate().filter(|(n, _)| n % 13 == 0) {
        let replicas = Replicas::new().await;
        let mut began = Vec::new();
        for index in 0..POLICIES.len() {
            began.push(replicas.info(index).await);
        }
        for (step, (from, to)) in order.iter().copied().enumerate() {
            let now = Timestamp::from_seconds(1_700_000_000 + step as u64);
            replicas.adopt(to, &began[from], now).await;
            let answer = replicas.info(to).await;
            replicas.adopt(from, &answer, now).await;
        }
        assert_eq!(replicas.policies().await, [Some(2); 3], "order {number}: {order:?}");
        replicas.broker.close().await;
        std::fs::remove_dir_all(&replicas.root).unwrap();
    }
}
