//! Parts of a response that both dialects render alike.

use apus_cluster::byte_range::Resolved;
use apus_daemon::Body;
use apus_daemon::http::set;
use http::{Response, StatusCode};

/// A response with its body.
pub(crate) type Reply = Response<Body>;

/// `Retry-After` of a refusal for lack of memory, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

/// Makes a response a 206 for one range of an object of `total` bytes.
pub(crate) fn partial_content(response: &mut Reply, range: Resolved, total: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let out = response.headers_mut();
    set(out, "content-length", &range.length.to_string());
    set(out, "content-range", &range.content_range(total));
}

/// Makes a response a 206 for a part of no bytes, which no `Content-Range` can express.
pub(crate) fn empty_part(response: &mut Reply) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(response.headers_mut(), "content-length", "0");
}
