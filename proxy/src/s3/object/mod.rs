//! Operations on objects, one file each.

pub(super) mod attributes;
pub(super) mod condition;
pub(super) mod copy;
pub(super) mod delete;
pub(super) mod delete_many;
pub(super) mod get;
pub(super) mod put;

use apus_store::operation::ObjectHead;

use super::error::{Code, S3Error};
use super::{Result, S3Request};

/// The etag that S3 shows of an object.
pub(super) fn etag(head: &ObjectHead) -> &str {
    head.get(get::ETAG_AT).unwrap_or(&head.etag)
}

/// Buckets were never versioned: only the version `null` is there.
pub(super) fn check_version(request: &S3Request) -> Result<()> {
    match request.param("versionId") {
        None | Some("null") => Ok(()),
        Some("") => {
            Err(S3Error::new(Code::InvalidArgument).text("Version id cannot be the empty string"))
        }
        Some(id) => Err(S3Error::new(Code::NoSuchVersion).with("VersionId", id)),
    }
}
