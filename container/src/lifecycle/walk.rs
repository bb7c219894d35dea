//! One walk over a bucket: its entries, page by page, and what its rules demand of them.
//!
//! Only one page of rows is in memory, and only under the prefixes of the rules. A listing is a hint:
//! an entry is deleted on the condition that it still has the time of its row, evaluated under the
//! lease of its name, so that an object that changed meanwhile stays. Deletions pass the stages that
//! clients' deletions pass (versions, object lock, parts of multipart objects).

use std::sync::Arc;

use apus_bucket::TagSet;
use apus_bucket::lifecycle::{
    DayLength, LifecycleConfiguration, LifecycleEntry, LifecycleState, LifecycleVerdict,
};
use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};
use apus_cluster::{ContainerPath, ObjectName, ObjectPath, Timestamp};
use apus_daemon::{Clock, Pace};
use apus_store::operation::{
    AbortUpload, DeleteObject, HeadObject, ListObjects, ListUploads, ObjectHead, SegmentFate,
    Upload, WriteConditions,
};
use apus_store::settings::TAGGING;
use apus_store::{Context, Error, Kind, UploadStore};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Rows of a page: all that is held of a bucket.
const PAGE: usize = 1000;

/// What is done with an entry of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleAction {
    /// The object is deleted.
    Expire,
    /// The upload is aborted.
    AbortUpload,
}

impl LifecycleAction {
    /// A word for output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Expire => "expire",
            Self::AbortUpload => "abort-upload",
        }
    }
}

/// An entry of which a rule demands something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEntry {
    /// What is to be done.
    pub action: LifecycleAction,
    /// The key.
    pub name: String,
    /// The upload's id.
    pub id: Option<String>,
    /// Length in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Id of the rule.
    pub rule: String,
}

/// Counts of a walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct WalkReport {
    /// Rows that were evaluated.
    pub rows: u64,
    /// Objects of which the tags were read.
    pub tag_reads: u64,
    /// Objects that expired.
    pub expired: u64,
    /// Uploads that were aborted.
    pub uploads_aborted: u64,
    /// Entries that changed since they were listed, and stay.
    pub changed: u64,
    /// Entries that may not be deleted now, above all locked ones.
    pub locked: u64,
    /// Entries and listings that failed.
    pub errors: u64,
}

/// How a walk works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WalkOptions {
    /// Length of a day.
    pub day: DayLength,
    /// Deletions at the same time.
    pub concurrency: usize,
    /// Deletions a second; 0 for no limit.
    pub deletions_per_second: f64,
    /// Rows a second; 0 for no limit.
    pub rows_per_second: f64,
    /// Whether due entries are only reported.
    pub dry_run: bool,
}

impl WalkOptions {
    /// Options of an operator's command, which needs no rates.
    pub fn of_operator(seconds_per_day: u64, concurrency: usize, dry_run: bool) -> Self {
        Self {
            day: DayLength::seconds(seconds_per_day),
            concurrency,
            deletions_per_second: 0.0,
            rows_per_second: 0.0,
            dry_run,
        }
    }
}

/// Where a walk broke off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WalkPosition {
    prefix: String,
    marker: String,
}

/// The outcome for one entry.
enum EntryOutcome {
    /// The rules demand nothing.
    Kept,
    /// It is done, or would be.
    Done(DueEntry),
    Changed,
    Locked,
    Failed,
}

/// Acts on entries; shared by those that are in work at the same time.
struct Actor {
    store: Arc<dyn UploadStore>,
    cx: Context,
    container: ContainerPath,
    rules: LifecycleConfiguration,
    clock: Arc<dyn Clock>,
    day: DayLength,
    dry_run: bool,
}

/// A walk over one bucket.
pub(super) struct BucketWalk {
    actor: Actor,
    concurrency: usize,
    deletions: Pace,
    rows: Pace,
    /// Its counts so far.
    pub(super) report: WalkReport,
    /// Where it is.
    pub(super) position: WalkPosition,
}

impl std::fmt::Debug for BucketWalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketWalk")
            .field("container", &self.actor.container)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// The tags of an object.
fn object_tags(head: &ObjectHead) -> TagSet {
    head.get(TAGGING).map(TagSet::from_stored).unwrap_or_default()
}

impl Actor {
    fn object_path(&self, name: &str) -> Result<ObjectPath, Error> {
        let name = ObjectName::parse(name).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(self.container.object(name))
    }

    fn verdict(&self, entry: &LifecycleEntry<'_>) -> LifecycleVerdict {
        self.rules.verdict(entry, self.clock.now().as_secs(), self.day)
    }

    fn rule_id(&self, index: usize) -> String {
        self.rules.rules.get(index).map(|rule| rule.id.clone()).unwrap_or_default()
    }

