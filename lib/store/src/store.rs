//! Traits of the operations, and the one list from which stages forward them.
//!
//! [`Primitive`] has the operations that the gate performs; [`Store`] has all operations. The traits
//! between them name what each stage adds, so that a stage states in its types what it needs below
//! it: an operation that no lower stage performs cannot be called.

use async_trait::async_trait;

use crate::Result;
use crate::context::Context;
use crate::operation::*;

/// Declares the traits, and `operation!`, which writes the signature of an operation by its name.
macro_rules! operations {
    ($d:tt $(
        $(#[$trait_doc:meta])*
        trait $trait:ident: $($bound:path),+ {
            $($(#[$doc:meta])* $name:ident($op:ty) -> $reply:ty;)+
        }
    )+) => {
        $(
            $(#[$trait_doc])*
            #[async_trait]
            pub trait $trait: $($bound +)+ {
                $($(#[$doc])* async fn $name(&self, cx: &Context, op: $op) -> Result<$reply>;)+
            }
        )+

        /// One operation with this body, as `async_trait` declares it.
        macro_rules! operation {
            $($((
                $name($d this:ident, $d cx:ident, $d op:ident) $d body:block
            ) => {
                fn $name<'a, 'b, 'c>(
                    &'a $d this,
                    $d cx: &'b crate::context::Context,
                    $d op: $op,
                ) -> ::futures_util::future::BoxFuture<'c, crate::Result<$reply>>
                where
                    'a: 'c,
                    'b: 'c,
                    Self: 'c,
                $d body
            };)+)+
        }
        pub(crate) use operation;
    };
}

operations! { $
    /// Operations that the gate performs: accounts, containers and objects as they are stored. None
    /// has a default, so that a new one must be placed in each stage.
    trait Primitive: Send, Sync {
        /// Checks whether the caller may do something, for stages that must know before they act. It
        /// grants nothing: the gate checks again.
        authorize(Authorize) -> ();
        /// A container's metadata as the gate knows it, at most ten seconds old, for stages whose
        /// work depends on it. It needs no right; callers never see it.
        container_info(HeadContainer) -> ::std::sync::Arc<ContainerHead>;
        /// The same for an account. One that does not exist yet is shown as empty.
        account_info(HeadAccount) -> ::std::sync::Arc<AccountHead>;
        /// Reads an account's metadata.
        head_account(HeadAccount) -> AccountHead;
        /// Lists an account.
        list_containers(ListContainers) -> ContainerList;
        /// Changes an account's metadata.
        post_account(PostAccount) -> ();
        /// Creates an account; `true` when it is new.
        put_account(PutAccount) -> bool;
        /// Deletes an account.
        delete_account(DeleteAccount) -> ();
        /// Reads a container's metadata.
        head_container(HeadContainer) -> ContainerHead;
        /// Lists a container.
        list_objects(ListObjects) -> ObjectList;
        /// Creates a container; `true` when it is new.
        put_container(PutContainer) -> bool;
        /// Changes a container's metadata.
        post_container(PostContainer) -> ();
        /// Deletes a container.
        delete_container(DeleteContainer) -> ();
        /// Reads an object's metadata.
        head_object(HeadObject) -> ObjectHead;
        /// Reads an object.
        get_object(GetObject) -> ObjectRead;
        /// Writes an object.
        put_object(PutObject) -> ObjectWritten;
        /// Replaces an object's metadata; returns the metadata in the servers' response, above all
        /// system metadata.
        post_object(PostObject) -> ObjectHead;
        /// Changes a setting of an object, and keeps its metadata; returns the object as it is then.
        update_object(UpdateObject) -> ObjectHead;
        /// Deletes an object.
        delete_object(DeleteObject) -> Deleted;
        /// Leaves the deletion of objects to the expirer.
        queue_deletions(QueueDeletions) -> ();
        /// Writes and removes rows of one of the cluster's own queues.
        update_queue(UpdateQueue) -> ();
    }

    /// [`Primitive`] with symbolic links, which its reads follow.
    trait LinkStore: Primitive {
        /// Writes a symbolic link.
        put_symlink(PutSymlink) -> ObjectWritten;
    }

    /// [`LinkStore`] with versions of objects.
    trait VersionStore: LinkStore {
        /// Lists the versions of the objects in a container.
        list_versions(ListVersions) -> VersionList;
        /// Makes a version the current one.
        restore_version(RestoreVersion) -> ObjectWritten;
    }

    /// [`VersionStore`] with static large objects.
    trait ManifestStore: VersionStore {
        /// Writes the manifest of a static large object.
        put_manifest(PutManifest) -> ObjectWritten;
    }

    /// [`ManifestStore`] with multipart uploads.
    trait UploadStore: ManifestStore {
        /// Starts a multipart upload.
        create_upload(CreateUpload) -> StartedUpload;
        /// Writes one part.
        put_part(PutPart) -> ObjectWritten;
        /// Copies one part.
        put_part_copy(PutPartCopy) -> ObjectWritten;
        /// Lists the parts of an upload.
        list_parts(ListParts) -> PartList;
        /// Lists the uploads of a container.
        list_uploads(ListUploads) -> UploadList;
        /// Completes an upload.
        complete_upload(CompleteUpload) -> ObjectWritten;
        /// Aborts an upload.
        abort_upload(AbortUpload) -> ();
    }

    /// [`UploadStore`] with copies.
    trait CopyStore: UploadStore {
        /// Copies an object.
        copy_object(CopyObject) -> (ObjectHead, ObjectWritten);
    }

    /// All operations: [`CopyStore`] with names of buckets. This is what the dialects use.
    trait Store: CopyStore {
        /// Creates a bucket.
        create_bucket(CreateBucket) -> CreatedBucket;
        /// The account of a bucket; `None` if no account is known to have it. It needs no right.
        find_bucket(FindBucket) -> ::std::option::Option<::apus_cluster::AccountName>;
    }
}

/// Forwards operations, by name, to the next stage unchanged.
macro_rules! forward {
    ($next:ident: $($name:ident),+ $(,)?) => {
        $(crate::store::operation!($name(self, cx, op) { self.$next.$name(cx, op) });)+
    };
}
pub(crate) use forward;
