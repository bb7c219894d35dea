//! Static large objects: a manifest names segments with their etags and sizes.
//!
//! The format is Swift's (`swift/common/middleware/slo.py`): the manifest is a JSON object with
//! `X-Static-Large-Object`, the joined etag and size are in system metadata, and both are in the
//! container row.
//!
//! [`budget::ManifestBudget`] limits the work that one request may cause. Before the first byte of
//! a body at most ten manifests, one for each level of nesting, and one segment are read. A new
//! manifest requests each object that it names once. A deletion deletes at most 10,000 names below
//! its manifest.

mod budget;
mod delete;
pub(crate) mod manifest;
mod queued;
#[cfg(test)]
mod tests;
mod walk;
mod write;

use std::sync::Arc;

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::{Metadata, ObjectPath};
use async_trait::async_trait;

pub(crate) use self::budget::add_lengths;
use self::manifest::StoredManifest;
use self::walk::ManifestWalk;
use super::{existing_container, multipart, part_heads, segments};
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject, VersionStore};

/// System metadata with the etag of the joined object.
pub(crate) const ETAG_KEY: &str = "X-Object-Sysmeta-Slo-Etag";
/// System metadata with its size.
pub(crate) const SIZE_KEY: &str = "X-Object-Sysmeta-Slo-Size";
/// System metadata of our own with the number of nested manifests, where it is more than one.
/// Swift's manifests do not have it.
const DEPTH_KEY: &str = "X-Object-Sysmeta-Apus-Slo-Depth";

/// The parts that a read asks for.
#[derive(Clone, Copy)]
struct RequestedParts {
    part: Option<u32>,
    page: Option<PartsPage>,
    metadata: bool,
}

impl RequestedParts {
    fn of(op: &HeadObject) -> Self {
        Self { part: op.part, page: op.parts, metadata: op.part_metadata }
    }

    fn any(self) -> bool {
        self.part.is_some() || self.page.is_some()
    }

    /// The page: one part by its number, or several.
    fn page(self) -> Option<PartsPage> {
        let Some(part) = self.part else { return self.page };
        let number = usize::try_from(part).unwrap_or(usize::MAX);
        Some(PartsPage { after: number.saturating_sub(1), limit: 1 })
    }
}

/// The stage that joins static large objects.
pub struct Slo {
    next: Arc<dyn VersionStore>,
}

impl std::fmt::Debug for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slo")
    }
}

/// The head of a manifest as that of the joined object.
fn joined_head(mut head: ObjectHead) -> ObjectHead {
    head.manifest_etag = Some(head.etag.clone());
    if let Some(etag) = head.get(ETAG_KEY).map(str::to_owned) {
        head.etag = etag;
    }
    if let Some(size) = head.get(SIZE_KEY).and_then(|size| size.parse().ok()) {
        head.length = size;
    }
    head
}

/// The error about a manifest as one about the joined object.
fn joined_error(mut error: Error) -> Error {
    error.head = error.head.take().map(|head| {
        let manifest = head.is_manifest();
        if manifest { Box::new(joined_head(*head)) } else { head }
    });
    error
}

/// The authority under which the segments are read. Parts of the upload that created the object are
/// the object's own: a caller who may read it may read them.
fn context_of_segments(
    cx: &Context,
    (object, head): (&ObjectPath, &ObjectHead),
    manifest: &StoredManifest,
) -> Context {
    let own = multipart::parts_prefix(object, head).is_some_and(|parts| {
        let account = &object.container.account;
        let is_part = |path: Result<ObjectPath>| path.is_ok_and(|path| parts.contains(&path));
        manifest.entries.iter().all(|entry| entry.data.is_none() && is_part(entry.path(account)))
    });
    if own { cx.as_system("multipart") } else { cx.clone() }
}

impl Slo {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn VersionStore>) -> Self {
        Self { next }
    }

    /// Whether a deletion keeps the object as a version. A container that does not exist keeps none.
    async fn keeps_version(&self, cx: &Context, op: &DeleteObject) -> Result<bool> {
        if op.version.is_some() {
            return Ok(false);
        }
        let info = existing_container(&*self.next, cx, &op.object.container).await?;
        Ok(info.is_some_and(|info| info.versioning() == Some(Versioning::Enabled)))
    }

    /// Adds the requested parts to the head of the joined object.
    async fn add_parts(
        &self,
        cx: &Context,
        (object, manifest): (&ObjectPath, &StoredManifest),
        requested: RequestedParts,
        head: &mut ObjectHead,
    ) -> Result<()> {
        let Some(page) = requested.page() else { return Ok(()) };
        let count = manifest.entries.len();
        head.parts_count = Some(count);
        let mut parts = Vec::new();
        for index in (page.after..count).take(page.limit) {
            let Some((entry, start, end)) = manifest.entry(index) else { break };
            // The metadata of a segment does not describe a range of it.
            let path = match (&entry.data, &entry.range) {
                (None, None) if requested.metadata => Some(entry.path(&object.container.account)?),
                _ => None,
            };
            let (number, length) = (index + 1, end - start);
            parts.push((PartHead { number, start, length, metadata: Metadata::new() }, path));
        }
        head.parts = part_heads::fill(self.next.clone(), cx, parts).await?;
        if let (Some(part), []) = (requested.part, head.parts.as_slice()) {
            let mut error = Error::new(Kind::InvalidPart, Subject::Object)
                .text(format!("the object has no part {part}"));
            error.head = Some(Box::new(head.clone()));
            return Err(error);
        }
        Ok(())
    }
}

