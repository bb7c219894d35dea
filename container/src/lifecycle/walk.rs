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
    AbortUpload, DeleteObject, HeadObject, ListObjects, ListUploads, ListVersions, ListedVersion,
    ObjectHead, SegmentFate, Upload, VersionEntry, VersionId,
};
use apus_store::settings::TAGGING;
use apus_store::{Context, Error, Kind, UploadStore};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::BucketRules;
use super::versions::{VersionSequence, VersionState};

/// Rows of a page: all that is held of a bucket.
const PAGE: usize = 1000;

/// What is done with an entry of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleAction {
    /// The object is deleted; in a bucket that keeps versions it gets a delete marker.
    Expire,
    /// The version is deleted.
    DeleteVersion,
    /// The delete marker is removed.
    RemoveMarker,
    /// The upload is aborted.
    AbortUpload,
}

impl LifecycleAction {
    /// A word for output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Expire => "expire",
            Self::DeleteVersion => "delete-version",
            Self::RemoveMarker => "remove-marker",
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
    /// The version or the upload.
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
    /// Versions that were deleted.
    pub versions_deleted: u64,
    /// Delete markers that were removed.
    pub markers_removed: u64,
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

/// An object, or a version of one.
struct Candidate {
    name: String,
    /// The version, in a bucket that keeps versions.
    version: Option<VersionId>,
    size: u64,
    /// When it was written.
    written: Timestamp,
    state: LifecycleState,
    delete_marker: bool,
}

impl Candidate {
    fn of_row(row: ObjectRow) -> Self {
        let written = row.last_modified();
        let state = LifecycleState::Current;
        let (name, size) = (row.name, row.size);
        Self { name, version: None, size, written, state, delete_marker: false }
    }

    fn of_version(found: VersionState) -> Self {
        let VersionState { version, state } = found;
        let written = match version.id {
            VersionId::At(time) => time,
            VersionId::Null => version.row.last_modified(),
        };
        let ListedVersion { key, id, delete_marker, row, .. } = version;
        Self { name: key, version: Some(id), size: row.size, written, state, delete_marker }
    }

    fn entry(&self) -> LifecycleEntry<'_> {
        LifecycleEntry {
            name: &self.name,
            size: self.size,
            // A delete marker has no tags.
            tags: self.delete_marker.then_some(&[]),
            modified: self.written.seconds_ceil(),
            state: self.state,
        }
    }

    fn action(&self) -> LifecycleAction {
        match self.state {
            LifecycleState::Current => LifecycleAction::Expire,
            _ if self.delete_marker => LifecycleAction::RemoveMarker,
            _ => LifecycleAction::DeleteVersion,
        }
    }
}

/// A walk over one bucket.
pub(super) struct BucketWalk {
    actor: Actor,
    /// Whether the bucket has kept versions.
    keeps_versions: bool,
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

    /// Processes a candidate of which a rule may demand something.
    async fn candidate(&self, found: Candidate, verdict: LifecycleVerdict) -> EntryOutcome {
        match self.try_candidate(&found, verdict).await {
            Ok(outcome) => outcome,
            Err(error) => self.failed(&error, &found.name),
        }
    }

    async fn try_candidate(
        &self,
        found: &Candidate,
        verdict: LifecycleVerdict,
    ) -> Result<EntryOutcome, Error> {
        let object = self.object_path(&found.name)?;
        let mut unchanged_since = found.written;
        let rule = match verdict {
            LifecycleVerdict::Keep => return Ok(EntryOutcome::Kept),
            LifecycleVerdict::Due { rule } => rule,
            LifecycleVerdict::NeedsTags => {
                let version = found.version;
                let head = HeadObject { raw: true, version, ..HeadObject::new(object.clone()) };
                let head = self.store.head_object(&self.cx, head).await?;
                // The tags may be younger than the row. A version keeps the time of its write.
                if version.is_none() {
                    unchanged_since = head.timestamp;
                }
                let tags = object_tags(&head);
                let modified = unchanged_since.seconds_ceil();
                let entry = LifecycleEntry { tags: Some(tags.tags()), modified, ..found.entry() };
                match self.verdict(&entry) {
                    LifecycleVerdict::Due { rule } => rule,
                    _ => return Ok(EntryOutcome::Kept),
                }
            }
        };
        let due = DueEntry {
            action: found.action(),
            name: found.name.clone(),
            id: found.version.map(|version| version.to_string()),
            size: found.size,
            modified: found.written,
            rule: self.rule_id(rule),
        };
        if self.dry_run {
            return Ok(EntryOutcome::Done(due));
        }
        let segments = SegmentFate::OwnParts;
        let mut op = DeleteObject { segments, ..DeleteObject::new(object) };
        match found.state {
            LifecycleState::Current => op.conditions.unchanged_since = Some(unchanged_since),
            _ => op.version = found.version,
        }
        if matches!(found.state, LifecycleState::Noncurrent { .. })
            && self.is_current(found).await?
        {
            return Ok(EntryOutcome::Changed);
        }
        self.store.delete_object(&self.cx, op).await?;
        match due.action {
            LifecycleAction::Expire => apus_fault::point("lifecycle.object.expired"),
            _ => apus_fault::point("lifecycle.version.deleted"),
        }
        Ok(EntryOutcome::Done(due))
    }

