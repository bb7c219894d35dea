//! Object lock: default retention of new versions, and the check before a version is removed.
//!
//! It holds for both dialects. A bucket with a lock has its configuration in the container's
//! metadata; other containers cost nothing here. The check is a condition of the deletion, decided
//! under the lease of the version's name, so that a lock that was just set counts. Where a manifest
//! has a condition, it is deleted before its segments, so that a locked one keeps them.
//!
//! The hidden container of a bucket's multipart uploads has the parts of locked versions: clients do
//! not write there.

use std::sync::Arc;

use apus_bucket::object_lock::ObjectLockConfig;
use apus_bucket::{ConfigKind, stored};
use apus_cluster::{ContainerName, ContainerPath, Metadata, ObjectPath};
use apus_policy::Permission;
use async_trait::async_trait;

use super::existing_container;
use crate::clock::HybridClock;
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::settings::{RETENTION, now_ms};
use crate::store::forward;
use crate::upload_parts::SEGMENTS;
use crate::{Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject, VersionStore};

/// The stage of object lock.
pub struct ObjectLock {
    next: Arc<dyn ManifestStore>,
    clock: Arc<HybridClock>,
}

impl std::fmt::Debug for ObjectLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectLock")
    }
}

/// Whether the container's versions can be locked. A damaged configuration counts as one.
fn has_lock(container: &ContainerHead) -> bool {
    container.headers.contains_key(ConfigKind::ObjectLock.header())
}

fn locked(subject: Subject) -> Error {
    Error::new(Kind::Locked, subject)
}

impl ObjectLock {
    /// Creates the stage above `next`, with the clock that stamps writes.
    pub fn new(next: Arc<dyn ManifestStore>, clock: Arc<HybridClock>) -> Self {
        Self { next, clock }
    }

    /// The container, if its versions can be locked.
    async fn with_lock(
        &self,
        cx: &Context,
        container: &ContainerPath,
    ) -> Result<Option<Arc<ContainerHead>>> {
        let info = existing_container(&*self.next, cx, container).await?;
        Ok(info.filter(|info| has_lock(info)))
    }

    /// Refuses a client's write among the parts of a bucket with a lock.
    async fn check_parts(&self, cx: &Context, container: &ContainerPath) -> Result<()> {
        let bucket = container.container.as_str().strip_suffix(SEGMENTS);
        let bucket = bucket.and_then(|name| ContainerName::parse(name).ok());
        let (Some(bucket), Authority::Caller) = (bucket, cx.authority) else { return Ok(()) };
        let bucket = ContainerPath::new(container.account.clone(), bucket);
        match self.with_lock(cx, &bucket).await? {
            Some(_) => Err(locked(Subject::Object)),
            None => Ok(()),
        }
    }

    /// Adds the default retention to a new version without one.
    async fn retain(
        &self,
        cx: &Context,
        container: &ContainerPath,
        metadata: &mut Metadata,
    ) -> Result<()> {
        self.check_parts(cx, container).await?;
        if metadata.contains_key(RETENTION) {
            return Ok(());
        }
        let Some(info) = self.with_lock(cx, container).await? else { return Ok(()) };
        let config: Option<ObjectLockConfig> =
            stored::load(ConfigKind::ObjectLock, &info.headers).map_err(Error::unavailable)?;
        if let Some(default) = config.and_then(|config| config.default) {
            let retention = default.of_version(now_ms(self.clock.stamp()));
            metadata.insert(RETENTION.to_owned(), retention.to_stored());
        }
        Ok(())
    }

    /// Whether the caller may bypass governance.
    async fn may_bypass(
        &self,
        cx: &Context,
        object: &ObjectPath,
        version: Option<VersionId>,
    ) -> Result<bool> {
        let asked = Authorize::object(Permission::BypassGovernanceRetention, object);
        match self.next.authorize(cx, asked.version(version)).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind, Kind::Forbidden | Kind::Unauthorized) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses to suspend versioning of a container with a lock.
    async fn check_versioning(
        &self,
        cx: &Context,
        container: &ContainerPath,
        versioning: Option<Versioning>,
    ) -> Result<()> {
        if versioning != Some(Versioning::Suspended) {
            return Ok(());
        }
        let op = HeadContainer { container: container.clone() };
        match self.next.head_container(&cx.as_system("object lock"), op).await {
            Ok(head) if has_lock(&head) => Err(locked(Subject::Container)),
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Primitive for ObjectLock {
    async fn put_container(&self, cx: &Context, op: PutContainer) -> Result<bool> {
        self.check_versioning(cx, &op.container, op.versioning).await?;
        self.next.put_container(cx, op).await
    }

    async fn post_container(&self, cx: &Context, op: PostContainer) -> Result<()> {
        self.check_versioning(cx, &op.container, op.versioning).await?;
        self.next.post_container(cx, op).await
    }

    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        self.retain(cx, &op.object.container, &mut op.metadata).await?;
        self.next.put_object(cx, op).await
    }

    async fn update_object(&self, cx: &Context, mut op: UpdateObject) -> Result<ObjectHead> {
        if let SettingChange::Retention { bypass, .. } = &mut op.change
            && *bypass
        {
            *bypass = self.may_bypass(cx, &op.object, op.version).await?;
        }
        self.next.update_object(cx, op).await
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        let container = op.object.container.clone();
        self.check_parts(cx, &container).await?;
        let info = self.with_lock(cx, &container).await?;
        // Without a version, a delete marker hides the object and nothing is removed.
        let removes = |info: &ContainerHead| {
            op.version.is_some() || info.versioning() != Some(Versioning::Enabled)
        };
        if info.is_some_and(|info| removes(&info)) {
            let bypass =
                op.bypass_governance && self.may_bypass(cx, &op.object, op.version).await?;
            let now_ms = now_ms(self.clock.stamp());
            op.conditions.unlocked = Some(LockCheck { now_ms, bypass });
        }
        self.next.delete_object(cx, op).await
    }

    async fn queue_deletions(&self, cx: &Context, op: QueueDeletions) -> Result<()> {
        self.check_parts(cx, &op.container).await?;
        match self.with_lock(cx, &op.container).await? {
            // The expirer deletes what has no version: it would not ask for one.
            Some(_) => Err(locked(Subject::Object)),
            None => self.next.queue_deletions(cx, op).await,
        }
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, delete_container, head_object, get_object,
        post_object, update_queue,
    );
}

#[async_trait]
impl LinkStore for ObjectLock {
    async fn put_symlink(&self, cx: &Context, mut op: PutSymlink) -> Result<ObjectWritten> {
        self.retain(cx, &op.object.container, &mut op.metadata).await?;
        self.next.put_symlink(cx, op).await
    }
}

impl VersionStore for ObjectLock {
    forward!(next: list_versions, restore_version);
}

#[async_trait]
impl ManifestStore for ObjectLock {
    async fn put_manifest(&self, cx: &Context, mut op: PutManifest) -> Result<ObjectWritten> {
        self.retain(cx, &op.object.container, &mut op.metadata).await?;
        self.next.put_manifest(cx, op).await
    }
}
