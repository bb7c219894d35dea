//! Snapshots of S3 error documents and listings.

use apus_cluster::Timestamp;
use apus_cluster::listing::{ContainerEntry, ContainerRow, ObjectEntry, ObjectRow};
use apus_cluster::timestamp::RowTimes;
use apus_store::operation::{ListedVersion, VersionEntry, VersionId, VersionList};
use apus_store::{Error, Kind, Subject};
use http_body_util::BodyExt;

use super::error::{Code, S3Error};
use super::error_document::{self, RequestTarget};
use super::operation::Operation;
use super::request::S3Request;
use super::{bucket, list_versions, listing};
use crate::reply::Reply;

/// Status, headers and body of a response, one line each.
async fn text(reply: Reply) -> String {
    let (head, body) = reply.into_parts();
    let mut out = format!("{}\n", head.status);
    for (name, value) in &head.headers {
        out.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = body.collect().await.unwrap().to_bytes();
    out.push_str(&std::str::from_utf8(&body).unwrap().replace("><", ">\n<"));
    out.push('\n');
    out
}

async fn document(error: &S3Error) -> String {
    let request = http::Request::builder().uri("/bucket/a%20key?uploadId=u1");
    let target = RequestTarget::of(&request.body(apus_daemon::http::empty()).unwrap());
    text(error_document::render(error, &target.elements(error, &[]), "tx1", false)).await
}

#[tokio::test]
async fn errors() {
    let mut out = String::new();
    for code in Code::ALL {
        out.push_str(&document(&S3Error::new(*code)).await);
        out.push('\n');
    }
    insta::assert_snapshot!(out);
}

#[tokio::test]
async fn failed_operations() {
    let mut out = String::new();
    for kind in [
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::NotEmpty,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::QuotaExceeded,
        Kind::PreconditionFailed,
        Kind::NotModified,
        Kind::RangeNotSatisfiable { size: 10 },
        Kind::ChecksumMismatch,
        Kind::Unauthorized,
        Kind::ClientGone,
        Kind::ClientTimeout,
        Kind::Unavailable,
        Kind::Overloaded,
        Kind::NotSupported,
        Kind::InvalidPart,
        Kind::PartTooSmall,
        Kind::ReadOnly,
        Kind::RateLimited,
        Kind::Blocked,
    ] {
        for subject in [Subject::Container, Subject::Object, Subject::Upload] {
            let error = S3Error::from(Error::new(kind.clone(), subject));
            let line = document(&error).await.lines().next().unwrap().to_owned();
            out.push_str(&format!("{kind:?} {subject:?}: {line} {}\n", error.code.name()));
        }
    }
    insta::assert_snapshot!(out);
}

fn entries() -> Vec<ObjectEntry> {
    let row = |name: &str, etag: &str| {
        ObjectEntry::Object(ObjectRow {
            name: name.to_owned(),
            times: RowTimes::all(Timestamp::parse("1700000000.12345").unwrap()),
            size: 5,
            content_type: "text/plain".to_owned(),
            etag: etag.to_owned(),
            deleted: false,
            policy: 0,
        })
    };
    vec![
        row("a <&> \u{1}", "abc"),
        row("b+ü", "abc; s3_etag=def-2"),
        ObjectEntry::Subdir("c/".to_owned()),
    ]
}

#[tokio::test]
async fn listings() {
    let mut out = String::new();
    for (operation, query) in [
        (Operation::ListObjects, "max-keys=2&delimiter=/&marker=0"),
        (Operation::ListObjectsV2, "list-type=2&max-keys=2&fetch-owner=true&start-after=0"),
        (Operation::ListObjectsV2, "list-type=2&encoding-type=url&prefix=%C3%BC"),
    ] {
        let mut request = S3Request::example("GET", &format!("/bucket?{query}"), &[]);
        request.operation = operation;
        let reply = listing::snapshot(&request, entries());
        out.push_str(&format!("{query}\n{}\n", text(reply).await));
    }
    insta::assert_snapshot!(out);
}

#[tokio::test]
async fn versions() {
    let mut versions = Vec::new();
    for (index, entry) in entries().into_iter().enumerate() {
        versions.push(match entry {
            ObjectEntry::Object(row) => VersionEntry::Version(Box::new(ListedVersion {
                key: row.name.clone(),
                id: if index == 0 { VersionId::Null } else { VersionId::At(row.last_modified()) },
                is_latest: index == 0,
                delete_marker: index == 1,
                row,
            })),
            ObjectEntry::Subdir(name) => VersionEntry::Prefix(name),
        });
    }
    let next = Some(("c/".to_owned(), None));
    let page = VersionList { entries: versions, next, ..VersionList::default() };
    let query = "versions&max-keys=3&key-marker=0&version-id-marker=null&delimiter=/";
    let request = S3Request::example("GET", &format!("/bucket?{query}"), &[]);
    insta::assert_snapshot!(text(list_versions::snapshot(&request, &page)).await);
}

#[tokio::test]
async fn buckets() {
    let row = ContainerEntry::Container(ContainerRow {
        name: "bucket".to_owned(),
        object_count: 1,
        bytes_used: 2,
        put_timestamp: Timestamp::parse("1700000000.12345").unwrap(),
        policy: 0,
    });
    let request = S3Request::example("GET", "/?prefix=b", &[]);
    insta::assert_snapshot!(text(bucket::snapshot(&request, vec![row])).await);
}
