//! GetObject and HeadObject.

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::etag::EtagList;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_daemon::http::{format_date, parse_date, set, status};
use apus_store::operation::{Conditions, GetObject, HeadObject, ObjectHead, Served};
use http::{HeaderMap, Method, StatusCode};

use super::{check_version, etag};
use crate::edge::Parts;
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
pub(super) fn modified(head: &ObjectHead) -> String {
    format_date(head.timestamp.seconds_ceil())
}

/// An object that is no joined one is its own first and only part.
fn check_part(part: Option<u32>, head: &ObjectHead) -> Result<()> {
    match part {
        Some(part) if part > 1 && head.parts_count.is_none() => {
            Err(S3Error::new(Code::InvalidPart).text(format!("there is no part {part}")))
        }
        _ => Ok(()),
    }
}

fn describe(request: &Shown, head: &ObjectHead, out: &mut HeaderMap) {
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix()) {
            let key = name.get(Resource::Object.user_prefix().len()..).unwrap_or_default();
            set(out, &format!("x-amz-meta-{}", key.to_ascii_lowercase()), value);
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
    if let Some(part) = request.param("partNumber") {
        let part = part.parse().ok().filter(|part| (1..=10_000).contains(part));
        let part = part.ok_or_else(|| {
            S3Error::new(Code::InvalidArgument)
                .text("Part number must be an integer between 1 and 10000, inclusive")
        })?;
        if op.ranges.is_some() {
            return Err(S3Error::new(Code::InvalidRequest)
                .text("Cannot specify both Range header and partNumber query parameter"));
        }
        op.head.part = Some(part);
    }
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
    if request.head.method == Method::HEAD {
        let ranges = op.ranges.take();
        let part = op.head.part;
        let head = parts.store.head_object(&request.cx, op.head).await?;
        check_part(part, &head)?;
        let mut response = status(StatusCode::OK);
        describe(&shown, &head, response.headers_mut());
        if part.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let length = head.parts.first().map_or(head.length, |part| part.length);
            set(response.headers_mut(), "content-length", &length.to_string());
        }
        if let Some(ranges) = ranges {
            use apus_cluster::byte_range::Resolution;
            match head.known_length().map_or(Resolution::Whole, |length| ranges.resolve(length)) {
                Resolution::Ranges(ranges) => {
                    if let [one] = ranges.as_slice() {
                        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                        let out = response.headers_mut();
                        set(out, "content-length", &one.length.to_string());
                        set(out, "content-range", &one.content_range(head.length));
                    }
                }
                Resolution::Unsatisfiable => return Err(S3Error::new(Code::InvalidRange)),
                Resolution::Whole => {}
            }
        }
        return Ok(response);
    }
    // S3 knows one range; a list of several is answered with everything.
    if op.ranges.as_ref().is_some_and(|ranges| ranges.to_header().contains(',')) {
        op.ranges = None;
    }
    let part = op.head.part;
    let read = parts.store.get_object(&request.cx, op).await?;
    check_part(part, &read.head)?;
    let mut response = status(StatusCode::OK);
    describe(&shown, &read.head, response.headers_mut());
    if part.is_some() && read.head.parts_count.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if let Served::Ranges(ranges) = &read.served
        && let [one] = ranges.as_slice()
    {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let out = response.headers_mut();
        set(out, "content-length", &one.length.to_string());
        set(out, "content-range", &one.content_range(read.head.length));
    }
    *response.body_mut() = read.body;
    Ok(response)
}
