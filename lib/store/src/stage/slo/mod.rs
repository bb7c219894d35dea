//! Static large objects: a manifest names segments with their etags and sizes.
//!
//! Stored as Swift stores them (`swift/common/middleware/slo.py`): the manifest as a JSON object
//! with `X-Static-Large-Object`, the joined etag and size in system metadata, and both in the
//! container row.

mod later;
pub(crate) mod manifest;
mod write;

use std::sync::Arc;

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::SLO_NESTING_MAX;
use apus_cluster::{Metadata, ObjectPath};
use async_trait::async_trait;
use futures_util::future::BoxFuture;

use self::manifest::Entry;
use super::part_heads;
use super::segments::{self, Piece, Source};
use crate::body::collect;
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, Result, Store, Subject};

/// System metadata with the etag of the joined object.
pub(crate) const ETAG_KEY: &str = "X-Object-Sysmeta-Slo-Etag";
/// System metadata with its size.
pub(crate) const SIZE_KEY: &str = "X-Object-Sysmeta-Slo-Size";

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

/// Pieces of one object at most, with all manifests in manifests opened.
const PIECES_MAX: usize = 250_000;
/// Bytes of a stored manifest at most: 10,000 parts of the longest names.
const STORED_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// The stage.
pub struct Slo {
    next: Arc<dyn Store>,
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
    pub fn new(next: Arc<dyn Store>) -> Self {
        Self { next }
    }

    async fn entries(&self, cx: &Context, object: &ObjectPath) -> Result<Vec<Entry>> {
        let mut get = GetObject::new(object.clone());
        get.head.raw = true;
        let read = self.next.get_object(cx, get).await?;
        manifest::parse(&collect(read.body, STORED_BYTES_MAX).await?)
    }

    /// Fills in what was asked about parts: one by its number, or a page of them.
    async fn tell_of_parts(
        &self,
        cx: &Context,
        object: &ObjectPath,
        entries: &[Entry],
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
        head.parts_count = Some(entries.len());
        let lengths = manifest::lengths(entries)?;
        let mut start = lengths.iter().take(page.after).sum();
        let mut parts = Vec::new();
        let wanted = entries.iter().zip(lengths).enumerate().skip(page.after).take(page.limit);
        for (index, (entry, length)) in wanted {
            // What is stored with a segment is not true of a range of it.
            let path = match (&entry.data, &entry.range) {
                (None, None) if asked.metadata => Some(entry.path(&object.container.account)?),
                _ => None,
            };
            let number = index + 1;
            parts.push((PartHead { number, start, length, metadata: Metadata::new() }, path));
            start += length;
        }
        head.parts = part_heads::fill(&self.next, cx, parts).await?;
        if let (Some(part), []) = (asked.part, head.parts.as_slice()) {
            let mut error = Error::new(Kind::InvalidPart, Subject::Object)
                .text(format!("there is no part {part}"));
            error.head = Some(Box::new(head.clone()));
            return Err(error);
        }
        Ok(())
    }

    /// The pieces of a manifest's entries; manifests among them are opened in turn.
    fn pieces<'a>(
        &'a self,
        cx: &'a Context,
        object: &'a ObjectPath,
        entries: Vec<Entry>,
        depth: usize,
    ) -> BoxFuture<'a, Result<Vec<Piece>>> {
        Box::pin(async move {
            if depth > SLO_NESTING_MAX {
                return Err(Error::new(Kind::Conflict, Subject::Object).because("nested too deep"));
            }
            let mut pieces = Vec::with_capacity(entries.len());
            for entry in entries {
                if let Some(data) = entry.inline()? {
                    let length = data.len() as u64;
                    pieces.push(Piece { source: Source::Inline(data), length });
                    continue;
                }
                let path = entry.path(&object.container.account)?;
                let (start, length) = entry.span()?;
                if entry.sub_slo {
                    let nested = self.entries(cx, &path).await?;
                    let nested = self.pieces(cx, &path, nested, depth + 1).await?;
                    let range = apus_cluster::byte_range::Resolved { start, length };
                    pieces.extend(segments::cut(&nested, range));
                    if pieces.len() > PIECES_MAX {
                        let error = Error::new(Kind::Conflict, Subject::Object);
                        return Err(error.because("manifests in manifests name too many segments"));
                    }
                } else {
                    let source =
                        Source::Object { path, etag: entry.hash, size: Some(entry.bytes), start };
                    pieces.push(Piece { source, length });
                }
            }
            Ok(pieces)
        })
    }
}