    fn entry(row: &ObjectRow) -> LifecycleEntry<'_> {
        LifecycleEntry {
            name: &row.name,
            size: row.size,
            tags: None,
            modified: row.last_modified().seconds_ceil(),
            state: LifecycleState::Current,
        }
    }

    /// Processes a row of which a rule may demand something.
    async fn object(&self, row: ObjectRow, verdict: LifecycleVerdict) -> EntryOutcome {
        match self.try_object(&row, verdict).await {
            Ok(outcome) => outcome,
            Err(error) => self.failed(&error, &row.name),
        }
    }

    async fn try_object(
        &self,
        row: &ObjectRow,
        verdict: LifecycleVerdict,
    ) -> Result<EntryOutcome, Error> {
        let object = self.object_path(&row.name)?;
        let mut unchanged_since = row.last_modified();
        let rule = match verdict {
            LifecycleVerdict::Keep => return Ok(EntryOutcome::Kept),
            LifecycleVerdict::Due { rule } => rule,
            LifecycleVerdict::NeedsTags => {
                let head = HeadObject { raw: true, ..HeadObject::new(object.clone()) };
                let head = self.store.head_object(&self.cx, head).await?;
                let tags = object_tags(&head);
                // The tags may be younger than the row.
                unchanged_since = head.timestamp;
                let entry = LifecycleEntry {
                    tags: Some(tags.tags()),
                    modified: head.timestamp.seconds_ceil(),
                    ..Self::entry(row)
                };
                match self.verdict(&entry) {
                    LifecycleVerdict::Due { rule } => rule,
                    _ => return Ok(EntryOutcome::Kept),
                }
            }
        };
        let due = DueEntry {
            action: LifecycleAction::Expire,
            name: row.name.clone(),
            id: None,
            size: row.size,
            modified: row.last_modified(),
            rule: self.rule_id(rule),
        };
        if self.dry_run {
            return Ok(EntryOutcome::Done(due));
        }
        let conditions = WriteConditions {
            unchanged_since: Some(unchanged_since),
            ..WriteConditions::default()
        };
        let segments = SegmentFate::OwnParts;
        let op = DeleteObject { segments, conditions, ..DeleteObject::new(object) };
        self.store.delete_object(&self.cx, op).await?;
        apus_fault::point("lifecycle.object.expired");
        Ok(EntryOutcome::Done(due))
    }

    async fn upload(&self, upload: Upload, rule: usize) -> EntryOutcome {
        let due = DueEntry {
            action: LifecycleAction::AbortUpload,
            name: upload.key.clone(),
            id: Some(upload.id.clone()),
            size: 0,
            modified: upload.initiated,
            rule: self.rule_id(rule),
        };
        if self.dry_run {
            return EntryOutcome::Done(due);
        }
        let aborted = async {
            let op = AbortUpload { object: self.object_path(&upload.key)?, upload_id: upload.id };
            self.store.abort_upload(&self.cx, op).await
        };
        match aborted.await {
            Ok(()) => {
                apus_fault::point("lifecycle.upload.aborted");
                EntryOutcome::Done(due)
            }
            Err(error) => self.failed(&error, &upload.key),
        }
    }

    fn failed(&self, error: &Error, name: &str) -> EntryOutcome {
        match error.kind {
            // It was deleted or written meanwhile, or its row is older than the object.
            Kind::NotFound | Kind::PreconditionFailed | Kind::Conflict => EntryOutcome::Changed,
            Kind::Forbidden => EntryOutcome::Locked,
            _ => {
                let container = &self.container;
                tracing::error!(%error, %container, name, "Failed to apply a lifecycle rule");
                EntryOutcome::Failed
            }
        }
    }
}

impl BucketWalk {
    /// A walk over `container` with its rules.
    pub(super) fn new(
        store: Arc<dyn UploadStore>,
        clock: Arc<dyn Clock>,
        container: ContainerPath,
        rules: LifecycleConfiguration,
        options: &WalkOptions,
    ) -> Self {
        let trans_id = apus_daemon::http::new_trans_id(clock.as_ref(), "");
        let cx = Context::system("lifecycle", trans_id).strong();
        let WalkOptions { day, dry_run, .. } = *options;
        Self {
            actor: Actor { store, cx, container, rules, clock, day, dry_run },
            concurrency: options.concurrency.max(1),
            deletions: Pace::per_second(options.deletions_per_second),
            rows: Pace::per_second(options.rows_per_second),
            report: WalkReport::default(),
            position: WalkPosition::default(),
        }
    }

