//! GetObject and HeadObject.

use apus_cluster::ObjectPath;
use apus_cluster::byte_range::{ByteRanges, Resolution, Resolved};
use apus_cluster::constraints::S3_MAX_PARTS;
use apus_cluster::etag::unquote;
use apus_cluster::listing::split_swift_bytes;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_daemon::http::{parse_date, set, status};
use apus_policy::Permission;
use apus_store::operation::{Authorize, GetObject, HeadObject, ObjectHead, ObjectRead, Served};
use apus_store::settings::TAGGING;
use apus_store::{Context, Error, Kind, Subject};
use http::{HeaderMap, Method, StatusCode};

use super::expiration::{self, ExpiringObject};
use super::head::{ETAG_AT, etag, last_modified};
use super::{condition, lock, tagging, version};
use crate::deps::ProxyDeps;
use crate::header_value;
use crate::reply::{Reply, empty_part, partial_content};
use crate::s3::checksum::{self, ChecksumType};
use crate::s3::encryption;
use crate::s3::error::{Code, Result, S3Error};
use crate::s3::facts;
use crate::s3::request::S3Request;

/// Query parameters that replace a header of the response.
const OVERRIDES: [(&str, &str); 6] = [
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// Stored headers that a response repeats.
const STORED_HEADERS: [&str; 6] = [
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
    "X-Robots-Tag",
];

/// The parameters of a read that only the response depends on.
#[derive(Debug)]
struct ResponseOptions {
    /// The part number that was asked for.
    part: Option<u32>,
    /// Whether checksums are shown.
    checksums: bool,
    /// Headers that the client replaces.
    overrides: Vec<(&'static str, String)>,
}

/// `If-Range`: a range is served only while the object is this version.
#[derive(Debug)]
struct IfRange<'a>(Option<&'a str>);

impl IfRange<'_> {
    /// Whether it holds: a strong etag that is the object's, or its exact time.
    fn holds(&self, head: &ObjectHead) -> bool {
        let Some(value) = self.0 else { return true };
        match parse_date(value) {
            Some(seconds) => seconds == head.timestamp.seconds_ceil(),
            None => !value.trim().starts_with("W/") && unquote(value) == etag(head),
        }
    }
}

pub(in crate::s3) async fn get(deps: &ProxyDeps, request: S3Request) -> Result<Reply> {
    let (op, options) = parse(&request)?;
    let object = op.head.object.clone();
    let if_range = IfRange(request.header("if-range"));
    let result = match request.head.method == Method::HEAD {
        true => head(deps, &request.cx, op, &if_range)
            .await
            .map(|(head, served)| (render(&options, &head, &served), head)),
        false => read(deps, &request.cx, op, &if_range).await.map(|read| {
            let mut response = render(&options, &read.head, &read.served);
            *response.body_mut() = read.body;
            (response, read.head)
        }),
    };
    let names_version = request.param("versionId").is_some();
    let result = match result {
        Ok(found) => Ok(found),
        Err(error) if names_version => Err(error),
        Err(error) => Err(show_absence(deps, &request.cx, error, &object).await),
    };
    let (mut response, head) = result.map_err(|error| read_error(error, &request, &options))?;
    encryption::set_read(&head, &request.head.headers, response.headers_mut())?;
    // Versions that are named do not expire by the rules of the current one.
    if request.param("versionId").is_none() {
        let found = ExpiringObject {
            object: &object,
            length: head.known_length(),
            written: head.timestamp,
            tags: head.get(TAGGING),
        };
        let value = expiration::of(deps, &request.cx, found).await;
        expiration::set_header(value.as_deref(), &mut response);
    }
    Ok(response)
}

/// The error of a read. A caller who may list the name of an object may know that it does not exist,
/// even without the right to read it.
async fn show_absence(deps: &ProxyDeps, cx: &Context, error: Error, object: &ObjectPath) -> Error {
    if !matches!(error.kind, Kind::Forbidden | Kind::Unauthorized) {
        return error;
    }
    let list = Authorize::container(Permission::ListBucket, object.container.clone());
    let lister = facts::with_prefix(cx, object.object.as_str());
    if deps.store.authorize(&lister, list).await.is_err() {
        return error;
    }
    let head = HeadObject::new(object.clone());
    match deps.store.head_object(&cx.as_system("refusal"), head).await {
        Err(absent) if absent.kind == Kind::NotFound => absent,
        _ => error,
    }
}

