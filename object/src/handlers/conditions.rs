//! `If-Match` and its kin against an object: RFC 9110, section 13.

use apus_cluster::etag::EtagList;
use apus_cluster::{Metadata, Timestamp};
use apus_daemon::http::{header, parse_date};
use apus_wire::headers;
use http::{HeaderMap, StatusCode};

/// The etag that conditions compare with: the first of the named system metadata that is there
/// (large objects and others keep the client's etag there), else the body's own.
pub(crate) fn effective_etag(head: &HeaderMap, metadata: &Metadata) -> String {
    let named = header(head, headers::ETAG_IS_AT).unwrap_or_default();
    for name in named.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let found = metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = found {
            return value.clone();
        }
    }
    metadata.get("ETag").cloned().unwrap_or_default()
}

/// 304, 412, or nothing to object.
pub(crate) fn check(head: &HeaderMap, etag: &str, modified: Timestamp) -> Option<StatusCode> {
    let date = |name: &str| header(head, name).and_then(parse_date);
    let list = |name: &str| header(head, name).map(EtagList::parse);
    let modified = modified.seconds_ceil();
    // Swift checks every condition that is there (`swift/common/swob.py`); the S3 dialect leaves
    // out those that RFC 9110 lets a stronger one decide.
    if list("if-none-match").is_some_and(|unwanted| unwanted.matches(etag)) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if list("if-match").is_some_and(|wanted| !wanted.matches(etag)) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    if date("if-modified-since").is_some_and(|since| modified <= since) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if date("if-unmodified-since").is_some_and(|since| modified > since) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &'static str, value: &str) -> Option<StatusCode> {
        let mut head = HeaderMap::new();
        apus_daemon::http::set(&mut head, name, value);
        check(&head, "abc", Timestamp::parse("1700000000.5").unwrap())
    }

    #[test]
    fn each_condition_alone() {
        assert_eq!(checked("if-match", "\"abc\""), None);
        assert_eq!(checked("if-match", "\"x\""), Some(StatusCode::PRECONDITION_FAILED));
        assert_eq!(checked("if-none-match", "abc"), Some(StatusCode::NOT_MODIFIED));
        assert_eq!(checked("if-none-match", "x"), None);
        // 1700000000.5 shows as 22:13:21.
        assert_eq!(
            checked("if-modified-since", "Tue, 14 Nov 2023 22:13:21 GMT"),
            Some(StatusCode::NOT_MODIFIED)
        );
        assert_eq!(checked("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"), None);
        assert_eq!(
            checked("if-unmodified-since", "Tue, 14 Nov 2023 22:13:20 GMT"),
            Some(StatusCode::PRECONDITION_FAILED)
        );
        assert_eq!(checked("if-unmodified-since", "Tue, 14 Nov 2023 22:13:21 GMT"), None);
    }
}
