//! What a bucket or object has not: every configuration that cannot be set here answers as AWS
//! answers one that was never set, after it is known that the caller may read what is asked about.

use apus_cluster::ObjectPath;
use apus_daemon::http::status;
use apus_store::access::Action;
use apus_store::operation::{Authorize, HeadContainer, HeadObject};
use http::StatusCode;

use super::catalogue::Resource;
use super::error::{Code, S3Error};
use super::object::check_version;
use super::xml::Writer;
use super::{Reply, Result, S3Request, xml_reply};
use crate::edge::Parts;

/// The answer to a GET.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
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
enum Node {
    Empty(&'static str),
    Text(&'static str, &'static str),
}

/// A configuration that is never set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unset {
    resource: Resource,
    /// Name of the sub-resource.
    sub: &'static str,
    answer: Answer,
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

/// The object that a request is about, if it is about one.
fn object(request: &S3Request) -> Result<Option<ObjectPath>> {
    if request.key.is_none() {
        return Ok(None);
    }
    check_version(request)?;
    request.object().map(Some)
}

fn no_such_configuration(request: &S3Request) -> S3Error {
    let bucket = request.bucket.as_deref().unwrap_or_default();
    S3Error::new(Code::NoSuchConfiguration).with("BucketName", bucket)
}

/// Answers the GET of a configuration.
pub(super) async fn get(parts: &Parts, request: S3Request, unset: &Unset) -> Result<Reply> {
    match object(&request)? {
        Some(object) => {
            parts.store.head_object(&request.cx, HeadObject::new(object)).await?;
        }
        None => {
            let op = HeadContainer { container: request.container()? };
            parts.store.head_container(&request.cx, op).await?;
        }
    }
    let mut out = Writer::new();
    match &unset.answer {
        Answer::Missing(code) => {
            let bucket = request.bucket.as_deref().unwrap_or_default();
            return Err(S3Error::new(*code).with("BucketName", bucket));
        }
        Answer::Invalid(text) => return Err(S3Error::new(Code::InvalidRequest).text(*text)),
        Answer::List(_) if request.param("id").is_some() => {
            return Err(no_such_configuration(&request));
        }
        Answer::List(root) => {
            out.root(root);
            out.flag("IsTruncated", false);
            out.close(root);
        }
        Answer::Document(root, nodes) => {
            out.root(root);
            for node in *nodes {
                match node {
                    Node::Empty(name) => out.text(name, ""),
                    Node::Text(name, text) => out.text(name, text),
                }
            }
            out.close(root);
        }
    }
    Ok(xml_reply(out.finish()))
}

/// Answers the DELETE of a configuration: there is nothing to delete, for those who might.
pub(super) async fn delete(parts: &Parts, request: S3Request, unset: &Unset) -> Result<Reply> {
    let object = object(&request)?;
    let action = if object.is_some() { Action::WriteObject } else { Action::WriteContainer };
    let ask = Authorize { action, container: request.container()? };
    parts.store.authorize(&request.cx, ask).await?;
    if let Some(object) = object {
        parts.store.head_object(&request.cx, HeadObject::new(object)).await?;
    }
    match unset.answer {
        // Configurations of which there are several are deleted by their names.
        Answer::List(_) => Err(no_such_configuration(&request)),
        _ => Ok(status(StatusCode::NO_CONTENT)),
    }
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