#[async_trait]
impl Store for Slo {
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
            let entries = self.entries(cx, &object).await?;
            head.length = manifest::lengths(&entries)?.iter().sum();
            self.tell_of_parts(cx, &object, &entries, asked, &mut head).await?;
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
        let entries = manifest::parse(&collect(read.body, STORED_BYTES_MAX).await?)?;
        let mut head = joined_head(read.head);
        let etag = manifest::joined_etag(&entries)?;
        head.length = manifest::lengths(&entries)?.iter().sum();
        if head.get(ETAG_KEY).is_none() {
            head.etag = etag;
        }
        self.tell_of_parts(cx, &object, &entries, asked, &mut head).await?;
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
        let pieces = self.pieces(cx, &object, entries, 1).await?;
        let planned = segments::plan(&pieces, ranges.as_ref(), head.length);
        let (served, pieces) = planned.map_err(|mut error| {
            error.head = Some(Box::new(head.clone()));
            error
        })?;
        let body = segments::join(self.next.clone(), cx.clone(), pieces).await?;
        Ok(ObjectRead { head, served, body })
    }

    async fn put_object(&self, cx: &Context, mut op: PutObject) -> Result<ObjectWritten> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        self.next.put_object(cx, op).await
    }

    async fn put_manifest(&self, cx: &Context, mut op: PutManifest) -> Result<ObjectWritten> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        write::put(&self.next, cx, op).await
    }

    async fn delete_object(&self, cx: &Context, mut op: DeleteObject) -> Result<Deleted> {
        op.conditions.etag_at.push(ETAG_KEY.to_owned());
        op.conditions.size_at.push(SIZE_KEY.to_owned());
        match op.segments {
            SegmentFate::Kept => return self.next.delete_object(cx, op).await,
            SegmentFate::Queued => {
                later::queue_segments(&self.next, cx, &op.object).await?;
                return self.next.delete_object(cx, op).await;
            }
            SegmentFate::Deleted => {}
        }
        // What a link leads to keeps its segments.
        let head = HeadObject { link_itself: true, ..HeadObject::new(op.object.clone()) };
        let manifest = match self.next.head_object(cx, head).await {
            Ok(head) => head.is_manifest(),
            // A deletion that broke off may have left a listing row: deleting again ends it.
            Err(error) if error.kind == Kind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !manifest {
            return self.next.delete_object(cx, op).await;
        }
        let entries = self.entries(cx, &op.object).await?;
        let account = op.object.container.account.clone();
        let mut report = Deleted::default();
        let mut manifest = Some(DeleteObject { segments: SegmentFate::Kept, ..op });
        // Where the manifest may have to stay, its segments must not go first.
        if let Some(conditional) = manifest.take_if(|op| !op.conditions.is_empty()) {
            self.next.delete_object(cx, conditional).await?;
        }
        for entry in entries.iter().filter(|entry| entry.data.is_none()) {
            let segments = if entry.sub_slo { SegmentFate::Deleted } else { SegmentFate::Kept };
            let segment = DeleteObject { segments, ..DeleteObject::new(entry.path(&account)?) };
            match Box::pin(self.delete_object(cx, segment)).await {
                Ok(more) => {
                    report.deleted += more.deleted;
                    report.missing += more.missing;
                }
                Err(error) if error.kind == Kind::NotFound => report.missing += 1,
                Err(error) => return Err(error),
            }
        }
        if let Some(last) = manifest {
            self.next.delete_object(cx, last).await?;
        }
        report.deleted += 1;
        Ok(report)
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
        put_symlink(PutSymlink) -> ObjectWritten,
        post_object(PostObject) -> ObjectHead,
        queue_deletions(QueueDeletions) -> (),
        copy_object(CopyObject) -> (ObjectHead, ObjectWritten),
        create_upload(CreateUpload) -> String,
        put_part(PutPart) -> ObjectWritten,
        put_part_copy(PutPartCopy) -> ObjectWritten,
        list_parts(ListParts) -> PartList,
        list_uploads(ListUploads) -> UploadList,
        complete_upload(CompleteUpload) -> ObjectWritten,
        abort_upload(AbortUpload) -> (),
    );
}
