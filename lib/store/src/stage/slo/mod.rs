//! Static large objects: a manifest names segments with their etags and sizes.
//!
//! Stored as Swift stores them (`swift/common/middleware/slo.py`): the manifest as a JSON object
//! with `X-Static-Large-Object`, the joined etag and size in system metadata, and both in the
//! container row.

//!
//! What one request may do with manifests is limited by [`budget::ManifestBudget`]. Before the
//! first byte of a body at most ten manifests are read, one for each level of nesting, and one
//! segment; a new manifest has each object that it names looked at once; a deletion deletes at most
//! 10,000 names below its manifest.

mod budget;
mod delete;
mod later;
pub(crate) mod manifest;
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
use super::part_heads;
use super::segments;
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, LinkStore, ManifestStore, Primitive, Result, Subject};

/// System metadata with the etag of the joined object.
pub(crate) const ETAG_KEY: &str = "X-Object-Sysmeta-Slo-Etag";
/// System metadata with its size.
pub(crate) const SIZE_KEY: &str = "X-Object-Sysmeta-Slo-Size";
/// System metadata of our own with the number of manifests that are nested in one another, where it
/// is more than one. Swift's manifests are without it.
const DEPTH_KEY: &str = "X-Object-Sysmeta-Apus-Slo-Depth";

/// What a read asks about parts.
#[derive(Clone, Copy)]
struct AskedParts {
    part: Option<u32>,
    page: Option<PartsPage>,
    metadata: bool,
}

impl AskedParts {
    fn of(op: &HeadObject) -> Self {
        Self { part: op.part, page: op.parts, metadata: op.part_metadata }
    }

    fn any(self) -> bool {
        self.part.is_some() || self.page.is_some()
    }
}

/// The stage.
pub struct Slo {
    next: Arc<dyn LinkStore>,
}

impl std::fmt::Debug for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slo")
    }
}

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

/// An error about a manifest tells of the joined object.
fn joined_error(mut error: Error) -> Error {
    error.head = error.head.take().map(|head| {
        let manifest = head.is_manifest();
        if manifest { Box::new(joined_head(*head)) } else { head }
    });
    error
}

impl Slo {
    /// Above `next`.
    pub fn new(next: Arc<dyn LinkStore>) -> Self {
        Self { next }
    }

    /// Fills in what was asked about parts: one by its number, or a page of them.
    async fn tell_of_parts(
        &self,
        cx: &Context,
        object: &ObjectPath,
        manifest: &StoredManifest,
        asked: AskedParts,
        head: &mut ObjectHead,
    ) -> Result<()> {
        let page = match (asked.part, asked.page) {
            (None, None) => return Ok(()),
            (None, Some(page)) => page,
            (Some(part), _) => {
                let number = usize::try_from(part).unwrap_or(usize::MAX);
                PartsPage { after: number.saturating_sub(1), limit: 1 }
            }
        };
        let count = manifest.entries.len();
        head.parts_count = Some(count);
        let mut parts = Vec::new();
        for index in (page.after..count).take(page.limit) {
            let Some((entry, start, end)) = manifest.entry(index) else { break };
            // What is stored with a segment is not true of a range of it.
            let path = match (&entry.data, &entry.range) {
                (None, None) if asked.metadata => Some(entry.path(&object.container.account)?),
                _ => None,
            };
            let (number, length) = (index + 1, end - start);
            parts.push((PartHead { number, start, length, metadata: Metadata::new() }, path));
        }
        head.parts = part_heads::fill(self.next.clone(), cx, parts).await?;
        if let (Some(part), []) = (asked.part, head.parts.as_slice()) {
            let mut error = Error::new(Kind::InvalidPart, Subject::Object)
                .text(format!("there is no part {part}"));
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
        let (object, asked) = (op.object.clone(), AskedParts::of(&op));
        let head = self.next.head_object(cx, op).await.map_err(joined_error)?;
        if !head.is_manifest() {
            return Ok(head);
        }
        let mut head = joined_head(head);
        if head.get(SIZE_KEY).is_none() || asked.any() {
            let manifest = StoredManifest::read(&*self.next, cx, &object).await?;
            head.length = manifest.total();
            self.tell_of_parts(cx, &object, &manifest, asked, &mut head).await?;
        }
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        if op.head.raw {
            return self.next.get_object(cx, op).await;
        }
        let object = op.head.object.clone();
        let (ranges, asked) = (op.ranges.clone(), AskedParts::of(&op.head));
        op.head.etag_at.push(ETAG_KEY.to_owned());
        op.ignore_range_if = Some("X-Static-Large-Object".to_owned());
        let read = self.next.get_object(cx, op).await.map_err(joined_error)?;
        if !read.head.is_manifest() {
            return Ok(read);
        }
        let mut head = joined_head(read.head.clone());
        let manifest = StoredManifest::collect(read, budget::HELD_BYTES_MAX).await?;
        head.length = manifest.total();
        if head.get(ETAG_KEY).is_none() {
            head.etag = manifest::joined_etag(&manifest.entries)?;
        }
        self.tell_of_parts(cx, &object, &manifest, asked, &mut head).await?;
        let ranges = match (asked.part, head.parts.first()) {
            (Some(_), Some(part)) if part.length == 0 => {
                // No range can say this: an empty answer.
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
        match op.segments {
            SegmentFate::Kept => return self.next.delete_object(cx, op).await,
            SegmentFate::Queued => {
                later::queue_segments(&*self.next, cx, &op.object).await?;
                return self.next.delete_object(cx, op).await;
            }
            SegmentFate::OwnParts => {
                return delete::with_own_parts(self.next.clone(), cx, op).await;
            }
            SegmentFate::Deleted => {}
        }
        // What a link leads to keeps its segments.
        let head = HeadObject { link_itself: true, ..HeadObject::new(op.object.clone()) };
        match self.next.head_object(cx, head).await {
            Ok(head) if head.is_manifest() => {
                delete::with_segments(self.next.clone(), cx, op).await
            }
            Ok(_) => self.next.delete_object(cx, op).await,
            // A deletion that broke off may have left a listing row: deleting again ends it.
            Err(error) if error.kind == Kind::NotFound => self.next.delete_object(cx, op).await,
            Err(error) => Err(error),
        }
    }

    forward!(next:
        authorize, head_account, list_containers, post_account, put_account, delete_account,
        head_container, list_objects, put_container, post_container, delete_container,
        post_object, queue_deletions,
    );
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
