//! The object expirer: deletes expired objects, by the tasks of its queue.
//!
//! It deletes an object only if it still expires at the time of the task, with that time as the
//! time of the deletion, so that nothing written later is lost. It removes the task last. A task
//! whose object does not exist (yet), or expires at another time, is retried until it is older than
//! `reclaim_age`: another replica may have a newer state. Source: `swift/obj/expirer.py`.

mod options;

use std::sync::Arc;
use std::time::Duration;

use apus_cluster::listing::{ContainerEntry, ListQuery, ObjectEntry};
use apus_cluster::{ContainerName, ContainerPath, HashConf, Timestamp, expirer};
use apus_daemon::http::{empty, new_trans_id};
use apus_daemon::{Clock, Pace, Pass, PassContext, Span, Stopped};
use apus_ring::{Device, SharedRing};
use apus_store::operation::{DeleteContainer, DeleteObject, ListContainers, ListObjects};
use apus_store::{Context, Error, Kind, Primitive};
use apus_wire::Client;
use apus_wire::message::container::{RowHeaders, RowVerb};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};

pub(crate) use options::{DELAYS, ExpirerOptions, ObjectExpirerOptions};

/// Rows of a listing that are held in memory.
const PAGE: usize = 1000;

/// Dependencies of the expirer.
pub(crate) struct ExpirerDeps {
    /// Objects and listings.
    pub(crate) store: Arc<dyn Primitive>,
    /// Removes rows of the queue, which have no objects.
    pub(crate) client: Arc<Client>,
    /// Locates those rows.
    pub(crate) containers: Arc<SharedRing>,
    /// The cluster's hash prefix and suffix.
    pub(crate) hash: HashConf,
}

/// The daemon `object-expirer`.
pub(crate) struct Expirer {
    parts: ExpirerDeps,
    options: ExpirerOptions,
    pace: Pace,
}

/// Counts of a pass.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Expired {
    /// Tasks that were done and removed.
    pub(crate) objects: u64,
    /// Tasks left, since their objects do not exist or expire at another time.
    pub(crate) retried: u64,
    /// Tasks left, since they are delayed.
    pub(crate) delayed: u64,
    /// Tasks of other processes.
    pub(crate) skipped: u64,
    /// Tasks and listings that failed, and malformed names.
    pub(crate) errors: u64,
    /// Empty containers of the queue that were removed.
    pub(crate) containers_removed: u64,
}

/// What to do with a row of the queue now.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Execute it.
    Now(DueTask),
    /// It is not due, and nothing after it is.
    Later,
    /// It is not due, but later rows may be.
    Delayed,
    /// Another process executes it.
    Others,
    /// It is not a task.
    Malformed,
}

/// A task that is due.
#[derive(Debug, PartialEq, Eq)]
struct DueTask {
    /// Name of its row.
    name: String,
    task: expirer::Task,
    /// Delete the object even if it does not expire.
    unconditional: bool,
}

impl ExpirerOptions {
    /// What to do at `now` with a row of the queue's container `container`.
    fn due(&self, container: &str, name: &str, content_type: &str, now: Duration) -> Due {
        let Some(task) = expirer::Task::parse(name) else { return Due::Malformed };
        let unconditional = content_type == expirer::ASYNC_DELETE_TYPE;
        let at = Duration::from_micros(task.time.steps().saturating_mul(10));
        if at > now {
            return Due::Later;
        }
        let hash = HashConf::default().hash_joined(&format!("{container}/{name}"));
        if !self.share.takes(|processes| hash.modulo(processes)) {
            return Due::Others;
        }
        let object = &task.object;
        let delay = self.delay(object.account().as_str(), object.container.container.as_str());
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(Duration::MAX);
        if at.saturating_add(delay) > now && !unconditional {
            return Due::Delayed;
        }
        Due::Now(DueTask { name: name.to_owned(), task, unconditional })
    }

    /// Whether a task of this time is too old to be retried.
    fn gives_up(&self, task: Timestamp, now: Duration) -> bool {
        task.seconds().saturating_add(self.reclaim_age) <= now.as_secs()
    }
}

/// Result of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskOutcome {
    Done,
    Retry,
    Failed,
}

impl Expirer {
    pub(crate) fn new(parts: ExpirerDeps, options: ExpirerOptions) -> Self {
        let pace = Pace::per_second(options.tasks_per_second);
        Self { parts, options, pace }
    }

    fn context(clock: &dyn Clock) -> Context {
        Context::system("expirer", new_trans_id(clock, ""))
    }