    /// Whether a version became the current one since it was listed: newer ones were deleted.
    async fn is_current(&self, found: &Candidate) -> Result<bool, Error> {
        let head = HeadObject { raw: true, ..HeadObject::new(self.object_path(&found.name)?) };
        match self.store.head_object(&self.cx, head).await {
            Ok(head) => Ok(head.version == found.version),
            // A delete marker is current.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::IsDeleteMarker) => Ok(false),
            Err(error) => Err(error),
        }
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
            Kind::Locked => EntryOutcome::Locked,
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
        bucket: BucketRules,
        options: &WalkOptions,
    ) -> Self {
        let BucketRules { rules, keeps_versions } = bucket;
        let trans_id = apus_daemon::http::new_trans_id(clock.as_ref(), "");
        let cx = Context::system("lifecycle", trans_id).strong();
        let WalkOptions { day, dry_run, .. } = *options;
        Self {
            actor: Actor { store, cx, container, rules, clock, day, dry_run },
            keeps_versions,
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
        match self.keeps_versions {
            true => self.versions(due).await?,
            false => self.objects(due).await?,
        }
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
                self.rows.take(rows.len() as f64).await;
                let objects = rows.into_iter().filter_map(|entry| match entry {
                    ObjectEntry::Object(row) => Some(Candidate::of_row(row)),
                    ObjectEntry::Subdir(_) => None,
                });
                self.candidates(objects.collect(), due).await;
                self.position.marker = last;
            }
        }
        Ok(())
    }

    async fn versions(&mut self, due: &mut (dyn FnMut(&DueEntry) + Send)) -> Result<(), Error> {
        for prefix in self.actor.rules.version_prefixes() {
            if prefix < self.position.prefix {
                continue;
            }
            if prefix > self.position.prefix {
                self.position = WalkPosition { prefix, marker: String::new() };
            }
            let mut sequence = VersionSequence::default();
            let mut next = Some((self.position.marker.clone(), None));
            while let Some((key_marker, version_marker)) = next.take() {
                // A walk that breaks off within a key continues after it.
                self.position.marker.clone_from(&key_marker);
                let op = ListVersions {
                    container: self.actor.container.clone(),
                    prefix: self.position.prefix.clone(),
                    delimiter: String::new(),
                    key_marker,
                    version_marker,
                    end_marker: String::new(),
                    reverse: false,
                    limit: PAGE,
                };
                let list = self.actor.store.list_versions(&self.actor.cx, op).await?;
                next = list.next;
                self.rows.take(list.entries.len() as f64).await;
                let mut known = Vec::new();
                for entry in list.entries {
                    let VersionEntry::Version(version) = entry else { continue };
                    known.extend(sequence.next(*version));
                }
                if next.is_none() {
                    known.extend(sequence.finish());
                }
                let known = known.into_iter().map(Candidate::of_version).collect();
                self.candidates(known, due).await;
            }
        }
        Ok(())
    }

    /// Processes the candidates of a page.
    async fn candidates(&mut self, found: Vec<Candidate>, due: &mut (dyn FnMut(&DueEntry) + Send)) {
        let Self { actor, concurrency, deletions, report, keeps_versions, .. } = self;
        // Versions are deleted one after the other, so that each finds what the last left of its key.
        let concurrency = if *keeps_versions { 1 } else { *concurrency };
        let mut running = FuturesUnordered::new();
        for candidate in found {
            report.rows += 1;
            let verdict = actor.verdict(&candidate.entry());
            match verdict {
                LifecycleVerdict::Keep => continue,
                LifecycleVerdict::NeedsTags => report.tag_reads += 1,
                LifecycleVerdict::Due { .. } => {}
            }
            if running.len() >= concurrency
                && let Some(outcome) = running.next().await
            {
                report.count(outcome, due);
            }
            if !actor.dry_run {
                deletions.take(1.0).await;
            }
            running.push(actor.candidate(candidate, verdict));
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
                    with_metadata: false,
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
                    LifecycleAction::DeleteVersion => &mut self.versions_deleted,
                    LifecycleAction::RemoveMarker => &mut self.markers_removed,
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
        self.expired + self.versions_deleted + self.markers_removed + self.uploads_aborted
    }

    /// Adds the counts of another walk.
    pub(super) fn add(&mut self, other: Self) {
        let Self { rows, tag_reads, expired, versions_deleted, changed, locked, errors, .. } =
            other;
        self.rows += rows;
        self.tag_reads += tag_reads;
        self.expired += expired;
        self.versions_deleted += versions_deleted;
        self.markers_removed += other.markers_removed;
        self.uploads_aborted += other.uploads_aborted;
        self.changed += changed;
        self.locked += locked;
        self.errors += errors;
    }
}
