//! Event notifications: records the events of changes in the queues of webhooks.
//!
//! An event is recorded after the change and before the response, as a row that a write quorum of the
//! queue's replicas has. If it cannot be recorded, the request fails although the change was made: a
//! change that was acknowledged has its event. The rules are in the metadata of the container, which
//! the gate needs anyway; a container without rules costs nothing here. `container-notifier`
//! delivers the rows.
//!
//! A deletion that finds no object has an event, too: it may repeat one that failed after the object
//! was gone.

mod change;

use std::sync::Arc;

use apus_bucket::event::{self, EventContent, EventSource, EventType, QueuedEvent};
use apus_bucket::notification::NotificationConfiguration;
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{ContainerPath, Timestamp};
use async_trait::async_trait;

use self::change::ObjectChange;
use super::existing_container;
use crate::clock::HybridClock;
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::store::forward;
use crate::{
    CopyStore, Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject, UploadStore,
    VersionStore,
};

/// Attempts to record an event before the request fails.
const ATTEMPTS: usize = 3;

/// The stage of event notifications.
pub struct Notify<S: ?Sized> {
    next: Arc<S>,
    clock: Arc<HybridClock>,
    /// Whether deletions are expirations.
    expires: bool,
}

impl<S: ?Sized> std::fmt::Debug for Notify<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// The cause of an event.
fn source(cx: &Context) -> EventSource {
    let principal = match (cx.authority, &cx.identity.user) {
        (Authority::System(name), _) => name.to_owned(),
        (Authority::Caller, user) => user.clone().unwrap_or_else(|| "Anonymous".to_owned()),
    };
    let address = cx.facts.as_ref().and_then(|facts| facts.values("aws:sourceip").pop());
    let address = address.unwrap_or_default();
    EventSource { principal, address, request: cx.trans_id.to_string() }
}

impl<S: ?Sized> Notify<S> {
    /// Creates the stage above `next`, with the clock that stamps writes.
    pub fn new(next: Arc<S>, clock: Arc<HybridClock>) -> Self {
        Self { next, clock, expires: false }
    }

    /// The same stage for the lifecycle daemon, whose deletions are expirations.
    #[must_use]
    pub fn of_lifecycle(self) -> Self {
        Self { expires: true, ..self }
    }

    /// The event of an upload.
    fn upload(cx: &Context) -> EventType {
        if cx.is_form { EventType::Post } else { EventType::Put }
    }
}

impl<S: Primitive + ?Sized> Notify<S> {
    /// The container before a change; `None` when it cannot be read: the stages below have the error.
    async fn before(&self, cx: &Context, container: &ContainerPath) -> Option<Arc<ContainerHead>> {
        let op = HeadContainer { container: container.clone() };
        self.next.container_info(cx, op).await.ok()
    }

    /// Records the event of a change, if a rule of its container asks for it. `known` is the container
    /// as it was before the change.
    async fn record(
        &self,
        cx: &Context,
        known: Option<Arc<ContainerHead>>,
        change: ObjectChange<'_>,
    ) -> Result<()> {
        let container = &change.object.container;
        let info = match known {
            Some(info) => info,
            None => match existing_container(&*self.next, cx, container).await? {
                Some(info) => info,
                None => return Ok(()),
            },
        };
        let rules: Option<NotificationConfiguration> =
            stored::load(ConfigKind::Notification, &info.headers).map_err(Error::unavailable)?;
        let key = change.object.object.as_str();
        let rule = rules.as_ref().and_then(|rules| rules.rule_for(change.event, key));
        let Some((rule, webhook)) = rule.and_then(|rule| Some((rule, rule.webhook()?))) else {
            return Ok(());
        };
        let time = match change.time {
            Timestamp::ZERO => self.clock.stamp(),
            time => time,
        };
        let queue = event::queue_of(webhook, change.object).map_err(Error::unavailable)?;
        let queued = QueuedEvent {
            account: container.account.as_str().to_owned(),
            bucket: container.container.as_str().to_owned(),
            source: source(cx),
            content: EventContent::Object(change.describe(&rule.id)),
        };
        self.queue(cx, queue, &queued, time).await
    }

    /// Writes an event into a queue.
    async fn queue(
        &self,
        cx: &Context,
        queue: ContainerPath,
        queued: &QueuedEvent,
        time: Timestamp,
    ) -> Result<()> {
        let row = queued.row(time).map_err(Error::unavailable)?;
        let row = QueueRow {
            name: row.name,
            content_type: Some(row.content_type),
            replaces: Timestamp::ZERO,
        };
        let op = UpdateQueue { queue, rows: vec![row] };
        let cx = cx.as_system("notify");
        apus_fault::point("notify.event.begun");
        let mut attempt = 1;
        loop {
            match self.next.update_queue(&cx, op.clone()).await {
                Ok(()) => break,
                Err(error) if attempt >= ATTEMPTS => {
                    tracing::error!(%error, queue = %op.queue, "Failed to record an event");
                    return Err(error);
                }
                Err(_) => attempt += 1,
            }
        }
        apus_fault::point("notify.event.recorded");
        Ok(())
    }

