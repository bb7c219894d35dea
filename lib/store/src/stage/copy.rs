//! Copies of objects: a read and a write, both with the rights of the caller.

use std::sync::Arc;

use apus_cluster::Metadata;
use apus_cluster::constraints::SLO_MAX_MANIFEST_SIZE;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource, has_prefix};
use apus_daemon::Body;
use async_trait::async_trait;

use super::slo::manifest;
use super::symlink::Link;
use crate::body::{LateMetadata, collect};
use crate::context::Context;
use crate::operation::*;
use crate::settings::TAGGING;
use crate::store::forward;
use crate::{CopyStore, LinkStore, ManifestStore, Primitive, Result, UploadStore, VersionStore};

/// The stage that copies objects.
pub struct Copy {
    next: Arc<dyn UploadStore>,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Copy")
    }
}

impl Copy {
    /// Creates the stage above `next`.
    pub fn new(next: Arc<dyn UploadStore>) -> Self {
        Self { next }
    }
}

/// Prefix of system metadata with the checksums of an object's bytes and their types.
const CHECKSUMS: &str = "X-Object-Sysmeta-S3Api-Checksum-";
/// System metadata with the type of the checksum of a multipart object.
const CHECKSUM_TYPE: &str = "X-Object-Sysmeta-S3Api-Checksum-Type";
/// System metadata with the S3 etag of a multipart object.
const S3_ETAG: &str = "X-Object-Sysmeta-S3Api-Etag";

/// The part of an object that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Some of its bytes.
    Range,
    /// All of its bytes, as one object.
    Whole,
    /// The manifest, which names the same segments.
    Manifest,
}

/// The metadata of the source that a client wants to keep.
#[derive(Debug, Clone, Copy)]
struct KeptMetadata {
    /// Whether the request has the metadata of the copy.
    fresh: bool,
    /// Whether the tags are kept.
    tags: bool,
}

