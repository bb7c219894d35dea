//! Snapshots of Swift's error responses and listings.

use apus_cluster::listing::{ContainerEntry, ContainerRow, ObjectEntry, ObjectRow};
use apus_cluster::timestamp::RowTimes;
use apus_cluster::{AccountName, ContainerName, ContainerPath, Policies, Timestamp};
use apus_store::operation::Page;
use apus_store::{Error, Kind, Subject};
use http_body_util::BodyExt;

use super::error::SwiftError;
use super::format::Format;
use super::{error_response, listing};
use crate::reply::Reply;

/// Status, headers and body of a response, one line each.
async fn text(reply: Reply) -> String {
    let (head, body) = reply.into_parts();
    let mut out = format!("{}\n", head.status);
    for (name, value) in &head.headers {
        out.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = body.collect().await.unwrap().to_bytes();
    out.push_str(std::str::from_utf8(&body).unwrap());
    out.push('\n');
    out
}

#[tokio::test]
async fn errors() {
    let mut out = String::new();
    for kind in [
        Kind::NotFound,
        Kind::RecentlyDeleted,
        Kind::AlreadyExists,
        Kind::NotEmpty,
        Kind::Conflict,
        Kind::Invalid,
        Kind::TooLarge,
        Kind::QuotaExceeded,
        Kind::PreconditionFailed,
        Kind::NotModified,
        Kind::RangeNotSatisfiable { size: 10 },
        Kind::ChecksumMismatch,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::ClientGone,
        Kind::ClientTimeout,
        Kind::Unavailable,
        Kind::Overloaded,
        Kind::NotSupported,
        Kind::InvalidPart,
        Kind::IsLink,
        Kind::ReadOnly,
        Kind::RateLimited,
        Kind::Blocked,
        Kind::Body,
    ] {
        let error = SwiftError::from(Error::new(kind.clone(), Subject::Object));
        out.push_str(&format!("{kind:?}\n{}\n", text(error_response::render(&error)).await));
    }
    insta::assert_snapshot!(out);
}

fn row(name: &str, etag: &str, content_type: &str) -> ObjectEntry {
    ObjectEntry::Object(ObjectRow {
        name: name.to_owned(),
        times: RowTimes::all(Timestamp::parse("1700000000.12345").unwrap()),
        size: 5,
        content_type: content_type.to_owned(),
        etag: etag.to_owned(),
        deleted: false,
        policy: 0,
    })
}

const FORMATS: [Format; 3] = [Format::Plain, Format::Json, Format::Xml];

#[test]
fn objects() {
    let account = AccountName::parse("AUTH_a").unwrap();
    let container = ContainerPath::new(account, ContainerName::parse("c \"<ü").unwrap());
    let entries = [
        row("a <&> \"b\"\r\n\u{1}", "abc", "text/plain"),
        row("joined", "abc; slo_etag=def", "text/plain;swift_bytes=77"),
        row("link", "abc; symlink_target=c/o; symlink_target_bytes=7", "application/symlink"),
        ObjectEntry::Subdir("s\n/".to_owned()),
    ];
    let out = FORMATS.map(|format| {
        let page = listing::objects(format, &container, Page::Entries(entries.to_vec())).unwrap();
        String::from_utf8(page.to_vec()).unwrap()
    });
    insta::assert_snapshot!(out.join("\n---\n"));
}

#[test]
fn containers() {
    let account = AccountName::parse("AUTH_a&b").unwrap();
    let entries = [
        ContainerEntry::Container(ContainerRow {
            name: "c <1>".to_owned(),
            object_count: 3,
            bytes_used: 44,
            put_timestamp: Timestamp::parse("1700000000.12345").unwrap(),
            policy: 0,
        }),
        ContainerEntry::Subdir("s\t/".to_owned()),
    ];
    let policies = Policies::new(Vec::new()).unwrap();
    let out = FORMATS.map(|format| {
        let page = listing::containers(format, &account, &entries, &policies);
        String::from_utf8(page.to_vec()).unwrap()
    });
    insta::assert_snapshot!(out.join("\n---\n"));
}
