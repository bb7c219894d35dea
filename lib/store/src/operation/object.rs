//! Operations on objects.

use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolved};
use apus_cluster::etag::EtagList;
use apus_cluster::{AccountName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp};
use apus_daemon::Body;

use super::version::VersionId;
use super::write_conditions::WriteConditions;
use crate::body::LateMetadata;
use crate::encryption::ObjectEncryption;

/// Conditions on reading.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<EtagList>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagList>,
    /// `If-Modified-Since`, seconds since 1970.
    pub if_modified_since: Option<u64>,
    /// `If-Unmodified-Since`, seconds since 1970.
    pub if_unmodified_since: Option<u64>,
}

impl Conditions {
    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
            && self.if_unmodified_since.is_none()
    }
}

/// Reads an object's metadata.
#[derive(Debug, Clone)]
pub struct HeadObject {
    /// The object.
    pub object: ObjectPath,
    /// The version to read; the current one when absent.
    pub version: Option<VersionId>,
    /// Conditions.
    pub conditions: Conditions,
    /// System metadata that may hold the etag to compare with; the first that exists counts.
    pub etag_at: Vec<String>,
    /// Ask all primaries for the newest.
    pub newest: bool,
    /// Do not follow a manifest: the object itself.
    pub raw: bool,
    /// Do not follow a symbolic link: the link itself.
    pub link_itself: bool,
    /// Only this part of a joined object, from 1; ignored for other objects.
    pub part: Option<u32>,
    /// Describe these parts as well, without reading them.
    pub parts: Option<PartsPage>,
    /// Include the metadata of the described parts, where the caller may read it.
    pub part_metadata: bool,
    /// The range of a GET that a HEAD stands for, where the dialect answers it with 206.
    pub ranges: Option<ByteRanges>,
}

impl HeadObject {
    /// A HEAD without conditions.
    pub fn new(object: ObjectPath) -> Self {
        Self {
            object,
            version: None,
            conditions: Conditions::default(),
            etag_at: Vec::new(),
            newest: false,
            raw: false,
            link_itself: false,
            part: None,
            parts: None,
            part_metadata: false,
            ranges: None,
        }
    }
}

/// A page of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartsPage {
    /// Parts after this one, counted from 1.
    pub after: usize,
    /// Maximum number of parts.
    pub limit: usize,
}

/// One part of a joined object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// Its number, from 1.
    pub number: usize,
    /// Its offset in the whole, in bytes.
    pub start: u64,
    /// Its length in the whole, in bytes.
    pub length: u64,
    /// Metadata of its segment, if the part is a whole segment; empty when it was not requested, is
    /// missing or the caller may not read it.
    pub metadata: Metadata,
}

/// An object without its body.
#[derive(Debug, Clone, Default)]
pub struct ObjectHead {
    /// The newest time of data and metadata.
    pub timestamp: Timestamp,
    /// Length in bytes; 0 when it is unknown.
    pub length: u64,
    /// Whether the length is unknown: a dynamic large object of very many segments.
    pub length_unknown: bool,
    /// Etag, without quotes.
    pub etag: String,
    /// Content type.
    pub content_type: String,
    /// All other stored headers, title-cased.
    pub metadata: Metadata,
    /// Number of parts of a joined object, when a part was requested.
    pub parts_count: Option<usize>,
    /// The parts that were requested.
    pub parts: Vec<PartHead>,
    /// Etag of the manifest itself, when it is a joined object.
    pub manifest_etag: Option<String>,
    /// The path of the target, percent-encoded, when a link was followed.
    pub location: Option<String>,
    /// The version, when its container keeps versions.
    pub version: Option<VersionId>,
    /// Whether it is a delete marker: a version that stands for a deletion.
    pub delete_marker: bool,
}

impl ObjectHead {
    /// Length in bytes, unless it is unknown.
    pub fn known_length(&self) -> Option<u64> {
        (!self.length_unknown).then_some(self.length)
    }

