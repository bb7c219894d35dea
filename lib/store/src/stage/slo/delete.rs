//! Deletion of a manifest together with its segments.
//!
//! Swift's `multipart-manifest=delete` deletes all objects that the manifest names, including nested
//! manifests. It is a walk with a list of open manifests, no deeper than reads go. It visits each
//! name once, so that circular manifests end it, and deletes at most 10,000 names. A manifest is
//! deleted after all objects below it, and is kept when one of them is kept: the same request can
//! then be repeated.
//!
//! Source: `get_segments_to_delete_iter` in `swift/common/middleware/slo.py`.

use std::collections::HashMap;
use std::sync::Arc;

use apus_cluster::ObjectPath;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::budget::ManifestBudget;
use super::manifest::StoredManifest;
use crate::context::Context;
use crate::operation::{
    DeleteObject, Deleted, FailedDeletion, GetObject, HeadObject, ObjectHead, SegmentFate,
};
use crate::stage::multipart;
use crate::upload_parts::{S3_UPLOAD_ID, UploadPath};
use crate::{Error, Kind, Primitive, Result, Subject, upload_parts};

/// Maximum number of simultaneous deletions.
const AT_ONCE: usize = 4;
/// Number of failures after which the deletion stops (Swift's `max_failed_deletes`).
const FAILURES_MAX: usize = 1000;

/// A manifest whose segments are being deleted.
struct OpenDeletion {
    object: ObjectPath,
    /// Manifests among its entries that were not visited yet.
    nested: Vec<ObjectPath>,
    /// Whether all objects below it are deleted.
    emptied: bool,
}

struct ManifestDeletion<'a> {
    next: Arc<dyn Primitive>,
    cx: &'a Context,
    budget: ManifestBudget,
    /// The names that were visited, and whether they are kept.
    visited: HashMap<ObjectPath, bool>,
    /// From the outermost manifest to the innermost.
    open: Vec<OpenDeletion>,
    report: Deleted,
    /// Whether no further deletion is started.
    stopped: bool,
}

/// Deletes a manifest and the objects that it names.
pub(super) async fn with_segments(
    next: Arc<dyn Primitive>,
    cx: &Context,
    op: DeleteObject,
) -> Result<Deleted> {
    let manifest = StoredManifest::read(&*next, cx, (&op.object, op.version)).await?;
    let mut deletion = ManifestDeletion {
        next: next.clone(),
        cx,
        budget: ManifestBudget::of_deletion(),
        visited: HashMap::from([(op.object.clone(), false)]),
        open: Vec::new(),
        report: Deleted::default(),
        stopped: false,
    };
    let object = op.object.clone();
    let mut last = Some(DeleteObject { segments: SegmentFate::Kept, ..op });
    // Where a condition may keep the manifest, its segments must not be deleted first.
    if let Some(conditional) = last.take_if(|op| !op.conditions.is_empty()) {
        deletion.report.describe(&next.delete_object(cx, conditional).await?);
    }
    deletion.enter(object, manifest).await;
    let emptied = deletion.empty().await;
    let mut report = deletion.report;
    match last {
        Some(last) if emptied => {
            report.describe(&next.delete_object(cx, last).await?);
            report.deleted += 1;
        }
        // It is kept while one of its segments is.
        Some(_) => report.kept = true,
        None => report.deleted += 1,
    }
    Ok(report)
}

