//! The daemon `container-lifecycle`: applies the lifecycle rules of buckets.
//!
//! It reads the metadata of a container's database only when the database changed, walks the buckets
//! with rules that are this node's ([`duty`]), and deletes what is due under conditions ([`walk`]).
//! The rules that count are those of a majority of the replicas, read right before the walk.

mod duty;
mod options;
mod versions;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use apus_broker::path::{Databases, Located};
use apus_broker::{FileMark, LocalClient, Visits};
use apus_bucket::lifecycle::{DayLength, LifecycleConfiguration};
use apus_bucket::{ConfigKind, stored};
use apus_cluster::ContainerPath;
use apus_daemon::http::new_trans_id;
use apus_daemon::{Clock, Pass, PassContext, Span, Stopped};
use apus_store::operation::HeadContainer;
use apus_store::{Context, Kind, UploadStore};
use async_trait::async_trait;
use serde_json::{Map, Value};

use self::duty::Duty;
pub(crate) use self::options::LifecycleOptions;
use self::walk::BucketWalk;
use self::walk::WalkPosition;
pub use self::walk::{DueEntry, LifecycleAction, WalkOptions, WalkReport};
use crate::schema::SCHEMA;
use crate::server::Server;

/// Most walks that broke off whose positions are remembered.
const POSITIONS_MAX: usize = 10_000;

