//! The S3 operations that this server implements.

use super::unset::Unset;

/// An implemented operation, by AWS's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    GetBucketLifecycle,
    PutBucketLifecycle,
    DeleteBucketLifecycle,
    GetBucketCors,
    PutBucketCors,
    DeleteBucketCors,
    GetBucketWebsite,
    PutBucketWebsite,
    DeleteBucketWebsite,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    GetAcl,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    DeleteObjects,
    GetObject,
    GetObjectAttributes,
    HeadObject,
    PutObject,
    /// An upload by an HTML form.
    PostObject,
    CopyObject,
    DeleteObject,
    RestoreObject,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
    /// Reads a configuration that is never set.
    GetUnset(&'static Unset),
    /// Deletes one.
    DeleteUnset(&'static Unset),
}
