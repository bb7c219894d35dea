//! Etag and date of an object as S3 clients see them.

use apus_daemon::http::format_date;
use apus_store::operation::ObjectHead;

/// System metadata with the etag that S3 clients know, where that is not the body's MD5.
pub(in crate::s3) const ETAG_AT: &str = "X-Object-Sysmeta-S3Api-Etag";

/// The etag of an object, bare.
pub(in crate::s3) fn etag(head: &ObjectHead) -> &str {
    head.get(ETAG_AT).unwrap_or(&head.etag)
}

/// `Last-Modified`.
pub(in crate::s3) fn last_modified(head: &ObjectHead) -> String {
    format_date(head.timestamp.seconds_ceil())
}
