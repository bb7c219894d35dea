//! Table of the configurations of buckets and objects that are never set here.
//!
//! Each gets AWS's response for one that was never set, if the caller may read the resource.

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
}

const fn of_bucket(sub: &'static str, response: UnsetResponse) -> Unset {
    Unset { resource: Resource::Bucket, sub, response, deletable: false }
}

const fn deletable(sub: &'static str, response: UnsetResponse) -> Unset {
    Unset { resource: Resource::Bucket, sub, response, deletable: true }
}

static UNSET: [Unset; 17] = {
    use UnsetResponse::{Document, List, Missing};
    [
        of_bucket("abac", Document("AbacStatus", &[("Status", "Disabled")])),
        of_bucket("accelerate", Document("AccelerateConfiguration", &[])),
        deletable("analytics", List("ListBucketAnalyticsConfigurationResult")),
        deletable("encryption", Missing(Code::ServerSideEncryptionConfigurationNotFoundError)),
        deletable("intelligent-tiering", List("ListBucketIntelligentTieringConfigurationsOutput")),
        deletable("inventory", List("ListInventoryConfigurationsResult")),
        of_bucket("logging", Document("BucketLoggingStatus", &[])),
        deletable("metadataConfiguration", Missing(Code::MetadataConfigurationNotFound)),
        deletable("metadataTable", Missing(Code::MetadataConfigurationNotFound)),
        deletable("metrics", List("ListMetricsConfigurationsResult")),
        of_bucket("notification", Document("NotificationConfiguration", &[])),
        deletable("ownershipControls", Missing(Code::OwnershipControlsNotFoundError)),
        deletable("policy", Missing(Code::NoSuchBucketPolicy)),
        of_bucket("policyStatus", Missing(Code::NoSuchBucketPolicy)),
        deletable("publicAccessBlock", Missing(Code::NoSuchPublicAccessBlockConfiguration)),
        deletable("replication", Missing(Code::ReplicationConfigurationNotFoundError)),
        of_bucket(
            "requestPayment",
            Document("RequestPaymentConfiguration", &[("Payer", "BucketOwner")]),
        ),
    ]
};

/// The configuration that a GET or DELETE names.
pub(super) fn find(method: &str, resource: Resource, sub: &str) -> Option<&'static Unset> {
    let unset = UNSET.iter().find(|unset| unset.resource == resource && unset.sub == sub)?;
    (method == "GET" || (method == "DELETE" && unset.deletable)).then_some(unset)
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
            assert!(find(method, Resource::Bucket, "policy").is_none());
        }
        assert!(find("DELETE", Resource::Bucket, "policy").is_some());
        assert!(find("DELETE", Resource::Bucket, "policyStatus").is_none());
        assert!(find("GET", Resource::Key, "policy").is_none());
    }
}
