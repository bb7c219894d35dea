//! The container reconciler: moves objects that were written or deleted in another policy than
//! their container's.
//!
//! That happens when a container was made twice, with two policies, by servers that could not reach
//! each other. Replicators agree on one of them and queue the rows of the other ([`feed`]); the
//! reconciler processes the queue. An entry is removed last, and only at its own time, so that a newer
//! one for the same object stays. Source: `swift/container/reconciler.py`.

mod feed;
mod object;
mod options;
mod placement;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;

use apus_cluster::listing::{ContainerEntry, ListQuery, ObjectEntry, ObjectRow};
use apus_cluster::reconciler::{self, Entry, Operation, queue_container};
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{AccountName, ContainerName, ContainerPath, HashConf, PolicyIndex, Timestamp};
use apus_daemon::config::Share;
use apus_daemon::http::new_trans_id;
use apus_daemon::{Clock, Pass, PassContext, Stopped};
use apus_ring::SharedRing;
use apus_store::operation::{DeleteContainer, ListContainers, ListObjects};
use apus_store::{Context, Error, Kind, Primitive};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

pub(crate) use self::feed::Feeder;
use self::object::{EntryOutcome, Mover, QueueEntry};
pub(crate) use self::options::ReconcilerOptions;
use self::placement::Placements;
pub use self::queue::{Queue, QueueError};

/// Rows of a listing in memory at a time.
const PAGE: usize = 1000;
/// Offset by which an entry's removal is later than the entry (Swift's): later than the row of the
/// source's deletion, which would otherwise be queued in turn.
const REMOVAL: u64 = 2;

/// What the reconciler works with.
pub(crate) struct ReconcilerDeps {
    /// Objects and listings.
    pub(crate) store: Arc<dyn Primitive>,
    /// The rows of the queue.
    pub(crate) queue: Queue,
    /// The rings of objects by policy.
    pub(crate) objects: BTreeMap<PolicyIndex, Arc<SharedRing>>,
}

/// The daemon `container-reconciler`.
pub(crate) struct Reconciler {
    store: Arc<dyn Primitive>,
    queue: Queue,
    mover: Mover,
    options: ReconcilerOptions,
    share: Share,
}

/// Counts of a pass, under the names of Swift's statistics.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Reconciled {
    /// Entries that were processed and removed.
    pub(crate) success: u64,
    /// Entries that are to be tried again.
    pub(crate) retry: u64,
    /// Entries of objects that are in their place.
    pub(crate) noop_object: u64,
    /// Entries whose target had something newer.
    pub(crate) found_object: u64,
    /// Objects moved.
    pub(crate) copy_success: u64,
    /// Objects that could not be copied.
    pub(crate) copy_failed: u64,
    /// Deletions moved.
    pub(crate) delete_success: u64,
    /// Deletions that could not be moved.
    pub(crate) delete_failed: u64,
    /// Sources that could not be removed.
    pub(crate) cleanup_failed: u64,
    /// Objects that no server has had for too long.
    pub(crate) lost_source: u64,
    /// Objects that no server has now.
    pub(crate) unavailable_source: u64,
    /// Objects whose target cannot be read now.
    pub(crate) unavailable_destination: u64,
    /// Objects whose container's policy is not known now.
    pub(crate) unavailable_container: u64,
    /// Objects of policies without a ring that stays as it is.
    pub(crate) ppi_skip: u64,
    /// Rows that are not entries.
    pub(crate) invalid_record: u64,
    /// Entries of other processes.
    pub(crate) skipped: u64,
    /// Listings that failed, and invalid containers.
    pub(crate) errors: u64,
    /// Empty containers of the queue that were removed.
    pub(crate) containers_removed: u64,
}

impl Reconciled {
    fn count(&mut self, outcome: EntryOutcome) {
        *if outcome.is_done() { &mut self.success } else { &mut self.retry } += 1;
        *match outcome {
            EntryOutcome::NoopObject => &mut self.noop_object,
            EntryOutcome::FoundObject => &mut self.found_object,
            EntryOutcome::CopySuccess => &mut self.copy_success,
            EntryOutcome::DeleteSuccess => &mut self.delete_success,
            EntryOutcome::LostSource => &mut self.lost_source,
            EntryOutcome::UnavailableContainer => &mut self.unavailable_container,
            EntryOutcome::PpiSkip => &mut self.ppi_skip,
            EntryOutcome::UnavailableDestination => &mut self.unavailable_destination,
            EntryOutcome::UnavailableSource => &mut self.unavailable_source,
            EntryOutcome::CopyFailed => &mut self.copy_failed,
            EntryOutcome::DeleteFailed => &mut self.delete_failed,
            EntryOutcome::CleanupFailed => &mut self.cleanup_failed,
        } += 1;
    }
}

