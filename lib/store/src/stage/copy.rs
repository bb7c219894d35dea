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
use crate::{LinkStore, ManifestStore, Primitive, Result, Store, UploadStore};

/// The stage.
pub struct Copy {
    next: Arc<dyn UploadStore>,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Copy")
    }
}

impl Copy {
    /// Above `next`.
    pub fn new(next: Arc<dyn UploadStore>) -> Self {
        Self { next }
    }
}

/// System metadata with checksums of an object's bytes, and how they came about.
const CHECKSUMS: &str = "X-Object-Sysmeta-S3Api-Checksum-";
/// System metadata with the type of the checksum of a multipart object.
const CHECKSUM_TYPE: &str = "X-Object-Sysmeta-S3Api-Checksum-Type";
/// System metadata with the etag that S3 shows of a multipart object.
const S3_ETAG: &str = "X-Object-Sysmeta-S3Api-Etag";

/// What is copied of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Some of them.
    Range,
    /// All, as one object.
    Whole,
    /// The manifest, which names the same segments.
    Manifest,
}

/// What a copy inherits: user metadata and the headers that describe the content, unless fresh ones
/// are asked for, and in any case what is true of the bytes: their checksums. Where and how the
/// source was stored, and by which upload, stays behind.
fn inherited(source: &ObjectHead, fresh: bool, copied: Copied) -> Metadata {
    let is_of_parts = source.get(CHECKSUM_TYPE) == Some("COMPOSITE");
    let is_true_of_bytes = |name: &str| match copied {
        Copied::Range => false,
        // A checksum of parts is of no use without them.
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
            (described && !fresh) || is_true_of_bytes(name)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Metadata of the copy. User metadata may be empty; an empty content header takes one away.
fn of_copy(mut metadata: Metadata, given: Metadata) -> Metadata {
    metadata.extend(given);
    metadata.retain(|name, value| {
        !value.is_empty() || has_prefix(name, Resource::Object.user_prefix())
    });
    metadata
}

impl Primitive for Copy {
    forward!(next:
        authorize, head_account, list_containers, post_account, put_account, delete_account,
        head_container, list_objects, put_container, post_container, delete_container,
        head_object, get_object, put_object, post_object, delete_object, queue_deletions,
    );
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
        let copied = match &read.served {
            _ if op.as_manifest => Copied::Manifest,
            Served::Whole => Copied::Whole,
            Served::Ranges(_) => Copied::Range,
        };
        let inherited = inherited(&read.head, op.fresh_metadata, copied);
        let mut metadata = of_copy(inherited, op.metadata);
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
            Served::Ranges(ranges) => {
                Some(ranges.iter().map(|range| range.length).fold(0, u64::saturating_add))
            }
        };
        let late = LateMetadata::default();
        let mut body = read.body;
        if let Some(dialect) = op.body {
            body = match dialect.wrap(&read.head, body, &late) {
                Ok(wrapped) => {
                    metadata.retain(|name, _| !has_prefix(name, CHECKSUMS));
                    wrapped
                }
                Err(same) => same,
            };
        }
        let put = PutObject {
            object: op.target,
            body,
            length,
            content_type,
            metadata,
            etag: None,
            timestamp: None,
            conditions: op.conditions,
            late,
        };
        let written = self.next.put_object(cx, put).await?;
        Ok((read.head, written))
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
            ("X-Object-Sysmeta-S3Api-Checksum-Type", kind),
        ];
        let metadata = items.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        ObjectHead { metadata, ..ObjectHead::default() }
    }

    fn names(metadata: &Metadata) -> Vec<&str> {
        metadata.keys().map(|name| name.rsplit('-').next().unwrap()).collect()
    }

    #[test]
    fn a_copy_keeps_what_is_true_of_the_object_and_not_of_its_place() {
        let full = source("FULL_OBJECT");
        let parts = source("COMPOSITE");
        for (source, fresh, copied, expected) in [
            (&full, false, Copied::Whole, vec!["Control", "Color", "Empty", "Crc32", "Type"]),
            (&full, true, Copied::Whole, vec!["Crc32", "Type"]),
            (&full, false, Copied::Range, vec!["Control", "Color", "Empty"]),
            (&parts, false, Copied::Whole, vec!["Control", "Color", "Empty"]),
            (&parts, true, Copied::Manifest, vec!["Crc32", "Type", "Etag"]),
        ] {
            let kept = inherited(source, fresh, copied);
            assert_eq!(names(&kept), expected, "{copied:?}");
        }
        let kept = inherited(&parts, false, Copied::Manifest);
        assert!(kept.contains_key("X-Object-Manifest"));
    }

    #[test]
    fn empty_user_metadata_is_copied_and_an_empty_content_header_takes_one_away() {
        let given = Metadata::from([
            ("Cache-Control".to_owned(), String::new()),
            ("X-Object-Meta-New".to_owned(), String::new()),
        ]);
        let copy = of_copy(inherited(&source(""), false, Copied::Range), given);
        assert_eq!(names(&copy), ["Color", "Empty", "New"]);
    }
}
