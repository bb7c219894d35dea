//! The operation plane.

use async_trait::async_trait;

use crate::Result;
use crate::context::Context;
use crate::operation::*;

/// Every operation, none with a default: a new one must be placed in each stage.
#[async_trait]
pub trait Store: Send + Sync {
    /// Whether the caller may do something, for stages that must know before they act. It gives
    /// no right: the gate asks again.
    async fn authorize(&self, cx: &Context, op: Authorize) -> Result<()>;
    /// Reads an account's metadata.
    async fn head_account(&self, cx: &Context, op: HeadAccount) -> Result<AccountHead>;
    /// Lists an account.
    async fn list_containers(&self, cx: &Context, op: ListContainers) -> Result<ContainerList>;
    /// Changes an account's metadata.
    async fn post_account(&self, cx: &Context, op: PostAccount) -> Result<()>;
    /// Makes an account; `true` when it is new.
    async fn put_account(&self, cx: &Context, op: PutAccount) -> Result<bool>;
    /// Deletes an account.
    async fn delete_account(&self, cx: &Context, op: DeleteAccount) -> Result<()>;
    /// Reads a container's metadata.
    async fn head_container(&self, cx: &Context, op: HeadContainer) -> Result<ContainerHead>;
    /// Lists a container.
    async fn list_objects(&self, cx: &Context, op: ListObjects) -> Result<ObjectList>;
    /// Makes a container; `true` when it is new.
    async fn put_container(&self, cx: &Context, op: PutContainer) -> Result<bool>;
    /// Changes a container's metadata.
    async fn post_container(&self, cx: &Context, op: PostContainer) -> Result<()>;
    /// Deletes a container.
    async fn delete_container(&self, cx: &Context, op: DeleteContainer) -> Result<()>;
    /// Reads an object's metadata.
    async fn head_object(&self, cx: &Context, op: HeadObject) -> Result<ObjectHead>;
    /// Reads an object.
    async fn get_object(&self, cx: &Context, op: GetObject) -> Result<ObjectRead>;
    /// Writes an object.
    async fn put_object(&self, cx: &Context, op: PutObject) -> Result<ObjectWritten>;
    /// Writes a symbolic link.
    async fn put_symlink(&self, cx: &Context, op: PutSymlink) -> Result<ObjectWritten>;
    /// Replaces an object's metadata; gives what the servers told of it, system metadata above all.
    async fn post_object(&self, cx: &Context, op: PostObject) -> Result<ObjectHead>;
    /// Deletes an object.
    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted>;
    /// Leaves the deletion of objects to the expirer.
    async fn queue_deletions(&self, cx: &Context, op: QueueDeletions) -> Result<()>;
    /// Copies an object.
    async fn copy_object(
        &self,
        cx: &Context,
        op: CopyObject,
    ) -> Result<(ObjectHead, ObjectWritten)>;
    /// Writes a static large object's manifest.
    async fn put_manifest(&self, cx: &Context, op: PutManifest) -> Result<ObjectWritten>;
    /// Begins a multipart upload and gives its id.
    async fn create_upload(&self, cx: &Context, op: CreateUpload) -> Result<String>;
    /// Writes one part.
    async fn put_part(&self, cx: &Context, op: PutPart) -> Result<ObjectWritten>;
    /// Copies one part.
    async fn put_part_copy(&self, cx: &Context, op: PutPartCopy) -> Result<ObjectWritten>;
    /// Lists the parts of an upload.
    async fn list_parts(&self, cx: &Context, op: ListParts) -> Result<PartList>;
    /// Lists the uploads of a container.
    async fn list_uploads(&self, cx: &Context, op: ListUploads) -> Result<UploadList>;
    /// Completes an upload.
    async fn complete_upload(&self, cx: &Context, op: CompleteUpload) -> Result<ObjectWritten>;
    /// Gives an upload up.
    async fn abort_upload(&self, cx: &Context, op: AbortUpload) -> Result<()>;
}

/// Hands operations, by name, to the next stage unchanged.
macro_rules! forward {
    ($next:ident: $($name:ident($op:ty) -> $reply:ty),* $(,)?) => {
        $(
            #[allow(clippy::type_complexity)]
            fn $name<'a, 'b, 'c>(
                &'a self,
                cx: &'b crate::context::Context,
                op: $op,
            ) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = crate::Result<$reply>> + Send + 'c>>
            where
                'a: 'c,
                'b: 'c,
                Self: 'c,
            {
                self.$next.$name(cx, op)
            }
        )*
    };
}
pub(crate) use forward;
