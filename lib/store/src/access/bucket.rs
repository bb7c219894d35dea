//! The rules of a bucket that the authorizer applies, parsed once for each reading of its metadata.

use apus_bucket::bucket_acls::BucketAcls;
use apus_cluster::Metadata;

/// The rules that the owner of a bucket has set in the S3 dialect.
#[derive(Debug, Clone, Default)]
pub struct BucketAccess {
    /// Its ACL and settings for ACLs; `None` when they are damaged, so that no ACL gives access.
    pub acls: Option<BucketAcls>,
}

impl BucketAccess {
    /// The rules in a container's metadata.
    pub fn of(headers: &Metadata) -> Self {
        let acls = BucketAcls::of(headers).inspect_err(|error| {
            tracing::error!(%error, "A bucket has damaged ACLs or settings for ACLs");
        });
        Self { acls: acls.ok() }
    }
}
