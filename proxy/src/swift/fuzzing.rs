//! Fuzzing of Swift parsers.

use apus_cluster::constraints::Constraints;
use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

use super::request::SwiftRequest;
use super::{format, listing, object, path, segment_list, versions};

/// The list of segments of a static large object.
pub fn segment_list(input: &[u8]) {
    let names = (AccountName::parse("a"), ContainerName::parse("c"), ObjectName::parse("o"));
    let (Ok(account), Ok(container), Ok(object)) = names else { return };
    let object = ContainerPath::new(account, container).object(object);
    drop(segment_list::parse(input, &object));
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<SwiftRequest> {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).ok()?.into_parts();
    SwiftRequest::anonymous(head).ok()
}

pub(crate) fn swift_query(text: &str) {
    let Some(request) = request("GET", &format!("/v1/a/c/o?{text}"), &[]) else { return };
    drop(listing::parse(&request, 10_000));
    drop((request.format(), request.require_json(), versions::parse(&request)));
    object::fuzz_parsers(&request);
}

pub(crate) fn swift_names(text: &str) {
    drop(path::parse(text, &Constraints::default()));
    for header in ["x-copy-from", "destination", "x-symlink-target"] {
        let headers = [(header, text), ("content-length", "0")];
        if let Some(request) = request("PUT", "/v1/a/c/o", &headers) {
            object::fuzz_parsers(&request);
        }
    }
}

pub(crate) fn swift_headers(text: &str) {
    drop(format::acceptable(text));
    let names = ["x-delete-at", "x-delete-after", "x-object-manifest", "content-type", "etag"];
    let headers: Vec<_> =
        names.into_iter().map(|name| (name, text)).chain([("content-length", "5")]).collect();
    if let Some(request) = request("PUT", "/v1/a/c/o", &headers) {
        object::fuzz_parsers(&request);
    }
    for header in ["x-versions-enabled", "x-versions-location", "x-history-location"] {
        if let Some(request) = request("PUT", "/v1/a/c", &[(header, text)]) {
            drop((versions::change(&request), versions::archive(&request)));
        }
    }
}
