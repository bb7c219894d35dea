//! Table of the configurations of buckets and objects that are never set here.
//!
//! Each gets AWS's response for one that was never set, if the caller may read the resource.

use apus_policy::Permission;

use super::error::Code;
use super::resource::Resource;

/// The response to a GET.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnsetResponse {
    /// An error.
    Missing(Code),
    /// A document with this root and these elements with text.
    Document(&'static str, &'static [(&'static str, &'static str)]),
    /// A list with this root; with `?id=` the error for a missing configuration.
    List(&'static str),
}

/// A configuration that is never set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unset {
    resource: Resource,
    /// Name of the sub-resource.
    sub: &'static str,
    pub(super) response: UnsetResponse,
    /// Whether S3 has a DELETE for it.
    deletable: bool,
    /// The permission to read it.
    pub(super) read: Permission,
    /// The permission to delete it.
    pub(super) write: Permission,
}

impl Unset {
    /// Name of the sub-resource.
    pub(super) fn sub(&self) -> &'static str {
        self.sub
    }
}

const fn of_bucket(sub: &'static str, read: Permission, response: UnsetResponse) -> Unset {
    Unset { resource: Resource::Bucket, sub, response, deletable: false, read, write: read }
}

const fn deletable(
    sub: &'static str,
    (read, write): (Permission, Permission),
    response: UnsetResponse,
) -> Unset {
    Unset { resource: Resource::Bucket, sub, response, deletable: true, read, write }
}

static UNSET: [Unset; 10] = {
    use UnsetResponse::{Document, List, Missing};
    [
        of_bucket(
            "abac",
            Permission::GetBucketTagging,
            Document("AbacStatus", &[("Status", "Disabled")]),
        ),
        of_bucket(
            "accelerate",
            Permission::GetAccelerateConfiguration,
            Document("AccelerateConfiguration", &[]),
        ),
        deletable(
            "analytics",
            (Permission::GetAnalyticsConfiguration, Permission::PutAnalyticsConfiguration),
            List("ListBucketAnalyticsConfigurationResult"),
        ),
        deletable(
            "intelligent-tiering",
            (
                Permission::GetIntelligentTieringConfiguration,
                Permission::PutIntelligentTieringConfiguration,
            ),
            List("ListBucketIntelligentTieringConfigurationsOutput"),
        ),
        deletable(
            "inventory",
            (Permission::GetInventoryConfiguration, Permission::PutInventoryConfiguration),
            List("ListInventoryConfigurationsResult"),
        ),
        deletable(
            "metadataConfiguration",
            (Permission::GetInventoryConfiguration, Permission::PutInventoryConfiguration),
            Missing(Code::MetadataConfigurationNotFound),
        ),
        deletable(
            "metadataTable",
            (Permission::GetInventoryConfiguration, Permission::PutInventoryConfiguration),
            Missing(Code::MetadataConfigurationNotFound),
        ),
        deletable(
            "metrics",
            (Permission::GetMetricsConfiguration, Permission::PutMetricsConfiguration),
            List("ListMetricsConfigurationsResult"),
        ),
        deletable(
            "replication",
            (Permission::GetReplicationConfiguration, Permission::PutReplicationConfiguration),
            Missing(Code::ReplicationConfigurationNotFoundError),
        ),
        of_bucket(
            "requestPayment",
            Permission::GetBucketRequestPayment,
            Document("RequestPaymentConfiguration", &[("Payer", "BucketOwner")]),
        ),
    ]
};

/// The configuration that a GET or DELETE names.
pub(super) fn find(method: &str, resource: Resource, sub: &str) -> Option<&'static Unset> {
    let unset = UNSET.iter().find(|unset| unset.resource == resource && unset.sub == sub)?;
    (method == "GET" || (method == "DELETE" && unset.deletable)).then_some(unset)
}

/// Method and sub-resource of every route.
#[cfg(test)]
pub(super) fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let methods = |unset: &'static Unset| match unset.deletable {
        true => vec![("GET", unset.sub), ("DELETE", unset.sub)],
        false => vec![("GET", unset.sub)],
    };
    UNSET.iter().flat_map(methods)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::sub_resource;
    use super::*;

    #[test]
    fn every_row_is_a_sub_resource_of_its_resource() {
        for unset in &UNSET {
            let known = sub_resource(unset.sub).unwrap();
            let of = if unset.resource == Resource::Key { known.of_key } else { known.of_bucket };
            assert!(of, "{}", unset.sub);
        }
    }

    #[test]
    fn only_get_and_delete_are_found() {
        for method in ["PUT", "POST", "HEAD"] {
            assert!(find(method, Resource::Bucket, "replication").is_none());
        }
        assert!(find("DELETE", Resource::Bucket, "replication").is_some());
        assert!(find("DELETE", Resource::Bucket, "logging").is_none());
        assert!(find("GET", Resource::Key, "replication").is_none());
    }
}
