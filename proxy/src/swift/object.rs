//! `PUT`, `POST`, `DELETE` and `COPY` of an object.

use apus_cluster::byte_range::ByteRanges;
use apus_cluster::etag::unquote;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource, has_prefix};
use apus_cluster::{AccountName, ClientName, ContainerPath, Metadata, ObjectPath, percent};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, set};
use apus_policy::Permission;
use apus_store::body::LateMetadata;
use apus_store::operation::{
    Authorize, CopyObject, DeleteObject, GetObject, ObjectHead, ObjectWritten, PostObject,
    PutManifest, PutObject, PutSymlink, RestoreVersion, SegmentFate, WriteConditions,
};
use apus_store::{Error, Kind, Subject};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::{Result, SwiftError};
use super::object_head::{created, http_date};
use super::object_read::{conditions, copied_part};
use super::page::{empty_page, html_error};
use super::request::SwiftRequest;
use super::{manifest, manifest_report, symlink, versions};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Latest expiry, in seconds since 1970: ten digits, as the queue of expirations sorts them.
const DELETE_AT_MAX: u64 = 9_999_999_999;

/// Headers of an object that a client may set; `X-Static-Large-Object` is the cluster's own.
fn settable() -> Vec<&'static str> {
    OBJECT_HEADERS.iter().copied().filter(|name| *name != "X-Static-Large-Object").collect()
}

/// The metadata that a request sets at `now`, in seconds since 1970.
fn metadata(request: &SwiftRequest, now: u64) -> Result<Metadata> {
    let mut metadata = request.metadata(Resource::Object, &settable())?;
    if let Some(at) = delete_at(request, &metadata, now)? {
        metadata.insert("X-Delete-At".to_owned(), at.to_string());
    }
    if let Some(manifest) = metadata.get("X-Object-Manifest").filter(|value| !value.is_empty()) {
        check_object_manifest(manifest)?;
    }
    metadata.retain(|_, value| !value.is_empty());
    Ok(metadata)
}

/// When the object expires, from `X-Delete-After` or `X-Delete-At`.
fn delete_at(
    request: &SwiftRequest,
    metadata: &Metadata,
    now: u64,
) -> apus_store::Result<Option<u64>> {
    if let Some(after) = request.header("x-delete-after") {
        let after: i64 =
            after.trim().parse().map_err(|_| Error::invalid("Non-integer X-Delete-After"))?;
        let after = u64::try_from(after).ok().filter(|after| *after > 0);
        let after = after.ok_or_else(|| Error::invalid("X-Delete-After in past"))?;
        return Ok(Some(now.saturating_add(after).min(DELETE_AT_MAX)));
    }
    let Some(at) = metadata.get("X-Delete-At").filter(|at| !at.is_empty()) else {
        return Ok(None);
    };
    let text = at.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid("Non-integer X-Delete-At"));
    }
    match text.parse().unwrap_or(DELETE_AT_MAX).min(DELETE_AT_MAX) {
        at if at <= now => Err(Error::invalid("X-Delete-At in past")),
        at => Ok(Some(at)),
    }
}

/// Checks the container and prefix of a dynamic large object.
fn check_object_manifest(value: &str) -> apus_store::Result<()> {
    let form = || Error::invalid("X-Object-Manifest must be in the format container/prefix");
    let decoded = ClientName::decode(value)
        .map_err(|error| Error::invalid(format!("X-Object-Manifest: {error}")))?;
    let names = decoded.as_str().trim_start_matches('/').split_once('/');
    let (container, prefix) = names.ok_or_else(form)?;
    let is_empty = container.is_empty() || prefix.is_empty() || prefix.starts_with('/');
    if is_empty || value.contains(['?', '&']) {
        return Err(form());
    }
    Ok(())
}

fn too_large() -> Error {
    Error::new(Kind::TooLarge, Subject::Object).text("Your request is too large.")
}

/// A body that fails when it is longer than `max` bytes, for clients that do not send its length.
fn within(body: Body, max: u64) -> Body {
    let limited = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
    let refuse = |error: BodyError| match error.downcast::<LengthLimitError>() {
        Ok(_) => too_large().into(),
        Err(error) => error,
    };
    limited.map_err(refuse).boxed_unsync()
}

