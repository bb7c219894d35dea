//! `GET` and `HEAD` of an object: conditions, ranges, `multipart/byteranges`, manifests as they are.

use apus_cluster::byte_range::{ByteRanges, Framing, Resolved};
use apus_cluster::etag::EtagList;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource, has_prefix};
use apus_cluster::{ObjectPath, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{format_date, full, parse_date, set, status, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_store::operation::{Conditions, GetObject, HeadObject, ObjectHead, Served};
use apus_store::{Context, Error, Kind, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::error::Reply;
use super::manifest;
use super::request::{Path, SwiftRequest};
use super::symlink;
use crate::edge::Parts;

/// Body of a 416 for a part.
const NO_SUCH_PART: &str = "The requested part number is not satisfiable";

/// The etag as Swift shows it: quoted only for joined objects.
pub(super) fn shown_etag(head: &ObjectHead) -> String {
    if head.is_manifest() || head.get("X-Object-Manifest").is_some() {
        format!("\"{}\"", head.etag)
    } else {
        head.etag.clone()
    }
}

/// The content type without what only listings need.
pub(super) fn shown_content_type(content_type: &str) -> String {
    split_swift_bytes(content_type).0
}

/// Writes what clients may see of an object.
pub(super) fn describe(head: &ObjectHead, out: &mut HeaderMap) {
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix())
            || OBJECT_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            set(out, name, value);
        }
    }
    set(out, "content-type", &shown_content_type(&head.content_type));
    if let Some(length) = head.known_length() {
        set(out, "content-length", &length.to_string());
    }
    set(out, "etag", &shown_etag(head));
    set(out, "x-timestamp", &head.timestamp.normal());
    set(out, "last-modified", &http_date(head.timestamp));
    set(out, "accept-ranges", "bytes");
    super::symlink::describe(head, out);
    if let Some(etag) = &head.manifest_etag {
        set(out, "x-manifest-etag", etag);
    }
    if let Some(count) = head.parts_count {
        set(out, "x-parts-count", &count.to_string());
    }
}

pub(super) fn http_date(time: Timestamp) -> String {
    format_date(time.seconds_ceil())
}

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

pub(super) async fn get(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let Path::Object(object) = &request.path else {
        return Err(Error::invalid("expected an object"));
    };
    let raw = request.param("multipart-manifest") == Some("get");
    let mut head_op = HeadObject::new(object.clone());
    head_op.conditions = conditions(&request);
    head_op.newest = request.flag("x-newest");
    head_op.raw = raw;
    head_op.link_itself = symlink::is_asked_itself(&request);
    match part_number(&request) {
        _ if raw => {}
        Ok(part) => head_op.part = part,
        Err(refusal) => refuse_if_joined(parts, &request.cx, object, refusal).await?,
    }
    if request.head.method == Method::HEAD {
        let head = match parts.store.head_object(&request.cx, head_op).await {
            Ok(head) => head,
            Err(error) => return no_such_part(error, Body::default()),
        };
        let mut response = status(StatusCode::OK);
        describe(&head, response.headers_mut());
        if let Some(part) = head.parts.first() {
            // The length is the part's, so the status must say that it is not everything.
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = Resolved { start: part.start, length: part.length };
            let out = response.headers_mut();
            set(out, "content-length", &part.length.to_string());
            if part.length > 0 {
                set(out, "content-range", &range.content_range(head.length));
            }
        }
        if raw && head.is_manifest() {
            let out = response.headers_mut();
            set(out, "content-type", "application/json; charset=utf-8");
            set(out, "etag", &head.etag);
        }
        return Ok(response);
    }
    let mut ranges = request.header("range").and_then(ByteRanges::parse);
    if let Some(if_range) = request.header("if-range")
        && ranges.is_some()
    {
        // A range is only for who has the same version: ask first.
        let mut ask = HeadObject::new(object.clone());
        ask.raw = raw;
        ask.link_itself = symlink::is_asked_itself(&request);
        let head = parts.store.head_object(&request.cx, ask).await?;
        let same = match parse_date(if_range) {
            Some(seconds) => head.timestamp.seconds_ceil() == seconds,
            None => apus_cluster::etag::unquote(if_range) == head.etag,
        };
        ranges = ranges.filter(|_| same);
    }
    let mut op = GetObject::new(object.clone());
    op.head = head_op;
    op.ranges = ranges;
    let read = match parts.store.get_object(&request.cx, op).await {
        Ok(read) => read,
        Err(error) => return no_such_part(error, full(NO_SUCH_PART)),
    };
    if raw && read.head.is_manifest() {
        return manifest::show(read, request.param("format") == Some("raw")).await;
    }
    let mut response = status(StatusCode::OK);
    describe(&read.head, response.headers_mut());
    match read.served {
        Served::Whole => {
            if read.head.parts_count.is_some() {
                // A part without bytes, which no range can say.
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            *response.body_mut() = read.body;
        }
        Served::Ranges(ranges) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let kind = shown_content_type(&read.head.content_type);
            serve_ranges(&mut response, &ranges, read.head.length, &kind, read.body);
        }
    }
    Ok(response)
}

