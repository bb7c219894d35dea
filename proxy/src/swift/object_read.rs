//! `GET` and `HEAD` of an object: conditions, ranges and parts.

use apus_cluster::byte_range::{ByteRanges, Resolved};
use apus_cluster::etag::{EtagList, unquote};
use apus_cluster::listing::split_swift_bytes;
use apus_daemon::Body;
use apus_daemon::http::{parse_date, set, status};
use apus_store::operation::{Conditions, GetObject, HeadObject, ObjectHead, Served};
use apus_store::{Error, Kind};
use http::StatusCode;

use super::error::{Result, SwiftError};
use super::request::SwiftRequest;
use super::{byteranges, manifest, object_head, symlink, versions};
use crate::deps::ProxyDeps;
use crate::reply::{Reply, empty_part, partial_content};

/// Text of a 416 for a part.
const NO_SUCH_PART: &str = "The requested part number is not satisfiable";

/// The conditions in a request's headers.
pub(super) fn conditions(request: &SwiftRequest) -> Conditions {
    let list = |name| request.header(name).map(EtagList::parse);
    let date = |name| request.header(name).and_then(parse_date);
    Conditions {
        if_match: list("if-match"),
        if_none_match: list("if-none-match"),
        if_modified_since: date("if-modified-since"),
        if_unmodified_since: date("if-unmodified-since"),
    }
}

/// `?multipart-manifest=get`: the manifest itself, not the object that it describes.
fn is_raw(request: &SwiftRequest) -> bool {
    request.param("multipart-manifest") == Some("get")
}

/// A read, and the refusal of its part number, which counts for joined objects alone.
#[derive(Debug)]
struct ReadRequest {
    op: GetObject,
    part_refusal: Option<&'static str>,
}

fn parse_read(request: &SwiftRequest) -> Result<ReadRequest> {
    let mut op = GetObject::new(request.object()?.clone());
    op.head.conditions = conditions(request);
    op.head.version = versions::named(request)?;
    op.head.newest = request.flag("x-newest");
    op.head.raw = is_raw(request);
    op.head.link_itself = symlink::is_link_itself(request);
    op.ranges = request.header("range").and_then(ByteRanges::parse);
    let mut part_refusal = None;
    if !op.head.raw {
        match part_number(request) {
            Ok(part) => op.head.part = part,
            Err(InvalidPart(text)) => part_refusal = Some(text),
        }
    }
    Ok(ReadRequest { op, part_refusal })
}

