//! Operations on objects.

use std::sync::Arc;

use apus_cluster::byte_range::{ByteRanges, Resolved};
use apus_cluster::etag::EtagList;
use apus_cluster::{AccountName, ContainerPath, Metadata, ObjectName, ObjectPath, Timestamp};
use apus_daemon::Body;

use super::write_conditions::WriteConditions;
use crate::body::LateMetadata;

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
    /// Whether there is any.
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
    /// Which.
    pub object: ObjectPath,
    /// Conditions.
    pub conditions: Conditions,
    /// System metadata that may hold the etag conditions compare with, first found wins.
    pub etag_at: Vec<String>,
    /// Ask all primaries for the newest.
    pub newest: bool,
    /// Do not follow a manifest: the object itself.
    pub raw: bool,
    /// Do not follow a symbolic link: the link itself.
    pub link_itself: bool,
    /// Of a joined object this part only, from 1; other objects have no parts and ignore it.
    pub part: Option<u32>,
    /// Tell of these parts as well, without reading them.
    pub parts: Option<PartsPage>,
    /// Tell what is stored with the parts that are told of, where the caller may read it.
    pub part_metadata: bool,
    /// The range of a GET that a HEAD stands for, where the dialect answers it with 206.
    pub ranges: Option<ByteRanges>,
}

impl HeadObject {
    /// Without conditions.
    pub fn new(object: ObjectPath) -> Self {
        Self {
            object,
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

/// Parts after a number, and how many of them at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartsPage {
    /// Parts after this one, which is counted from 1.
    pub after: usize,
    /// At most so many.
    pub limit: usize,
}

/// One part of a joined object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// From 1.
    pub number: usize,
    /// Where it begins in the whole, in bytes.
    pub start: u64,
    /// What it contributes, in bytes.
    pub length: u64,
    /// What is stored with the segment that it is the whole of; empty when that was not asked for,
    /// is gone or not for the caller.
    pub metadata: Metadata,
}

/// What is known of an object besides its body.
#[derive(Debug, Clone, Default)]
pub struct ObjectHead {
    /// Newest of data and metadata.
    pub timestamp: Timestamp,
    /// Length in bytes; 0 when it is not known.
    pub length: u64,
    /// Whether the length is not known: a dynamic large object of very many segments.
    pub length_unknown: bool,
    /// Etag, bare.
    pub etag: String,
    /// Content type.
    pub content_type: String,
    /// Every stored header besides those above, title-cased.
    pub metadata: Metadata,
    /// How many parts, when a part was asked for and it is a joined object.
    pub parts_count: Option<usize>,
    /// The parts that were asked about.
    pub parts: Vec<PartHead>,
    /// Etag of the manifest itself, when it is a joined object.
    pub manifest_etag: Option<String>,
    /// The path the bytes come from, percent-encoded, when a link was followed.
    pub location: Option<String>,
}

impl ObjectHead {
    /// Length in bytes, where it is known.
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
    /// Which, and under which conditions.
    pub head: HeadObject,
    /// Which bytes; `None` for all.
    pub ranges: Option<ByteRanges>,
    /// Serve everything, whatever the range, if the object has this metadata item.
    pub ignore_range_if: Option<String>,
}

impl GetObject {
    /// All of an object, without conditions.
    pub fn new(object: ObjectPath) -> Self {
        Self { head: HeadObject::new(object), ranges: None, ignore_range_if: None }
    }
}

/// Which bytes an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// All.
    Whole,
    /// These, one after another; more than one is for the dialect to frame.
    Ranges(Vec<Resolved>),
}

/// An object with its body.
pub struct ObjectRead {
    /// Its metadata; the length is that of the whole object.
    pub head: ObjectHead,
    /// Which bytes follow.
    pub served: Served,
    /// The bytes.
    pub body: Body,
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
    /// Which.
    pub object: ObjectPath,
    /// The bytes.
    pub body: Body,
    /// Their number, if the client told.
    pub length: Option<u64>,
    /// Content type.
    pub content_type: String,
    /// Headers to store.
    pub metadata: Metadata,
    /// MD5 that the body must have, bare hex.
    pub etag: Option<String>,
    /// Time that the client gave.
    pub timestamp: Option<Timestamp>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
    /// What the body's wrappers add at its end.
    pub late: LateMetadata,
}

impl std::fmt::Debug for PutObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutObject").field("object", &self.object).finish_non_exhaustive()
    }
}