/// `?part-number=`, which only joined objects have and for which it then must be valid.
///
/// Source: `get_valid_part_num` in `swift/common/request_helpers.py`.
fn part_number(request: &SwiftRequest) -> std::result::Result<Option<u32>, &'static str> {
    let Some(text) = request.param("part-number") else { return Ok(None) };
    match text.trim().parse().ok().filter(|part| *part > 0) {
        None => Err("Part number must be an integer greater than 0"),
        Some(_) if request.header("range").is_some() => {
            Err("Range requests are not supported with part number queries")
        }
        part => Ok(part),
    }
}

/// A bad part number is refused for a joined object, and ignored for any other.
async fn refuse_if_joined(
    parts: &Parts,
    cx: &Context,
    object: &ObjectPath,
    refusal: &str,
) -> Result<()> {
    let head = parts.store.head_object(cx, HeadObject::new(object.clone())).await?;
    if head.is_manifest() { Err(Error::invalid(refusal)) } else { Ok(()) }
}

/// 416 for a part that a joined object does not have; any other error as it is.
fn no_such_part(error: Error, body: Body) -> Result<Reply> {
    let Some(head) = error.head.as_ref().filter(|_| error.kind == Kind::InvalidPart) else {
        return Err(error);
    };
    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
    let out = response.headers_mut();
    describe(head, out);
    let length = body.size_hint().exact().unwrap_or_default();
    set(out, "content-length", &length.to_string());
    set(out, "content-range", &format!("bytes */{}", head.length));
    *response.body_mut() = body;
    Ok(response)
}

/// Fills a 206: one range as it is, several framed as `multipart/byteranges`.
fn serve_ranges(response: &mut Reply, ranges: &[Resolved], total: u64, kind: &str, body: Body) {
    if let [one] = ranges {
        set(response.headers_mut(), "content-range", &one.content_range(total));
        set(response.headers_mut(), "content-length", &one.length.to_string());
        *response.body_mut() = body;
        return;
    }
    let framing = Framing::new(ranges, total, kind, &apus_daemon::seed::hex::<16>());
    set(response.headers_mut(), "content-length", &framing.length.to_string());
    set(response.headers_mut(), "content-type", &framing.content_type);
    let lengths: Vec<u64> = ranges.iter().map(|range| range.length).collect();
    *response.body_mut() = frame(framing, lengths, body);
}

fn frame(framing: Framing, lengths: Vec<u64>, mut body: Body) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    spawn(TaskKind::Request, async move {
        let mut pending = Bytes::new();
        for (head, length) in framing.heads.into_iter().zip(lengths) {
            if sender.send(Ok(head.into())).await.is_err() {
                return;
            }
            let mut left = length;
            while left > 0 {
                if pending.is_empty() {
                    match body.frame().await.map(|frame| frame.map(http_body::Frame::into_data)) {
                        Some(Ok(Ok(data))) => pending = data,
                        Some(Ok(Err(_))) => continue,
                        Some(Err(error)) => {
                            let _ = sender.send(Err(error)).await;
                            return;
                        }
                        None => {
                            let _ = sender.send(Err("body ended too early".into())).await;
                            return;
                        }
                    }
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(pending.len());
                left -= take as u64;
                if sender.send(Ok(pending.split_to(take))).await.is_err() {
                    return;
                }
            }
            if sender.send(Ok(framing.between.into())).await.is_err() {
                return;
            }
        }
        let _ = sender.send(Ok(framing.end.into())).await;
    });
    stream(receiver)
}