fn parse(request: &S3Request) -> Result<(GetObject, ResponseOptions)> {
    let mut op = GetObject::new(request.object()?);
    op.head.version = request.version()?;
    op.head.conditions = condition::on_read(request, "");
    op.head.etag_at.push(ETAG_AT.to_owned());
    op.ranges = request.header("range").and_then(ByteRanges::parse);
    op.head.part = part_number(request)?;
    // The checksums are those of the whole object, and would be taken for those of a range.
    let checksums = request
        .header("x-amz-checksum-mode")
        .is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
        && op.ranges.is_none();
    op.head.part_metadata = checksums;
    let overrides = OVERRIDES
        .iter()
        .filter_map(|(param, name)| Some((*name, request.param(param)?.to_owned())))
        .collect();
    let options = ResponseOptions { part: op.head.part, checksums, overrides };
    Ok((op, options))
}

/// Parses a read, and does nothing else: for fuzzing.
pub(in crate::s3) fn fuzz_params(request: &S3Request) {
    drop(parse(request));
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

/// The object's metadata, and the bytes that a GET would serve.
async fn head(
    deps: &ProxyDeps,
    cx: &Context,
    op: GetObject,
    if_range: &IfRange<'_>,
) -> apus_store::Result<(ObjectHead, Served)> {
    let part = op.head.part;
    let head = deps.store.head_object(cx, op.head).await?;
    check_part(part, &head)?;
    let ranges = op.ranges.filter(|ranges| ranges.is_single() && if_range.holds(&head));
    let served = match head.known_length().and_then(|length| Some(ranges?.resolve(length))) {
        Some(Resolution::Ranges(ranges)) => Served::Ranges(ranges),
        Some(Resolution::Whole) | None => Served::Whole,
        Some(Resolution::Unsatisfiable) => {
            let kind = Kind::RangeNotSatisfiable { size: head.length };
            return Err(Error::new(kind, Subject::Object));
        }
    };
    Ok((head, served))
}

/// The object with its body. A range is read first: only if `If-Range` turns out not to hold, the
/// whole object is read instead.
async fn read(
    deps: &ProxyDeps,
    cx: &Context,
    mut op: GetObject,
    if_range: &IfRange<'_>,
) -> apus_store::Result<ObjectRead> {
    // S3 has no list of ranges: a request for several gets the whole object.
    op.ranges = op.ranges.filter(ByteRanges::is_single);
    let part = op.head.part;
    let conditional = op.ranges.is_some() && if_range.0.is_some();
    let whole = conditional.then(|| GetObject { ranges: None, ..op.clone() });
    let mut read = deps.store.get_object(cx, op).await;
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
        read = deps.store.get_object(cx, whole).await;
    }
    let read = read?;
    check_part(part, &read.head)?;
    Ok(read)
}

/// An object that is not joined has one part, itself.
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

/// The error of a read, with the part, range or condition that it is about.
fn read_error(error: Error, request: &S3Request, options: &ResponseOptions) -> S3Error {
    match (options.part, request.header("range")) {
        (Some(part), _) if error.kind == Kind::InvalidPart => {
            let count = error.head.as_ref().and_then(|head| head.parts_count);
            let error = S3Error::new(Code::InvalidPart)
                .text("The requested part number is not satisfiable")
                .with("PartNumberRequested", part.to_string());
            match count {
                Some(count) => error.with("ActualPartCount", count.to_string()),
                None => error,
            }
        }
        (_, Some(range)) if matches!(error.kind, Kind::RangeNotSatisfiable { .. }) => {
            S3Error::from(error).with("RangeRequested", range)
        }
        _ => condition::failed(error, &request.head.headers, ""),
    }
}

/// The response to a read, without the body.
fn render(options: &ResponseOptions, head: &ObjectHead, served: &Served) -> Reply {
    let mut response = status(StatusCode::OK);
    set_headers(options, head, response.headers_mut());
    match served {
        Served::Ranges(ranges) => {
            if let [one] = ranges.as_slice() {
                partial_content(&mut response, *one, head.length);
            }
        }
        Served::Whole => match range_of_part(options.part, head) {
            Some(range) => partial_content(&mut response, range, head.length),
            None if options.part.is_some() && head.known_length().is_some() => {
                empty_part(&mut response);
            }
            None => {}
        },
    }
    response
}