/// The metadata that a copy inherits: user metadata and the headers that describe the content, unless
/// fresh ones are requested, and in any case the checksums of the bytes. How the source was stored,
/// and by which upload, is not copied.
fn inherited(source: &ObjectHead, kept: KeptMetadata, copied: Copied) -> Metadata {
    let KeptMetadata { fresh, tags } = kept;
    let is_of_parts = source.get(CHECKSUM_TYPE) == Some("COMPOSITE");
    let describes_bytes = |name: &str| match copied {
        Copied::Range => false,
        // A checksum of parts is useless without them.
        Copied::Whole => has_prefix(name, CHECKSUMS) && !is_of_parts,
        Copied::Manifest => has_prefix(name, CHECKSUMS) || name == S3_ETAG,
    };
    source
        .metadata
        .iter()
        .filter(|(name, _)| {
            let user = has_prefix(name, Resource::Object.user_prefix());
            let kept = OBJECT_HEADERS.contains(&name.as_str()) && *name != "X-Static-Large-Object";
            let dlo = *name == "X-Object-Manifest";
            let described = user || (kept && (!dlo || copied == Copied::Manifest));
            (described && !fresh) || describes_bytes(name) || (tags && *name == TAGGING)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Metadata of the copy. User metadata may be empty; an empty content header removes the header.
fn of_copy(mut metadata: Metadata, given: Metadata) -> Metadata {
    metadata.extend(given);
    metadata.retain(|name, value| {
        !value.is_empty() || has_prefix(name, Resource::Object.user_prefix())
    });
    metadata
}

impl Primitive for Copy {
    forward!(next:
        authorize, container_info, account_info, head_account, list_containers, post_account, put_account,
        delete_account, head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, put_object, post_object, update_object, delete_object, queue_deletions, update_queue,
    );
}

impl VersionStore for Copy {
    forward!(next: list_versions, restore_version);
}

impl LinkStore for Copy {
    forward!(next: put_symlink);
}

impl ManifestStore for Copy {
    forward!(next: put_manifest);
}

impl UploadStore for Copy {
    forward!(next:
        create_upload, put_part, put_part_copy, list_parts, list_uploads, complete_upload,
        abort_upload,
    );
}

#[async_trait]
impl CopyStore for Copy {
    async fn copy_object(
        &self,
        cx: &Context,
        mut op: CopyObject,
    ) -> Result<(ObjectHead, ObjectWritten)> {
        op.source.head.raw = op.as_manifest;
        let read = self.next.get_object(cx, op.source.clone()).await?;
        let copied = match &read.served {
            _ if op.as_manifest => Copied::Manifest,
            Served::Whole => Copied::Whole,
            Served::Ranges(_) => Copied::Range,
        };
        let kept = KeptMetadata { fresh: op.fresh_metadata, tags: op.keeps_tags };
        let inherited = inherited(&read.head, kept, copied);
        let metadata = of_copy(inherited, std::mem::take(&mut op.metadata));
        let content_type = op.content_type.take();
        let content_type =
            content_type.unwrap_or_else(|| split_swift_bytes(&read.head.content_type).0);
        let copy = NewCopy { op, metadata, content_type };
        if copy.op.source.head.link_itself
            && let Some(link) = Link::of(&read.head)?
        {
            let written = self.next.put_symlink(cx, copy.link(link)).await?;
            return Ok((read.head, written));
        }
        if copy.op.as_manifest && read.head.is_manifest() {
            let put = copy.manifest(read.body).await?;
            return Ok((read.head, self.next.put_manifest(cx, put).await?));
        }
        let (head, put) = copy.object(read);
        Ok((head, self.next.put_object(cx, put).await?))
    }
}

/// A copy of an object that was read, before it is written.
struct NewCopy {
    op: CopyObject,
    metadata: Metadata,
    content_type: String,
}

impl NewCopy {
    /// The copy of a link as a link.
    fn link(self, link: Link) -> PutSymlink {
        let account = self.op.link_account.or_else(|| link.target.account.clone());
        PutSymlink {
            object: self.op.target,
            target: LinkTarget { account, ..link.target },
            target_etag: link.etag,
            content_type: Some(self.content_type),
            metadata: self.metadata,
            etag: None,
            conditions: self.op.conditions,
        }
    }

    /// The copy of a manifest as a manifest. It is written like a new one, so that every segment is
    /// checked with the rights of the caller and in the account of the copy.
    async fn manifest(self, body: Body) -> Result<PutManifest> {
        let stored = collect(body, SLO_MAX_MANIFEST_SIZE).await?;
        let segments = manifest::parse(&stored)?.into_iter().map(|entry| Segment {
            size: entry.data.is_none().then_some(entry.bytes),
            etag: Some(entry.hash).filter(|etag| !etag.is_empty()),
            path: entry.name,
            range: entry.range,
            data: entry.data,
        });
        Ok(PutManifest {
            object: self.op.target,
            segments: segments.collect(),
            content_type: self.content_type,
            metadata: self.metadata,
            etag: None,
            conditions: self.op.conditions,
            trusted: false,
        })
    }

    /// The copy of the bytes that were read.
    fn object(mut self, read: ObjectRead) -> (ObjectHead, PutObject) {
        let length = read.length();
        let late = LateMetadata::default();
        let mut body = read.body;
        if let Some(dialect) = self.op.body {
            body = match dialect.wrap(&read.head, body, &late) {
                Ok(wrapped) => {
                    self.metadata.retain(|name, _| !has_prefix(name, CHECKSUMS));
                    wrapped
                }
                Err(same) => same,
            };
        }
        let put = PutObject {
            object: self.op.target,
            body,
            length,
            content_type: self.content_type,
            metadata: self.metadata,
            etag: None,
            timestamp: None,
            conditions: self.op.conditions,
            late,
        };
        (read.head, put)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: &str) -> ObjectHead {
        let items = [
            ("X-Object-Meta-Color", "blue"),
            ("X-Object-Meta-Empty", ""),
            ("Cache-Control", "max-age=60"),
            ("X-Static-Large-Object", "True"),
            ("X-Object-Manifest", "c/p"),
            ("X-Object-Sysmeta-Slo-Etag", "e"),
            ("X-Object-Sysmeta-S3Api-Upload-Id", "id"),
            ("X-Object-Sysmeta-S3Api-Etag", "e-2"),
            ("X-Object-Sysmeta-S3Api-Checksum-Crc32", "AAAAAA=="),
            (TAGGING, "a=b"),
            ("X-Object-Transient-Sysmeta-Apus-S3-Retention", "x"),
            ("X-Object-Sysmeta-S3Api-Checksum-Type", kind),
        ];
        let metadata = items.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        ObjectHead { metadata, ..ObjectHead::default() }
    }

    fn names(metadata: &Metadata) -> Vec<&str> {
        metadata.keys().map(|name| name.rsplit('-').next().unwrap()).collect()
    }

    #[test]
    fn a_copy_keeps_metadata_of_the_content_and_not_of_its_storage() {
        let full = source("FULL_OBJECT");
        let parts = source("COMPOSITE");
        for (source, fresh, copied, expected) in [
            (
                &full,
                false,
                Copied::Whole,
                vec!["Control", "Color", "Empty", "Crc32", "Type", "Tagging"],
            ),
            (&full, true, Copied::Whole, vec!["Crc32", "Type"]),
            (&full, false, Copied::Range, vec!["Control", "Color", "Empty", "Tagging"]),
            (&parts, false, Copied::Whole, vec!["Control", "Color", "Empty", "Tagging"]),
            (&parts, true, Copied::Manifest, vec!["Crc32", "Type", "Etag"]),
        ] {
            let kept = inherited(source, KeptMetadata { fresh, tags: !fresh }, copied);
            assert_eq!(names(&kept), expected, "{copied:?}");
        }
        let kept = KeptMetadata { fresh: false, tags: false };
        let kept = inherited(&parts, kept, Copied::Manifest);
        assert!(!kept.contains_key(TAGGING));
        assert!(kept.contains_key("X-Object-Manifest"));
    }

    #[test]
    fn empty_user_metadata_is_copied_and_an_empty_content_header_removes_one() {
        let given = Metadata::from([
            ("Cache-Control".to_owned(), String::new()),
            ("X-Object-Meta-New".to_owned(), String::new()),
        ]);
        let kept = KeptMetadata { fresh: false, tags: false };
        let copy = of_copy(inherited(&source(""), kept, Copied::Range), given);
        assert_eq!(names(&copy), ["Color", "Empty", "New"]);
    }
}
