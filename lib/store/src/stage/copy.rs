//! Copies: a read and a write, both as the caller.

use std::sync::Arc;

use apus_cluster::Metadata;
use apus_cluster::constraints::SLO_MAX_MANIFEST_SIZE;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource, has_prefix};
use async_trait::async_trait;

use super::slo::manifest;
use super::symlink::Link;
use crate::body::{LateMetadata, collect};
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Result, Store};

/// The stage.
pub struct Copy {
    next: Arc<dyn Store>,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Copy")
    }
}

impl Copy {
    /// Above `next`.
    pub fn new(next: Arc<dyn Store>) -> Self {
        Self { next }
    }
}

/// What a copy inherits: user metadata unless fresh is asked for, and the headers that describe
/// the content. How the source was stored (a manifest, a checksum of its parts) stays behind.
fn inherited(source: &ObjectHead, fresh: bool, as_manifest: bool) -> Metadata {
    source
        .metadata
        .iter()
        .filter(|(name, _)| {
            let user = has_prefix(name, Resource::Object.user_prefix());
            let kept = OBJECT_HEADERS.contains(&name.as_str()) && *name != "X-Static-Large-Object";
            let dlo = *name == "X-Object-Manifest";
            (user && !fresh) || (kept && !fresh && (!dlo || as_manifest))
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[async_trait]
impl Store for Copy {
    async fn copy_object(
        &self,
        cx: &Context,
        op: CopyObject,
    ) -> Result<(ObjectHead, ObjectWritten)> {
        let mut source = op.source;
        source.head.raw = op.as_manifest;
        let link_itself = source.head.link_itself;
        let read = self.next.get_object(cx, source).await?;
        let mut metadata = inherited(&read.head, op.fresh_metadata, op.as_manifest);
        metadata.extend(op.metadata);
        metadata.retain(|_, value| !value.is_empty());
        let content_type =
            op.content_type.unwrap_or_else(|| split_swift_bytes(&read.head.content_type).0);
        if link_itself && let Some(link) = Link::of(&read.head)? {
            let account = op.link_account.or_else(|| link.target.account.clone());
            let put = PutSymlink {
                object: op.target,
                target: LinkTarget { account, ..link.target },
                target_etag: link.etag,
                content_type: Some(content_type),
                metadata,
                etag: None,
                conditions: op.conditions,
            };
            let written = self.next.put_symlink(cx, put).await?;
            return Ok((read.head, written));
        }
        if op.as_manifest && read.head.is_manifest() {
            // Written anew, so that every segment is looked at with the rights of the caller and
            // in the account of the copy.
            let stored = collect(read.body, SLO_MAX_MANIFEST_SIZE).await?;
            let segments = manifest::parse(&stored)?.into_iter().map(|entry| Segment {
                size: entry.data.is_none().then_some(entry.bytes),
                etag: Some(entry.hash).filter(|etag| !etag.is_empty()),
                path: entry.name,
                range: entry.range,
                data: entry.data,
            });
            let put = PutManifest {
                object: op.target,
                segments: segments.collect(),
                content_type,
                metadata,
                etag: None,
                conditions: op.conditions,
                trusted: false,
            };
            let written = self.next.put_manifest(cx, put).await?;
            return Ok((read.head, written));
        }
        let length = match &read.served {
            Served::Whole => read.head.known_length(),
            Served::Ranges(ranges) => Some(ranges.iter().map(|range| range.length).sum()),
        };
        let put = PutObject {
            object: op.target,
            body: read.body,
            length,
            content_type,
            metadata,
            etag: None,
            timestamp: None,
            conditions: op.conditions,
            late: LateMetadata::default(),
        };
        let written = self.next.put_object(cx, put).await?;
        Ok((read.head, written))
    }

    forward!(next:
        authorize(Authorize) -> (),
        head_account(HeadAccount) -> AccountHead,
        list_containers(ListContainers) -> ContainerList,
        post_account(PostAccount) -> (),
        put_account(PutAccount) -> bool,
        delete_account(DeleteAccount) -> (),
        head_container(HeadContainer) -> ContainerHead,
        list_objects(ListObjects) -> ObjectList,
        put_container(PutContainer) -> bool,
        post_container(PostContainer) -> (),
        delete_container(DeleteContainer) -> (),
        head_object(HeadObject) -> ObjectHead,
        get_object(GetObject) -> ObjectRead,
        put_object(PutObject) -> ObjectWritten,
        put_symlink(PutSymlink) -> ObjectWritten,
        post_object(PostObject) -> ObjectHead,
        delete_object(DeleteObject) -> Deleted,
        queue_deletions(QueueDeletions) -> (),
        put_manifest(PutManifest) -> ObjectWritten,
        create_upload(CreateUpload) -> String,
        put_part(PutPart) -> ObjectWritten,
        put_part_copy(PutPartCopy) -> ObjectWritten,
        list_parts(ListParts) -> PartList,
        list_uploads(ListUploads) -> UploadList,
        complete_upload(CompleteUpload) -> ObjectWritten,
        abort_upload(AbortUpload) -> (),
    );
}
