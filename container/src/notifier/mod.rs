//! The daemon `container-notifier`: delivers the events of buckets to webhooks.
//!
//! The stage `notify` of `lib/store` writes events as rows of queues: a fixed number of containers for
//! each webhook. The queues of a webhook are distributed over the nodes by the ring; each is this node's
//! where its device is the first primary that answers ([`crate::first_primary`]). A queue is listed by
//! a majority of its replicas, so that the events of one key are seen in the order in which their
//! requests ended. A row is removed once the webhook has confirmed its event, so an event may be
//! delivered twice, and is never lost.
//!
//! A pass repeats its rounds over the queues for a minute, so that there is one report and one log line
//! in that time. The webhooks are served at the same time, and those that wait for a slow one go on
//! meanwhile.

mod backoff;
mod client;
mod options;
mod round;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apus_broker::path::database_path;
use apus_broker::{FileMark, LocalClient};
use apus_bucket::event;
use apus_cluster::ContainerPath;
use apus_cluster::webhooks::Webhooks;
use apus_daemon::http::new_trans_id;
use apus_daemon::{Pass, PassContext, Span, Stopped};
use apus_store::{Context, Kind, Primitive};
use async_trait::async_trait;
use serde_json::{Map, Value};

use self::client::WebhookClient;
pub(crate) use self::options::NotifierOptions;
use self::round::{DeliveryReport, RoundContext, WebhookState};
use crate::first_primary::is_first_primary;
use crate::schema::SCHEMA;
use crate::server::Server;

/// Time after which a queue is listed although this node's replica has not changed: another replica
/// may have rows that this one lacks.
const LISTED_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Time for which a pass repeats its rounds.
const PASS: Duration = Duration::from_secs(60);
/// Time between two passes where there are no webhooks.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);

/// What the notifier works with.
pub(crate) struct NotifierDeps {
    /// The databases of this node.
    pub(crate) server: Arc<Server>,
    /// The ring of containers, and which of its devices are this node's.
    pub(crate) local: LocalClient,
    /// Listings and removals.
    pub(crate) store: Arc<dyn Primitive>,
    /// The webhooks.
    pub(crate) webhooks: Arc<Webhooks>,
}

/// A queue that was empty when it was listed.
#[derive(Debug, Clone, Copy)]
struct EmptyQueue {
    /// This node's replica then.
    mark: Option<FileMark>,
    /// When it was listed, since 1970.
    listed: Duration,
}

/// A webhook and its queues on this node.
struct WebhookQueues {
    state: WebhookState,
    empty: HashMap<ContainerPath, EmptyQueue>,
}

/// The daemon.
pub(crate) struct Notifier {
    deps: NotifierDeps,
    options: NotifierOptions,
    webhooks: Vec<WebhookQueues>,
}

/// Counts of a pass.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct NotifierReport {
    /// Queues that were listed.
    queues: u64,
    /// Webhooks that were not tried since they failed a short time before.
    waiting: u64,
    #[serde(flatten)]
    deliveries: DeliveryReport,
}

impl Notifier {
    pub(crate) fn new(deps: NotifierDeps, options: NotifierOptions) -> Self {
        let settings = &deps.webhooks;
        let made = settings.by_name.iter().map(|(name, webhook)| {
            let client = WebhookClient::new(webhook.clone(), settings.clone(), options.timeout);
            let state = WebhookState::new(name.clone(), client);
            WebhookQueues { state, empty: HashMap::new() }
        });
        let webhooks = made.collect();
        Self { deps, options, webhooks }
    }

    /// Time between two passes.
    pub(crate) fn interval(&self) -> Duration {
        if self.webhooks.is_empty() { IDLE_INTERVAL } else { self.options.interval }
    }
}

impl NotifierDeps {
    /// Partition of a queue, and the device of this node that is one of its primaries.
    fn own_replica(&self, queue: &ContainerPath) -> Option<(u32, String)> {
        let ring = self.local.ring.get();
        let hash = &self.server.databases.deps.hash;
        let names = [queue.account.as_str(), queue.container.as_str()];
        let partition = ring.partition_of(hash, &names);
        let primaries = ring.primaries(partition);
        let own = primaries.into_iter().find(|device| self.local.local.owns(device))?;
        Some((partition, own.device.clone()))
    }

    /// The database file of this node's replica.
    fn file(&self, queue: &ContainerPath, (partition, device): &(u32, String)) -> Option<PathBuf> {
        let deps = &self.server.databases.deps;
        let device = deps.devices.device(device).ok()?;
        let names = [queue.account.as_str(), queue.container.as_str()];
        Some(database_path(&device, SCHEMA.directory, *partition, &deps.hash.hash(&names)))
    }