    /// Processes the containers of the queue that are due, page by page.
    async fn queue(&mut self, cx: &PassContext, expired: &mut Expired) -> Result<(), Error> {
        let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
        loop {
            let account = self.options.account.clone();
            let op = ListContainers { account, query: query.clone() };
            let store_cx = Self::context(cx.clock.as_ref());
            let list = self.parts.store.list_containers(&store_cx, op).await?;
            let mut last = None;
            for entry in list.entries {
                let ContainerEntry::Container(row) = entry else { continue };
                let Some(time) = Timestamp::parse(&row.name) else {
                    tracing::error!(
                        container = row.name,
                        "The queue has a container whose name is not a time"
                    );
                    expired.errors += 1;
                    last = Some(row.name);
                    continue;
                };
                if time.seconds() > cx.clock.now().as_secs() {
                    return Ok(());
                }
                if let Err(error) = self.container(cx, &row.name, expired).await
                    && error.kind != Kind::NotFound
                {
                    tracing::error!(%error, container = row.name, "Failed to process a container of the queue");
                    expired.errors += 1;
                }
                last = Some(row.name);
            }
            match last {
                Some(last) => query.marker = last,
                None => return Ok(()),
            }
        }
    }

    /// Processes one container of the queue, and removes it when it is empty.
    async fn container(
        &mut self,
        cx: &PassContext,
        name: &str,
        expired: &mut Expired,
    ) -> Result<(), Error> {
        let named =
            ContainerName::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        let container = ContainerPath::new(self.options.account.clone(), named);
        let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
        loop {
            let op = ListObjects { container: container.clone(), query: query.clone() };
            let store_cx = Self::context(cx.clock.as_ref());
            let list = self.parts.store.list_objects(&store_cx, op).await?;
            let rows = list.page.entries()?;
            let Some(last) = rows.last().map(|row| row.name().to_owned()) else { break };
            query.marker = last;
            if !self.page(cx, &container, rows, expired).await {
                return Ok(());
            }
        }
        if query.marker.is_empty() {
            let op = DeleteContainer { container };
            let store_cx = Self::context(cx.clock.as_ref());
            match self.parts.store.delete_container(&store_cx, op).await {
                Ok(()) => {
                    apus_fault::point("expire.container.removed");
                    expired.containers_removed += 1;
                }
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::NotEmpty) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Executes what is due of a page; returns whether later pages may have due tasks.
    async fn page(
        &mut self,
        cx: &PassContext,
        container: &ContainerPath,
        rows: Vec<ObjectEntry>,
        expired: &mut Expired,
    ) -> bool {
        let mut running = FuturesUnordered::new();
        let mut goes_on = true;
        for row in rows {
            let ObjectEntry::Object(row) = row else { continue };
            let name = container.container.as_str();
            let due_task =
                match self.options.due(name, &row.name, &row.content_type, cx.clock.now()) {
                    Due::Now(due_task) => due_task,
                    Due::Later => {
                        goes_on = false;
                        break;
                    }
                    Due::Delayed => {
                        expired.delayed += 1;
                        continue;
                    }
                    Due::Others => {
                        expired.skipped += 1;
                        continue;
                    }
                    Due::Malformed => {
                        tracing::error!(
                            container = name,
                            task = row.name,
                            "The queue has a row that is not a task"
                        );
                        expired.errors += 1;
                        continue;
                    }
                };
            self.pace.take(1.0).await;
            if running.len() >= self.options.concurrency
                && let Some(outcome) = running.next().await
            {
                expired.count(outcome);
            }
            let (parts, options) = (&self.parts, &self.options);
            running.push(async move { parts.execute(cx, options, container, due_task).await });
        }
        while let Some(outcome) = running.next().await {
            expired.count(outcome);
        }
        goes_on
    }
}

impl Expired {
    fn count(&mut self, outcome: TaskOutcome) {
        match outcome {
            TaskOutcome::Done => self.objects += 1,
            TaskOutcome::Retry => self.retried += 1,
            TaskOutcome::Failed => self.errors += 1,
        }
    }
}

impl ExpirerDeps {
    /// Deletes the object of a task, then removes the task.
    async fn execute(
        &self,
        cx: &PassContext,
        options: &ExpirerOptions,
        container: &ContainerPath,
        due_task: DueTask,
    ) -> TaskOutcome {
        let DueTask { name, task, unconditional } = due_task;
        let op = DeleteObject {
            timestamp: Some(task.time),
            if_delete_at: (!unconditional).then_some(task.time),
            ..DeleteObject::new(task.object.clone())
        };
        let store_cx = Expirer::context(cx.clock.as_ref());
        match self
            .store
            .delete_object(&store_cx, op)
            .await
            .map_err(|error| (error.kind.clone(), error))
        {
            // A conflict: something newer is stored, and the task is obsolete.
            Ok(_) | Err((Kind::Conflict, _)) => {}
            Err((Kind::NotFound, _)) if unconditional => {}
            Err((Kind::NotFound | Kind::PreconditionFailed, error)) => {
                if !options.gives_up(task.time, cx.clock.now()) {
                    tracing::debug!(%error, object = %task.object, "The object of a task does not exist or expires at another time; retrying later");
                    return TaskOutcome::Retry;
                }
            }
            Err((_, error)) => {
                tracing::error!(%error, object = %task.object, "Failed to delete an expired object");
                return TaskOutcome::Failed;
            }
        }
        apus_fault::point("expire.object.deleted");
        self.remove_task(cx, container, &name).await;
        apus_fault::point("expire.task.removed");
        TaskOutcome::Done
    }

    /// Removes the row of a task from each primary. One that does not answer keeps it: the task is
    /// then repeated.
    async fn remove_task(&self, cx: &PassContext, container: &ContainerPath, name: &str) {
        let (account, queue) = (container.account.as_str(), container.container.as_str());
        let (partition, nodes): (u32, Vec<Device>) = {
            let ring = self.containers.get();
            let partition = ring.partition_of(&self.hash, &[account, queue]);
            (partition, ring.primaries(partition).into_iter().cloned().collect())
        };
        let mut row = RowHeaders::deleted(Timestamp::from_duration(cx.clock.now()));
        row.set_trans_id(&new_trans_id(cx.clock.as_ref(), ""));
        let names = vec![account.to_owned(), queue.to_owned(), name.to_owned()];
        let request = row.encode(RowVerb::Delete, partition, names);
        let sent = nodes.iter().map(|node| async {
            match self.client.send(&node.for_replication(), &request, empty()).await {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => {
                    tracing::debug!(status = %response.status(), node = node.address(), "A container server refused to remove a task");
                }
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), "Failed to remove a task");
                }
            }
        });
        futures_util::future::join_all(sent).await;
    }
}

