//! Tables of S3's sub-resources and operations, implemented or not, for `route`.
//!
//! An operation that is in none of them is refused.
//!
//! Source: the service model of botocore 1.44.5 (2026).

use super::operation::Operation;
use super::resource::Resource;

/// A query parameter that selects an operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SubResource {
    /// Name of the parameter.
    pub(super) name: &'static str,
    /// Whether buckets have it.
    pub(super) of_bucket: bool,
    /// Whether objects have it.
    pub(super) of_key: bool,
}

const fn of_bucket(name: &'static str) -> SubResource {
    SubResource { name, of_bucket: true, of_key: false }
}

const fn of_key(name: &'static str) -> SubResource {
    SubResource { name, of_bucket: false, of_key: true }
}

const fn of_both(name: &'static str) -> SubResource {
    SubResource { name, of_bucket: true, of_key: true }
}

/// All sub-resources, sorted by name. `append`, `comp` and `encryptionKey` belong to other stores with
/// an S3 API.
pub(super) static SUB_RESOURCES: [SubResource; 46] = [
    of_bucket("abac"),
    of_bucket("accelerate"),
    of_both("acl"),
    of_bucket("analytics"),
    of_key("annotation"),
    of_both("append"),
    of_key("attributes"),
    of_both("comp"),
    of_bucket("cors"),
    of_bucket("delete"),
    of_both("encryption"),
    of_both("encryptionKey"),
    of_bucket("intelligent-tiering"),
    of_bucket("inventory"),
    of_key("legal-hold"),
    of_bucket("lifecycle"),
    of_bucket("list-type"),
    of_bucket("location"),
    of_bucket("logging"),
    of_bucket("metadataAnnotationTable"),
    of_bucket("metadataConfiguration"),
    of_bucket("metadataInventoryTable"),
    of_bucket("metadataJournalTable"),
    of_bucket("metadataTable"),
    of_bucket("metrics"),
    of_bucket("notification"),
    of_bucket("object-lock"),
    of_bucket("ownershipControls"),
    of_bucket("policy"),
    of_bucket("policyStatus"),
    of_bucket("publicAccessBlock"),
    of_key("renameObject"),
    of_bucket("replication"),
    of_bucket("requestPayment"),
    of_key("restore"),
    of_key("retention"),
    of_key("select"),
    of_key("select-type"),
    of_bucket("session"),
    of_both("tagging"),
    of_key("torrent"),
    of_key("uploadId"),
    of_both("uploads"),
    of_bucket("versioning"),
    of_bucket("versions"),
    of_bucket("website"),
];

/// The sub-resource of this name.
pub(super) fn sub_resource(name: &str) -> Option<&'static SubResource> {
    let at = SUB_RESOURCES.binary_search_by(|known| known.name.cmp(name)).ok()?;
    SUB_RESOURCES.get(at)
}

/// The route to an implemented operation.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) resource: Resource,
    /// The sub-resource; empty for the resource itself.
    pub(super) sub: &'static str,
    pub(super) operation: Operation,
    /// The parameters that the operation accepts: `partNumber`, `versionId`.
    pub(super) operands: &'static [&'static str],
}

const fn row(
    method: &'static str,
    resource: Resource,
    sub: &'static str,
    operation: Operation,
    operands: &'static [&'static str],
) -> Route {
    Route { method, resource, sub, operation, operands }
}

const PART: &[&str] = &["partNumber"];
const VERSION: &[&str] = &["versionId"];
const BOTH: &[&str] = &["partNumber", "versionId"];