/// Reasons why a bucket's rules cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The container cannot be read.
    #[error("the bucket cannot be read: {0}")]
    Bucket(#[from] apus_store::Error),
    /// Its rules are damaged.
    #[error(transparent)]
    Rules(#[from] apus_bucket::ConfigError),
}

/// Applies the rules of one bucket, and passes each processed entry to `due`. Returns nothing when the
/// bucket has no rules.
///
/// # Errors
/// See [`RulesError`].
pub async fn apply_rules(
    store: Arc<dyn UploadStore>,
    clock: Arc<dyn Clock>,
    container: ContainerPath,
    options: &WalkOptions,
    due: &mut (dyn FnMut(&DueEntry) + Send),
) -> Result<Option<WalkReport>, RulesError> {
    let system = Context::system("lifecycle", new_trans_id(clock.as_ref(), ""));
    let Some(rules) = rules_of(store.as_ref(), &system, &container).await? else { return Ok(None) };
    let mut walk = BucketWalk::new(store, clock, container, rules, options);
    walk.run(due).await?;
    Ok(Some(walk.report))
}

/// What a walk has to know of a bucket.
#[derive(Debug)]
pub(crate) struct BucketRules {
    rules: LifecycleConfiguration,
    /// Whether it has kept versions.
    keeps_versions: bool,
}

/// The rules of a bucket, as a majority of its replicas has them.
async fn rules_of(
    store: &dyn UploadStore,
    cx: &Context,
    container: &ContainerPath,
) -> Result<Option<BucketRules>, RulesError> {
    let op = HeadContainer { container: container.clone() };
    let head = store.head_container(&cx.strong(), op).await?;
    let rules = stored::load(ConfigKind::Lifecycle, &head.headers)?;
    let keeps_versions = head.versioning().is_some();
    Ok(rules.map(|rules| BucketRules { rules, keeps_versions }))
}

/// The daemon.
pub(crate) struct Lifecycle {
    store: Arc<dyn UploadStore>,
    duty: Duty,
    options: WalkOptions,
    /// Databases without rules.
    without_rules: Visits<FileMark>,
    /// Where walks broke off.
    positions: HashMap<ContainerPath, WalkPosition>,
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct LifecycleReport {
    /// Databases that were found.
    pub(crate) databases: u64,
    /// Buckets that were walked.
    pub(crate) buckets: u64,
    /// Buckets with rules that other primaries walk.
    pub(crate) skipped: u64,
    /// Buckets whose walk broke off.
    pub(crate) interrupted: u64,
    #[serde(flatten)]
    pub(crate) walks: WalkReport,
}

impl Lifecycle {
    pub(crate) fn new(
        server: Arc<Server>,
        local: LocalClient,
        store: Arc<dyn UploadStore>,
        options: &LifecycleOptions,
    ) -> Self {
        let options = WalkOptions {
            day: DayLength::seconds(options.seconds_per_day),
            concurrency: options.concurrency,
            deletions_per_second: options.deletions_per_second,
            rows_per_second: options.rows_per_second,
            dry_run: false,
        };
        Self {
            store,
            duty: Duty { server, local },
            options,
            without_rules: Visits::default(),
            positions: HashMap::new(),
        }
    }

    /// Processes one database.
    async fn database(&mut self, cx: &PassContext, found: Located, report: &mut LifecycleReport) {
        let Located { path, partition, mark, device } = found;
        if mark.is_some() && self.without_rules.get(&path) == mark {
            return;
        }
        let Some(container) = self.duty.container_with_rules(&path).await else {
            if let Some(mark) = mark {
                self.without_rules.insert(&path, mark);
            }
            return;
        };
        if !self.duty.is_first(&container, partition, &device).await {
            report.skipped += 1;
            return;
        }
        self.bucket(cx, container, report).await;
    }

    /// Walks one bucket.
    async fn bucket(
        &mut self,
        cx: &PassContext,
        container: ContainerPath,
        report: &mut LifecycleReport,
    ) {
        let system = Context::system("lifecycle", new_trans_id(cx.clock.as_ref(), ""));
        let rules = match rules_of(self.store.as_ref(), &system, &container).await {
            Ok(Some(rules)) => rules,
            // They were removed, and this replica does not know yet.
            Ok(None) => return,
            Err(RulesError::Bucket(error)) if error.kind == Kind::NotFound => return,
            Err(error) => {
                tracing::error!(%error, %container, "Failed to read lifecycle rules");
                report.walks.errors += 1;
                return;
            }
        };
        let (store, clock) = (self.store.clone(), cx.clock.clone());
        let mut walk = BucketWalk::new(store, clock, container.clone(), rules, &self.options);
        walk.position = self.positions.remove(&container).unwrap_or_default();
        let ran = walk.run(&mut |due| tracing::debug!(?due, "Applied a lifecycle rule")).await;
        report.buckets += 1;
        report.walks.add(walk.report);
        match ran {
            Ok(()) => {}
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, %container, "Failed to list a bucket with lifecycle rules");
                report.walks.errors += 1;
                report.interrupted += 1;
                if self.positions.len() < POSITIONS_MAX {
                    self.positions.insert(container, walk.position);
                }
            }
        }
    }
}

#[async_trait]
impl Pass for Lifecycle {
    type Report = LifecycleReport;

    fn name(&self) -> &'static str {
        "container-lifecycle"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<LifecycleReport, Stopped> {
        let devices = self.duty.server.databases.deps.devices.clone();
        let mut found = Databases::find(&devices, SCHEMA.directory, cx, self.name());
        let mut report = LifecycleReport::default();
        while let Some(located) = found.next().await {
            cx.safe_point().await?;
            report.databases += 1;
            // A walk that a stop interrupts is repeated; what it deleted is gone.
            cx.unless_stopped(self.database(cx, located, &mut report)).await?;
        }
        if cx.scope.devices.is_empty() && cx.scope.partitions.is_empty() {
            self.without_rules.end_pass();
        }
        Ok(report)
    }

    fn recon(&self, report: &LifecycleReport, span: Span) -> Map<String, Value> {
        Map::from_iter([
            ("container_lifecycle_sweep".to_owned(), span.seconds().into()),
            ("container_lifecycle_buckets".to_owned(), report.buckets.into()),
            ("container_lifecycle_expired".to_owned(), report.walks.expired.into()),
            ("container_lifecycle_errors".to_owned(), report.walks.errors.into()),
        ])
    }
}
