//! Dynamic large objects: `X-Object-Manifest: container/prefix` joins what that prefix lists.

use std::sync::Arc;

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::constraints::LISTING_PAGE_MAX;
use apus_cluster::listing::{ListQuery, ObjectEntry};
use apus_cluster::{ContainerName, ContainerPath, ObjectName, percent};
use async_trait::async_trait;

use super::segments::{self, Piece, Source};
use crate::context::Context;
use crate::operation::*;
use crate::store::forward;
use crate::{Error, Kind, Result, Store, Subject};

/// The stage.
pub struct Dlo {
    next: Arc<dyn Store>,
}

impl std::fmt::Debug for Dlo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dlo")
    }
}

impl Dlo {
    /// Above `next`.
    pub fn new(next: Arc<dyn Store>) -> Self {
        Self { next }
    }

    /// The pieces that a manifest names, and the etag of the whole. At most one listing page,
    /// as Swift's `HEAD` and the common case of its `GET`.
    async fn pieces(
        &self,
        cx: &Context,
        manifest: &str,
        own: &ContainerPath,
    ) -> Result<(Vec<Piece>, String)> {
        let manifest = percent::decode_utf8(manifest)
            .ok_or_else(|| Error::invalid("X-Object-Manifest is not UTF-8"))?;
        let (container, prefix) = manifest
            .trim_start_matches('/')
            .split_once('/')
            .ok_or_else(|| Error::invalid("X-Object-Manifest: expected container/prefix"))?;
        let container = ContainerName::parse(container)
            .map_err(|error| Error::invalid(format!("X-Object-Manifest: {error}")))?;
        let container = ContainerPath::new(own.account.clone(), container);
        let mut query = ListQuery {
            limit: LISTING_PAGE_MAX,
            prefix: Some(prefix.to_owned()),
            ..ListQuery::default()
        };
        let mut pieces = Vec::new();
        let mut digest = md5::Context::new();
        loop {
            let op = ListObjects { container: container.clone(), query: query.clone() };
            let page = self.next.list_objects(cx, op).await?;
            let entries = page.page.entries()?;
            let full = entries.len() == query.limit;
            for entry in entries {
                let ObjectEntry::Object(row) = entry else { continue };
                query.marker.clone_from(&row.name);
                let Ok(name) = ObjectName::parse(&row.name) else { continue };
                let etag = row.etag.split(';').next().unwrap_or_default().trim().to_owned();
                digest.consume(etag.as_bytes());
                let source = Source::Object {
                    path: container.object(name),
                    etag,
                    size: Some(row.size),
                    start: 0,
                };
                pieces.push(Piece { source, length: row.size });
            }
            if !full {
                return Ok((pieces, format!("{:x}", digest.finalize())));
            }
        }
    }
}

fn is_about_manifest(error: &Error) -> bool {
    error.head.as_ref().is_some_and(|head| head.get("X-Object-Manifest").is_some())
}

/// Etag conditions against the joined object.
fn check(conditions: &Conditions, head: &ObjectHead) -> Result<()> {
    let refuse =
        |kind| Error { head: Some(Box::new(head.clone())), ..Error::new(kind, Subject::Object) };
    if conditions.if_match.as_ref().is_some_and(|list| !list.matches(&head.etag)) {
        return Err(refuse(Kind::PreconditionFailed));
    }
    if conditions.if_none_match.as_ref().is_some_and(|list| list.matches(&head.etag)) {
        return Err(refuse(Kind::NotModified));
    }
    Ok(())
}

#[async_trait]
impl Store for Dlo {
    async fn head_object(&self, cx: &Context, mut op: HeadObject) -> Result<ObjectHead> {
        let raw = op.raw;
        let container = op.object.container.clone();
        let conditions = op.conditions.clone();
        let mut head = match self.next.head_object(cx, op.clone()).await {
            // The manifest's own etag failed the condition; that of the whole may not.
            Err(error) if is_about_manifest(&error) && !raw => {
                op.conditions = Conditions::default();
                self.next.head_object(cx, op).await?
            }
            head => head?,
        };
        if let Some(manifest) = head.get("X-Object-Manifest").filter(|_| !raw).map(str::to_owned) {
            let (pieces, etag) = self.pieces(cx, &manifest, &container).await?;
            head.length = pieces.iter().map(|piece| piece.length).sum();
            head.etag = etag;
            check(&conditions, &head)?;
        }
        Ok(head)
    }

    async fn get_object(&self, cx: &Context, mut op: GetObject) -> Result<ObjectRead> {
        if op.head.raw {
            return self.next.get_object(cx, op).await;
        }
        let container = op.head.object.container.clone();
        // Of several ranges Swift's joined objects serve none, but everything.
        let ranges = op.ranges.clone().filter(ByteRanges::is_single);
        let conditions = op.head.conditions.clone();
        op.ignore_range_if = Some(match op.ignore_range_if {
            Some(other) => format!("{other},X-Object-Manifest"),
            None => "X-Object-Manifest".to_owned(),
        });
        let read = match self.next.get_object(cx, op.clone()).await {
            // The manifest's own etag failed the condition; that of the whole may not.
            Err(error)
                if error
                    .head
                    .as_ref()
                    .is_some_and(|head| head.get("X-Object-Manifest").is_some()) =>
            {
                op.head.conditions = Conditions::default();
                self.next.get_object(cx, op).await?
            }
            read => read?,
        };
        let Some(manifest) = read.head.get("X-Object-Manifest").map(str::to_owned) else {
            return Ok(read);
        };
        let mut head = read.head;
        let (pieces, etag) = self.pieces(cx, &manifest, &container).await?;
        head.length = pieces.iter().map(|piece| piece.length).sum();
        head.etag = etag;
        check(&conditions, &head)?;
        let (served, pieces) = segments::plan(&pieces, ranges.as_ref(), head.length)?;
        let body = segments::join(self.next.clone(), cx.clone(), pieces).await?;
        Ok(ObjectRead { head, served, body })
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
        put_object(PutObject) -> ObjectWritten,
        put_symlink(PutSymlink) -> ObjectWritten,
        post_object(PostObject) -> ObjectHead,
        delete_object(DeleteObject) -> Deleted,
        queue_deletions(QueueDeletions) -> (),
        copy_object(CopyObject) -> (ObjectHead, ObjectWritten),
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