/// The entry in a row of the queue; `None` for another row.
fn job(row: &ObjectRow) -> Option<QueueEntry> {
    Some(QueueEntry {
        entry: Entry::parse(&row.name)?,
        operation: Operation::parse(&row.content_type)?,
        time: RowTimes::decode(&row.etag)?.data,
    })
}

/// When the entry of a row is removed, unless a newer one has come.
fn removal(row: &ObjectRow, job: &QueueEntry) -> Timestamp {
    // Without the offset of the row's own time, which listings do not have.
    let time = job.time.max(row.last_modified().with_offset(0));
    time.with_offset(time.offset() + REMOVAL)
}

fn context(clock: &dyn Clock) -> Context {
    Context::system("reconciler", new_trans_id(clock, ""))
}

impl Reconciler {
    pub(crate) fn new(parts: ReconcilerDeps, options: ReconcilerOptions, share: Share) -> Self {
        let ReconcilerDeps { store, queue, objects } = parts;
        let placements =
            Placements::new(queue.client.clone(), queue.containers.clone(), queue.hash.clone());
        let reclaim_age = options.reclaim_age;
        let mover = Mover { store: store.clone(), placements, rings: objects, reclaim_age };
        Self { store, queue, mover, options, share }
    }

    fn hash(&self) -> &HashConf {
        &self.queue.hash
    }

    /// Whether this process is to process an entry.
    fn is_ours(&self, job: &QueueEntry) -> bool {
        let object = &job.entry.object;
        let container = &object.container;
        let names =
            [object.account().as_str(), container.container.as_str(), object.object.as_str()];
        self.share.takes(|processes| self.hash().hash(&names).modulo(processes))
    }

    /// Processes all containers of the queue: the newest first, which the account may not list yet.
    async fn containers(&self, cx: &PassContext, reconciled: &mut Reconciled) -> Result<(), Error> {
        let invalid = |error: apus_cluster::name::NameError| Error::invalid(error.to_string());
        let account = AccountName::parse(reconciler::ACCOUNT).map_err(invalid)?;
        let current = queue_container(Timestamp::from_duration(cx.clock.now()));
        let newest = ContainerName::parse(&current).map_err(invalid)?;
        self.try_container(cx, ContainerPath::new(account.clone(), newest), reconciled).await;
        // Old ones are mostly empty.
        let mut query = ListQuery { limit: PAGE, reverse: true, ..ListQuery::default() };
        loop {
            let op = ListContainers { account: account.clone(), query: query.clone() };
            let list = self.store.list_containers(&context(cx.clock.as_ref()), op).await?;
            let mut last = None;
            for entry in list.entries {
                let ContainerEntry::Container(row) = entry else { continue };
                last = Some(row.name.clone());
                if row.name == current {
                    continue;
                }
                let name = ContainerName::parse(&row.name).map_err(invalid)?;
                self.try_container(cx, ContainerPath::new(account.clone(), name), reconciled).await;
            }
            match last {
                Some(last) => query.marker = last,
                None => return Ok(()),
            }
        }
    }

    /// Processes one container; an error is logged.
    async fn try_container(
        &self,
        cx: &PassContext,
        container: ContainerPath,
        reconciled: &mut Reconciled,
    ) {
        let Some(time) = Timestamp::parse(container.container.as_str()) else {
            tracing::error!(%container, "Invalid container in the reconciler queue");
            reconciled.errors += 1;
            return;
        };
        match self.container(cx, &container, time, reconciled).await {
            Err(error) if error.kind != Kind::NotFound => {
                tracing::error!(%error, %container, "Failed to process a container of the reconciler queue");
                reconciled.errors += 1;
            }
            _ => {}
        }
    }

