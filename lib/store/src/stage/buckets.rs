//! Names of buckets: unique in the cluster by a registry, or in each account without one.

use std::sync::Arc;

use apus_policy::Permission;
use async_trait::async_trait;

use crate::buckets::Registry;
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{
    CopyStore, Kind, LinkStore, ManifestStore, Primitive, Result, Store, UploadStore, VersionStore,
};

/// The stage that knows whose bucket has a name.
pub struct Buckets {
    next: Arc<dyn CopyStore>,
    registry: Option<Registry>,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Buckets {
    /// Creates the stage above `next`; without a registry each account has names of its own.
    pub fn new(next: Arc<dyn CopyStore>, registry: Option<Registry>) -> Self {
        Self { next, registry }
    }

    /// The next stage, for operations on containers.
    fn containers(&self) -> &dyn Primitive {
        &*self.next
    }

    /// Creates a container unless it exists.
    async fn create_in_account(&self, cx: &Context, op: PutContainer) -> Result<CreatedBucket> {
        let head = HeadContainer { container: op.container.clone() };
        match self.next.head_container(&cx.as_system("buckets"), head).await {
            Ok(head) => return Ok(CreatedBucket::Existing(Box::new(head))),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.next.put_container(cx, op).await?;
        Ok(CreatedBucket::New)
    }
}

#[async_trait]
impl Primitive for Buckets {
    async fn put_container(&self, cx: &Context, op: PutContainer) -> Result<bool> {
        let container = op.container.clone();
        let done = self.next.put_container(cx, op).await;
        if let Some(registry) = &self.registry {
            registry.note_container(&container);
        }
        done
    }

    async fn delete_container(&self, cx: &Context, op: DeleteContainer) -> Result<()> {
        match &self.registry {
            Some(registry) => registry.delete(cx, self.containers(), op).await,
            None => self.next.delete_container(cx, op).await,
        }
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, post_container, head_object, get_object,
        put_object, post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Buckets {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Buckets {
    forward!(next: put_symlink);
}

impl ManifestStore for Buckets {
    forward!(next: put_manifest);
}

impl UploadStore for Buckets {
    forward!(next:
        create_upload, put_part, put_part_copy, list_parts, list_uploads, complete_upload,
        abort_upload,
    );
}

impl CopyStore for Buckets {
    forward!(next: copy_object);
}

#[async_trait]
impl Store for Buckets {
    async fn create_bucket(&self, cx: &Context, op: CreateBucket) -> Result<CreatedBucket> {
        let op = op.container;
        let authorize = Authorize::container(Permission::CreateBucket, op.container.clone());
        match self.next.authorize(cx, authorize).await {
            Err(error) if error.kind != Kind::NotFound => return Err(error),
            _ => {}
        }
        match &self.registry {
            Some(registry) => registry.create(cx, self.containers(), op).await,
            None => self.create_in_account(cx, op).await,
        }
    }

    async fn find_bucket(
        &self,
        cx: &Context,
        op: FindBucket,
    ) -> Result<Option<apus_cluster::AccountName>> {
        match &self.registry {
            Some(registry) => registry.find(cx, self.containers(), op).await,
            None => Ok(op.own),
        }
    }
}
