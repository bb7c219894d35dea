//! Headers of an object in responses.

use apus_cluster::Timestamp;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource, has_prefix};
use apus_daemon::http::{format_date, set, status};
use apus_store::operation::{ObjectHead, ObjectWritten, VersionId};
use http::{HeaderMap, StatusCode};

use super::{symlink, versions};
use crate::reply::Reply;

/// The etag as Swift shows it, quoted only for joined objects.
pub(super) fn etag(head: &ObjectHead) -> String {
    if head.is_manifest() || head.get("X-Object-Manifest").is_some() {
        format!("\"{}\"", head.etag)
    } else {
        head.etag.clone()
    }
}

/// The content type without the parameters of listings.
pub(super) fn content_type(content_type: &str) -> String {
    split_swift_bytes(content_type).0
}

/// Sets the headers of an object that clients may see.
pub(super) fn set_headers(head: &ObjectHead, out: &mut HeaderMap) {
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix())
            || OBJECT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            set(out, name, value);
        }
    }
    set(out, "content-type", &content_type(&head.content_type));
    if let Some(length) = head.known_length() {
        set(out, "content-length", &length.to_string());
    }
    set(out, "etag", &etag(head));
    set(out, "x-timestamp", &head.timestamp.normal());
    set(out, "last-modified", &http_date(head.timestamp));
    set(out, "accept-ranges", "bytes");
    symlink::set_headers(head, out);
    versions::set_id(head.version, out);
    if let Some(etag) = &head.manifest_etag {
        set(out, "x-manifest-etag", etag);
    }
    if let Some(count) = head.parts_count {
        set(out, "x-parts-count", &count.to_string());
    }
}

/// `Last-Modified`: whole seconds, rounded up.
pub(super) fn http_date(time: Timestamp) -> String {
    format_date(time.seconds_ceil())
}

/// The response to a PUT of an object.
pub(super) fn created(written: &ObjectWritten, etag: &str) -> Reply {
    let mut response = status(StatusCode::CREATED);
    let out = response.headers_mut();
    set(out, "etag", etag);
    set(out, "last-modified", &http_date(written.timestamp));
    set(out, "content-type", "text/html; charset=UTF-8");
    // A write of the null version is not reported as one.
    versions::set_id(written.version.filter(|id| *id != VersionId::Null), out);
    response
}