impl ManifestDeletion<'_> {
    /// Deletes the segments of a manifest, and opens it for those that are manifests.
    async fn enter(&mut self, object: ObjectPath, manifest: StoredManifest) {
        let account = object.account().clone();
        let mut current = OpenDeletion { object, nested: Vec::new(), emptied: true };
        let mut segments = Vec::new();
        for entry in manifest.entries.iter().filter(|entry| entry.data.is_none()) {
            let path = match entry.path(&account) {
                Ok(path) => path,
                Err(error) => {
                    self.fail(current.object.clone(), error);
                    current.emptied = false;
                    continue;
                }
            };
            if let Some(is_kept) = self.visited.get(&path) {
                current.emptied &= !is_kept;
                continue;
            }
            self.visited.insert(path.clone(), false);
            if self.budget.take(1).is_err() {
                self.report.cut_short = true;
                current.emptied = false;
                break;
            }
            match entry.sub_slo {
                true => current.nested.push(path),
                false => segments.push(path),
            }
        }
        drop(manifest);
        current.nested.reverse();
        current.emptied &= self.delete_all(segments).await;
        self.stopped |= self.report.cut_short;
        self.open.push(current);
    }

    /// Deletes all but the outermost manifest; whether that has no segments left.
    async fn empty(&mut self) -> bool {
        while let Some(innermost) = self.open.last_mut() {
            if let Some(nested) = innermost.nested.pop() {
                if self.stopped {
                    innermost.emptied = false;
                    innermost.nested.clear();
                } else {
                    self.descend(nested).await;
                }
                continue;
            }
            let Some(done) = self.open.pop() else { break };
            let Some(above) = self.open.len().checked_sub(1) else { return done.emptied };
            if done.emptied && self.delete_all(vec![done.object.clone()]).await {
                continue;
            }
            self.visited.insert(done.object, true);
            if let Some(above) = self.open.get_mut(above) {
                above.emptied = false;
            }
        }
        true
    }

    /// Opens a manifest that is named by the innermost one.
    async fn descend(&mut self, object: ObjectPath) {
        let opened = match self.budget.open(self.open.len() + 1) {
            Ok(()) => self.read(&object).await,
            Err(spent) => Err(Error::new(Kind::Invalid, Subject::Object)
                .text(format!("Not deleted: {spent}"))
                .because(spent)),
        };
        match opened {
            Ok(manifest) => self.enter(object, manifest).await,
            Err(error) if error.kind == Kind::NotFound => self.report.missing += 1,
            Err(error) => {
                self.fail(object, error);
                if let Some(above) = self.open.last_mut() {
                    above.emptied = false;
                }
            }
        }
    }

    async fn read(&self, object: &ObjectPath) -> Result<StoredManifest> {
        let mut get = GetObject::new(object.clone());
        get.head.raw = true;
        // The target of a link keeps its segments.
        get.head.link_itself = true;
        let read = self.next.get_object(self.cx, get).await?;
        if !read.head.is_manifest() {
            // It was replaced in the meantime, or is a link: deleted like any segment.
            return Ok(StoredManifest::default());
        }
        StoredManifest::collect(read, super::budget::MANIFEST_BYTES_MAX).await
    }

    /// Deletes single objects, several at a time; whether all are deleted.
    async fn delete_all(&mut self, objects: Vec<ObjectPath>) -> bool {
        let mut all = true;
        let mut objects = objects.into_iter();
        while !self.stopped {
            let some: Vec<ObjectPath> = objects.by_ref().take(8 * AT_ONCE).collect();
            if some.is_empty() {
                return all;
            }
            for (object, result) in delete_some(&self.next, self.cx, some).await {
                match result {
                    Ok(deleted) => {
                        self.report.deleted += deleted.deleted;
                        self.report.segments.push(object);
                    }
                    Err(error) if error.kind == Kind::NotFound => self.report.missing += 1,
                    Err(error) => {
                        all = false;
                        self.fail(object, error);
                    }
                }
            }
        }
        all && objects.next().is_none()
    }

    fn fail(&mut self, object: ObjectPath, error: Error) {
        // Deleting the other segments is likely to fail at the same nodes.
        self.stopped |= error.is_temporary();
        self.visited.insert(object.clone(), true);
        self.report.failed.push(FailedDeletion { object, error });
        self.stopped |= self.report.failed.len() >= FAILURES_MAX;
    }
}

