//! Tests of every sub-resource with every method, and of the other parts of a route.

use super::*;
use crate::s3::address;
use crate::s3::catalogue::SUB_RESOURCES;

const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];
const RESOURCES: [Resource; 3] = [Resource::Service, Resource::Bucket, Resource::Key];

fn route_with(
    method: &str,
    resource: Resource,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<Operation> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    let query = address::query(query).unwrap();
    operation(&method.parse().unwrap(), resource, &query, &map)
}

fn route(method: &str, resource: Resource, query: &str) -> Result<Operation> {
    route_with(method, resource, query, &[])
}

/// The methods of each sub-resource, from S3's API reference: those that are implemented, and those
/// that are refused with 501. Everything else is 400 or 405.
const EXPECTED: [(&str, Resource, &str, &str); 63] = {
    use Resource::{Bucket, Key};
    [
        ("abac", Bucket, "GET", "PUT"),
        ("accelerate", Bucket, "GET", "PUT"),
        ("acl", Bucket, "GET PUT", ""),
        ("acl", Key, "GET PUT", ""),
        ("analytics", Bucket, "GET DELETE", "PUT"),
        ("annotation", Key, "", "GET PUT DELETE"),
        ("append", Bucket, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("append", Key, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("attributes", Key, "GET", ""),
        ("comp", Bucket, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("comp", Key, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("cors", Bucket, "GET PUT DELETE", ""),
        ("delete", Bucket, "POST", ""),
        ("encryption", Bucket, "GET PUT DELETE", ""),
        ("encryption", Key, "", "PUT"),
        ("encryptionKey", Bucket, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("encryptionKey", Key, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("intelligent-tiering", Bucket, "GET DELETE", "PUT"),
        ("inventory", Bucket, "GET DELETE", "PUT"),
        ("legal-hold", Key, "GET PUT", ""),
        ("lifecycle", Bucket, "GET PUT DELETE", ""),
        ("list-type", Bucket, "GET", ""),
        ("location", Bucket, "GET", ""),
        ("logging", Bucket, "GET PUT", ""),
        ("metadataAnnotationTable", Bucket, "", "PUT"),
        ("metadataConfiguration", Bucket, "GET DELETE", "POST"),
        ("metadataInventoryTable", Bucket, "", "PUT"),
        ("metadataJournalTable", Bucket, "", "PUT"),
        ("metadataTable", Bucket, "GET DELETE", "POST"),
        ("metrics", Bucket, "GET DELETE", "PUT"),
        ("notification", Bucket, "GET PUT", ""),
        ("object-lock", Bucket, "GET PUT", ""),
        ("ownershipControls", Bucket, "GET PUT DELETE", ""),
        ("policy", Bucket, "GET PUT DELETE", ""),
        ("policyStatus", Bucket, "GET", ""),
        ("publicAccessBlock", Bucket, "GET PUT DELETE", ""),
        ("renameObject", Key, "", "PUT"),
        ("replication", Bucket, "GET DELETE", "PUT"),
        ("requestPayment", Bucket, "GET", "PUT"),
        ("restore", Key, "POST", ""),
        ("retention", Key, "GET PUT", ""),
        ("select", Key, "", "POST"),
        ("select-type", Key, "", "POST"),
        ("session", Bucket, "", "GET"),
        ("tagging", Bucket, "GET PUT DELETE", ""),
        ("tagging", Key, "GET PUT DELETE", ""),
        ("torrent", Key, "", "GET"),
        ("uploadId", Key, "GET PUT POST DELETE", ""),
        ("uploads", Bucket, "GET", ""),
        ("uploads", Key, "POST", ""),
        ("versioning", Bucket, "GET PUT", ""),
        ("versions", Bucket, "GET", ""),
        ("website", Bucket, "GET PUT DELETE", ""),
        // Parameters of other stores are refused at the service as well.
        ("append", Resource::Service, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("comp", Resource::Service, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        ("encryptionKey", Resource::Service, "", "GET HEAD PUT POST DELETE PATCH OPTIONS"),
        // S3's plain operations.
        ("", Resource::Service, "GET", ""),
        ("", Bucket, "GET HEAD PUT POST DELETE", ""),
        ("", Key, "GET HEAD PUT DELETE", ""),
        // Parameters that are unknown, or have no meaning here, select nothing.
        ("x-id", Bucket, "GET HEAD PUT POST DELETE", ""),
        ("x-id", Key, "GET HEAD PUT DELETE", ""),
        ("prefix", Bucket, "GET HEAD PUT POST DELETE", ""),
        ("response-expires", Key, "GET HEAD PUT DELETE", ""),
    ]
};

const PLAIN: [Operation; 10] = {
    use Operation::*;
    [
        ListBuckets,
        ListObjects,
        HeadBucket,
        CreateBucket,
        DeleteBucket,
        GetObject,
        HeadObject,
        PutObject,
        PostObject,
        DeleteObject,
    ]
};

#[test]
fn every_sub_resource_with_every_method_is_its_own_operation_or_refused() {
    let own = ["", "x-id", "prefix", "response-expires"];
    let names = SUB_RESOURCES.iter().map(|sub| sub.name).chain(own);
    for (name, resource, method) in names.flat_map(|name| {
        RESOURCES
            .into_iter()
            .flat_map(move |resource| METHODS.map(|method| (name, resource, method)))
    }) {
        let row = EXPECTED.iter().find(|row| row.0 == name && row.1 == resource);
        if row.is_none() && own.contains(&name) {
            continue;
        }
        let (done, not_done) = row.map_or(("", ""), |row| (row.2, row.3));
        let has = |list: &str| list.split(' ').any(|known| known == method);
        let what = format!("{method} {resource:?} ?{name}");
        match route(method, resource, name) {
            Ok(found) => {
                assert!(has(done), "{what}: {found:?}");
                let plain = PLAIN.contains(&found) && name != "list-type";
                assert_eq!(plain, own.contains(&name), "{what}: {found:?}");
            }
            Err(error) if error.code == Code::NotImplemented => assert!(has(not_done), "{what}"),
            Err(error) => {
                let refused = [Code::MethodNotAllowed, Code::InvalidRequest];
                assert!(refused.contains(&error.code), "{what}: {error:?}");
                assert!(!has(done) && !has(not_done), "{what}: {error:?}");
            }
        }
    }
}

#[test]
fn implemented_operations_are_found() {
    use Operation::*;
    for (method, resource, query, expected) in [
        ("GET", Resource::Service, "max-buckets=3", ListBuckets),
        ("GET", Resource::Bucket, "list-type=2&prefix=x", ListObjectsV2),
        ("GET", Resource::Bucket, "list-type=1", ListObjects),
        ("GET", Resource::Bucket, "versions&prefix=x", ListObjectVersions),
        ("GET", Resource::Bucket, "uploads&x-id=ListMultipartUploads", ListMultipartUploads),
        ("POST", Resource::Bucket, "delete=", DeleteObjects),
        ("GET", Resource::Key, "partNumber=1&response-expires=0", GetObject),
        ("GET", Resource::Key, "versionId=null", GetObject),
        ("HEAD", Resource::Key, "partNumber=1", HeadObject),
        ("DELETE", Resource::Key, "versionId=null", DeleteObject),
        ("GET", Resource::Key, "acl&versionId=null", GetObjectAcl),
        ("GET", Resource::Key, "uploadId=x&max-parts=2", ListParts),
        ("PUT", Resource::Key, "uploadId=x&partNumber=1&x-id=UploadPart", UploadPart),
        ("POST", Resource::Key, "uploads", CreateMultipartUpload),
        ("POST", Resource::Key, "uploadId=x", CompleteMultipartUpload),
        ("DELETE", Resource::Key, "uploadId=x", AbortMultipartUpload),
    ] {
        assert_eq!(route(method, resource, query).unwrap(), expected, "{method} ?{query}");
    }
    let source = [("x-amz-copy-source", "/b/k")];
    let copy = |query| route_with("PUT", Resource::Key, query, &source).unwrap();
    assert_eq!(copy(""), CopyObject);
    assert_eq!(copy("uploadId=x&partNumber=1"), UploadPartCopy);
}

#[test]
fn parameters_of_objects_are_refused_where_they_have_no_meaning() {
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        for query in ["uploadId=x", "partNumber=1", "versionId=x", "versionId=null", "uploadId="] {
            let error = route(method, Resource::Bucket, query).unwrap_err();
            let bad = [Code::InvalidArgument, Code::InvalidRequest];
            assert!(bad.contains(&error.code), "{method} bucket ?{query}: {error:?}");
        }
    }
    for (method, query) in [
        ("PUT", "partNumber=1"),
        ("PUT", "versionId=null"),
        ("PUT", "versionId=x"),
        ("DELETE", "partNumber=1"),
        ("POST", "uploads&versionId=x"),
        ("DELETE", "uploadId=x&versionId=x"),
        ("DELETE", "uploadId=x&partNumber=1"),
        ("POST", "uploadId=x&partNumber=1"),
        ("GET", "acl&partNumber=1"),
        ("GET", "versionId=a&versionId=b"),
        ("DELETE", "versionId=null&versionId=b"),
        ("PUT", "uploadId=a&uploadId=b&partNumber=1"),
        ("PUT", "uploadId=a&partNumber=1&partNumber=2"),
        ("DELETE", "uploadId=x&uploads"),
        ("GET", "acl&tagging"),
    ] {
        let error = route(method, Resource::Key, query).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{method} key ?{query}");
    }
    for query in ["list-type=3", "policy&cors", "delete&uploads"] {
        let error = route("GET", Resource::Bucket, query).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "?{query}");
    }
}

#[test]
fn headers_of_copies_are_refused_where_nothing_is_copied() {
    for (method, resource, query, headers) in [
        ("PUT", Resource::Bucket, "", &[("x-amz-copy-source", "/b/k")][..]),
        ("POST", Resource::Key, "uploads", &[("x-amz-copy-source", "/b/k")]),
        ("PUT", Resource::Key, "", &[("x-amz-copy-source-if-match", "x")]),
        (
            "PUT",
            Resource::Key,
            "uploadId=x&partNumber=1",
            &[("x-amz-copy-source-range", "bytes=0-1")],
        ),
        (
            "PUT",
            Resource::Key,
            "",
            &[("x-amz-copy-source", "/b/k"), ("x-amz-copy-source-range", "bytes=0-1")],
        ),
    ] {
        let error = route_with(method, resource, query, headers).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{method} ?{query} {headers:?}");
    }
    let read = route_with("GET", Resource::Key, "", &[("x-amz-copy-source", "/b/k")]);
    assert_eq!(read.unwrap(), Operation::GetObject);
}

#[test]
fn conditions_that_a_write_does_not_check_are_refused() {
    let code = |method, query, name| {
        route_with(method, Resource::Key, query, &[(name, "*")]).map_err(|error| error.code)
    };
    for (method, query, name) in [
        ("PUT", "uploadId=x&partNumber=1", "if-match"),
        ("PUT", "uploadId=x&partNumber=1", "if-none-match"),
        ("PUT", "", "if-unmodified-since"),
        ("PUT", "", "x-amz-if-match-size"),
        ("PUT", "", "x-amz-object-if-match"),
        ("DELETE", "", "if-none-match"),
        ("DELETE", "uploadId=x", "x-amz-if-match-initiated-time"),
        ("DELETE", "tagging", "if-match"),
    ] {
        assert_eq!(
            code(method, query, name),
            Err(Code::NotImplemented),
            "{method} ?{query} {name}"
        );
    }
    assert_eq!(code("DELETE", "", "if-match"), Ok(Operation::DeleteObject));
    assert_eq!(code("GET", "", "if-match"), Ok(Operation::GetObject));
}