    /// Records the events of a deletion.
    async fn record_deletion(
        &self,
        cx: &Context,
        known: Option<Arc<ContainerHead>>,
        (op, result): (&DeleteObject, &Result<Deleted>),
    ) -> Result<()> {
        let expires = self.expires || op.if_delete_at.is_some();
        let absent = Deleted { version: op.version, ..Deleted::default() };
        let deleted = match result {
            Ok(deleted) => deleted,
            Err(error) if may_repeat(error) && op.if_delete_at.is_none() => &absent,
            Err(_) => return Ok(()),
        };
        for segment in &deleted.segments {
            let known = self.before(cx, &segment.container).await;
            self.record(cx, known, ObjectChange::deleted(segment, &Deleted::default(), expires))
                .await?;
        }
        if deleted.kept {
            return Ok(());
        }
        // A named version is removed, whatever it is.
        let removal = Deleted {
            delete_marker: deleted.delete_marker && op.version.is_none(),
            version: deleted.version,
            timestamp: deleted.timestamp,
            ..Deleted::default()
        };
        self.record(cx, known, ObjectChange::deleted(&op.object, &removal, expires)).await
    }

    /// Sends a test event to each webhook of rules that were just stored.
    async fn record_test(&self, cx: &Context, op: &PostContainer) -> Result<()> {
        let rules: Option<NotificationConfiguration> =
            stored::load(ConfigKind::Notification, &op.metadata).map_err(Error::unavailable)?;
        let Some(rules) = rules else { return Ok(()) };
        for webhook in rules.webhooks() {
            let queued = QueuedEvent {
                account: op.container.account.as_str().to_owned(),
                bucket: op.container.container.as_str().to_owned(),
                source: source(cx),
                content: EventContent::Test,
            };
            let queue = event::queue(webhook, 0).map_err(Error::unavailable)?;
            self.queue(cx, queue, &queued, self.clock.stamp()).await?;
        }
        Ok(())
    }
}

/// Whether the deletion may have been made by an earlier request.
fn may_repeat(error: &Error) -> bool {
    error.kind == Kind::NotFound && matches!(error.subject, Subject::Object | Subject::Version)
}

#[async_trait]
impl<S: Primitive + ?Sized> Primitive for Notify<S> {
    async fn post_container(&self, cx: &Context, op: PostContainer) -> Result<()> {
        self.next.post_container(cx, op.clone()).await?;
        self.record_test(cx, &op).await
    }

    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten> {
        let object = op.object.clone();
        let known = self.before(cx, &object.container).await;
        let written = self.next.put_object(cx, op).await?;
        self.record(cx, known, ObjectChange::written(&object, Self::upload(cx), &written)).await?;
        Ok(written)
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        let event = match &op.change {
            SettingChange::Tagging(Some(_)) => EventType::TaggingPut,
            SettingChange::Tagging(None) => EventType::TaggingDelete,
            SettingChange::Retention { .. }
            | SettingChange::LegalHold(_)
            | SettingChange::Acl { .. } => {
                return self.next.update_object(cx, op).await;
            }
        };
        let object = op.object.clone();
        let known = self.before(cx, &object.container).await;
        let head = self.next.update_object(cx, op).await?;
        self.record(cx, known, ObjectChange::changed(&object, event, &head)).await?;
        Ok(head)
    }

    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted> {
        let known = self.before(cx, &op.object.container).await;
        let result = self.next.delete_object(cx, op.clone()).await;
        self.record_deletion(cx, known, (&op, &result)).await?;
        result
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, delete_container, head_object,
        get_object, post_object, queue_deletions, update_queue,
    );
}

#[async_trait]
impl<S: LinkStore + ?Sized> LinkStore for Notify<S> {
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        let object = op.object.clone();
        let known = self.before(cx, &object.container).await;
        let written = self.next.put_symlink(cx, op).await?;
        self.record(cx, known, ObjectChange::written(&object, EventType::Put, &written)).await?;
        Ok(written)
    }
}

impl<S: VersionStore + ?Sized> VersionStore for Notify<S> {
    forward!(next: list_versions, restore_version);
}

#[async_trait]
impl<S: ManifestStore + ?Sized> ManifestStore for Notify<S> {
    async fn put_manifest(&self, cx: &Context, op: PutManifest) -> Result<ObjectWritten> {
        let object = op.object.clone();
        let known = self.before(cx, &object.container).await;
        let written = self.next.put_manifest(cx, op).await?;
        self.record(cx, known, ObjectChange::written(&object, EventType::Put, &written)).await?;
        Ok(written)
    }
}

#[async_trait]
impl<S: UploadStore + ?Sized> UploadStore for Notify<S> {
    async fn complete_upload(&self, cx: &Context, op: CompleteUpload) -> Result<ObjectWritten> {
        let object = op.object.clone();
        let known = self.before(cx, &object.container).await;
        let written = self.next.complete_upload(cx, op).await?;
        let event = EventType::CompleteMultipartUpload;
        self.record(cx, known, ObjectChange::written(&object, event, &written)).await?;
        Ok(written)
    }

    forward!(next: create_upload, put_part, put_part_copy, list_parts, list_uploads, abort_upload);
}

#[async_trait]
impl<S: CopyStore + ?Sized> CopyStore for Notify<S> {
    async fn copy_object(
        &self,
        cx: &Context,
        op: CopyObject,
    ) -> Result<(ObjectHead, ObjectWritten)> {
        let object = op.target.clone();
        let known = self.before(cx, &object.container).await;
        let (source, written) = self.next.copy_object(cx, op).await?;
        self.record(cx, known, ObjectChange::written(&object, EventType::Copy, &written)).await?;
        Ok((source, written))
    }
}
