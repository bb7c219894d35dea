//! Multipart uploads.

use std::sync::Arc;

use apus_cluster::{ContainerPath, Metadata, ObjectPath, Timestamp};

use super::object::{GetObject, PartHead, PutObject};
use super::write_conditions::WriteConditions;

/// Begins an upload.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The object it will become.
    pub object: ObjectPath,
    /// Content type of that object.
    pub content_type: String,
    /// Headers of that object.
    pub metadata: Metadata,
}

/// One upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object's key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it began.
    pub initiated: Timestamp,
}

/// What a dialect asks of an upload before it takes a part.
pub trait PartCheck: std::fmt::Debug + Send + Sync {
    /// Judges the part by the upload's metadata.
    ///
    /// # Errors
    /// Why the upload does not take it; its body is then not read.
    fn check(&self, upload: &Metadata) -> crate::Result<()>;
}

/// Writes one part.
#[derive(Debug)]
pub struct PutPart {
    /// The upload.
    pub upload_id: String,
    /// 1 to 10,000.
    pub number: u32,
    /// The part's bytes; its `object` is the upload's object.
    pub put: PutObject,
    /// Whether the upload takes it.
    pub check: Arc<dyn PartCheck>,
}

/// Copies one part.
#[derive(Debug)]
pub struct PutPartCopy {
    /// The upload's object.
    pub object: ObjectPath,
    /// The upload.
    pub upload_id: String,
    /// 1 to 10,000.
    pub number: u32,
    /// From where.
    pub source: GetObject,
}

/// One stored part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// MD5 of its bytes.
    pub etag: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// What is stored with it, when that was asked for.
    pub metadata: Metadata,
}

/// The part that an error is about, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultyPart {
    /// Its number.
    pub number: u32,
    /// The etag that the client gave.
    pub etag: String,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// Lists the parts of an upload.
#[derive(Debug, Clone)]
pub struct ListParts {
    /// The upload's object.
    pub object: ObjectPath,
    /// The upload.
    pub upload_id: String,
    /// Parts after this number.
    pub marker: u32,
    /// Most parts to list.
    pub limit: usize,
    /// Tell what is stored with the parts if the upload has this metadata item.
    pub metadata_if: String,
}

/// A page of parts.
#[derive(Debug, Clone, Default)]
pub struct PartList {
    /// The parts in order.
    pub parts: Vec<Part>,
    /// What is stored with the upload.
    pub upload: Metadata,
    /// Whether there are more.
    pub truncated: bool,
}

/// Lists the uploads of a container.
#[derive(Debug, Clone)]
pub struct ListUploads {
    /// The container.
    pub container: ContainerPath,
    /// Keys that start so.
    pub prefix: String,
    /// Rolls up keys that hold this text after the prefix; empty for none.
    pub delimiter: String,
    /// After this key.
    pub key_marker: String,
    /// And, for that key, after this id.
    pub upload_id_marker: String,
    /// Most uploads and common prefixes to list.
    pub limit: usize,
}

/// A page of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadList {
    /// The uploads by key, then by id.
    pub uploads: Vec<Upload>,
    /// Common prefixes of the keys that are rolled up, in order.
    pub prefixes: Vec<String>,
    /// Where the page after a truncated one begins: key and upload id, which is empty after a
    /// prefix.
    pub next: Option<(String, String)>,
}

/// A part as the client names it when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u32,
    /// Its etag, bare.
    pub etag: String,
}

/// What a dialect adds to a completed object, or why it must not be.
pub trait Seal: std::fmt::Debug + Send + Sync {
    /// Whether the parts' metadata is needed, given the upload's.
    fn needs_parts(&self, upload: &Metadata) -> bool;

    /// More metadata of the whole, from the upload's and that of the chosen parts in order; their
    /// metadata is empty unless it was needed.
    ///
    /// # Errors
    /// When the parts are not what the client says; the upload then stays as it is.
    fn seal(&self, upload: &Metadata, parts: &[PartHead]) -> crate::Result<Metadata>;
}

/// Completes an upload.
#[derive(Debug, Clone)]
pub struct CompleteUpload {
    /// The upload's object.
    pub object: ObjectPath,
    /// The upload.
    pub upload_id: String,
    /// The parts in order.
    pub parts: Vec<CompletedPart>,
    /// What the dialect has to say of the whole.
    pub seal: Arc<dyn Seal>,
    /// What must hold for what is there.
    pub conditions: WriteConditions,
}

/// Gives an upload up.
#[derive(Debug, Clone)]
pub struct AbortUpload {
    /// The upload's object.
    pub object: ObjectPath,
    /// The upload.
    pub upload_id: String,
}