    /// A stored header by its title-cased name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// Whether it is a static large object.
    pub fn is_manifest(&self) -> bool {
        self.get("X-Static-Large-Object").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// Reads an object.
#[derive(Debug, Clone)]
pub struct GetObject {
    /// The object and the conditions.
    pub head: HeadObject,
    /// The ranges to read; `None` for the whole object.
    pub ranges: Option<ByteRanges>,
    /// Serve the whole object, whatever the range, if it has this metadata item.
    pub ignore_range_if: Option<String>,
}

impl GetObject {
    /// A GET of the whole object without conditions.
    pub fn new(object: ObjectPath) -> Self {
        Self { head: HeadObject::new(object), ranges: None, ignore_range_if: None }
    }
}

/// The part of an object that a reply has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// The whole object.
    Whole,
    /// These ranges, one after another; the dialect frames several ranges.
    Ranges(Vec<Resolved>),
}

/// An object with its body.
pub struct ObjectRead {
    /// Its metadata, with the length of the whole object.
    pub head: ObjectHead,
    /// The part that the body has.
    pub served: Served,
    /// The bytes.
    pub body: Body,
}

impl ObjectRead {
    /// Length of the body in bytes, unless it is unknown.
    pub fn length(&self) -> Option<u64> {
        match &self.served {
            Served::Whole => self.head.known_length(),
            Served::Ranges(ranges) => {
                Some(ranges.iter().map(|range| range.length).fold(0, u64::saturating_add))
            }
        }
    }
}

impl std::fmt::Debug for ObjectRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectRead")
            .field("head", &self.head)
            .field("served", &self.served)
            .finish()
    }
}

/// Writes an object.
pub struct PutObject {
    /// The object.
    pub object: ObjectPath,
    /// The bytes.
    pub body: Body,
    /// Length of the body in bytes, if the client sent it.
    pub length: Option<u64>,
    /// Content type.
    pub content_type: String,
    /// Headers to store.
    pub metadata: Metadata,
    /// MD5 that the body must have, in hexadecimal.
    pub etag: Option<String>,
    /// Time of the write, if the client sent one.
    pub timestamp: Option<Timestamp>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
    /// Metadata that wrappers of the body add at its end.
    pub late: LateMetadata,
}

impl std::fmt::Debug for PutObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutObject").field("object", &self.object).finish_non_exhaustive()
    }
}

/// The result of a write.
#[derive(Debug, Clone, Default)]
pub struct ObjectWritten {
    /// Etag as clients see it, without quotes.
    pub etag: String,
    /// Time of the write.
    pub timestamp: Timestamp,
    /// Length of the object in bytes.
    pub length: u64,
    /// Metadata that came with the end of the body.
    pub late: Metadata,
    /// The version that was written, when its container keeps versions.
    pub version: Option<VersionId>,
    /// Its encryption, if the request or the bucket asked for one.
    pub encryption: Option<ObjectEncryption>,
}

/// Replaces an object's metadata.
#[derive(Debug, Clone)]
pub struct PostObject {
    /// The object.
    pub object: ObjectPath,
    /// The version to change; the current one when absent.
    pub version: Option<VersionId>,
    /// The new metadata.
    pub metadata: Metadata,
    /// A new content type.
    pub content_type: Option<String>,
}

/// What happens to the segments of a manifest that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFate {
    /// They are kept.
    Kept,
    /// All are deleted before the manifest, which is kept when one of them cannot be deleted.
    Deleted,
    /// The parts of the multipart upload that created the object are deleted; others are kept.
    OwnParts,
    /// The expirer deletes them: they must be in one container and not manifests themselves.
    Queued,
}

/// Deletes an object.
#[derive(Debug, Clone)]
pub struct DeleteObject {
    /// The object.
    pub object: ObjectPath,
    /// The version to remove. Without one, a container that keeps versions keeps the object and gets
    /// a delete marker.
    pub version: Option<VersionId>,
    /// What happens to a manifest's segments.
    pub segments: SegmentFate,
    /// Time of the write, if the client sent one.
    pub timestamp: Option<Timestamp>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
    /// Remove a version in spite of governance, if the caller may.
    pub bypass_governance: bool,
    /// Delete only an object that expires at exactly this time, as of this time: the expirer's
    /// condition, which excludes all others.
    pub if_delete_at: Option<Timestamp>,
}

