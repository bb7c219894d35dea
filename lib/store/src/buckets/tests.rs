//! Races of creators and deletions, and what crashes leave behind, over containers in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apus_cluster::{ObjectPath, Timestamp};
use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};

use super::create::{NameVerdict, verdict};
use super::row::{Row, RowState};
use super::*;
use crate::operation::*;
use crate::stage::memory_store::{refuse, test_context};
use crate::{Error, Subject};

#[derive(Debug, Default)]
struct TestClock(AtomicU64);

impl apus_daemon::Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A moment at which a test does something in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeContainer,
    AfterContainer,
    BeforeDeletion,
    AfterDeletion,
}

type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Containers and rows.
#[derive(Default)]
struct Nodes {
    containers: Mutex<BTreeSet<String>>,
    rows: Mutex<BTreeMap<String, ObjectHead>>,
    time: Mutex<Option<Arc<HybridClock>>>,
    hooks: Mutex<VecDeque<(Moment, Hook)>>,
    /// The error of the next creation of a container of a bucket.
    refusal: Mutex<Option<Kind>>,
    infos: AtomicUsize,
    reads: AtomicUsize,
}

impl Nodes {
    fn stamp(&self) -> Timestamp {
        self.time.lock().unwrap().as_ref().unwrap().stamp()
    }

    async fn pass(&self, moment: Moment) {
        let hook = {
            let mut hooks = self.hooks.lock().unwrap();
            let at = hooks.iter().position(|(at, _)| *at == moment);
            at.and_then(|at| hooks.remove(at))
        };
        if let Some((_, hook)) = hook {
            hook().await;
        }
    }

    fn check(&self, object: &ObjectPath, conditions: &WriteConditions) -> Result<()> {
        if !self.containers.lock().unwrap().contains(&object.container.to_string()) {
            return Err(Error::new(Kind::NotFound, Subject::Container));
        }
        conditions.check(self.rows.lock().unwrap().get(&object.to_string()))
    }
}

fn is_rows(container: &ContainerPath) -> bool {
    container.account.is_internal()
}

#[async_trait]
impl Primitive for Nodes {
    async fn container_info(&self, cx: &Context, op: HeadContainer) -> Result<Arc<ContainerHead>> {
        self.infos.fetch_add(1, Ordering::Relaxed);
        self.head_container(cx, op).await.map(Arc::new)
    }

    async fn head_container(&self, _: &Context, op: HeadContainer) -> Result<ContainerHead> {
        match self.containers.lock().unwrap().contains(&op.container.to_string()) {
            true => Ok(ContainerHead::default()),
            false => Err(Error::new(Kind::NotFound, Subject::Container)),
        }
    }

    async fn put_container(&self, _: &Context, op: PutContainer) -> Result<bool> {
        let is_bucket = !is_rows(&op.container);
        if is_bucket {
            self.pass(Moment::BeforeContainer).await;
            if let Some(kind) = self.refusal.lock().unwrap().take() {
                return Err(Error::new(kind, Subject::Container));
            }
        }
        tokio::task::yield_now().await;
        let is_new = self.containers.lock().unwrap().insert(op.container.to_string());
        if is_bucket {
            self.pass(Moment::AfterContainer).await;
        }
        Ok(is_new)
    }

    async fn delete_container(&self, _: &Context, op: DeleteContainer) -> Result<()> {
        self.pass(Moment::BeforeDeletion).await;
        let existed = self.containers.lock().unwrap().remove(&op.container.to_string());
        self.pass(Moment::AfterDeletion).await;
        if existed { Ok(()) } else { Err(Error::new(Kind::NotFound, Subject::Container)) }
    }

    async fn head_object(&self, _: &Context, op: HeadObject) -> Result<ObjectHead> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let found = self.rows.lock().unwrap().get(&op.object.to_string()).cloned();
        found.ok_or_else(|| Error::new(Kind::NotFound, Subject::Object))
    }

    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        assert!(cx.is_strong() && is_rows(&op.object.container) && !op.conditions.is_empty());
        tokio::task::yield_now().await;
        self.check(&op.object, &op.conditions)?;
        let timestamp = self.stamp();
        let head = ObjectHead { timestamp, metadata: op.metadata, ..ObjectHead::default() };
        self.rows.lock().unwrap().insert(op.object.to_string(), head);
        Ok(ObjectWritten { timestamp, ..ObjectWritten::default() })
    }

    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted> {
        assert!(cx.is_strong() && !op.conditions.is_empty());
        self.check(&op.object, &op.conditions)?;
        self.rows.lock().unwrap().remove(&op.object.to_string());
        Ok(Deleted::default())
    }

    refuse!(
        authorize,
        account_info,
        head_account,
        list_containers,
        post_account,
        put_account,
        delete_account,
        list_objects,
        post_container,
        get_object,
        post_object,
        update_object,
        queue_deletions,
        update_queue,
    );
}

