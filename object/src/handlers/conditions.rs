//! Evaluates `If-Match` and related conditions against an object (RFC 9110, section 13).

use apus_cluster::{Metadata, Timestamp};
use apus_wire::message::object::ReadConditions;
use http::StatusCode;

/// The etag that conditions are compared with: the first of the named system metadata that the
/// object has (large objects keep the client's etag there), else the body's own.
pub(super) fn effective_etag(conditions: &ReadConditions, metadata: &Metadata) -> String {
    for name in &conditions.etag_at {
        let found = metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = found {
            return value.clone();
        }
    }
    metadata.get("ETag").cloned().unwrap_or_default()
}

/// Returns 304 or 412 when a condition does not hold.
pub(super) fn check(
    conditions: &ReadConditions,
    etag: &str,
    modified: Timestamp,
) -> Option<StatusCode> {
    let modified = modified.seconds_ceil();
    let matches = |list: &apus_cluster::etag::EtagList| list.matches(etag);
    // Swift checks every condition (`swift/common/swob.py`); the S3 dialect leaves out those that
    // RFC 9110 lets a stronger one decide.
    if conditions.if_none_match.as_ref().is_some_and(matches) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if conditions.if_match.as_ref().is_some_and(|wanted| !matches(wanted)) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    if conditions.if_modified_since.is_some_and(|since| modified <= since) {
        return Some(StatusCode::NOT_MODIFIED);
    }
    if conditions.if_unmodified_since.is_some_and(|since| modified > since) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    None
}

#[cfg(test)]
mod tests {
    use apus_cluster::etag::EtagList;

    use super::*;

    fn checked(conditions: &ReadConditions) -> Option<StatusCode> {
        // 1700000000.5 is shown as 1700000001.
        check(conditions, "abc", Timestamp::parse("1700000000.5").unwrap())
    }

    #[test]
    fn each_condition_alone() {
        let none = ReadConditions::default();
        let list = |text: &str| Some(EtagList::parse(text));
        let with = |if_match| checked(&ReadConditions { if_match, ..none.clone() });
        assert_eq!(with(list("\"abc\"")), None);
        assert_eq!(with(list("\"x\"")), Some(StatusCode::PRECONDITION_FAILED));
        let with = |if_none_match| checked(&ReadConditions { if_none_match, ..none.clone() });
        assert_eq!(with(list("abc")), Some(StatusCode::NOT_MODIFIED));
        assert_eq!(with(list("x")), None);
        let with =
            |since| checked(&ReadConditions { if_modified_since: Some(since), ..none.clone() });
        assert_eq!(with(1_700_000_001), Some(StatusCode::NOT_MODIFIED));
        assert_eq!(with(1_700_000_000), None);
        let with =
            |since| checked(&ReadConditions { if_unmodified_since: Some(since), ..none.clone() });
        assert_eq!(with(1_700_000_000), Some(StatusCode::PRECONDITION_FAILED));
        assert_eq!(with(1_700_000_001), None);
    }
}