impl DeleteObject {
    /// A deletion of this object alone, whatever it is.
    pub fn new(object: ObjectPath) -> Self {
        Self {
            object,
            version: None,
            segments: SegmentFate::Kept,
            timestamp: None,
            conditions: WriteConditions::default(),
            bypass_governance: false,
            if_delete_at: None,
        }
    }
}

/// Leaves the deletion of objects of one container, as they are now, to the expirer.
#[derive(Debug, Clone)]
pub struct QueueDeletions {
    /// The manifest to which they belong; the queue distributes its rows by it.
    pub manifest: ObjectPath,
    /// The container of the objects.
    pub container: ContainerPath,
    /// The objects.
    pub objects: Vec<ObjectName>,
}

/// A dialect's processing of the bytes of a copy.
pub trait CopyBody: std::fmt::Debug + Send + Sync {
    /// Wraps the body so that it adds checksums to `late` at its end.
    ///
    /// # Errors
    /// The unchanged body, when the copy keeps the checksums of the source.
    fn wrap(&self, source: &ObjectHead, body: Body, late: &LateMetadata) -> Result<Body, Body>;
}

/// Copies an object.
#[derive(Debug, Clone)]
pub struct CopyObject {
    /// The source, with conditions.
    pub source: GetObject,
    /// The name of the copy.
    pub target: ObjectPath,
    /// Headers to set on the copy.
    pub metadata: Metadata,
    /// Content type of the copy; that of the source when absent.
    pub content_type: Option<String>,
    /// Whether to leave out the source's user metadata.
    pub fresh_metadata: bool,
    /// Whether to copy the source's tags. Its other settings are never copied.
    pub keeps_tags: bool,
    /// Copy a manifest as a manifest instead of joining its segments.
    pub as_manifest: bool,
    /// The dialect's processing of the bytes.
    pub body: Option<Arc<dyn CopyBody>>,
    /// Account of the target of a copied link, instead of the one that the link names.
    pub link_account: Option<AccountName>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
}

/// One segment of a static large object, as a client describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// Container and object as the client spells them, with or without a slash at the start; empty for
    /// inline data.
    pub path: String,
    /// Etag it must have.
    pub etag: Option<String>,
    /// Size it must have, in bytes.
    pub size: Option<u64>,
    /// Range of the segment, as Swift writes it (`0-99`).
    pub range: Option<String>,
    /// Inline data, base64.
    pub data: Option<String>,
}

/// Writes a static large object's manifest.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The object.
    pub object: ObjectPath,
    /// The segments in order.
    pub segments: Vec<Segment>,
    /// Content type.
    pub content_type: String,
    /// Headers to store.
    pub metadata: Metadata,
    /// Etag that the joined object must have.
    pub etag: Option<String>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
    /// Whether the segments are known to be valid (parts of a multipart upload) and not checked.
    pub trusted: bool,
}

/// The result of a deletion.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// Number of deleted objects, segments included.
    pub deleted: u64,
    /// Number of segments that did not exist.
    pub missing: u64,
    /// Objects that could not be deleted. Manifests that name them still exist.
    pub failed: Vec<FailedDeletion>,
    /// Whether the manifest names more segments than one deletion may delete. Repeating the deletion
    /// continues it.
    pub cut_short: bool,
    /// The version that was removed, or the delete marker that was written, when the container keeps
    /// versions.
    pub version: Option<VersionId>,
    /// Whether that version is a delete marker.
    pub delete_marker: bool,
    /// Time of the deletion; zero where it has no time of its own.
    pub timestamp: Timestamp,
    /// Whether a manifest was kept since some of its segments could not be deleted.
    pub kept: bool,
    /// The deleted segments of a manifest.
    pub segments: Vec<ObjectPath>,
    /// The version that is current now, where Swift's rules apply and a version was named; null if
    /// none is.
    pub current_version: Option<VersionId>,
}

impl Deleted {
    /// Takes over what the deletion of the object itself did to its versions.
    pub(crate) fn describe(&mut self, own: &Self) {
        self.version = own.version;
        self.delete_marker = own.delete_marker;
        self.timestamp = own.timestamp;
        self.current_version = own.current_version;
    }
}

/// A segment that could not be deleted.
#[derive(Debug, Clone)]
pub struct FailedDeletion {
    /// The object.
    pub object: ObjectPath,
    /// The reason.
    pub error: crate::Error,
}
