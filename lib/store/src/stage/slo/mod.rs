//! Static large objects: a manifest names segments with their etags and sizes.
//!
//! Stored as Swift stores them (`swift/common/middleware/slo.py`): the manifest as a JSON object
//! with `X-Static-Large-Object`, the joined etag and size in system metadata, and both in the
//! container row.

pub(crate) mod manifest;
mod write;

use std::sync::Arc;

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::{SLO_MAX_MANIFEST_SIZE, SLO_NESTING_MAX};
use async_trait::async_trait;
use futures_util::future::BoxFuture;

use self::manifest::Entry;
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
        manifest::parse(&collect(read.body, SLO_MAX_MANIFEST_SIZE).await?)
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
        let (object, part) = (op.object.clone(), op.part);
        let head = self.next.head_object(cx, op).await.map_err(joined_error)?;
        if !head.is_manifest() {
            return whole_as_part(head, part);
        }
        let mut head = joined_head(head);
        if head.get(SIZE_KEY).is_none() || part.is_some() {
            let entries = self.entries(cx, &object).await?;
            let lengths: Vec<u64> =
                entries.iter().map(Entry::length).collect::<Result<Vec<_>>>()?;
            head.length = lengths.iter().sum();
            head.parts_count = part.and_then(|_| u32::try_from(lengths.len()).ok());
            if let Some(part) = part {
                let index = usize::try_from(part).unwrap_or(0).wrapping_sub(1);
                head.length = *lengths.get(index).ok_or_else(|| no_part(part))?;
            }
        }
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        if op.head.raw {
            return self.next.get_object(cx, op).await;
        }
        let object = op.head.object.clone();
        let (ranges, part) = (op.ranges.clone(), op.head.part);
        op.head.etag_at.push(ETAG_KEY.to_owned());
        op.ignore_range_if = Some("X-Static-Large-Object".to_owned());
        let read = self.next.get_object(cx, op).await.map_err(joined_error)?;
        if !read.head.is_manifest() {
            let head = whole_as_part(read.head, part)?;
            return Ok(ObjectRead { head, ..read });
        }
        let entries = manifest::parse(&collect(read.body, SLO_MAX_MANIFEST_SIZE).await?)?;
        let mut head = joined_head(read.head);
        let lengths: Vec<u64> = entries.iter().map(Entry::length).collect::<Result<Vec<_>>>()?;
        let etag = manifest::joined_etag(&entries)?;
        head.length = lengths.iter().sum();
        if head.get(ETAG_KEY).is_none() {
            head.etag = etag;
        }
        let ranges = match part {
            None => ranges,
            Some(part) => {
                let index = usize::try_from(part).unwrap_or(0).wrapping_sub(1);
                let length = *lengths.get(index).ok_or_else(|| no_part(part))?;
                head.parts_count = u32::try_from(lengths.len()).ok();
                let start = lengths.iter().take(index).sum();
                Some(ByteRanges::single(start, length))
            }
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

    async fn put_manifest(&self, cx: &Context, op: PutManifest) -> Result<ObjectWritten> {
        write::put(&self.next, cx, op).await
    }

    async fn delete_object(&self, cx: &Context, op: DeleteObject) -> Result<Deleted> {
        if !op.with_segments {
            return self.next.delete_object(cx, op).await;
        }
        let manifest = match self.next.head_object(cx, HeadObject::new(op.object.clone())).await {
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
        for entry in entries.iter().filter(|entry| entry.data.is_none()) {
            let segment = DeleteObject {
                object: entry.path(&account)?,
                with_segments: entry.sub_slo,
                timestamp: None,
            };
            match Box::pin(self.delete_object(cx, segment)).await {
                Ok(more) => {
                    report.deleted += more.deleted;
                    report.missing += more.missing;
                }
                Err(error) if error.kind == Kind::NotFound => report.missing += 1,
                Err(error) => return Err(error),
            }
        }
        self.next.delete_object(cx, DeleteObject { with_segments: false, ..op }).await?;
        report.deleted += 1;
        Ok(report)
    }

    forward!(next:
        authorize(Authorize) -> (),
        head_account(HeadAccount) -> AccountHead,
        list_containers(ListContainers) -> ContainerList,
        post_account(PostAccount) -> (),
        head_container(HeadContainer) -> ContainerHead,
        list_objects(ListObjects) -> ObjectList,
        put_container(PutContainer) -> bool,
        post_container(PostContainer) -> (),
        delete_container(DeleteContainer) -> (),
        put_object(PutObject) -> ObjectWritten,
        post_object(PostObject) -> (),
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

/// An object that is no manifest is its own first and only part.
fn whole_as_part(head: ObjectHead, part: Option<u32>) -> Result<ObjectHead> {
    match part {
        None | Some(1) => Ok(head),
        Some(part) => Err(no_part(part)),
    }
}

fn no_part(part: u32) -> Error {
    Error::new(Kind::InvalidPart, Subject::Object).text(format!("there is no part {part}"))
}
