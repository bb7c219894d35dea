//! GetObject and HeadObject.

use apus_cluster::byte_range::{ByteRanges, Resolution, Resolved};
use apus_cluster::constraints::S3_MAX_PARTS;
use apus_cluster::etag::{EtagList, unquote};
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_daemon::http::{format_date, parse_date, set, status};
use apus_store::operation::{Conditions, GetObject, HeadObject, ObjectHead, Served};
use apus_store::{Context, Error, Kind, Subject};
use http::{HeaderMap, Method, StatusCode};

use super::{check_version, condition, etag};
use crate::edge::Parts;
use crate::header_value;
use crate::s3::checksum::{self, Type};
use crate::s3::error::{Code, S3Error};
use crate::s3::{Reply, Result, S3Request};

/// Query parameters that replace a header of the answer.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// Where the etag that S3 clients know is kept, when it is not the body's MD5.
pub(in crate::s3) const ETAG_AT: &str = "X-Object-Sysmeta-S3Api-Etag";

/// Conditions under `prefix` (empty, or `x-amz-copy-source-`).
pub(in crate::s3) fn conditions(request: &S3Request, prefix: &str) -> Conditions {
    let list = |name: &str| request.header(&format!("{prefix}{name}")).map(EtagList::parse);
    let date = |name: &str| request.header(&format!("{prefix}{name}")).and_then(parse_date);
    let (if_match, if_none_match) = (list("if-match"), list("if-none-match"));
    // An etag decides alone where a date is given beside it.
    Conditions {
        if_modified_since: date("if-modified-since").filter(|_| if_none_match.is_none()),
        if_unmodified_since: date("if-unmodified-since").filter(|_| if_match.is_none()),
        if_match,
        if_none_match,
    }
}

/// `Last-Modified`.
pub(in crate::s3) fn modified(head: &ObjectHead) -> String {
    format_date(head.timestamp.seconds_ceil())
}

/// An object that is no joined one is its own first and only part.
fn check_part(part: Option<u32>, head: &ObjectHead) -> apus_store::Result<()> {
    match part {
        Some(part) if part > 1 && head.parts_count.is_none() => {
            let mut error = Error::new(Kind::InvalidPart, Subject::Object);
            error.head = Some(Box::new(ObjectHead { parts_count: Some(1), ..head.clone() }));
            Err(error)
        }
        _ => Ok(()),
    }
}

fn no_such_part(part: u32) -> S3Error {
    S3Error::new(Code::InvalidPart)
        .text("The requested part number is not satisfiable")
        .with("PartNumberRequested", part.to_string())
}

/// The range that a part is, which an object without parts is as a whole; none for a part without
/// bytes, which no range can say.
fn range_of_part(part: Option<u32>, head: &ObjectHead) -> Option<Resolved> {
    part?;
    let (start, length) = match (head.parts.first(), head.parts_count) {
        (Some(part), _) => (part.start, part.length),
        (None, None) => (0, head.known_length()?),
        (None, Some(_)) => return None,
    };
    (length > 0).then_some(Resolved { start, length })
}

/// `If-Range`: a range is only for who has this version; others get everything.
struct IfRange<'a>(Option<&'a str>);

impl IfRange<'_> {
    /// Whether it holds: a strong etag that is the object's, or its very time.
    fn holds(&self, head: &ObjectHead) -> bool {
        let Some(value) = self.0 else { return true };
        match parse_date(value) {
            Some(seconds) => seconds == head.timestamp.seconds_ceil(),
            None => !value.trim().starts_with("W/") && unquote(value) == etag(head),
        }
    }
}

fn describe(request: &Shown, head: &ObjectHead, out: &mut HeaderMap) {
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix()) {
            let key = name.get(Resource::Object.user_prefix().len()..).unwrap_or_default();
            let name = format!("x-amz-meta-{}", key.to_ascii_lowercase());
            set(out, &name, &header_value::encode_words(value));
        } else if [
            "Cache-Control",
            "Content-Disposition",
            "Content-Encoding",
            "Content-Language",
            "Expires",
        ]
        .contains(&name.as_str())
        {
            set(out, name, value);
        }
    }
    set(out, "content-type", &split_swift_bytes(&head.content_type).0);
    if let Some(length) = head.known_length() {
        set(out, "content-length", &length.to_string());
    }
    set(out, "etag", &format!("\"{}\"", etag(head)));
    set(out, "last-modified", &modified(head));
    set(out, "accept-ranges", "bytes");
    if let Some(parts) = head.parts_count {
        set(out, "x-amz-mp-parts-count", &parts.to_string());
    }
    if request.checksums {
        // Of one part its own checksum, but the type of the whole.
        let part = head.parts.first().map(|part| &part.metadata);
        checksum::show(part.unwrap_or(&head.metadata), Type::stored(&head.metadata), out);
    }
    for (name, value) in &request.overrides {
        set(out, name, value);
    }
}

