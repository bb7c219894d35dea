//! Multipart uploads.

use std::sync::Arc;

use apus_cluster::{ContainerPath, Metadata, ObjectPath, Timestamp};
use apus_daemon::Body;

use super::object::{GetObject, PartHead, PutObject};
use super::write_conditions::WriteConditions;
use crate::body::LateMetadata;
use crate::encryption::ObjectEncryption;

/// Starts an upload.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The object that the upload creates.
    pub object: ObjectPath,
    /// Content type of that object.
    pub content_type: String,
    /// Headers of that object.
    pub metadata: Metadata,
}

/// An upload that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedUpload {
    /// Its id.
    pub id: String,
    /// The encryption of its object, if the request or the bucket asked for one.
    pub encryption: Option<ObjectEncryption>,
}

/// One upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object's key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was started.
    pub initiated: Timestamp,
    /// Its metadata, when that was requested.
    pub metadata: Metadata,
}

/// A dialect's check and processing of a part.
pub trait PartCheck: std::fmt::Debug + Send + Sync {
    /// Checks a part against the upload's metadata.
    ///
    /// # Errors
    /// The reason for which the part is refused; its body is then not read.
    fn check(&self, upload: &Metadata) -> crate::Result<()>;

    /// Wraps the part's body so that it adds what the upload's metadata requires, and the part came
    /// without, to `late` at its end.
    fn wrap(&self, upload: &Metadata, body: Body, late: &LateMetadata) -> Body;
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
    /// Checks whether the part fits the upload.
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
    /// The source.
    pub source: GetObject,
    /// Processes the bytes.
    pub check: Arc<dyn PartCheck>,
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
    /// Its metadata, when that was requested.
    pub metadata: Metadata,
}

/// The part that an error is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultyPart {
    /// Its number.
    pub number: u32,
    /// The etag that the client sent.
    pub etag: String,
    /// Its size in bytes, if it is known.
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
    /// Maximum number of parts.
    pub limit: usize,
    /// Include the metadata of the parts if the upload has this metadata item.
    pub metadata_if: String,
}

/// A page of parts.
#[derive(Debug, Clone, Default)]
pub struct PartList {
    /// The parts in order.
    pub parts: Vec<Part>,
    /// Metadata of the upload.
    pub upload: Metadata,
    /// Whether there are more.
    pub truncated: bool,
}

/// Lists the uploads of a container.
#[derive(Debug, Clone)]
pub struct ListUploads {
    /// The container.
    pub container: ContainerPath,
    /// Prefix of the keys to list.
    pub prefix: String,
    /// Rolls up keys that contain this text after the prefix; empty for none.
    pub delimiter: String,
    /// Keys after this one.
    pub key_marker: String,
    /// For that key, ids after this one.
    pub upload_id_marker: String,
    /// Maximum number of uploads and common prefixes.
    pub limit: usize,
    /// Include the metadata of each upload, which costs a request for each.
    pub with_metadata: bool,
}

/// A page of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadList {
    /// The uploads by key, then by id.
    pub uploads: Vec<Upload>,
    /// Common prefixes of the keys that are rolled up, in order.
    pub prefixes: Vec<String>,
    /// Start of the next page, if the page is truncated: key and upload id, which is empty after a
    /// prefix.
    pub next: Option<(String, String)>,
}

/// A part that the client names when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u32,
    /// Its etag, without quotes.
    pub etag: String,
}

/// A dialect's check of a completed upload, and the metadata that it adds.
pub trait Seal: std::fmt::Debug + Send + Sync {
    /// Whether the metadata of the parts is needed, by that of the upload.
    fn needs_parts(&self, upload: &Metadata) -> bool;

    /// Additional metadata of the object, from the upload and the chosen parts in order. The metadata
    /// of the parts is empty unless it is needed.
    ///
    /// # Errors
    /// When the parts are not what the client declared; the upload is then unchanged.
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
    /// The dialect's check of the whole.
    pub seal: Arc<dyn Seal>,
    /// Conditions on the existing object.
    pub conditions: WriteConditions,
}

/// Aborts an upload.
#[derive(Debug, Clone)]
pub struct AbortUpload {
    /// The upload's object.
    pub object: ObjectPath,
    /// The upload.
    pub upload_id: String,
}
