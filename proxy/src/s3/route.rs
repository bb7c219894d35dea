//! Which operation a request is. What is not in this file does not exist: 501.

use apus_daemon::http::header;
use http::{HeaderMap, Method};

use super::Result;
use super::error::{Code, S3Error};

/// The operations that are done, by AWS's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetAcl,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    DeleteObjects,
    GetObject,
    GetObjectAttributes,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    ListMultipartUploads,
}

/// Sub-resources that name operations which are not done (yet): the list of 501s.
const NOT_IMPLEMENTED: [&str; 36] = [
    "abac",
    "accelerate",
    "analytics",
    "annotation",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "website",
    "append",
    "comp",
    "encryptionKey",
];

/// Request headers that ask for what is not done. A header that is not here and not handled does
/// not change what an operation does.
const HEADERS_NOT_IMPLEMENTED: [&str; 16] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
    "x-amz-mfa",
];

fn not_implemented(what: &str) -> S3Error {
    S3Error::new(Code::NotImplemented).text(format!(
        "A header or parameter you provided implies functionality that is not implemented: {what}"
    ))
}

/// Refuses headers that ask for what is not done.
fn check_headers(headers: &HeaderMap) -> Result<()> {
    if let Some(name) = HEADERS_NOT_IMPLEMENTED.iter().find(|name| headers.contains_key(**name)) {
        return Err(not_implemented(name));
    }
    if let Some(name) = headers.keys().find(|name| name.as_str().starts_with("x-amz-grant-")) {
        return Err(not_implemented(name.as_str()));
    }
    let acl = header(headers, "x-amz-acl").unwrap_or("private");
    if !matches!(acl, "private" | "bucket-owner-full-control" | "bucket-owner-read") {
        return Err(not_implemented("x-amz-acl"));
    }
    let class = header(headers, "x-amz-storage-class").unwrap_or("STANDARD");
    if class != "STANDARD" {
        return Err(S3Error::new(Code::InvalidStorageClass));
    }
    Ok(())
}

/// Headers that are conditions, and where each is one.
const CONDITIONS: [(&str, &[Operation]); 6] = {
    use Operation::*;
    const READS: [Operation; 2] = [GetObject, HeadObject];
    [
        (
            "if-match",
            &[GetObject, HeadObject, PutObject, CopyObject, CompleteMultipartUpload, DeleteObject],
        ),
        ("if-none-match", &[GetObject, HeadObject, PutObject, CopyObject, CompleteMultipartUpload]),
        ("if-modified-since", &READS),
        ("if-unmodified-since", &READS),
        ("x-amz-if-match-last-modified-time", &[DeleteObject]),
        ("x-amz-if-match-size", &[DeleteObject]),
    ]
};

/// A condition that were accepted and not enforced would be worse than none. Operations that only
/// read are free to ignore it.
fn check_conditions(method: &Method, operation: Operation, headers: &HeaderMap) -> Result<()> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let ignored = |(name, known): &&(&str, &[Operation])| {
        headers.contains_key(*name) && !known.contains(&operation)
    };
    match CONDITIONS.iter().find(ignored) {
        Some((name, _)) if !reads => Err(not_implemented(name)),
        _ => Ok(()),
    }
}