#[async_trait]
impl Primitive for Slo {
    async fn head_object(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        if op.raw {
            return self.next.head_object(cx, op).await;
        }
        op.etag_at.push(ETAG_KEY.to_owned());
        let (object, version) = (op.object.clone(), op.version);
        let requested = RequestedParts::of(&op);
        let head = self.next.head_object(cx, op).await.map_err(joined_error)?;
        if !head.is_manifest() {
            return Ok(head);
        }
        let mut head = joined_head(head);
        if head.get(SIZE_KEY).is_none() || requested.any() {
            let manifest = StoredManifest::read(&*self.next, cx, (&object, version)).await?;
            head.length = manifest.total();
            let cx = &context_of_segments(cx, (&object, &head), &manifest);
            self.add_parts(cx, (&object, &manifest), requested, &mut head).await?;
        }
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        if op.head.raw {
            return self.next.get_object(cx, op).await;
        }
        let object = op.head.object.clone();
        let (ranges, requested) = (op.ranges.clone(), RequestedParts::of(&op.head));
        op.head.etag_at.push(ETAG_KEY.to_owned());
        op.ignore_range_if = Some("X-Static-Large-Object".to_owned());
        let read = self.next.get_object(cx, op).await.map_err(joined_error)?;
        if !read.head.is_manifest() {
            return Ok(read);
        }
        let mut head = joined_head(read.head.clone());
        let manifest = StoredManifest::collect(read, budget::MANIFEST_BYTES_MAX).await?;
        head.length = manifest.total();
        if head.get(ETAG_KEY).is_none() {
            head.etag = manifest::joined_etag(&manifest.entries)?;
        }
        let cx = &context_of_segments(cx, (&object, &head), &manifest);
        self.add_parts(cx, (&object, &manifest), requested, &mut head).await?;
        let ranges = match (requested.part, head.parts.first()) {
            (Some(_), Some(part)) if part.length == 0 => {
                // No range can express this: an empty body.
                head.length = 0;
                let body = apus_daemon::http::empty();
                return Ok(ObjectRead { head, served: Served::Whole, body });
            }
            (Some(_), Some(part)) => Some(ByteRanges::single(part.start, part.length)),
            _ => ranges,
        };
        let planned = segments::plan(ranges.as_ref(), head.length);
        let (served, wanted) = planned.map_err(|mut error| {
            error.head = Some(Box::new(head.clone()));
            error
        })?;
        let pieces = ManifestWalk::new(self.next.clone(), cx.clone(), object, manifest, wanted);
        let body = segments::join(self.next.clone(), cx.clone(), pieces).await?;
        Ok(ObjectRead { head, served, body })
    }

    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        self.next.put_object(cx, op).await
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        op.conditions.size_at.push(SIZE_KEY.to_owned());
        // The manifest stays as a version, which needs its segments.
        if op.segments != SegmentFate::Kept && self.keeps_version(cx, &op).await? {
            op.segments = SegmentFate::Kept;
        }
        match op.segments {
            SegmentFate::Kept => return self.next.delete_object(cx, op).await,
            SegmentFate::Queued => {
                queued::queue_segments(&*self.next, cx, (&op.object, op.version)).await?;
                return self.next.delete_object(cx, op).await;
            }
            SegmentFate::OwnParts => {
                return delete::with_own_parts(self.next.clone(), cx, op).await;
            }
            SegmentFate::Deleted => {}
        }
        // The target of a link keeps its segments.
        let version = op.version;
        let head = HeadObject { version, link_itself: true, ..HeadObject::new(op.object.clone()) };
        match self.next.head_object(cx, head).await {
            Ok(head) if head.is_manifest() => {
                delete::with_segments(self.next.clone(), cx, op).await
            }
            Ok(_) => self.next.delete_object(cx, op).await,
            // An interrupted deletion may have left a row in the listing: another deletion removes it.
            Err(error)
                if matches!(
                    error.kind,
                    Kind::NotFound | Kind::IsDeleteMarker | Kind::Undecryptable
                ) =>
            {
                self.next.delete_object(cx, op).await
            }
            Err(error) => Err(error),
        }
    }

    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        post_object, update_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Slo {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Slo {
    forward!(next: put_symlink);
}

#[async_trait]
impl ManifestStore for Slo {
    async fn put_manifest(&self, cx: &Context, mut op: PutManifest) -> Result<ObjectWritten> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        write::put(self.next.clone(), cx, op).await
    }
}