/// The operation that a PUT is.
#[derive(Debug)]
enum Put {
    /// A copy from another object.
    Copy(Box<CopyObject>),
    /// A symbolic link; the body must be empty.
    Symlink(Box<PutSymlink>),
    /// A static large object, whose segments the body lists.
    Manifest(Box<PutManifest>, Option<u64>),
    /// A version that becomes current again; the body must be empty.
    Restore(RestoreVersion),
    /// An object.
    Object(Box<PutObject>),
}

pub(super) async fn put(deps: &ProxyDeps, request: &SwiftRequest, body: Body) -> Result<Reply> {
    match parse_put(request, deps.clock.now().as_secs())? {
        Put::Copy(op) => copy_object(deps, request, *op).await,
        Put::Symlink(op) => {
            symlink::refuse_bytes(body).await?;
            let written = deps.store.put_symlink(&request.cx, *op).await?;
            Ok(created(&written, &written.etag))
        }
        Put::Manifest(mut op, length) => {
            // Rights and the container come before the document.
            let authorize = Authorize::object(Permission::PutObject, &op.object);
            deps.store.authorize(&request.cx, authorize).await?;
            op.segments = manifest::read(body, length, &op.object).await?;
            match request.param_flag("heartbeat") {
                true => Ok(manifest_report::put_with_heartbeat(deps, request, *op)),
                false => manifest_report::put(deps, request, *op).await,
            }
        }
        Put::Restore(op) => {
            versions::refuse_bytes(body).await?;
            let written = deps.store.restore_version(&request.cx, op).await?;
            Ok(created(&written, &written.etag))
        }
        Put::Object(mut op) => {
            op.body = within(body, request.constraints.max_file_size);
            let written = deps.store.put_object(&request.cx, *op).await?;
            Ok(created(&written, &written.etag))
        }
    }
}

/// Parses a PUT, without its body.
fn parse_put(request: &SwiftRequest, now: u64) -> Result<Put> {
    request.check_name_lengths()?;
    let object = request.object()?.clone();
    if let Some(from) = request.given("x-copy-from") {
        return Ok(Put::Copy(Box::new(parse_copy_from(request, from, object, now)?)));
    }
    let length = content_length(request)?;
    if let Some(version) = versions::named(request)? {
        return Ok(Put::Restore(RestoreVersion { object, version }));
    }
    let conditions = match request.header("if-none-match") {
        None => WriteConditions::default(),
        Some("*") => WriteConditions::absent(),
        Some(_) => return Err(Error::invalid("If-None-Match only supports *").into()),
    };
    let metadata = metadata(request, now)?;
    let content_type = request.content_type_or_guess(&object)?;
    let etag = request.header("etag").map(|etag| unquote(etag).to_owned());
    if symlink::has_target(request) {
        let op = symlink::parse_put(request, metadata, conditions)?;
        return Ok(Put::Symlink(Box::new(op)));
    }
    if request.param("multipart-manifest") == Some("put") {
        let op = PutManifest {
            object,
            segments: Vec::new(),
            content_type,
            metadata,
            etag: etag.filter(|etag| !etag.is_empty()),
            conditions,
            trusted: false,
        };
        return Ok(Put::Manifest(Box::new(op), length));
    }
    Ok(Put::Object(Box::new(PutObject {
        object,
        body: Body::default(),
        length,
        content_type,
        metadata,
        etag,
        timestamp: None,
        conditions,
        late: LateMetadata::default(),
    })))
}

/// The length of the body, which only a chunked body need not have.
fn content_length(request: &SwiftRequest) -> Result<Option<u64>> {
    let chunked =
        request.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    match request.header("content-length") {
        Some(text) => {
            let length: u64 = text.parse().map_err(|_| {
                Error::invalid(format!("Invalid Content-Length header value: {text:?}"))
            })?;
            match length > request.constraints.max_file_size {
                true => Err(too_large().into()),
                false => Ok(Some(length)),
            }
        }
        None if chunked => Ok(None),
        None => {
            let text = "Missing Content-Length header.";
            Err(SwiftError::refused(StatusCode::LENGTH_REQUIRED, text))
        }
    }
}

/// A PUT with `X-Copy-From`.
fn parse_copy_from(
    request: &SwiftRequest,
    from: &str,
    target: ObjectPath,
    now: u64,
) -> Result<CopyObject> {
    if request.header("content-length").is_some_and(|length| length.trim() != "0") {
        return Err(Error::invalid("Copy requests require a zero byte body").into());
    }
    let account = match request.given("x-copy-from-account") {
        Some(_) => request.account_in("x-copy-from-account")?,
        None => None,
    };
    let source = named_object(request, from, account, "X-Copy-From")?;
    parse_copy_between(request, source, target, now)
}

