//! What a bucket or object has not: every configuration that cannot be set here answers as AWS
//! answers one that was never set, after it is known that the caller may read what is asked about.

use super::error::Code;
use super::resource::Resource;

/// The answer to a GET.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An error.
    Missing(Code),
    /// An error that has no code of its own.
    Invalid(&'static str),
    /// A document: its root, and what is in it.
    Document(&'static str, &'static [Node]),
    /// The same, but with `?id=` the error of a configuration that is missing.
    List(&'static str),
}

/// What is in a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    Empty(&'static str),
    Text(&'static str, &'static str),
}

/// A configuration that is never set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unset {
    resource: Resource,
    /// Name of the sub-resource.
    sub: &'static str,
    pub(super) answer: Answer,
    /// Whether S3 has a DELETE for it.
    deletable: bool,
}

const fn of_bucket(sub: &'static str, answer: Answer) -> Unset {
    Unset { resource: Resource::Bucket, sub, answer, deletable: false }
}

const fn deletable(sub: &'static str, answer: Answer) -> Unset {
    Unset { resource: Resource::Bucket, sub, answer, deletable: true }
}

const fn of_key(sub: &'static str, answer: Answer, deletable: bool) -> Unset {
    Unset { resource: Resource::Key, sub, answer, deletable }
}

/// What AWS says of an object's retention in a bucket without a lock.
const NO_LOCK: &str = "Bucket is missing Object Lock Configuration";

static UNSET: [Unset; 25] = {
    use Answer::{Document, Invalid, List, Missing};
    use Node::{Empty, Text};
    [
        of_key("tagging", Document("Tagging", &[Empty("TagSet")]), true),
        of_key("retention", Invalid(NO_LOCK), false),
        of_key("legal-hold", Invalid(NO_LOCK), false),
        of_bucket("abac", Document("AbacStatus", &[Text("Status", "Disabled")])),
        of_bucket("accelerate", Document("AccelerateConfiguration", &[])),
        deletable("analytics", List("ListBucketAnalyticsConfigurationResult")),
        deletable("cors", Missing(Code::NoSuchCORSConfiguration)),
        deletable("encryption", Missing(Code::ServerSideEncryptionConfigurationNotFoundError)),
        deletable("intelligent-tiering", List("ListBucketIntelligentTieringConfigurationsOutput")),
        deletable("inventory", List("ListInventoryConfigurationsResult")),
        deletable("lifecycle", Missing(Code::NoSuchLifecycleConfiguration)),
        of_bucket("logging", Document("BucketLoggingStatus", &[])),
        deletable("metadataConfiguration", Missing(Code::MetadataConfigurationNotFound)),
        deletable("metadataTable", Missing(Code::MetadataConfigurationNotFound)),
        deletable("metrics", List("ListMetricsConfigurationsResult")),
        of_bucket("notification", Document("NotificationConfiguration", &[])),
        of_bucket("object-lock", Missing(Code::ObjectLockConfigurationNotFoundError)),
        deletable("ownershipControls", Missing(Code::OwnershipControlsNotFoundError)),
        deletable("policy", Missing(Code::NoSuchBucketPolicy)),
        of_bucket("policyStatus", Missing(Code::NoSuchBucketPolicy)),
        deletable("publicAccessBlock", Missing(Code::NoSuchPublicAccessBlockConfiguration)),
        deletable("replication", Missing(Code::ReplicationConfigurationNotFoundError)),
        of_bucket(
            "requestPayment",
            Document("RequestPaymentConfiguration", &[Text("Payer", "BucketOwner")]),
        ),
        deletable("tagging", Missing(Code::NoSuchTagSet)),
        deletable("website", Missing(Code::NoSuchWebsiteConfiguration)),
    ]
};

/// What of a configuration a request is about, by its method.
pub(super) fn find(method: &str, resource: Resource, sub: &str) -> Option<&'static Unset> {
    let unset = UNSET.iter().find(|unset| unset.resource == resource && unset.sub == sub)?;
    (method == "GET" || (method == "DELETE" && unset.deletable)).then_some(unset)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::sub_resource;
    use super::*;

    #[test]
    fn every_row_is_a_sub_resource_of_what_it_is_about() {
        for unset in &UNSET {
            let known = sub_resource(unset.sub).unwrap();
            let of = if unset.resource == Resource::Key { known.of_key } else { known.of_bucket };
            assert!(of, "{}", unset.sub);
        }
    }

    #[test]
    fn only_reading_and_deleting_have_answers() {
        for method in ["PUT", "POST", "HEAD"] {
            assert!(find(method, Resource::Bucket, "policy").is_none());
        }
        assert!(find("DELETE", Resource::Bucket, "policy").is_some());
        assert!(find("DELETE", Resource::Bucket, "policyStatus").is_none());
        assert!(find("GET", Resource::Key, "policy").is_none());
    }
}