    /// Processes one container, and removes it when it is old and empty.
    async fn container(
        &self,
        cx: &PassContext,
        container: &ContainerPath,
        time: Timestamp,
        reconciled: &mut Reconciled,
    ) -> Result<(), Error> {
        let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
        loop {
            let op = ListObjects { container: container.clone(), query: query.clone() };
            let list = self.store.list_objects(&context(cx.clock.as_ref()), op).await?;
            let rows = list.page.entries()?;
            let Some(last) = rows.last().map(|row| row.name().to_owned()) else { break };
            query.marker = last;
            self.page(cx, container, rows, reconciled).await;
        }
        let is_old =
            time.seconds().saturating_add(self.options.reclaim_age) < cx.clock.now().as_secs();
        if query.marker.is_empty() && is_old {
            let op = DeleteContainer { container: container.clone() };
            match self.store.delete_container(&context(cx.clock.as_ref()), op).await {
                Ok(()) => {
                    apus_fault::point("reconcile.container.removed");
                    reconciled.containers_removed += 1;
                }
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::NotEmpty) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn page(
        &self,
        cx: &PassContext,
        container: &ContainerPath,
        rows: Vec<ObjectEntry>,
        reconciled: &mut Reconciled,
    ) {
        let mut running = FuturesUnordered::new();
        for row in rows {
            let ObjectEntry::Object(row) = row else { continue };
            let Some(job) = job(&row) else {
                tracing::error!(?row, %container, "Invalid entry in the reconciler queue");
                reconciled.invalid_record += 1;
                continue;
            };
            if !self.is_ours(&job) {
                reconciled.skipped += 1;
                continue;
            }
            if running.len() >= self.options.concurrency
                && let Some(outcome) = running.next().await
            {
                reconciled.count(outcome);
            }
            running.push(self.entry(cx, container, row, job));
        }
        while let Some(outcome) = running.next().await {
            reconciled.count(outcome);
        }
    }

    /// Processes an entry, and removes it when it is done.
    async fn entry(
        &self,
        cx: &PassContext,
        container: &ContainerPath,
        row: ObjectRow,
        job: QueueEntry,
    ) -> EntryOutcome {
        let outcome = self.mover.reconcile(cx.clock.as_ref(), &job).await;
        tracing::debug!(entry = row.name, ?outcome, "Processed an entry of the reconciler queue");
        if outcome.is_done() {
            let time = removal(&row, &job);
            self.queue.remove(container.container.as_str(), &row.name, time).await;
        }
        outcome
    }
}

#[async_trait]
impl Pass for Reconciler {
    type Report = Reconciled;

    fn name(&self) -> &'static str {
        "container-reconciler"
    }

    async fn pass(&mut self, cx: &PassContext) -> Result<Reconciled, Stopped> {
        let mut reconciled = Reconciled::default();
        // Entries that a stop leaves are still in the queue.
        let queue = self.containers(cx, &mut reconciled);
        match cx.unless_stopped(queue).await? {
            Ok(()) => {}
            // Nothing was ever misplaced.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::RecentlyDeleted) => {}
            Err(error) => {
                tracing::error!(%error, "Failed to process the reconciler queue");
                reconciled.errors += 1;
            }
        }
        Ok(reconciled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, content_type: &str, etag: &str, modified: &str) -> ObjectRow {
        ObjectRow {
            name: name.to_owned(),
            times: RowTimes::all(Timestamp::parse(modified).unwrap()),
            size: 0,
            content_type: content_type.to_owned(),
            etag: etag.to_owned(),
            deleted: false,
            policy: 0,
        }
    }

    #[test]
    fn a_row_has_operation_time_and_policy() {
        let put = row("1:/a/c/o", "application/x-put", "1700000000.12345+0+3", "1700000000.12348");
        let asked = job(&put).unwrap();
        assert_eq!(asked.operation, Operation::Put);
        assert_eq!(asked.time, Timestamp::parse("1700000000.12345").unwrap());
        assert_eq!(asked.entry.policy, PolicyIndex(1));
        for (name, kind, etag) in [
            ("x:/a/c/o", "application/x-put", "1700000000.12345"),
            ("1:/a/c/o", "text/plain", "1700000000.12345"),
            ("1:/a/c/o", "application/x-put", "d41d8cd98f00b204e9800998ecf8427e"),
        ] {
            assert_eq!(job(&row(name, kind, etag, "1700000000")), None);
        }
    }

    #[test]
    fn an_entry_is_removed_at_a_time_just_after_it() {
        let removed = |etag: &str, modified: &str| {
            let row = row("1:/a/c/o", "application/x-put", etag, modified);
            removal(&row, &job(&row).unwrap()).to_string()
        };
        // swift.container.reconciler.slightly_later_timestamp(max(q_record, q_ts), offset=2)
        assert_eq!(
            removed("1700000000.12345", "1700000000.12345"),
            "1700000000.12345_0000000000000002"
        );
        assert_eq!(
            removed("1700000000.12345_0000000000000001", "1700000000.12345"),
            "1700000000.12345_0000000000000003"
        );
        assert_eq!(
            removed("1700000000.12345+0+3", "1700000000.12348"),
            "1700000000.12348_0000000000000002"
        );
    }
}