async fn delete_some(
    next: &Arc<dyn Primitive>,
    cx: &Context,
    objects: Vec<ObjectPath>,
) -> Vec<(ObjectPath, Result<Deleted>)> {
    let one = |object: ObjectPath| -> BoxFuture<'static, (ObjectPath, Result<Deleted>)> {
        let (next, cx) = (next.clone(), cx.clone());
        async move {
            let result = next.delete_object(&cx, DeleteObject::new(object.clone())).await;
            (object, result)
        }
        .boxed()
    };
    stream::iter(objects.into_iter().map(one)).buffer_unordered(AT_ONCE).collect().await
}

/// Deletes an object and, when a multipart upload created it, the parts of that upload: those of its
/// segments that are stored where the upload put them, unless another manifest names some of them.
/// They are deleted under the system's authority, since clients cannot write there, after the object
/// was. Other segments were not uploaded with the object and are kept. What cannot be deleted now is
/// reclaimed later (`crate::upload_parts`).
pub(super) async fn with_own_parts(
    next: Arc<dyn Primitive>,
    cx: &Context,
    op: DeleteObject,
) -> Result<Deleted> {
    // The target of a link keeps its parts.
    let mut head = HeadObject { link_itself: true, ..HeadObject::new(op.object.clone()) };
    head.version = op.version;
    let upload = match next.head_object(cx, head).await {
        Ok(head) if head.is_manifest() => {
            multipart::parts_prefix(&op.object, &head).zip(uploaded_by(&op.object, &head))
        }
        Ok(_) => None,
        // An interrupted deletion may have left a row in the listing: another deletion removes it. What
        // cannot be decrypted can be deleted; its parts are reclaimed later.
        Err(error)
            if matches!(
                error.kind,
                Kind::NotFound | Kind::IsDeleteMarker | Kind::Undecryptable
            ) =>
        {
            None
        }
        Err(error) => return Err(error),
    };
    let op = DeleteObject { segments: SegmentFate::Kept, ..op };
    let Some((prefix, upload)) = upload else { return next.delete_object(cx, op).await };
    let entries = match read_version(&*next, cx, &op).await {
        Ok(manifest) => manifest.entries,
        // A manifest that cannot be read names no parts, but it must be possible to delete it.
        Err(error) if error.kind == Kind::Conflict => {
            tracing::warn!(%error, object = %op.object, "the manifest of a multipart object is unreadable; deleting the object without its parts");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let named = entries.into_iter().filter(|entry| entry.data.is_none());
    let parts = named.filter_map(|entry| entry.path(op.object.account()).ok());
    let parts: Vec<ObjectPath> = parts.filter(|path| prefix.contains(path)).collect();
    let object = op.object.clone();
    let mut report = next.delete_object(cx, op).await?;
    let system = cx.as_system("multipart");
    let deleted = match upload_parts::may_be_deleted(&*next, cx, &upload).await {
        Ok(true) => upload_parts::delete_parts(&*next, &system, parts).await,
        Ok(false) => Ok(0),
        Err(error) => Err(error),
    };
    match deleted {
        Ok(deleted) => report.deleted += deleted,
        Err(error) => {
            tracing::warn!(%error, %object, "parts of a deleted multipart object remain until they are reclaimed");
        }
    }
    Ok(report)
}

/// The upload that created an object.
fn uploaded_by(object: &ObjectPath, head: &ObjectHead) -> Option<UploadPath> {
    UploadPath::new(object, head.get(S3_UPLOAD_ID)?).ok()
}

/// The manifest of the version that is to be deleted.
async fn read_version(
    store: &dyn Primitive,
    cx: &Context,
    op: &DeleteObject,
) -> Result<StoredManifest> {
    let mut get = GetObject::new(op.object.clone());
    get.head.raw = true;
    get.head.version = op.version;
    let read = store.get_object(cx, get).await?;
    StoredManifest::collect(read, super::budget::MANIFEST_BYTES_MAX).await
}