/// The implemented operations, except copies, which are uploads with a header, and those of `unset`.
pub(super) static ROUTES: [Route; 66] = {
    use Operation::*;
    use Resource::{Bucket, Key, Service};
    [
        row("GET", Key, "", GetObject, BOTH),
        row("PUT", Key, "", PutObject, &[]),
        row("HEAD", Key, "", HeadObject, BOTH),
        row("DELETE", Key, "", DeleteObject, VERSION),
        row("PUT", Key, "uploadId", UploadPart, PART),
        row("GET", Bucket, "list-type", ListObjectsV2, &[]),
        row("GET", Bucket, "", ListObjects, &[]),
        row("HEAD", Bucket, "", HeadBucket, &[]),
        row("PUT", Bucket, "", CreateBucket, &[]),
        row("DELETE", Bucket, "", DeleteBucket, &[]),
        row("POST", Bucket, "", PostObject, &[]),
        row("POST", Bucket, "delete", DeleteObjects, &[]),
        row("GET", Bucket, "location", GetBucketLocation, &[]),
        row("GET", Bucket, "versioning", GetBucketVersioning, &[]),
        row("PUT", Bucket, "versioning", PutBucketVersioning, &[]),
        row("GET", Bucket, "versions", ListObjectVersions, &[]),
        row("GET", Bucket, "lifecycle", GetBucketLifecycle, &[]),
        row("PUT", Bucket, "lifecycle", PutBucketLifecycle, &[]),
        row("DELETE", Bucket, "lifecycle", DeleteBucketLifecycle, &[]),
        row("GET", Bucket, "cors", GetBucketCors, &[]),
        row("PUT", Bucket, "cors", PutBucketCors, &[]),
        row("DELETE", Bucket, "cors", DeleteBucketCors, &[]),
        row("GET", Bucket, "notification", GetBucketNotification, &[]),
        row("PUT", Bucket, "notification", PutBucketNotification, &[]),
        row("GET", Bucket, "website", GetBucketWebsite, &[]),
        row("PUT", Bucket, "website", PutBucketWebsite, &[]),
        row("DELETE", Bucket, "website", DeleteBucketWebsite, &[]),
        row("GET", Bucket, "encryption", GetBucketEncryption, &[]),
        row("PUT", Bucket, "encryption", PutBucketEncryption, &[]),
        row("DELETE", Bucket, "encryption", DeleteBucketEncryption, &[]),
        row("GET", Bucket, "tagging", GetBucketTagging, &[]),
        row("PUT", Bucket, "tagging", PutBucketTagging, &[]),
        row("DELETE", Bucket, "tagging", DeleteBucketTagging, &[]),
        row("GET", Bucket, "logging", GetBucketLogging, &[]),
        row("PUT", Bucket, "logging", PutBucketLogging, &[]),
        row("GET", Bucket, "policy", GetBucketPolicy, &[]),
        row("PUT", Bucket, "policy", PutBucketPolicy, &[]),
        row("DELETE", Bucket, "policy", DeleteBucketPolicy, &[]),
        row("GET", Bucket, "policyStatus", GetBucketPolicyStatus, &[]),
        row("GET", Bucket, "uploads", ListMultipartUploads, &[]),
        row("GET", Bucket, "acl", GetBucketAcl, &[]),
        row("PUT", Bucket, "acl", PutBucketAcl, &[]),
        row("GET", Key, "acl", GetObjectAcl, VERSION),
        row("PUT", Key, "acl", PutObjectAcl, VERSION),
        row("GET", Bucket, "ownershipControls", GetBucketOwnershipControls, &[]),
        row("PUT", Bucket, "ownershipControls", PutBucketOwnershipControls, &[]),
        row("DELETE", Bucket, "ownershipControls", DeleteBucketOwnershipControls, &[]),
        row("GET", Bucket, "publicAccessBlock", GetPublicAccessBlock, &[]),
        row("PUT", Bucket, "publicAccessBlock", PutPublicAccessBlock, &[]),
        row("DELETE", Bucket, "publicAccessBlock", DeletePublicAccessBlock, &[]),
        row("GET", Key, "attributes", GetObjectAttributes, VERSION),
        row("GET", Bucket, "object-lock", GetObjectLockConfiguration, &[]),
        row("PUT", Bucket, "object-lock", PutObjectLockConfiguration, &[]),
        row("GET", Key, "retention", GetObjectRetention, VERSION),
        row("PUT", Key, "retention", PutObjectRetention, VERSION),
        row("GET", Key, "legal-hold", GetObjectLegalHold, VERSION),
        row("PUT", Key, "legal-hold", PutObjectLegalHold, VERSION),
        row("GET", Key, "tagging", GetObjectTagging, VERSION),
        row("PUT", Key, "tagging", PutObjectTagging, VERSION),
        row("DELETE", Key, "tagging", DeleteObjectTagging, VERSION),
        row("POST", Key, "restore", RestoreObject, VERSION),
        row("POST", Key, "uploads", CreateMultipartUpload, &[]),
        row("POST", Key, "uploadId", CompleteMultipartUpload, &[]),
        row("DELETE", Key, "uploadId", AbortMultipartUpload, &[]),
        row("GET", Key, "uploadId", ListParts, &[]),
        row("GET", Service, "", ListBuckets, &[]),
    ]
};