/// What only the answer needs of a request.
struct Shown {
    checksums: bool,
    overrides: Vec<(&'static str, String)>,
}

pub(in crate::s3) async fn get(parts: &Parts, request: S3Request) -> Result<Reply> {
    check_version(&request)?;
    let mut op = GetObject::new(request.object()?);
    op.head = HeadObject { conditions: conditions(&request, ""), ..op.head };
    op.head.etag_at.push(ETAG_AT.to_owned());
    op.ranges = request.header("range").and_then(ByteRanges::parse);
    op.head.part = part_number(&request)?;
    let overrides: Vec<(&'static str, String)> = OVERRIDES
        .iter()
        .filter_map(|(param, name)| Some((*name, request.param(param)?.to_owned())))
        .collect();
    if request.anonymous && !overrides.is_empty() {
        return Err(S3Error::new(Code::InvalidRequest)
            .text("Request specific response headers cannot be used for anonymous GET requests."));
    }
    // A range is of the whole object: its checksums would be misread.
    let checksums =
        request.header("x-amz-checksum-mode").is_some_and(|m| m.eq_ignore_ascii_case("enabled"))
            && op.ranges.is_none();
    op.head.part_metadata = checksums;
    let shown = Shown { checksums, overrides };
    let part = op.head.part;
    let (cx, if_range) = (&request.cx, IfRange(request.header("if-range")));
    let answer = match request.head.method == Method::HEAD {
        true => head(parts, cx, op, if_range, &shown).await,
        false => read(parts, cx, op, if_range, &shown).await,
    };
    answer.map_err(|error| match (part, request.header("range")) {
        (Some(part), _) if error.kind == Kind::InvalidPart => {
            let count = error.head.as_ref().and_then(|head| head.parts_count);
            let error = no_such_part(part);
            match count {
                Some(count) => error.with("ActualPartCount", count.to_string()),
                None => error,
            }
        }
        (_, Some(range)) if matches!(error.kind, Kind::RangeNotSatisfiable { .. }) => {
            S3Error::from(error).with("RangeRequested", range)
        }
        _ => condition::failed(error, &request.head.headers, ""),
    })
}

/// `partNumber`, which excludes a range.
fn part_number(request: &S3Request) -> Result<Option<u32>> {
    let Some(text) = request.param("partNumber") else { return Ok(None) };
    let part = text.parse().ok().filter(|part| (1..=S3_MAX_PARTS).contains(part));
    let part = part.ok_or_else(|| {
        S3Error::new(Code::InvalidArgument)
            .text(format!("Part number must be an integer between 1 and {S3_MAX_PARTS}, inclusive"))
            .argument("partNumber", text)
    })?;
    if request.header("range").and_then(ByteRanges::parse).is_some() {
        return Err(S3Error::new(Code::InvalidRequest)
            .text("Cannot specify both Range header and partNumber query parameter"));
    }
    Ok(Some(part))
}

/// HeadObject: the headers that a GET would have.
async fn head(
    parts: &Parts,
    cx: &Context,
    op: GetObject,
    if_range: IfRange<'_>,
    shown: &Shown,
) -> apus_store::Result<Reply> {
    let (part, ranges) = (op.head.part, op.ranges);
    let head = parts.store.head_object(cx, op.head).await?;
    check_part(part, &head)?;
    let ranges = ranges.filter(|ranges| ranges.is_single() && if_range.holds(&head));
    let mut response = status(StatusCode::OK);
    describe(shown, &head, response.headers_mut());
    let ranges = head.known_length().and_then(|length| Some(ranges?.resolve(length)));
    match ranges {
        Some(Resolution::Ranges(ranges)) => {
            if let Some(one) = ranges.first() {
                partial(&mut response, *one, head.length);
            }
        }
        Some(Resolution::Unsatisfiable) => {
            return Err(Error::new(
                Kind::RangeNotSatisfiable { size: head.length },
                Subject::Object,
            ));
        }
        Some(Resolution::Whole) | None => serve_part(&mut response, part, &head),
    }
    Ok(response)
}

/// GetObject.
async fn read(
    parts: &Parts,
    cx: &Context,
    mut op: GetObject,
    if_range: IfRange<'_>,
    shown: &Shown,
) -> apus_store::Result<Reply> {
    // S3 knows one range; a list of several is answered with everything.
    op.ranges = op.ranges.filter(ByteRanges::is_single);
    let part = op.head.part;
    let ranged = op.ranges.is_some() && if_range.0.is_some();
    let whole = ranged.then(|| GetObject { ranges: None, ..op.clone() });
    let mut read = parts.store.get_object(cx, op).await;
    let found = match &read {
        Ok(read) => Some(&read.head),
        Err(error) if matches!(error.kind, Kind::RangeNotSatisfiable { .. }) => {
            error.head.as_deref()
        }
        Err(_) => None,
    };
    if let Some(whole) = whole
        && found.is_some_and(|head| !if_range.holds(head))
    {
        read = parts.store.get_object(cx, whole).await;
    }
    let read = read?;
    check_part(part, &read.head)?;
    let mut response = status(StatusCode::OK);
    describe(shown, &read.head, response.headers_mut());
    match &read.served {
        Served::Ranges(ranges) => {
            if let [one] = ranges.as_slice() {
                partial(&mut response, *one, read.head.length);
            }
        }
        Served::Whole => serve_part(&mut response, part, &read.head),
    }
    *response.body_mut() = read.body;
    Ok(response)
}

/// Makes an answer a 206 of one range.
fn partial(response: &mut Reply, range: Resolved, total: u64) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let out = response.headers_mut();
    set(out, "content-length", &range.length.to_string());
    set(out, "content-range", &range.content_range(total));
}

/// Makes an answer to a read by part number a 206; one without bytes has no range to name.
fn serve_part(response: &mut Reply, part: Option<u32>, head: &ObjectHead) {
    match range_of_part(part, head) {
        Some(range) => partial(response, range, head.length),
        None if part.is_some() && head.known_length().is_some() => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(response.headers_mut(), "content-length", "0");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{Metadata, Timestamp};
    use apus_store::operation::PartHead;

    use super::*;

    #[test]
    fn a_range_is_for_who_has_the_same_version() {
        let head = ObjectHead {
            etag: "abc".to_owned(),
            timestamp: Timestamp::from_seconds(1_700_000_000),
            ..ObjectHead::default()
        };
        for (value, holds) in [
            (None, true),
            (Some("\"abc\""), true),
            (Some("abc"), true),
            (Some("\"other\""), false),
            (Some("W/\"abc\""), false),
            (Some("Tue, 14 Nov 2023 22:13:20 GMT"), true),
            (Some("Tue, 14 Nov 2023 22:13:21 GMT"), false),
            (Some("Tue, 14 Nov 2023 22:13:19 GMT"), false),
            (Some(""), false),
        ] {
            assert_eq!(IfRange(value).holds(&head), holds, "{value:?}");
        }
    }

    #[test]
    fn an_object_without_parts_is_its_own_first_part() {
        let plain = ObjectHead { length: 5, ..ObjectHead::default() };
        let part = PartHead { number: 2, start: 3, length: 2, metadata: Metadata::new() };
        let joined =
            ObjectHead { parts_count: Some(2), parts: vec![part.clone()], ..plain.clone() };
        let empty = ObjectHead { parts: vec![PartHead { length: 0, ..part }], ..joined.clone() };
        let range = |start, length| Some(Resolved { start, length });
        assert_eq!(range_of_part(None, &plain), None);
        assert_eq!(range_of_part(Some(1), &plain), range(0, 5));
        assert_eq!(range_of_part(Some(2), &joined), range(3, 2));
        assert_eq!(range_of_part(Some(2), &empty), None);
        assert_eq!(range_of_part(Some(1), &ObjectHead::default()), None);
        assert!(check_part(Some(1), &plain).is_ok());
        assert_eq!(check_part(Some(2), &plain).unwrap_err().kind, Kind::InvalidPart);
    }
}
