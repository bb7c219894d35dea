//! The S3 operations that this server implements.

use apus_policy::Permission;

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
    GetBucketNotification,
    PutBucketNotification,
    GetBucketWebsite,
    PutBucketWebsite,
    DeleteBucketWebsite,
    GetBucketEncryption,
    PutBucketEncryption,
    DeleteBucketEncryption,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    GetBucketLogging,
    PutBucketLogging,
    GetBucketPolicy,
    PutBucketPolicy,
    DeleteBucketPolicy,
    GetBucketPolicyStatus,
    GetBucketAcl,
    PutBucketAcl,
    GetObjectAcl,
    PutObjectAcl,
    GetBucketOwnershipControls,
    PutBucketOwnershipControls,
    DeleteBucketOwnershipControls,
    GetPublicAccessBlock,
    PutPublicAccessBlock,
    DeletePublicAccessBlock,
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
    GetObjectLockConfiguration,
    PutObjectLockConfiguration,
    GetObjectRetention,
    PutObjectRetention,
    GetObjectLegalHold,
    PutObjectLegalHold,
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

impl Operation {
    /// AWS's name.
    pub(super) fn name(self) -> String {
        match self {
            Self::GetUnset(unset) => format!("Get {}", unset.sub()),
            Self::DeleteUnset(unset) => format!("Delete {}", unset.sub()),
            other => format!("{other:?}"),
        }
    }

    /// The permission that the operation needs on the bucket or object that the request names. `None`
    /// for operations on objects and listings, whose steps need what they need in Swift's dialect.
    pub(super) fn permission(self) -> Option<Permission> {
        Some(match self {
            Self::CreateBucket => Permission::CreateBucket,
            Self::GetBucketLocation => Permission::GetBucketLocation,
            Self::GetBucketVersioning => Permission::GetBucketVersioning,
            Self::PutBucketVersioning => Permission::PutBucketVersioning,
            Self::GetBucketLifecycle => Permission::GetLifecycleConfiguration,
            Self::PutBucketLifecycle | Self::DeleteBucketLifecycle => {
                Permission::PutLifecycleConfiguration
            }
            Self::GetBucketCors => Permission::GetBucketCORS,
            Self::PutBucketCors | Self::DeleteBucketCors => Permission::PutBucketCORS,
            Self::GetBucketNotification => Permission::GetBucketNotification,
            Self::PutBucketNotification => Permission::PutBucketNotification,
            Self::GetBucketWebsite => Permission::GetBucketWebsite,
            Self::PutBucketWebsite => Permission::PutBucketWebsite,
            Self::DeleteBucketWebsite => Permission::DeleteBucketWebsite,
            Self::GetBucketEncryption => Permission::GetEncryptionConfiguration,
            Self::PutBucketEncryption | Self::DeleteBucketEncryption => {
                Permission::PutEncryptionConfiguration
            }
            Self::GetBucketTagging => Permission::GetBucketTagging,
            Self::PutBucketTagging | Self::DeleteBucketTagging => Permission::PutBucketTagging,
            Self::GetBucketLogging => Permission::GetBucketLogging,
            Self::PutBucketLogging => Permission::PutBucketLogging,
            Self::GetBucketPolicy => Permission::GetBucketPolicy,
            Self::PutBucketPolicy => Permission::PutBucketPolicy,
            Self::DeleteBucketPolicy => Permission::DeleteBucketPolicy,
            Self::GetBucketPolicyStatus => Permission::GetBucketPolicyStatus,
            Self::GetBucketAcl => Permission::GetBucketAcl,
            Self::PutBucketAcl => Permission::PutBucketAcl,
            Self::GetObjectAcl => Permission::GetObjectAcl,
            Self::PutObjectAcl => Permission::PutObjectAcl,
            Self::GetBucketOwnershipControls => Permission::GetBucketOwnershipControls,
            Self::PutBucketOwnershipControls | Self::DeleteBucketOwnershipControls => {
                Permission::PutBucketOwnershipControls
            }
            Self::GetPublicAccessBlock => Permission::GetBucketPublicAccessBlock,
            Self::PutPublicAccessBlock | Self::DeletePublicAccessBlock => {
                Permission::PutBucketPublicAccessBlock
            }
            Self::GetObjectAttributes => Permission::GetObjectAttributes,
            Self::RestoreObject => Permission::RestoreObject,
            Self::GetObjectLockConfiguration => Permission::GetBucketObjectLockConfiguration,
            Self::PutObjectLockConfiguration => Permission::PutBucketObjectLockConfiguration,
            Self::GetObjectRetention => Permission::GetObjectRetention,
            Self::PutObjectRetention => Permission::PutObjectRetention,
            Self::GetObjectLegalHold => Permission::GetObjectLegalHold,
            Self::PutObjectLegalHold => Permission::PutObjectLegalHold,
            Self::GetObjectTagging => Permission::GetObjectTagging,
            Self::PutObjectTagging => Permission::PutObjectTagging,
            Self::DeleteObjectTagging => Permission::DeleteObjectTagging,
            Self::GetUnset(unset) => unset.read,
            Self::DeleteUnset(unset) => unset.write,
            Self::ListBuckets
            | Self::HeadBucket
            | Self::DeleteBucket
            | Self::ListObjects
            | Self::ListObjectsV2
            | Self::ListObjectVersions
            | Self::DeleteObjects
            | Self::GetObject
            | Self::HeadObject
            | Self::PutObject
            | Self::PostObject
            | Self::CopyObject
            | Self::DeleteObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload
            | Self::AbortMultipartUpload
            | Self::ListParts
            | Self::ListMultipartUploads => return None,
        })
    }
}