    /// Walks from its position to the end. `due` sees each entry that was processed.
    ///
    /// # Errors
    /// Those of listings; the position is then where the next walk continues.
    pub(super) async fn run(
        &mut self,
        due: &mut (dyn FnMut(&DueEntry) + Send),
    ) -> Result<(), Error> {
        self.objects(due).await?;
        self.position = WalkPosition::default();
        self.uploads(due).await
    }

    async fn objects(&mut self, due: &mut (dyn FnMut(&DueEntry) + Send)) -> Result<(), Error> {
        for prefix in self.actor.rules.current_prefixes() {
            if prefix < self.position.prefix {
                continue;
            }
            if prefix > self.position.prefix {
                self.position = WalkPosition { prefix, marker: String::new() };
            }
            loop {
                let query = ListQuery {
                    limit: PAGE,
                    marker: self.position.marker.clone(),
                    prefix: Some(self.position.prefix.clone()).filter(|prefix| !prefix.is_empty()),
                    ..ListQuery::default()
                };
                let op = ListObjects { container: self.actor.container.clone(), query };
                let page = self.actor.store.list_objects(&self.actor.cx, op).await?;
                let rows = page.page.entries()?;
                let Some(last) = rows.last().map(|row| row.name().to_owned()) else { break };
                self.page(rows, due).await;
                self.position.marker = last;
            }
        }
        Ok(())
    }

    async fn page(&mut self, rows: Vec<ObjectEntry>, due: &mut (dyn FnMut(&DueEntry) + Send)) {
        let Self { actor, concurrency, deletions, rows: pace, report, .. } = self;
        pace.take(rows.len() as f64).await;
        let mut running = FuturesUnordered::new();
        for row in rows {
            let ObjectEntry::Object(row) = row else { continue };
            report.rows += 1;
            let verdict = actor.verdict(&Actor::entry(&row));
            match verdict {
                LifecycleVerdict::Keep => continue,
                LifecycleVerdict::NeedsTags => report.tag_reads += 1,
                LifecycleVerdict::Due { .. } => {}
            }
            if running.len() >= *concurrency
                && let Some(outcome) = running.next().await
            {
                report.count(outcome, due);
            }
            if !actor.dry_run {
                deletions.take(1.0).await;
            }
            running.push(actor.object(row, verdict));
        }
        while let Some(outcome) = running.next().await {
            report.count(outcome, due);
        }
    }

    async fn uploads(&mut self, due: &mut (dyn FnMut(&DueEntry) + Send)) -> Result<(), Error> {
        for prefix in self.actor.rules.upload_prefixes() {
            let mut next = Some((String::new(), String::new()));
            while let Some((key_marker, upload_id_marker)) = next.take() {
                let op = ListUploads {
                    container: self.actor.container.clone(),
                    prefix: prefix.clone(),
                    delimiter: String::new(),
                    key_marker,
                    upload_id_marker,
                    limit: PAGE,
                };
                let list = self.actor.store.list_uploads(&self.actor.cx, op).await?;
                next = list.next;
                self.rows.take(list.uploads.len() as f64).await;
                for upload in list.uploads {
                    self.report.rows += 1;
                    let entry = LifecycleEntry {
                        name: &upload.key,
                        size: 0,
                        tags: None,
                        modified: upload.initiated.seconds_ceil(),
                        state: LifecycleState::Upload,
                    };
                    let LifecycleVerdict::Due { rule } = self.actor.verdict(&entry) else {
                        continue;
                    };
                    if !self.actor.dry_run {
                        self.deletions.take(1.0).await;
                    }
                    let outcome = self.actor.upload(upload, rule).await;
                    self.report.count(outcome, due);
                }
            }
        }
        Ok(())
    }
}

impl WalkReport {
    fn count(&mut self, outcome: EntryOutcome, due: &mut (dyn FnMut(&DueEntry) + Send)) {
        *match outcome {
            EntryOutcome::Kept => return,
            EntryOutcome::Done(entry) => {
                due(&entry);
                match entry.action {
                    LifecycleAction::Expire => &mut self.expired,
                    LifecycleAction::AbortUpload => &mut self.uploads_aborted,
                }
            }
            EntryOutcome::Changed => &mut self.changed,
            EntryOutcome::Locked => &mut self.locked,
            EntryOutcome::Failed => &mut self.errors,
        } += 1;
    }

    /// Entries to which a rule was, or would be, applied.
    pub fn done(&self) -> u64 {
        self.expired + self.uploads_aborted
    }

    /// Adds the counts of another walk.
    pub(super) fn add(&mut self, other: Self) {
        let Self { rows, tag_reads, expired, uploads_aborted, changed, locked, errors } = other;
        self.rows += rows;
        self.tag_reads += tag_reads;
        self.expired += expired;
        self.uploads_aborted += uploads_aborted;
        self.changed += changed;
        self.locked += locked;
        self.errors += errors;
    }
}