    /// Looks at one queue, if it is this node's and may have events.
    async fn queue(
        &self,
        round: &RoundContext<'_>,
        webhook: &mut WebhookQueues,
        queue: ContainerPath,
        report: &mut NotifierReport,
    ) {
        let Some(replica) = self.own_replica(&queue) else { return };
        let Some(file) = self.file(&queue, &replica) else { return };
        let now = round.clock.now();
        let looked =
            apus_daemon::task::spawn_blocking(move || (file.is_file(), FileMark::of(&file, now)));
        let Ok((exists, mark)) = looked.await else { return };
        let is_empty = webhook.empty.get(&queue).is_some_and(|known| {
            let is_unchanged = !exists || (mark.is_some() && mark == known.mark);
            is_unchanged && now.saturating_sub(known.listed) < LISTED_AGAIN_AFTER
        });
        if is_empty {
            return;
        }
        let (partition, device) = replica;
        if !is_first_primary(&self.local, &queue, partition, &device).await {
            return;
        }
        report.queues += 1;
        match round.queue(&mut webhook.state, &queue, &mut report.deliveries).await {
            Ok(true) => {
                webhook.empty.insert(queue, EmptyQueue { mark, listed: now });
            }
            Ok(false) => {
                webhook.empty.remove(&queue);
            }
            // The first event creates it.
            Err(error) if error.kind == Kind::NotFound => {
                webhook.empty.insert(queue, EmptyQueue { mark, listed: now });
            }
            Err(error) => {
                tracing::error!(%error, %queue, "Failed to read a queue of events");
                report.deliveries.errors += 1;
            }
        }
    }

    /// Looks at the queues of one webhook.
    async fn round(
        &self,
        cx: &PassContext,
        options: &NotifierOptions,
        webhook: &mut WebhookQueues,
    ) -> Result<NotifierReport, Stopped> {
        let mut report = NotifierReport::default();
        let system = Context::system("notifier", new_trans_id(cx.clock.as_ref(), "")).strong();
        let round = RoundContext {
            store: &self.store,
            clock: &cx.clock,
            options,
            region: &self.webhooks.region,
            system,
        };
        for number in 0..event::QUEUES {
            cx.safe_point().await?;
            if !webhook.state.is_due(cx.clock.now()) {
                report.waiting = 1;
                break;
            }
            let Ok(queue) = event::queue(&webhook.state.name, number) else { continue };
            // What a stop interrupts may be delivered again.
            cx.unless_stopped(self.queue(&round, webhook, queue, &mut report)).await?;
        }
        Ok(report)
    }
}

impl NotifierReport {
    fn add(&mut self, other: Self) {
        self.queues += other.queues;
        self.waiting += other.waiting;
        self.deliveries.add(other.deliveries);
    }

    /// Adds the next round of the same webhook, which shows what is left now.
    fn repeat(&mut self, next: Self) {
        if next.waiting == 0 {
            self.deliveries.left = 0;
        }
        self.waiting = 0;
        self.add(next);
    }
}

#[async_trait]
impl Pass for Notifier {
    type Report = NotifierReport;

    fn name(&self) -> &'static str {
        "container-notifier"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<NotifierReport, Stopped> {
        let (deps, options) = (&self.deps, &self.options);
        // Webhooks whose time is not over.
        let busy = &AtomicUsize::new(self.webhooks.len());
        let end = tokio::time::Instant::now() + PASS;
        let rounds = self.webhooks.iter_mut().map(|webhook| async move {
            let mut report = deps.round(cx, options, webhook).await?;
            let mut is_over = false;
            loop {
                if !is_over && (cx.once || tokio::time::Instant::now() >= end) {
                    is_over = true;
                    busy.fetch_sub(1, Ordering::AcqRel);
                }
                if cx.once || busy.load(Ordering::Acquire) == 0 {
                    break;
                }
                cx.unless_stopped(tokio::time::sleep(options.interval)).await?;
                report.repeat(deps.round(cx, options, webhook).await?);
            }
            Ok(report)
        });
        let mut report = NotifierReport::default();
        for done in futures_util::future::join_all(rounds).await {
            report.add(done?);
        }
        Ok(report)
    }

    fn recon(&self, report: &NotifierReport, span: Span) -> Map<String, Value> {
        Map::from_iter([
            ("container_notifier_sweep".to_owned(), span.seconds().into()),
            ("container_notifier_delivered".to_owned(), report.deliveries.delivered.into()),
            ("container_notifier_failed".to_owned(), report.deliveries.failed.into()),
            ("container_notifier_dropped".to_owned(), report.deliveries.dropped.into()),
        ])
    }
}