#[async_trait]
impl Pass for Expirer {
    type Report = Expired;

    fn name(&self) -> &'static str {
        "object-expirer"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Expired, Stopped> {
        let mut expired = Expired::default();
        if !self.options.dequeues {
            tracing::info!(
                "[object-expirer] dequeue_from_legacy is false: this process deletes nothing"
            );
            return Ok(expired);
        }
        // A task that a stop interrupts is still in the queue.
        let queue = self.queue(cx, &mut expired);
        match cx.unless_stopped(queue).await? {
            Ok(()) => {}
            // The queue does not exist.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::RecentlyDeleted) => {}
            Err(error) => {
                tracing::error!(%error, "Failed to list the queue of expirations");
                expired.errors += 1;
            }
        }
        Ok(expired)
    }

    fn recon(&self, expired: &Expired, span: Span) -> Map<String, Value> {
        Map::from_iter([
            ("object_expiration_pass".to_owned(), span.seconds().into()),
            ("expired_last_pass".to_owned(), expired.objects.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::config::Conf;

    use super::*;

    const CONTAINER: &str = "1699919962";
    const NAME: &str = "1700000000-AUTH_test/c/o";

    fn options(text: &str) -> ExpirerOptions {
        let conf = Conf::parse(&format!("[object-expirer]\n{text}")).unwrap();
        ExpirerOptions::read(&conf.section("object-expirer")).unwrap()
    }

    fn due(text: &str, name: &str, content_type: &str, now: u64) -> Due {
        options(text).due(CONTAINER, name, content_type, Duration::from_secs(now))
    }

    #[test]
    fn a_task_is_due_from_its_second_on() {
        let kind = "text/plain;swift_expirer_bytes=3";
        assert_eq!(due("", NAME, kind, 1_699_999_999), Due::Later);
        let Due::Now(due_task) = due("", NAME, kind, 1_700_000_000) else { panic!() };
        assert_eq!(due_task.task.object.to_string(), "/AUTH_test/c/o");
        assert_eq!(
            (due_task.task.time.normal().as_str(), due_task.unconditional),
            ("1700000000.00000", false)
        );
        assert_eq!(due("", "notes", kind, 1_700_000_000), Due::Malformed);
    }

    #[test]
    fn delays_hold_for_expiries_and_not_for_deferred_deletions() {
        let delay = "delay_reaping_AUTH_test = 10";
        assert_eq!(due(delay, NAME, "text/plain", 1_700_000_009), Due::Delayed);
        assert!(matches!(due(delay, NAME, "text/plain", 1_700_000_010), Due::Now(_)));
        let Due::Now(due_task) = due(delay, NAME, expirer::ASYNC_DELETE_TYPE, 1_700_000_000) else {
            panic!()
        };
        assert!(due_task.unconditional);
    }

    #[test]
    fn each_task_is_one_processs() {
        // int(md5(b'1699919962/1700000000-AUTH_test/c/o').hexdigest(), 16) % 3 == 1
        for process in 0..3 {
            let text = format!("processes = 3\nprocess = {process}");
            let mine = matches!(due(&text, NAME, "text/plain", 1_700_000_000), Due::Now(_));
            assert_eq!(mine, process == 1);
        }
    }

    #[test]
    fn a_task_is_given_up_when_it_is_old() {
        let options = options("reclaim_age = 100");
        let task = Timestamp::from_seconds(1000);
        assert!(!options.gives_up(task, Duration::from_secs(1099)));
        assert!(options.gives_up(task, Duration::from_secs(1100)));
    }
}