pub(super) async fn post(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let op = parse_post(request, deps.clock.now().as_secs())?;
    deps.store.post_object(&request.cx, op).await?;
    Ok(html_error(StatusCode::ACCEPTED))
}

fn parse_post(request: &SwiftRequest, now: u64) -> Result<PostObject> {
    let object = request.object()?.clone();
    versions::refuse_on_post(request)?;
    symlink::refuse_on_post(request)?;
    let metadata = metadata(request, now)?;
    let content_type = request.content_type()?.map(str::to_owned);
    Ok(PostObject { object, version: None, metadata, content_type })
}

pub(super) async fn delete(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let op = parse_delete(request, deps.config.allow_async_delete)?;
    let reports = op.segments == SegmentFate::Deleted;
    let deleted = deps.store.delete_object(&request.cx, op).await;
    if reports {
        return manifest::report(deleted, request.format()?);
    }
    let deleted = deleted?;
    let mut response = empty_page(StatusCode::NO_CONTENT);
    versions::set_deleted(&deleted, response.headers_mut());
    Ok(response)
}

fn parse_delete(request: &SwiftRequest, allow_async: bool) -> Result<DeleteObject> {
    let object = request.object()?.clone();
    let later = allow_async && request.param_flag("async");
    let segments = match request.param("multipart-manifest") {
        Some("delete") if later => SegmentFate::Queued,
        Some("delete") => SegmentFate::Deleted,
        _ => SegmentFate::Kept,
    };
    if request.header("x-if-delete-at").is_some() {
        return Err(Error::invalid("Bad X-If-Delete-At header value").into());
    }
    let version = versions::named(request)?;
    Ok(DeleteObject { segments, version, ..DeleteObject::new(object) })
}

/// Parses a request as each verb, and does nothing else: for fuzzing.
pub(super) fn fuzz_parsers(request: &SwiftRequest) {
    drop((parse_put(request, 0), parse_post(request, 0), parse_copy(request, 0)));
    drop(parse_delete(request, true));
}

/// An object named by a header: `container/object`, percent-encoded.
fn named_object(
    request: &SwiftRequest,
    value: &str,
    account: Option<AccountName>,
    header: &str,
) -> Result<ObjectPath> {
    let account = account.unwrap_or_else(|| request.account().clone());
    let (container, object) = request.object_in(header, value)?;
    Ok(ContainerPath::new(account, container).object(object))
}

pub(super) async fn copy(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let op = parse_copy(request, deps.clock.now().as_secs())?;
    copy_object(deps, request, op).await
}

fn parse_copy(request: &SwiftRequest, now: u64) -> Result<CopyObject> {
    let source = request.object()?.clone();
    let Some(destination) = request.given("destination") else {
        let text = "Destination header required";
        return Err(SwiftError::refused(StatusCode::PRECONDITION_FAILED, text));
    };
    let account = request.account_in("destination-account")?;
    let destination = named_object(request, destination, account, "Destination")?;
    parse_copy_between(request, source, destination, now)
}

fn parse_copy_between(
    request: &SwiftRequest,
    source: ObjectPath,
    target: ObjectPath,
    now: u64,
) -> Result<CopyObject> {
    symlink::refuse_on_copy(request)?;
    let mut source = GetObject::new(source);
    source.head.conditions = conditions(request);
    source.head.version = versions::named(request)?;
    source.head.link_itself = symlink::is_link_itself(request);
    source.ranges = request.header("range").and_then(ByteRanges::parse);
    if request.param("multipart-manifest") != Some("get") {
        source.head.part = copied_part(request)?;
    }
    Ok(CopyObject {
        source,
        target,
        metadata: metadata(request, now)?,
        content_type: request.content_type()?.map(str::to_owned),
        fresh_metadata: request.flag("x-fresh-metadata"),
        keeps_tags: !request.flag("x-fresh-metadata"),
        link_account: symlink::target_account(request)?,
        as_manifest: request.param("multipart-manifest") == Some("get"),
        body: None,
        conditions: WriteConditions::default(),
    })
}

async fn copy_object(deps: &ProxyDeps, request: &SwiftRequest, op: CopyObject) -> Result<Reply> {
    let source = op.source.head.object.clone();
    let (head, written) = deps.store.copy_object(&request.cx, op).await?;
    Ok(render_copy(&source, &head, &written))
}