/// The operation of a request.
pub(super) fn operation(
    method: &Method,
    bucket: bool,
    key: bool,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Operation> {
    let has = |name: &str| query.iter().any(|(key, _)| key == name);
    if let Some(name) = NOT_IMPLEMENTED.iter().find(|name| has(name)) {
        return Err(S3Error::new(Code::NotImplemented)
            .text("The requested resource is not implemented")
            .with("SubResource", *name));
    }
    check_headers(headers)?;
    let copy = headers.contains_key("x-amz-copy-source");
    let refused = || S3Error::new(Code::MethodNotAllowed);
    if has("acl") {
        // Only the owner has access, which can be told but not changed.
        return match *method {
            Method::GET if bucket => Ok(Operation::GetAcl),
            _ => Err(not_implemented("acl")),
        };
    }
    let operation = match (method.as_str(), bucket, key) {
        ("GET", false, _) => Operation::ListBuckets,
        (_, false, _) => return Err(refused()),
        ("GET", true, false) if has("location") => Operation::GetBucketLocation,
        ("GET", true, false) if has("versioning") => Operation::GetBucketVersioning,
        ("GET", true, false) if has("uploads") => Operation::ListMultipartUploads,
        ("GET", true, false) if has("versions") => Operation::ListObjectVersions,
        ("GET", true, false) if query.iter().any(|(k, v)| k == "list-type" && v == "2") => {
            Operation::ListObjectsV2
        }
        ("GET", true, false) => Operation::ListObjects,
        ("PUT", true, false) if has("versioning") => return Err(not_implemented("versioning")),
        ("PUT", true, false) => Operation::CreateBucket,
        ("HEAD", true, false) => Operation::HeadBucket,
        ("DELETE", true, false) => Operation::DeleteBucket,
        ("POST", true, false) if has("delete") => Operation::DeleteObjects,
        ("POST", true, false) => return Err(not_implemented("POST policy upload")),
        ("GET", true, true) if has("uploadId") => Operation::ListParts,
        ("GET", true, true) if has("attributes") => Operation::GetObjectAttributes,
        ("GET", true, true) => Operation::GetObject,
        ("HEAD", true, true) => Operation::HeadObject,
        ("PUT", true, true) if has("uploadId") && copy => Operation::UploadPartCopy,
        ("PUT", true, true) if has("uploadId") => Operation::UploadPart,
        ("PUT", true, true) if has("partNumber") => {
            return Err(
                S3Error::new(Code::InvalidArgument).text("This operation needs an uploadId")
            );
        }
        ("PUT", true, true) if copy => Operation::CopyObject,
        ("PUT", true, true) => Operation::PutObject,
        ("POST", true, true) if has("uploads") => Operation::CreateMultipartUpload,
        ("POST", true, true) if has("uploadId") => Operation::CompleteMultipartUpload,
        ("DELETE", true, true) if has("uploadId") => Operation::AbortMultipartUpload,
        ("DELETE", true, true) => Operation::DeleteObject,
        _ => return Err(refused()),
    };
    check_conditions(method, operation, headers)?;
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(
        method: &Method,
        key: bool,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Operation> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let query = super::super::address::query(query).unwrap();
        operation(method, true, key, &query, &map)
    }

    #[test]
    fn sub_resources_that_are_not_done_are_501_for_every_method() {
        for name in NOT_IMPLEMENTED {
            for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
                for key in [false, true] {
                    let error = route(&method, key, name, &[]).unwrap_err();
                    assert_eq!(error.code, Code::NotImplemented, "{method} ?{name}");
                }
            }
        }
    }

    #[test]
    fn a_condition_on_a_write_is_never_ignored() {
        for (query, name) in [
            ("uploadId=x&partNumber=1", "if-match"),
            ("uploadId=x&partNumber=1", "if-none-match"),
            ("", "if-unmodified-since"),
            ("", "x-amz-if-match-size"),
        ] {
            let error = route(&Method::PUT, true, query, &[(name, "*")]).unwrap_err();
            assert_eq!(error.code, Code::NotImplemented, "{query} {name}");
        }
        let delete = |name| route(&Method::DELETE, true, "", &[(name, "*")]);
        assert_eq!(delete("if-none-match").unwrap_err().code, Code::NotImplemented);
        assert_eq!(delete("if-match").unwrap(), Operation::DeleteObject);
        assert_eq!(
            route(&Method::GET, true, "", &[("if-match", "*")]).unwrap(),
            Operation::GetObject
        );
    }

    #[test]
    fn public_acls_and_encryption_are_never_ignored() {
        for (name, value) in [
            ("x-amz-acl", "public-read"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-grant-read", "x"),
        ] {
            assert_eq!(
                route(&Method::PUT, true, "", &[(name, value)]).unwrap_err().code,
                Code::NotImplemented
            );
        }
    }
}
