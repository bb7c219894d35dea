//! Versions of objects, as Swift stores them.
//!
//! Source: `swift/common/middleware/versioned_writes/object_versioning.py`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, Primitive, Result, Subject};

/// The stage that keeps versions.
pub struct Versions {
    next: Arc<dyn LinkStore>,
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Versions")
    }
}

impl Versions {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn LinkStore>) -> Self {
        Self { next }
    }
}

/// Refuses a version other than `null`: no container keeps versions.
fn check(version: Option<VersionId>) -> Result<()> {
    match version {
        None | Some(VersionId::Null) => Ok(()),
        Some(VersionId::At(_)) => Err(Error::new(Kind::NotFound, Subject::Version)),
    }
}

/// Refuses a change of versioning.
fn check_unset(versioning: Option<Versioning>) -> Result<()> {
    match versioning {
        None => Ok(()),
        Some(_) => Err(Error::new(Kind::NotSupported, Subject::Container)),
    }
}

#[async_trait]
impl Primitive for Versions {
    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead> {
        check(op.version)?;
        self.next.head_object(cx, op).await
    }

    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead> {
        check(op.head.version)?;
        self.next.get_object(cx, op).await
    }

    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead> {
        check(op.version)?;
        self.next.post_object(cx, op).await
    }

    async fn update_object(&self, cx: &Context, op: UpdateObject) -> Result<ObjectHead> {
        check(op.version)?;
        self.next.update_object(cx, op).await
    }

    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted> {
        check(op.version)?;
        self.next.delete_object(cx, op).await
    }

    async fn put_container(&self, cx: &Context, op: PutContainer) -> Result<bool> {
        check_unset(op.versioning)?;
        self.next.put_container(cx, op).await
    }

    async fn post_container(&self, cx: &Context, op: PostContainer) -> Result<()> {
        check_unset(op.versioning)?;
        self.next.post_container(cx, op).await
    }

    forward!(next:
        authorize, container_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, delete_container, put_object,
        queue_deletions,
    );
}

impl LinkStore for Versions {
    forward!(next: put_symlink);
}
