//! Conditions on reads, writes and deletions.
//!
//! `If-None-Match` of a write accepts etags, which AWS refuses. As on AWS, `If-Match` on a missing
//! object fails with `NoSuchKey` for writes, and succeeds for deletions.

use apus_cluster::etag::EtagList;
use apus_daemon::http::parse_date;
use apus_store::Kind;
use apus_store::operation::{Conditions, WriteConditions};
use http::HeaderMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::head::{ETAG_AT, etag};
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::request::S3Request;
use crate::s3::xml::Element;

fn bad(name: &str, value: &str, expected: &str) -> S3Error {
    S3Error::new(Code::InvalidArgument)
        .text(format!("{name}: {value:?}, expected {expected}"))
        .argument(name, value)
}

fn size(name: &str, text: Option<&str>) -> Result<Option<u64>> {
    text.map(|text| text.trim().parse().map_err(|_| bad(name, text, "bytes"))).transpose()
}

/// Whole seconds since 1970, from an HTTP date or ISO 8601.
fn date(name: &str, text: Option<&str>) -> Result<Option<u64>> {
    text.map(|text| {
        parse_date(text)
            .or_else(|| iso_seconds(text.trim()))
            .ok_or_else(|| bad(name, text, "a date"))
    })
    .transpose()
}

/// Whole seconds of an ISO 8601 date, rounded up as `Last-Modified` is.
fn iso_seconds(text: &str) -> Option<u64> {
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = u64::try_from(date.unix_timestamp()).ok()?;
    Some(seconds + u64::from(date.nanosecond() > 0))
}

fn with_s3_etag(conditions: WriteConditions) -> WriteConditions {
    WriteConditions { etag_at: vec![ETAG_AT.to_owned()], ..conditions }
}

/// Conditions under `prefix` (empty, or `x-amz-copy-source-`).
pub(in crate::s3) fn on_read(request: &S3Request, prefix: &str) -> Conditions {
    let list = |name: &str| request.header(&format!("{prefix}{name}")).map(EtagList::parse);
    let date = |name: &str| request.header(&format!("{prefix}{name}")).and_then(parse_date);
    let (if_match, if_none_match) = (list("if-match"), list("if-none-match"));
    // An etag takes precedence over a date.
    Conditions {
        if_modified_since: date("if-modified-since").filter(|_| if_none_match.is_none()),
        if_unmodified_since: date("if-unmodified-since").filter(|_| if_match.is_none()),
        if_match,
        if_none_match,
    }
}

/// The conditions of a write.
pub(in crate::s3) fn on_write(request: &S3Request) -> Result<WriteConditions> {
    const SIZE: &str = "x-amz-if-match-size";
    const MODIFIED: &str = "x-amz-if-match-last-modified-time";
    let list = |name: &str| request.header(name).map(EtagList::parse);
    Ok(with_s3_etag(WriteConditions {
        if_match: list("if-match"),
        if_none_match: list("if-none-match"),
        size: size(SIZE, request.header(SIZE))?,
        modified: date(MODIFIED, request.header(MODIFIED))?,
        ..WriteConditions::default()
    }))
}

/// The conditions of one key of a DeleteObjects document; unknown elements are refused.
pub(super) fn on_key(object: &Element) -> Result<WriteConditions> {
    const KNOWN: [&str; 5] = ["Key", "VersionId", "ETag", "Size", "LastModifiedTime"];
    if let Some(other) = object.children.iter().find(|child| !KNOWN.contains(&child.name.as_str()))
    {
        return Err(
            S3Error::new(Code::NotImplemented).text(format!("{} is not implemented", other.name))
        );
    }
    Ok(with_s3_etag(WriteConditions {
        if_match: object.text_of("ETag").map(EtagList::parse),
        size: size("Size", object.text_of("Size"))?,
        modified: date("LastModifiedTime", object.text_of("LastModifiedTime"))?,
        ..WriteConditions::default()
    }))
}

/// Prefix of the conditions on the source of a copy.
pub(in crate::s3) const OF_SOURCE: &str = "x-amz-copy-source-";

/// The names of conditions, as AWS spells them in errors, in the order in which it checks them.
const NAMES: [&str; 6] = [
    "If-Match",
    "If-Unmodified-Since",
    "If-None-Match",
    "If-Modified-Since",
    "x-amz-if-match-size",
    "x-amz-if-match-last-modified-time",
];

/// The error of an operation, with the name of the condition that did not hold. `prefix` is that of
/// the operation's conditions.
pub(in crate::s3) fn failed(
    error: apus_store::Error,
    headers: &HeaderMap,
    prefix: &str,
) -> S3Error {
    if error.kind != Kind::PreconditionFailed {
        return error.into();
    }
    let name = failing(&error, headers, prefix);
    match name {
        Some(name) => S3Error::from(error).with("Condition", name),
        None => error.into(),
    }
}

fn failing(error: &apus_store::Error, headers: &HeaderMap, prefix: &str) -> Option<String> {
    let holds = |name: &str, value: &http::HeaderValue| {
        let current = error.head.as_ref().filter(|_| name == "If-Match");
        current.is_some_and(|head| {
            value.to_str().is_ok_and(|list| EtagList::parse(list).matches(etag(head)))
        })
    };
    NAMES.into_iter().find_map(|name| {
        let full = format!("{prefix}{name}");
        let value = headers.get(&full)?;
        (!holds(name, value)).then_some(full)
    })
}

#[cfg(test)]
mod tests {
    use apus_store::Subject;
    use apus_store::operation::ObjectHead;

    use super::*;

    #[test]
    fn the_condition_that_did_not_hold_is_named() {
        let head = ObjectHead { etag: "abc".to_owned(), ..ObjectHead::default() };
        let mut error = apus_store::Error::new(Kind::PreconditionFailed, Subject::Object);
        for (prefix, sent, known, expected) in [
            ("", vec![("if-match", "x")], false, Some("If-Match")),
            ("", vec![("if-none-match", "*")], false, Some("If-None-Match")),
            ("", vec![("if-match", "abc"), ("if-none-match", "abc")], true, Some("If-None-Match")),
            ("", vec![("x-amz-if-match-size", "1")], false, Some("x-amz-if-match-size")),
            (
                OF_SOURCE,
                vec![("if-match", "x"), ("x-amz-copy-source-if-unmodified-since", "x")],
                true,
                Some("x-amz-copy-source-If-Unmodified-Since"),
            ),
            ("", vec![], true, None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.insert(name, value.parse().unwrap());
            }
            error.head = known.then(|| Box::new(head.clone()));
            assert_eq!(failing(&error, &headers, prefix).as_deref(), expected);
        }
    }

    #[test]
    fn dates_have_two_formats_and_fractions_are_rounded_up() {
        let read = |text| date("x", Some(text)).ok().flatten();
        assert_eq!(read("Tue, 14 Nov 2023 22:13:20 GMT"), Some(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20Z"), Some(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20.000Z"), Some(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20.001Z"), Some(1_700_000_001));
        assert_eq!(read("yesterday"), None);
    }
}