/// A registry over containers in memory. A clone is another proxy of the same cluster.
#[derive(Clone)]
struct Cluster {
    nodes: Arc<Nodes>,
    clock: Arc<TestClock>,
    registry: Arc<Registry>,
}

fn path(account: &str) -> ContainerPath {
    let account = AccountName::parse(account).unwrap();
    ContainerPath::new(account, ContainerName::parse("photos").unwrap())
}

/// The outcome of a creation, for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    New,
    Existing,
    Taken,
    Busy,
}

impl Cluster {
    fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(1_000_000)));
        let stamps = Arc::new(HybridClock::new(clock.clone()));
        let nodes = Arc::new(Nodes::default());
        *nodes.time.lock().unwrap() = Some(stamps.clone());
        let registry = Arc::new(Registry::new(nodes.clone(), stamps));
        Self { nodes, clock, registry }
    }

    /// Another proxy.
    fn other_proxy(&self) -> Self {
        let stamps = self.nodes.time.lock().unwrap().clone().unwrap();
        Self { registry: Arc::new(Registry::new(self.nodes.clone(), stamps)), ..self.clone() }
    }

    async fn try_create(&self, account: &str) -> Result<CreatedBucket> {
        let op = PutContainer {
            container: path(account),
            metadata: apus_cluster::Metadata::new(),
            policy: None,
            versioning: None,
        };
        self.registry.create(&test_context(), &*self.nodes, op).await
    }

    async fn create(&self, account: &str) -> Outcome {
        match self.try_create(account).await {
            Ok(CreatedBucket::New) => Outcome::New,
            Ok(CreatedBucket::Existing(_)) => Outcome::Existing,
            Err(error) if error.kind == Kind::AlreadyExists => Outcome::Taken,
            Err(error) if error.kind == Kind::Conflict => Outcome::Busy,
            Err(error) => panic!("{error}"),
        }
    }

    async fn delete(&self, account: &str) -> Result<()> {
        let op = DeleteContainer { container: path(account) };
        self.registry.delete(&test_context(), &*self.nodes, op).await
    }

    async fn find(&self, own: Option<&str>) -> Option<String> {
        let own = own.map(|own| AccountName::parse(own).unwrap());
        let op = FindBucket { name: path("a").container, own };
        let found = self.registry.find(&test_context(), &*self.nodes, op).await.unwrap();
        found.map(|account| account.to_string())
    }

    async fn row(&self) -> Option<(String, RowState)> {
        let row = self.registry.read(&test_context(), &path("a").container).await.unwrap();
        row.map(|row| (row.account.to_string(), row.state))
    }

    async fn claim(&self, account: &str) {
        let path = path(account);
        let names = (&path.container, &path.account);
        let row = self.registry.write(&test_context(), names, RowState::Claimed, None).await;
        assert!(row.unwrap().is_some());
    }

    /// A container that Swift's dialect made.
    fn put(&self, account: &str) {
        self.nodes.containers.lock().unwrap().insert(path(account).to_string());
    }

    /// Deletes a container without its row.
    fn remove(&self, account: &str) {
        assert!(self.nodes.containers.lock().unwrap().remove(&path(account).to_string()));
    }

    fn has(&self, account: &str) -> bool {
        self.nodes.containers.lock().unwrap().contains(&path(account).to_string())
    }

    fn wait(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn at(&self, moment: Moment, hook: impl AsyncFnOnceSend) {
        let hook: Hook = Box::new(move || hook.run());
        self.nodes.hooks.lock().unwrap().push_back((moment, hook));
    }
}

/// What a test does in between.
trait AsyncFnOnceSend: Send + 'static {
    fn run(self) -> BoxFuture<'static, ()>;
}

impl<F, T> AsyncFnOnceSend for F
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(self())
    }
}

fn made(account: &str) -> Option<(String, RowState)> {
    Some((account.to_owned(), RowState::Made))
}