/// What a write gave.
#[derive(Debug, Clone, Default)]
pub struct ObjectWritten {
    /// Etag as clients see it, bare.
    pub etag: String,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Metadata that came with the end of the body.
    pub late: Metadata,
}

/// Replaces an object's metadata.
#[derive(Debug, Clone)]
pub struct PostObject {
    /// Which.
    pub object: ObjectPath,
    /// The new metadata.
    pub metadata: Metadata,
    /// A new content type.
    pub content_type: Option<String>,
}

/// What becomes of the segments of a manifest that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFate {
    /// They stay.
    Kept,
    /// All are deleted before the manifest, which stays when one of them does.
    Deleted,
    /// Those are deleted that are parts of the multipart upload which made the object; others stay.
    OwnParts,
    /// The expirer deletes them: they must be in one container and no manifests themselves.
    Queued,
}

/// Deletes an object.
#[derive(Debug, Clone)]
pub struct DeleteObject {
    /// Which.
    pub object: ObjectPath,
    /// What becomes of a manifest's segments.
    pub segments: SegmentFate,
    /// Time that the client gave.
    pub timestamp: Option<Timestamp>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
    /// Delete only what expires at exactly this time, as of this time: the expirer's condition,
    /// which stands alone.
    pub if_delete_at: Option<Timestamp>,
}

impl DeleteObject {
    /// This object alone, now, whatever it is.
    pub fn new(object: ObjectPath) -> Self {
        Self {
            object,
            segments: SegmentFate::Kept,
            timestamp: None,
            conditions: WriteConditions::default(),
            if_delete_at: None,
        }
    }
}

/// Leaves it to the expirer to delete objects of one container as they are now.
#[derive(Debug, Clone)]
pub struct QueueDeletions {
    /// The manifest that they belong to, by which the queue spreads its rows.
    pub manifest: ObjectPath,
    /// Where the objects are.
    pub container: ContainerPath,
    /// Which.
    pub objects: Vec<ObjectName>,
}

/// What a dialect does with the bytes of a copy on their way.
pub trait CopyBody: std::fmt::Debug + Send + Sync {
    /// The copy's body, if it is to have checksums that the body adds to `late` at its end; the
    /// body back otherwise, and the copy keeps those of the source.
    ///
    /// # Errors
    /// The body as it is.
    fn wrap(&self, source: &ObjectHead, body: Body, late: &LateMetadata) -> Result<Body, Body>;
}

/// Copies an object.
#[derive(Debug, Clone)]
pub struct CopyObject {
    /// From where, under which conditions.
    pub source: GetObject,
    /// To where.
    pub target: ObjectPath,
    /// Headers to set on the copy.
    pub metadata: Metadata,
    /// Content type of the copy; the source's when absent.
    pub content_type: Option<String>,
    /// Whether to leave out the source's user metadata.
    pub fresh_metadata: bool,
    /// Copy a manifest as a manifest instead of joining its segments.
    pub as_manifest: bool,
    /// What the dialect does with the bytes.
    pub body: Option<Arc<dyn CopyBody>>,
    /// Account that the copy of a link leads into, instead of what the link says.
    pub link_account: Option<AccountName>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
}

/// One segment of a static large object, as a client names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// `/container/object`; empty for inline data.
    pub path: String,
    /// Etag it must have.
    pub etag: Option<String>,
    /// Size it must have, in bytes.
    pub size: Option<u64>,
    /// Range of it, as Swift writes it (`0-99`).
    pub range: Option<String>,
    /// Inline data, base64.
    pub data: Option<String>,
}

/// Writes a static large object's manifest.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// Which.
    pub object: ObjectPath,
    /// The segments in order.
    pub segments: Vec<Segment>,
    /// Content type.
    pub content_type: String,
    /// Headers to store.
    pub metadata: Metadata,
    /// Etag that the joined object must have.
    pub etag: Option<String>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
    /// Whether segments are known to be right (a multipart upload's own parts): not asked again.
    pub trusted: bool,
}

/// What a deletion did.
#[derive(Debug, Clone, Default)]
pub struct Deleted {
    /// Objects deleted, segments included.
    pub deleted: u64,
    /// Segments that were gone already.
    pub missing: u64,
    /// What could not be deleted. Manifests that name it are there still.
    pub failed: Vec<FailedDeletion>,
    /// Whether the manifest names more segments than one deletion may delete. The same deletion
    /// again goes on.
    pub cut_short: bool,
}

/// A segment that could not be deleted.
#[derive(Debug, Clone)]
pub struct FailedDeletion {
    /// Which.
    pub object: ObjectPath,
    /// Why.
    pub error: crate::Error,
}