/// Operations of S3 that are not implemented: method, resource, sub-resource.
pub(super) static NOT_IMPLEMENTED: &[(&str, Resource, &str)] = {
    use Resource::{Bucket, Key};
    &[
        ("PUT", Bucket, "abac"),
        ("PUT", Bucket, "accelerate"),
        ("PUT", Bucket, "analytics"),
        ("GET", Key, "annotation"),
        ("PUT", Key, "annotation"),
        ("DELETE", Key, "annotation"),
        ("PUT", Key, "encryption"),
        ("PUT", Bucket, "intelligent-tiering"),
        ("PUT", Bucket, "inventory"),
        ("PUT", Bucket, "metadataAnnotationTable"),
        ("POST", Bucket, "metadataConfiguration"),
        ("PUT", Bucket, "metadataInventoryTable"),
        ("PUT", Bucket, "metadataJournalTable"),
        ("POST", Bucket, "metadataTable"),
        ("PUT", Bucket, "metrics"),
        ("PUT", Key, "renameObject"),
        ("PUT", Bucket, "replication"),
        ("PUT", Bucket, "requestPayment"),
        ("POST", Key, "select"),
        ("GET", Bucket, "session"),
        ("GET", Key, "torrent"),
    ]
};

/// Sub-resources of other stores, refused with every method.
pub(super) const FOREIGN: [&str; 3] = ["append", "comp", "encryptionKey"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_resources_are_sorted_and_every_row_has_a_known_one() {
        assert!(SUB_RESOURCES.windows(2).all(|pair| pair[0].name < pair[1].name));
        let rows = ROUTES.iter().map(|route| (route.resource, route.sub));
        let all = rows.chain(NOT_IMPLEMENTED.iter().map(|row| (row.1, row.2)));
        for (resource, sub) in
            all.filter(|(resource, sub)| !sub.is_empty() && *resource != Resource::Service)
        {
            let known = sub_resource(sub).unwrap();
            let fits = if resource == Resource::Key { known.of_key } else { known.of_bucket };
            assert!(fits, "{resource:?} {sub}");
        }
    }

    #[test]
    fn every_operation_is_listed_once() {
        let mut all: Vec<_> = ROUTES
            .iter()
            .map(|route| (route.method, route.resource.name(), route.sub))
            .chain(NOT_IMPLEMENTED.iter().map(|row| (row.0, row.1.name(), row.2)))
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    /// The resources of a route in the access matrix: an object, also by its version, or an upload.
    fn matrix_resources(route: &Route) -> Vec<&'static str> {
        match route.resource {
            Resource::Service => vec!["service"],
            Resource::Bucket => vec!["bucket"],
            Resource::Key if route.sub == "uploadId" => vec!["upload"],
            Resource::Key if route.operands.contains(&"versionId") => vec!["object", "version"],
            Resource::Key => vec!["object"],
        }
    }

    #[test]
    fn every_route_has_a_line_in_the_access_matrix() {
        let matrix = include_str!("../../../tests/fixtures/access-matrix.txt");
        let sub = |name: &'static str| if name.is_empty() { "-" } else { name };
        let mut routes: Vec<String> = ROUTES
            .iter()
            .flat_map(|route| {
                let line = |of: &str| format!("{} {of} {}", route.method, sub(route.sub));
                matrix_resources(route).into_iter().map(line).collect::<Vec<_>>()
            })
            .chain(
                super::super::unset::routes()
                    .map(|(method, name)| format!("{method} bucket {name}")),
            )
            .chain(
                ["PUT object x-amz-copy-source", "PUT upload x-amz-copy-source"].map(str::to_owned),
            )
            .collect();
        let mut lines: Vec<String> = matrix
            .lines()
            .filter_map(|line| line.strip_prefix("s3 "))
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        routes.sort_unstable();
        lines.sort_unstable();
        assert_eq!(lines, routes);
    }

    #[test]
    fn lines_of_the_access_matrix_name_the_permission_of_the_operation() {
        let matrix = include_str!("../../../tests/fixtures/access-matrix.txt");
        for route in &ROUTES {
            let Some(permission) = route.operation.permission() else { continue };
            let [resource, ..] = matrix_resources(route)[..] else { continue };
            let sub = if route.sub.is_empty() { "-" } else { route.sub };
            let start = format!("s3 {} {resource} {sub} ", route.method);
            let line = matrix.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
            let named = line.split(' ').next().unwrap();
            assert_eq!(format!("s3:{named}"), permission.name(), "{start}");
        }
    }
}