#[test]
fn only_a_claim_without_a_container_expires() {
    let row = |account: &str, state| Row {
        account: AccountName::parse(account).unwrap(),
        state,
        written: Timestamp::from_seconds(100),
    };
    let account = AccountName::parse("a").unwrap();
    let (claimed, made) = (RowState::Claimed, RowState::Made);
    for (found, has_container, now, expected) in [
        (None, false, 100, NameVerdict::Free),
        (Some(row("a", claimed)), false, 100, NameVerdict::Free),
        (Some(row("a", made)), false, 100, NameVerdict::Free),
        (Some(row("b", claimed)), false, 129, NameVerdict::Busy),
        (Some(row("b", claimed)), false, 130, NameVerdict::Free),
        // A clock that is behind waits longer.
        (Some(row("b", claimed)), false, 1, NameVerdict::Busy),
        (Some(row("b", claimed)), true, 500, NameVerdict::Taken),
        (Some(row("b", made)), true, 100, NameVerdict::Taken),
        (Some(row("b", made)), false, 100, NameVerdict::Free),
    ] {
        let case = format!("{found:?} {has_container} {now}");
        assert_eq!(verdict(found.as_ref(), &account, has_container, now), expected, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_creators_of_two_accounts_one_account_has_the_bucket() {
    for order in 0..8 {
        let cluster = Cluster::new();
        let creators = (0..32).map(|index| {
            let account = if (index + order) % 3 == 0 { "a" } else { "b" };
            let proxy = cluster.other_proxy();
            async move { (account, proxy.create(account).await) }
        });
        let outcomes = join_all(creators).await;
        let new: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::New).collect();
        let [(winner, _)] = new.as_slice() else { panic!("{outcomes:?}") };
        for (account, outcome) in &outcomes {
            let expected = match account == winner {
                true => [Outcome::New, Outcome::Existing],
                false => [Outcome::Taken, Outcome::Busy],
            };
            assert!(expected.contains(outcome), "{outcomes:?}");
        }
        assert_eq!(cluster.row().await, made(winner));
        assert!(cluster.has("a") == (*winner == "a") && cluster.has("b") == (*winner == "b"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_crash_left_is_continued_by_its_account_and_taken_over_by_others() {
    let cluster = Cluster::new();
    cluster.claim("a").await;
    assert_eq!(cluster.create("b").await, Outcome::Busy);
    assert_eq!(cluster.find(Some("b")).await, None);
    assert_eq!(cluster.create("a").await, Outcome::New);
    assert_eq!((cluster.row().await, cluster.create("b").await), (made("a"), Outcome::Taken));

    let cluster = Cluster::new();
    cluster.claim("a").await;
    cluster.wait(CLAIM_SECONDS);
    assert_eq!(cluster.create("b").await, Outcome::New);
    assert_eq!((cluster.row().await, cluster.create("a").await), (made("b"), Outcome::Taken));
}

#[tokio::test(start_paused = true)]
async fn a_container_without_a_mark_keeps_the_name_for_its_account() {
    let cluster = Cluster::new();
    cluster.claim("a").await;
    cluster.put("a");
    cluster.wait(CLAIM_SECONDS);
    assert_eq!(cluster.create("b").await, Outcome::Taken);
    assert_eq!(cluster.create("a").await, Outcome::Existing);
    assert_eq!(cluster.row().await, made("a"));
}

#[tokio::test(start_paused = true)]
async fn a_creator_that_was_overtaken_has_no_bucket() {
    let cluster = Cluster::new();
    let other = cluster.other_proxy();
    cluster.at(Moment::BeforeContainer, move || async move {
        other.wait(CLAIM_SECONDS);
        assert_eq!(other.create("b").await, Outcome::New);
    });
    assert_eq!(cluster.create("a").await, Outcome::Taken);
    assert_eq!((cluster.row().await, cluster.has("a")), (made("b"), false));
    assert_eq!(cluster.find(Some("a")).await.as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_creator_with_a_container_is_not_overtaken() {
    let cluster = Cluster::new();
    let other = cluster.other_proxy();
    cluster.at(Moment::AfterContainer, move || async move {
        other.wait(10 * CLAIM_SECONDS);
        assert_eq!(other.create("b").await, Outcome::Taken);
    });
    assert_eq!(cluster.create("a").await, Outcome::New);
    assert_eq!((cluster.row().await, cluster.has("b")), (made("a"), false));
}

#[tokio::test(start_paused = true)]
async fn two_creations_of_one_account_end_with_its_bucket() {
    for moment in [Moment::BeforeContainer, Moment::AfterContainer] {
        let cluster = Cluster::new();
        let other = cluster.other_proxy();
        cluster.at(moment, move || async move {
            let expected = match moment {
                Moment::BeforeContainer => Outcome::New,
                _ => Outcome::Existing,
            };
            assert_eq!(other.create("a").await, expected);
        });
        assert_eq!(cluster.create("a").await, Outcome::Existing, "{moment:?}");
        assert_eq!((cluster.row().await, cluster.has("a")), (made("a"), true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_remove_the_row_of_a_later_creation() {
    let cluster = Cluster::new();
    assert_eq!(cluster.create("a").await, Outcome::New);
    for winner in ["a", "b"] {
        let (other, cluster) = (cluster.other_proxy(), cluster.clone());
        cluster.at(Moment::AfterDeletion, move || async move {
            assert_eq!(other.create(winner).await, Outcome::New);
        });
        cluster.delete("a").await.unwrap();
        assert_eq!((cluster.row().await, cluster.has(winner)), (made(winner), true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_a_deletion_met_is_done_again() {
    let cluster = Cluster::new();
    let other = cluster.other_proxy();
    cluster.at(Moment::AfterContainer, move || async move {
        other.delete("a").await.unwrap();
        assert_eq!(other.row().await, None);
    });
    assert_eq!(cluster.create("a").await, Outcome::New);
    assert_eq!((cluster.row().await, cluster.has("a")), (made("a"), true));
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_container_is_taken_over() {
    let cluster = Cluster::new();
    for (owner, next) in [("a", "b"), ("b", "a")] {
        if owner == "a" {
            assert_eq!(cluster.create(owner).await, Outcome::New);
        }
        cluster.remove(owner);
        assert_eq!(cluster.create(next).await, Outcome::New);
        assert_eq!(cluster.row().await, made(next));
    }
    // By its own account as well.
    cluster.remove("a");
    assert_eq!(cluster.create("a").await, Outcome::New);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_bucket_leaves_no_row() {
    let cluster = Cluster::new();
    assert_eq!(cluster.create("a").await, Outcome::New);
    // A container of the same name in another account is deleted alone.
    cluster.put("b");
    cluster.delete("b").await.unwrap();
    assert_eq!(cluster.row().await, made("a"));
    cluster.delete("a").await.unwrap();
    assert_eq!((cluster.row().await, cluster.find(Some("b")).await), (None, None));
    assert_eq!(cluster.create("b").await, Outcome::New);
}

#[tokio::test(start_paused = true)]
async fn containers_of_swifts_dialect_are_found_first_and_registered_by_a_creation() {
    let cluster = Cluster::new();
    cluster.put("a");
    assert_eq!(cluster.find(Some("a")).await.as_deref(), Some("a"));
    assert_eq!(cluster.find(None).await, None);
    assert_eq!(cluster.create("a").await, Outcome::Existing);
    assert_eq!((cluster.row().await, cluster.find(None).await), (made("a"), Some("a".to_owned())));
    cluster.put("b");
    assert_eq!(cluster.find(Some("b")).await.as_deref(), Some("b"));
    assert_eq!(cluster.create("b").await, Outcome::Existing);
    assert_eq!(cluster.row().await, made("a"));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_refused_does_not_keep_the_name() {
    let cluster = Cluster::new();
    *cluster.nodes.refusal.lock().unwrap() = Some(Kind::Invalid);
    assert_eq!(cluster.try_create("a").await.unwrap_err().kind, Kind::Invalid);
    assert_eq!(cluster.row().await, None);
    *cluster.nodes.refusal.lock().unwrap() = Some(Kind::Unavailable);
    assert_eq!(cluster.try_create("a").await.unwrap_err().kind, Kind::Unavailable);
    // The container may exist: the claim stays.
    assert_eq!(cluster.row().await, Some(("a".to_owned(), RowState::Claimed)));
}

#[tokio::test(start_paused = true)]
async fn own_buckets_are_found_without_a_row_and_those_of_others_are_cached() {
    let cluster = Cluster::new();
    assert_eq!(cluster.create("a").await, Outcome::New);
    let count = |what: &AtomicUsize| what.swap(0, Ordering::Relaxed);
    let counts = || (count(&cluster.nodes.infos), count(&cluster.nodes.reads));
    counts();
    assert_eq!(cluster.find(Some("a")).await.as_deref(), Some("a"));
    assert_eq!(counts(), (1, 0));
    assert_eq!(cluster.find(Some("b")).await.as_deref(), Some("a"));
    // Of the other account's container the operation needs the same.
    assert_eq!(counts(), (2, 1));
    // From then on only that.
    assert_eq!(cluster.find(Some("b")).await.as_deref(), Some("a"));
    assert_eq!(counts(), (1, 0));
    // A container that this proxy makes is found at once, one of another proxy after a while.
    cluster.put("b");
    assert_eq!(cluster.find(Some("b")).await.as_deref(), Some("a"));
    cluster.registry.note_container(&path("b"));
    assert_eq!(cluster.find(Some("b")).await.as_deref(), Some("b"));
    // Another proxy moves the bucket: a cached account without the container is not used.
    cluster.remove("b");
    let other = cluster.other_proxy();
    other.delete("a").await.unwrap();
    assert_eq!(other.create("c").await, Outcome::New);
    assert_eq!(cluster.find(None).await.as_deref(), Some("c"));
}
