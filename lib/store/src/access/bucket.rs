//! The rules of a bucket that the authorizer applies, parsed once for each reading of its metadata.

use apus_cluster::Metadata;

/// The rules that the owner of a bucket has set in the S3 dialect.
#[derive(Debug, Clone, Default)]
pub struct BucketAccess {}

impl BucketAccess {
    /// The rules in a container's metadata.
    pub fn of(_headers: &Metadata) -> Self {
        Self {}
    }
}