/// A part number that a joined object cannot have, with Swift's text.
#[derive(Debug, PartialEq, Eq)]
struct InvalidPart(&'static str);

/// `?part-number=`, which only joined objects have and for which it then must be valid.
///
/// Source: `get_valid_part_num` in `swift/common/request_helpers.py`.
fn part_number(request: &SwiftRequest) -> std::result::Result<Option<u32>, InvalidPart> {
    let Some(text) = request.param("part-number") else { return Ok(None) };
    match text.trim().parse().ok().filter(|part| *part > 0) {
        None => Err(InvalidPart("Part number must be an integer greater than 0")),
        Some(_) if request.header("range").is_some() => {
            Err(InvalidPart("Range requests are not supported with part number queries"))
        }
        part => Ok(part),
    }
}

/// The part of a joined object that a copy is of.
///
/// # Errors
/// `Invalid` for a part number that no joined object has.
pub(super) fn copied_part(request: &SwiftRequest) -> apus_store::Result<Option<u32>> {
    part_number(request).map_err(|InvalidPart(text)| Error::invalid(text))
}

/// Refuses an invalid part number if the object is a joined one; any other object ignores it.
async fn check_part(deps: &ProxyDeps, request: &SwiftRequest, read: &ReadRequest) -> Result<()> {
    let Some(refusal) = read.part_refusal else { return Ok(()) };
    let mut op = HeadObject::new(read.op.head.object.clone());
    op.version = read.op.head.version;
    let head = deps.store.head_object(&request.cx, op).await?;
    if head.is_manifest() { Err(Error::invalid(refusal).into()) } else { Ok(()) }
}

/// A 416 for a part that a joined object does not have; any other error as it is.
fn read_error(error: Error, text: &'static str) -> SwiftError {
    match error.head {
        Some(head) if error.kind == Kind::InvalidPart => SwiftError::NoSuchPart { head, text },
        head => Error { head, ..error }.into(),
    }
}

pub(super) async fn head(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let read = parse_read(request)?;
    check_part(deps, request, &read).await?;
    let head = deps.store.head_object(&request.cx, read.op.head).await;
    let mut head = head.map_err(|error| read_error(error, ""))?;
    let served = served_by_head(&mut head);
    let mut response = render(&head, &served, Body::default());
    if is_raw(request) && head.is_manifest() {
        let out = response.headers_mut();
        set(out, "content-type", "application/json; charset=utf-8");
        set(out, "etag", &head.etag);
    }
    Ok(response)
}

/// The bytes that a GET of the same part would serve.
fn served_by_head(head: &mut ObjectHead) -> Served {
    match head.parts.first() {
        Some(part) if part.length > 0 => {
            Served::Ranges(vec![Resolved { start: part.start, length: part.length }])
        }
        Some(_) => {
            head.length = 0;
            Served::Whole
        }
        None => Served::Whole,
    }
}

pub(super) async fn get(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let mut read = parse_read(request)?;
    check_part(deps, request, &read).await?;
    if let Some(if_range) = request.header("if-range")
        && read.op.ranges.is_some()
        && !is_current(deps, request, &read.op, if_range).await?
    {
        read.op.ranges = None;
    }
    let read = deps.store.get_object(&request.cx, read.op).await;
    let read = read.map_err(|error| read_error(error, NO_SUCH_PART))?;
    if is_raw(request) && read.head.is_manifest() {
        return match request.param("format") {
            Some("raw") => manifest::render_as_sent(read).await,
            _ => Ok(manifest::render_as_stored(read)),
        };
    }
    Ok(render(&read.head, &read.served, read.body))
}

/// Whether the object is the version that `If-Range` names.
async fn is_current(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    read: &GetObject,
    if_range: &str,
) -> Result<bool> {
    let mut op = HeadObject::new(read.head.object.clone());
    op.version = read.head.version;
    op.raw = read.head.raw;
    op.link_itself = read.head.link_itself;
    let head = deps.store.head_object(&request.cx, op).await?;
    Ok(match parse_date(if_range) {
        Some(seconds) => head.timestamp.seconds_ceil() == seconds,
        None => unquote(if_range) == head.etag,
    })
}

/// The response to a read: headers, and the body with the bytes that are served.
fn render(head: &ObjectHead, served: &Served, body: Body) -> Reply {
    let mut response = status(StatusCode::OK);
    object_head::set_headers(head, response.headers_mut());
    match served {
        Served::Whole if head.parts_count.is_some() => empty_part(&mut response),
        Served::Whole => {}
        Served::Ranges(ranges) => match ranges.as_slice() {
            [one] => partial_content(&mut response, *one, head.length),
            several => {
                let (kind, _) = split_swift_bytes(&head.content_type);
                byteranges::set_ranges(&mut response, several, head.length, &kind, body);
                return response;
            }
        },
    }
    *response.body_mut() = body;
    response
}

#[cfg(test)]
mod tests {
    use apus_cluster::Metadata;
    use apus_store::Subject;
    use apus_store::operation::PartHead;

    use super::super::error_response;
    use super::*;

    fn joined(part: Option<(u64, u64)>) -> ObjectHead {
        let part = part.map(|(start, length)| PartHead {
            number: 1,
            start,
            length,
            metadata: Metadata::new(),
        });
        ObjectHead {
            length: 10,
            etag: "abc".to_owned(),
            content_type: "text/plain;swift_bytes=7".to_owned(),
            parts_count: part.as_ref().map(|_| 3),
            parts: part.into_iter().collect(),
            ..ObjectHead::default()
        }
    }

    #[test]
    fn a_head_of_a_part_has_the_headers_of_a_get() {
        for (part, code, length, range) in [
            (None, 200, "10", None),
            (Some((4, 6)), 206, "6", Some("bytes 4-9/10")),
            (Some((10, 0)), 206, "0", None),
        ] {
            let mut head = joined(part);
            let served = served_by_head(&mut head);
            let reply = render(&head, &served, Body::default());
            assert_eq!(reply.status().as_u16(), code, "{part:?}");
            assert_eq!(reply.headers()["content-length"], length, "{part:?}");
            let found = reply.headers().get("content-range").map(|value| value.to_str().unwrap());
            assert_eq!(found, range, "{part:?}");
            assert_eq!(reply.headers()["content-type"], "text/plain");
        }
    }

    #[test]
    fn part_numbers_are_positive_and_exclude_ranges() {
        let part = |query: &str, headers: &[(&str, &str)]| {
            let request = SwiftRequest::example("GET", &format!("/v1/a/c/o?{query}"), headers);
            let read = parse_read(&request).unwrap();
            (read.op.head.part, read.part_refusal.is_some())
        };
        assert_eq!(part("part-number=2", &[]), (Some(2), false));
        assert_eq!(part("part-number=0", &[]), (None, true));
        assert_eq!(part("part-number=x", &[]), (None, true));
        assert_eq!(part("part-number=1", &[("range", "bytes=0-1")]), (None, true));
        assert_eq!(part("part-number=x&multipart-manifest=get", &[]), (None, false));
    }

    #[test]
    fn a_part_that_does_not_exist_is_416() {
        let mut error = Error::new(Kind::InvalidPart, Subject::Object);
        error.head = Some(Box::new(joined(None)));
        for (text, length) in [(NO_SUCH_PART, "44"), ("", "0")] {
            let reply = error_response::render(&read_error(error.clone(), text));
            assert_eq!(reply.status(), StatusCode::RANGE_NOT_SATISFIABLE);
            assert_eq!(reply.headers()["content-range"], "bytes */10");
            assert_eq!(reply.headers()["content-length"], length);
        }
        error.kind = Kind::NotFound;
        assert_eq!(read_error(error, "").status(), StatusCode::NOT_FOUND);
    }
}