fn render_copy(source: &ObjectPath, head: &ObjectHead, written: &ObjectWritten) -> Reply {
    let mut response = created(written, &written.etag);
    let out = response.headers_mut();
    let from = format!("{}/{}", source.container.container, source.object);
    set(out, "x-copied-from", &percent::encode_path(&from));
    set(out, "x-copied-from-account", &percent::encode_path(source.account().as_str()));
    set(out, "x-copied-from-last-modified", &http_date(head.timestamp));
    for (name, value) in &head.metadata {
        if has_prefix(name, Resource::Object.user_prefix()) {
            set(out, name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn put_of(query: &str, headers: &[(&str, &str)]) -> Result<Put> {
        let request = SwiftRequest::example("PUT", &format!("/v1/a/c/o{query}"), headers);
        parse_put(&request, NOW)
    }

    fn status_of(result: Result<impl std::fmt::Debug>) -> u16 {
        result.unwrap_err().status().as_u16()
    }

    #[test]
    fn headers_and_parameters_choose_what_a_put_writes() {
        let empty = ("content-length", "0");
        let put = put_of("", &[("content-length", "5"), ("etag", "\"x\"")]).unwrap();
        assert!(
            matches!(put, Put::Object(op) if op.length == Some(5) && op.etag.as_deref() == Some("x"))
        );
        let put = put_of("?multipart-manifest=put", &[("content-length", "9"), ("etag", "\"\"")]);
        assert!(matches!(put.unwrap(), Put::Manifest(op, Some(9)) if op.etag.is_none()));
        let put = put_of("", &[empty, ("x-symlink-target", "c2/o2")]).unwrap();
        assert!(matches!(put, Put::Symlink(op) if op.content_type.is_none()));
        let put = put_of("", &[empty, ("x-copy-from", "c2/o2")]).unwrap();
        assert!(matches!(put, Put::Copy(op) if op.source.head.object.to_string() == "/a/c2/o2"));
        let put = put_of("", &[("transfer-encoding", "chunked")]).unwrap();
        assert!(matches!(put, Put::Object(op) if op.length.is_none()));
    }

    #[test]
    fn bad_puts_are_refused_with_swifts_status() {
        let length = ("content-length", "5");
        for (headers, status) in [
            (&[][..], 411),
            (&[("content-length", "x")], 400),
            (&[("content-length", "99999999999")], 413),
            (&[length, ("if-none-match", "abc")], 400),
            (&[length, ("x-copy-from", "c/o")], 400),
            (&[length, ("x-delete-after", "-1")], 400),
            (&[length, ("x-delete-at", "1700000000")], 400),
            (&[length, ("x-object-manifest", "c")], 400),
            (&[length, ("content-type", "a/b; swift_bytes=1")], 400),
            (&[length, ("x-symlink-target", "/c/o")], 412),
        ] {
            assert_eq!(status_of(put_of("", headers)), status, "{headers:?}");
        }
        let copy = SwiftRequest::example("COPY", "/v1/a/c/o", &[]);
        assert_eq!(status_of(parse_copy(&copy, NOW)), 412);
        let container = SwiftRequest::example("COPY", "/v1/a/c", &[("destination", "c/o")]);
        assert_eq!(status_of(parse_copy(&container, NOW)), 400);
    }

    #[test]
    fn an_object_expires_after_or_at_a_time() {
        for (header, value, at) in [
            ("x-delete-after", "60", "1700000060"),
            ("x-delete-after", "9999999999", "9999999999"),
            ("x-delete-at", " 1700000001", "1700000001"),
            ("x-delete-at", "99999999999999999999999", "9999999999"),
        ] {
            let request = SwiftRequest::example("POST", "/v1/a/c/o", &[(header, value)]);
            let op = parse_post(&request, NOW).unwrap();
            assert_eq!(op.metadata["X-Delete-At"], at, "{header}: {value}");
        }
    }

    #[test]
    fn segments_are_deleted_only_on_demand() {
        for (query, allow_async, segments) in [
            ("", true, SegmentFate::Kept),
            ("?multipart-manifest=delete", true, SegmentFate::Deleted),
            ("?multipart-manifest=delete&async=on", true, SegmentFate::Queued),
            ("?multipart-manifest=delete&async=on", false, SegmentFate::Deleted),
        ] {
            let request = SwiftRequest::example("DELETE", &format!("/v1/a/c/o{query}"), &[]);
            assert_eq!(parse_delete(&request, allow_async).unwrap().segments, segments, "{query}");
        }
    }
}
