//! Quotas of accounts and containers, for uploads of both dialects.
//!
//! Below large objects and copies, which arrive here as the objects that they write, and above
//! versions, which count where they are visible. The parts of multipart uploads count as bytes of
//! their bucket while they are uploaded. Only where metadata names a quota are the current counts
//! read: one request for the container, one for the account.

use std::sync::Arc;

use apus_bucket::quota::{Quota, QuotaExceeded, Usage};
use apus_cluster::{ContainerName, ContainerPath, ObjectPath, Policies};
use apus_policy::Permission;
use async_trait::async_trait;

use super::existing_container;
use super::versions::container_of_versions;
use crate::body::limited;
use crate::context::{Authority, Context};
use crate::operation::*;
use crate::store::forward;
use crate::upload_parts::{S3_UPLOAD_ID, SEGMENTS, hidden_container};
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject, VersionStore};

/// Authority under which counts are read.
const SYSTEM: &str = "quotas";

/// Quotas that are applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuotaOptions {
    /// Quotas of accounts (`account_quotas`).
    pub accounts: bool,
    /// Quotas of containers (`container_quotas`).
    pub containers: bool,
}

/// The stage that applies quotas.
pub struct Quotas {
    next: Arc<dyn VersionStore>,
    options: QuotaOptions,
    policies: Policies,
}

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Quotas")
    }
}

fn exceeded(_: QuotaExceeded) -> Error {
    Error::new(Kind::QuotaExceeded, Subject::Object).text("Upload exceeds quota.")
}

/// The container whose quota holds for a container's objects: for parts of uploads, the bucket.
fn container_of_quota(container: &ContainerPath, is_part: bool) -> ContainerPath {
    let name = container.container.as_str();
    let bucket = name.strip_suffix(SEGMENTS).filter(|_| is_part);
    match bucket.and_then(|name| ContainerName::parse(name).ok()) {
        Some(name) => ContainerPath::new(container.account.clone(), name),
        None => container.clone(),
    }
}

/// The smaller of two limits.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

impl Quotas {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn VersionStore>, options: QuotaOptions, policies: Policies) -> Self {
        Self { next, options, policies }
    }

    /// Refuses an upload of this many bytes, if they are known, that exceeds a quota. Returns the
    /// number of bytes that it may have, if that is limited.
    async fn admit(
        &self,
        cx: &Context,
        object: &ObjectPath,
        bytes: Option<u64>,
    ) -> Result<Option<u64>> {
        // Markers of uploads have no bytes.
        let is_part = matches!(cx.authority, Authority::System(_));
        if object.account().is_internal() || (is_part && bytes == Some(0)) {
            return Ok(None);
        }
        let added = Usage { bytes: bytes.unwrap_or(0), objects: u64::from(!is_part) };
        let own = container_of_quota(&object.container, is_part);
        let system = cx.as_system(SYSTEM);
        let admitted = match self.admit_to_container(&system, &own, added).await {
            Ok(room) => {
                self.admit_to_account(&system, &own, added).await.map(|other| least(room, other))
            }
            refused => refused,
        };
        match admitted {
            Err(error) if error.kind == Kind::QuotaExceeded => {
                // Callers without the right learn nothing of the container.
                let permission = cx.needs(Permission::PutObject);
                self.next.authorize(cx, Authorize::object(permission, object)).await?;
                tracing::debug!(trans_id = %cx.trans_id, "The upload exceeds a quota.");
                Err(error)
            }
            admitted => admitted,
        }
    }

    async fn admit_to_container(
        &self,
        system: &Context,
        container: &ContainerPath,
        added: Usage,
    ) -> Result<Option<u64>> {
        let head = |container| HeadContainer { container };
        if !self.options.containers {
            return Ok(None);
        }
        let info = existing_container(&*self.next, system, container).await?;
        let Some(info) = info else { return Ok(None) };
        let quota = Quota::of_container(&info.headers);
        if !quota.is_set() {
            return Ok(None);
        }
        let current = self.next.head_container(system, head(container.clone())).await?;
        let mut used = Usage::of_container(&current.headers);
        if quota.bytes.is_some() {
            let versions = container_of_versions(container, &current.headers);
            for hidden in versions.into_iter().chain(hidden_container(container).ok()) {
                used.bytes = used.bytes.saturating_add(self.bytes_of(system, hidden).await?);
            }
        }
        quota.admit(used, added).map_err(exceeded)
    }

    /// Bytes of a hidden container, which may not exist: of versions, or of parts of uploads.
    async fn bytes_of(&self, system: &Context, hidden: ContainerPath) -> Result<u64> {
        match self.next.head_container(system, HeadContainer { container: hidden }).await {
            Ok(head) => Ok(Usage::of_container(&head.headers).bytes),
            Err(error) if error.kind == Kind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    async fn admit_to_account(
        &self,
        system: &Context,
        container: &ContainerPath,
        added: Usage,
    ) -> Result<Option<u64>> {
        // As in Swift, quotas do not bind resellers.
        if !self.options.accounts || system.identity.is_reseller_admin() {
            return Ok(None);
        }
        let account = || HeadAccount { account: container.account.clone() };
        // Writes need no account server, except where a quota is known.
        let Ok(known) = self.next.account_info(system, account()).await else { return Ok(None) };
        if !Quota::is_in_account(&known.headers) {
            return Ok(None);
        }
        let head = self.next.head_account(system, account()).await?;
        let info = existing_container(&*self.next, system, container).await?;
        let policy = info.map(|info| info.policy);
        let admit = |policy| {
            let used = Usage::of_account(&head.headers, &self.policies, policy);
            Quota::of_account(&head.headers, policy).admit(used, added).map_err(exceeded)
        };
        let of_policy = match policy {
            Some(policy) => admit(Some(policy))?,
            None => None,
        };
        Ok(least(admit(None)?, of_policy))
    }
}

#[async_trait]
impl Primitive for Quotas {
    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        // The parts of a completed upload were admitted; its manifest is no document of the client.
        let bytes = match op.metadata.contains_key(S3_UPLOAD_ID) {
            true => Some(0),
            false => op.length,
        };
        let room = self.admit(cx, &op.object, bytes).await?;
        if let (Some(room), None) = (room, bytes) {
            op.body = limited(op.body, room, || exceeded(QuotaExceeded));
        }
        self.next.put_object(cx, op).await
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container, head_object, get_object,
        post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

#[async_trait]
impl LinkStore for Quotas {
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten> {
        self.admit(cx, &op.object, Some(0)).await?;
        self.next.put_symlink(cx, op).await
    }
}

#[async_trait]
impl VersionStore for Quotas {
    forward!(next: list_versions);

    async fn restore_version(&self, cx: &Context, op: RestoreVersion) -> Result<ObjectWritten> {
        self.admit(cx, &op.object, Some(0)).await?;
        self.next.restore_version(cx, op).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory_store::container;
    use super::*;

    #[test]
    fn parts_count_in_their_bucket() {
        for (name, is_part, expected) in [
            ("b", false, "b"),
            ("b", true, "b"),
            ("b+segments", true, "b"),
            ("b+segments", false, "b+segments"),
            ("+segments", true, "+segments"),
        ] {
            assert_eq!(
                container_of_quota(&container(name), is_part),
                container(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn the_smaller_limit_holds() {
        for (one, other, expected) in [
            (None, None, None),
            (Some(1), None, Some(1)),
            (None, Some(2), Some(2)),
            (Some(3), Some(2), Some(2)),
        ] {
            assert_eq!(least(one, other), expected);
        }
    }
}
