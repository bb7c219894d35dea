//! The permissions that requests need: the actions of S3.
//!
//! Source: the service authorization reference of AWS for Amazon S3. Operations of Swift's dialect have
//! the action of S3 that does the same; three have no counterpart there and names of their own.

/// The resources that a permission is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionScope {
    /// An account.
    Account,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

macro_rules! permissions {
    ($($scope:ident { $($(#[$doc:meta])* $name:ident,)* })*) => {
        /// The permission that a request needs, by the name of its action without `s3:`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $($($(#[$doc])* $name,)*)* }

        impl Permission {
            /// All permissions.
            pub const ALL: &[Self] = &[$($(Self::$name,)*)*];

            /// The action, such as `s3:GetObject`.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$name => concat!("s3:", stringify!($name)),)*)* }
            }

            /// The resources that it is about.
            pub const fn scope(self) -> PermissionScope {
                match self { $($(Self::$name => PermissionScope::$scope,)*)* }
            }
        }
    };
}

permissions! {
    Account {
        /// Lists the buckets of an account.
        ListAllMyBuckets,
        /// Changes the metadata of an account. Only Swift's dialect has it.
        PutAccountMetadata,
        /// Creates or deletes an account. Only Swift's dialect has it.
        ManageAccount,
    }
    Bucket {
        /// Creates a bucket.
        CreateBucket,
        /// Deletes a bucket.
        DeleteBucket,
        /// Lists objects, or reads the metadata of a bucket.
        ListBucket,
        /// Lists versions.
        ListBucketVersions,
        /// Lists uploads.
        ListBucketMultipartUploads,
        /// Reads the region.
        GetBucketLocation,
        /// Changes metadata of a container. Only Swift's dialect has it.
        PutBucketMetadata,
        /// Reads the access control list.
        GetBucketAcl,
        /// Replaces the access control list.
        PutBucketAcl,
        /// Reads the policy.
        GetBucketPolicy,
        /// Replaces the policy.
        PutBucketPolicy,
        /// Deletes the policy.
        DeleteBucketPolicy,
        /// Reads whether the policy is public.
        GetBucketPolicyStatus,
        /// Reads the public access block.
        GetBucketPublicAccessBlock,
        /// Replaces or deletes the public access block.
        PutBucketPublicAccessBlock,
        /// Reads the ownership controls.
        GetBucketOwnershipControls,
        /// Replaces or deletes the ownership controls.
        PutBucketOwnershipControls,
        /// Reads the state of versioning.
        GetBucketVersioning,
        /// Changes the state of versioning.
        PutBucketVersioning,
        /// Reads the object lock configuration.
        GetBucketObjectLockConfiguration,
        /// Replaces the object lock configuration.
        PutBucketObjectLockConfiguration,
        /// Reads the tags of a bucket.
        GetBucketTagging,
        /// Replaces or deletes the tags of a bucket.
        PutBucketTagging,
        /// Reads the CORS rules.
        GetBucketCORS,
        /// Replaces or deletes the CORS rules.
        PutBucketCORS,
        /// Reads the website configuration.
        GetBucketWebsite,
        /// Replaces the website configuration.
        PutBucketWebsite,
        /// Deletes the website configuration.
        DeleteBucketWebsite,
        /// Reads the lifecycle rules.
        GetLifecycleConfiguration,
        /// Replaces or deletes the lifecycle rules.
        PutLifecycleConfiguration,
        /// Reads the default encryption.
        GetEncryptionConfiguration,
        /// Replaces or deletes the default encryption.
        PutEncryptionConfiguration,
        /// Reads the notification configuration.
        GetBucketNotification,
        /// Replaces the notification configuration.
        PutBucketNotification,
        /// Reads the logging configuration.
        GetBucketLogging,
        /// Replaces the logging configuration.
        PutBucketLogging,
        /// Reads the replication configuration.
        GetReplicationConfiguration,
        /// Replaces or deletes the replication configuration.
        PutReplicationConfiguration,
        /// Reads the transfer acceleration.
        GetAccelerateConfiguration,
        /// Changes the transfer acceleration.
        PutAccelerateConfiguration,
        /// Reads who pays for requests.
        GetBucketRequestPayment,
        /// Changes who pays for requests.
        PutBucketRequestPayment,
        /// Reads analytics configurations.
        GetAnalyticsConfiguration,
        /// Changes analytics configurations.
        PutAnalyticsConfiguration,
        /// Reads intelligent tiering configurations.
        GetIntelligentTieringConfiguration,
        /// Changes intelligent tiering configurations.
        PutIntelligentTieringConfiguration,
        /// Reads inventory configurations.
        GetInventoryConfiguration,
        /// Changes inventory configurations.
        PutInventoryConfiguration,
        /// Reads metrics configurations.
        GetMetricsConfiguration,
        /// Changes metrics configurations.
        PutMetricsConfiguration,
    }
    Object {
        /// Reads an object.
        GetObject,
        /// Reads a version.
        GetObjectVersion,
        /// Writes an object, also by a multipart upload.
        PutObject,
        /// Deletes an object, or makes a delete marker.
        DeleteObject,
        /// Deletes a version.
        DeleteObjectVersion,
        /// Reads attributes of an object.
        GetObjectAttributes,
        /// Reads attributes of a version.
        GetObjectVersionAttributes,
        /// Reads the access control list of an object.
        GetObjectAcl,
        /// Reads the access control list of a version.
        GetObjectVersionAcl,
        /// Replaces the access control list of an object.
        PutObjectAcl,
        /// Replaces the access control list of a version.
        PutObjectVersionAcl,
        /// Reads the tags of an object.
        GetObjectTagging,
        /// Reads the tags of a version.
        GetObjectVersionTagging,
        /// Replaces the tags of an object.
        PutObjectTagging,
        /// Replaces the tags of a version.
        PutObjectVersionTagging,
        /// Deletes the tags of an object.
        DeleteObjectTagging,
        /// Deletes the tags of a version.
        DeleteObjectVersionTagging,
        /// Reads the retention of a version.
        GetObjectRetention,
        /// Changes the retention of a version.
        PutObjectRetention,
        /// Reads the legal hold of a version.
        GetObjectLegalHold,
        /// Changes the legal hold of a version.
        PutObjectLegalHold,
        /// Changes or deletes a version under governance.
        BypassGovernanceRetention,
        /// Aborts an upload.
        AbortMultipartUpload,
        /// Lists the parts of an upload.
        ListMultipartUploadParts,
        /// Restores an archived object.
        RestoreObject,
    }
}

impl Permission {
    /// The permission for the same operation on a version that the request names.
    #[must_use]
    pub const fn on_version(self) -> Self {
        match self {
            Self::GetObject => Self::GetObjectVersion,
            Self::DeleteObject => Self::DeleteObjectVersion,
            Self::GetObjectAttributes => Self::GetObjectVersionAttributes,
            Self::GetObjectAcl => Self::GetObjectVersionAcl,
            Self::PutObjectAcl => Self::PutObjectVersionAcl,
            Self::GetObjectTagging => Self::GetObjectVersionTagging,
            Self::PutObjectTagging => Self::PutObjectVersionTagging,
            Self::DeleteObjectTagging => Self::DeleteObjectVersionTagging,
            other => other,
        }
    }

    /// Whether it only reads.
    pub fn is_read(self) -> bool {
        let action = self.name().trim_start_matches("s3:");
        action.starts_with("Get") || action.starts_with("List")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_the_names_of_actions() {
        assert_eq!(Permission::GetObject.name(), "s3:GetObject");
        assert_eq!(Permission::GetBucketCORS.name(), "s3:GetBucketCORS");
        let mut names: Vec<_> = Permission::ALL.iter().map(|each| each.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Permission::ALL.len());
    }

    #[test]
    fn a_named_version_needs_the_permission_for_versions() {
        assert_eq!(Permission::GetObject.on_version(), Permission::GetObjectVersion);
        assert_eq!(Permission::PutObject.on_version(), Permission::PutObject);
        for permission in Permission::ALL {
            let versioned = permission.on_version();
            assert_eq!(versioned.on_version(), versioned);
            assert_eq!(versioned.scope(), permission.scope());
        }
    }

    #[test]
    fn names_distinguish_reads_from_changes() {
        let reads: Vec<_> = Permission::ALL.iter().filter(|each| each.is_read()).collect();
        assert!(
            reads.contains(&&Permission::ListBucket) && reads.contains(&&Permission::GetObject)
        );
        for change in [Permission::PutObject, Permission::DeleteBucket, Permission::ManageAccount] {
            assert!(!reads.contains(&&change), "{change:?}");
        }
    }
}