/// The range that a part is; the whole of an object without parts. `None` for a part of no bytes,
/// which no range can express.
fn range_of_part(part: Option<u32>, head: &ObjectHead) -> Option<Resolved> {
    part?;
    let (start, length) = match (head.parts.first(), head.parts_count) {
        (Some(part), _) => (part.start, part.length),
        (None, None) => (0, head.known_length()?),
        (None, Some(_)) => return None,
    };
    (length > 0).then_some(Resolved { start, length })
}

fn set_headers(options: &ResponseOptions, head: &ObjectHead, out: &mut HeaderMap) {
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix()) {
            let key = name.get(Resource::Object.user_prefix().len()..).unwrap_or_default();
            let name = format!("x-amz-meta-{}", key.to_ascii_lowercase());
            set(out, &name, &header_value::encode_words(value));
        } else if STORED_HEADERS.contains(&name.as_str()) {
            set(out, name, value);
        }
    }
    set(out, "content-type", &split_swift_bytes(&head.content_type).0);
    if let Some(length) = head.known_length() {
        set(out, "content-length", &length.to_string());
    }
    set(out, "etag", &format!("\"{}\"", etag(head)));
    set(out, "last-modified", &last_modified(head));
    set(out, "accept-ranges", "bytes");
    version::of_read(head, out);
    if let Some(count) = head.parts_count {
        set(out, "x-amz-mp-parts-count", &count.to_string());
    }
    tagging::set_count(head, out);
    lock::set_headers(head, out);
    if options.checksums {
        // A part has its own checksum, and the type of the whole.
        let part = head.parts.first().map(|part| &part.metadata);
        let kind = ChecksumType::stored(&head.metadata);
        checksum::set_typed_headers(part.unwrap_or(&head.metadata), kind, out);
    }
    for (name, value) in &options.overrides {
        set(out, name, value);
    }
}

#[cfg(test)]
mod tests {
    use apus_cluster::{Metadata, Timestamp};
    use apus_store::operation::PartHead;

    use super::*;

    #[test]
    fn a_range_is_served_for_the_same_version_only() {
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

    #[test]
    fn parameters_choose_the_part_the_checksums_and_the_headers() {
        let parsed = |query: &str, headers: &[(&str, &str)]| {
            parse(&S3Request::example("GET", &format!("/bucket/key?{query}"), headers))
        };
        let checksums = ("x-amz-checksum-mode", "ENABLED");
        let (op, options) = parsed("response-expires=x&partNumber=2", &[checksums]).unwrap();
        assert_eq!((op.head.part, options.part, options.checksums), (Some(2), Some(2), true));
        assert_eq!(options.overrides, [("expires", "x".to_owned())]);
        let (op, options) = parsed("", &[checksums, ("range", "bytes=0-1")]).unwrap();
        assert_eq!((op.ranges.is_some(), options.checksums), (true, false));
        for (query, headers) in [
            ("partNumber=0", &[][..]),
            ("partNumber=x", &[]),
            ("partNumber=1", &[("range", "bytes=0-1")]),
            ("versionId=x", &[]),
        ] {
            assert!(parsed(query, headers).is_err(), "{query}");
        }
    }

    #[test]
    fn a_response_has_the_headers_of_the_bytes_that_are_served() {
        let head = ObjectHead { length: 10, etag: "abc".to_owned(), ..ObjectHead::default() };
        let options = |part| ResponseOptions { part, checksums: false, overrides: Vec::new() };
        let range = Served::Ranges(vec![Resolved { start: 2, length: 3 }]);
        for (part, served, code, length, content_range) in [
            (None, &Served::Whole, 200, "10", None),
            (None, &range, 206, "3", Some("bytes 2-4/10")),
            (Some(1), &Served::Whole, 206, "10", Some("bytes 0-9/10")),
        ] {
            let reply = render(&options(part), &head, served);
            assert_eq!(reply.status().as_u16(), code);
            assert_eq!(reply.headers()["content-length"], length);
            let found = reply.headers().get("content-range").map(|value| value.to_str().unwrap());
            assert_eq!(found, content_range);
        }
        let empty = ObjectHead { length: 0, ..head };
        let reply = render(&options(Some(1)), &empty, &Served::Whole);
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-length"]),
            (206, &"0".parse().unwrap())
        );
    }
}
