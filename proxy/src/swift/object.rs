//! `PUT`, `POST`, `DELETE` and `COPY` of an object.

use apus_cluster::etag::unquote;
use apus_cluster::metadata::{OBJECT_HEADERS, Resource};
use apus_cluster::{AccountName, ClientName, ContainerPath, Metadata, ObjectPath, percent};
use apus_daemon::Body;
use apus_daemon::http::{BodyError, set, status};
use apus_store::access::Action;
use apus_store::body::LateMetadata;
use apus_store::operation::{
    Authorize, CopyObject, DeleteObject, GetObject, ObjectHead, ObjectWritten, PostObject,
    PutManifest, PutObject, SegmentFate, WriteConditions,
};
use apus_store::{Error, Kind, Result, Subject};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::error::{Reply, html_error, plain_error};
use super::listing::format;
use super::manifest;
use super::object_read::{conditions, http_date};
use super::request::{Path, SwiftRequest};
use super::symlink;
use crate::edge::Parts;

/// Latest expiry, in seconds since 1970: ten digits, as the queue of expirations sorts them.
const DELETE_AT_MAX: u64 = 9_999_999_999;

fn target(request: &SwiftRequest) -> Result<ObjectPath> {
    match &request.path {
        Path::Object(object) => Ok(object.clone()),
        Path::Account(_) | Path::Container(_) => Err(Error::invalid("expected an object")),
    }
}

/// Headers of an object that a client may set, without what only we may.
fn settable() -> Vec<&'static str> {
    OBJECT_HEADERS.iter().copied().filter(|name| *name != "X-Static-Large-Object").collect()
}

fn metadata(parts: &Parts, request: &SwiftRequest) -> Result<Metadata> {
    let mut metadata = request.metadata(Resource::Object, &settable())?;
    let now = parts.clock.now().as_secs();
    if let Some(after) = request.header("x-delete-after") {
        let after: i64 =
            after.trim().parse().map_err(|_| Error::invalid("Non-integer X-Delete-After"))?;
        let after = u64::try_from(after).ok().filter(|after| *after > 0);
        let after = after.ok_or_else(|| Error::invalid("X-Delete-After in past"))?;
        metadata.insert(
            "X-Delete-At".to_owned(),
            (now.saturating_add(after)).min(DELETE_AT_MAX).to_string(),
        );
    } else if let Some(at) = metadata.get("X-Delete-At").filter(|at| !at.is_empty()) {
        let text = at.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::invalid("Non-integer X-Delete-At"));
        }
        let at = text.parse().unwrap_or(DELETE_AT_MAX).min(DELETE_AT_MAX);
        if at <= now {
            return Err(Error::invalid("X-Delete-At in past"));
        }
        metadata.insert("X-Delete-At".to_owned(), at.to_string());
    }
    if let Some(manifest) = metadata.get("X-Object-Manifest").filter(|value| !value.is_empty()) {
        let form = || Error::invalid("X-Object-Manifest must be in the format container/prefix");
        let decoded = ClientName::decode(manifest)
            .map_err(|error| Error::invalid(format!("X-Object-Manifest: {error}")))?;
        let names = decoded.as_str().trim_start_matches('/').split_once('/');
        let (container, prefix) = names.ok_or_else(form)?;
        let is_empty = container.is_empty() || prefix.is_empty() || prefix.starts_with('/');
        if is_empty || manifest.contains(['?', '&']) {
            return Err(form());
        }
    }
    metadata.retain(|_, value| !value.is_empty());
    Ok(metadata)
}

/// The content type that the client gives or that the name suggests.
///
/// # Errors
/// What [`SwiftRequest::content_type`] refuses.
pub(super) fn content_type(request: &SwiftRequest, object: &ObjectPath) -> Result<String> {
    let given = request.content_type()?;
    Ok(match given.filter(|_| !request.flag("x-detect-content-type")) {
        Some(kind) => kind.to_owned(),
        // The standard's name is audio/wav; Swift answers what Python's table has.
        None if object.object.as_str().ends_with(".wav") => "audio/x-wav".to_owned(),
        None => mime_guess::from_path(object.object.as_str())
            .first_raw()
            .unwrap_or("application/octet-stream")
            .to_owned(),
    })
}

pub(super) fn created(written: &ObjectWritten, etag: &str) -> Reply {
    let mut response = status(StatusCode::CREATED);
    let out = response.headers_mut();
    set(out, "etag", etag);
    set(out, "last-modified", &http_date(written.timestamp));
    set(out, "content-type", "text/html; charset=UTF-8");
    response
}

fn too_large() -> Error {
    Error::new(Kind::TooLarge, Subject::Object).text("Your request is too large.")
}

/// A body that fails when it is longer than `max` bytes, since its client need not say its length.
fn within(body: Body, max: u64) -> Body {
    let limited = Limited::new(body, usize::try_from(max).unwrap_or(usize::MAX));
    let refuse = |error: BodyError| match error.downcast::<LengthLimitError>() {
        Ok(_) => too_large().into(),
        Err(error) => error,
    };
    limited.map_err(refuse).boxed_unsync()
}

pub(super) async fn put(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    request.check_name_lengths()?;
    let object = target(&request)?;
    if let Some(from) = request.given("x-copy-from") {
        if request.header("content-length").is_some_and(|length| length.trim() != "0") {
            return Err(Error::invalid("Copy requests require a zero byte body"));
        }
        let account = match request.given("x-copy-from-account") {
            Some(_) => request.account_in("x-copy-from-account")?,
            None => None,
        };
        let source = named_object(&request, from, account, "X-Copy-From")?;
        if request.header("content-length").is_some_and(|length| length != "0") {
            return Err(Error::invalid("Copy requests require a zero byte body"));
        }
        return copy_between(parts, request, source, object).await;
    }
    let chunked =
        request.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let length = match request.header("content-length") {
        Some(text) => {
            let length: u64 = text.parse().map_err(|_| {
                Error::invalid(format!("Invalid Content-Length header value: {text:?}"))
            })?;
            if length > parts.constraints.max_file_size {
                return Err(too_large());
            }
            Some(length)
        }
        None if chunked => None,
        None => {
            return Ok(plain_error(StatusCode::LENGTH_REQUIRED, "Missing Content-Length header."));
        }
    };
    let conditions = match request.header("if-none-match") {
        None => WriteConditions::default(),
        Some("*") => WriteConditions::absent(),
        Some(_) => return Err(Error::invalid("If-None-Match only supports *")),
    };
    let metadata = metadata(parts, &request)?;
    let content_type = content_type(&request, &object)?;
    let etag = request.header("etag").map(|etag| unquote(etag).to_owned());
    if symlink::is_written(&request) {
        return symlink::put(parts, request, object, metadata, conditions).await;
    }
    if request.param("multipart-manifest") == Some("put") {
        // Rights and the container come before the document.
        let container = object.container.clone();
        let ask = Authorize { action: Action::WriteObject, container };
        parts.store.authorize(&request.cx, ask).await?;
        let segments = manifest::read(request.body, length, &object).await?;
        let op = PutManifest {
            object,
            segments,
            content_type,
            metadata,
            etag: etag.filter(|etag| !etag.is_empty()),
            conditions,
            trusted: false,
        };
        let written = parts.store.put_manifest(&request.cx, op).await?;
        return Ok(created(&written, &format!("\"{}\"", written.etag)));
    }
    let op = PutObject {
        object,
        body: within(request.body, parts.constraints.max_file_size),
        length,
        content_type,
        metadata,
        etag,
        timestamp: None,
        conditions,
        late: LateMetadata::default(),
    };
    let written = parts.store.put_object(&request.cx, op).await?;
    Ok(created(&written, &written.etag))
}

pub(super) async fn post(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let object = target(&request)?;
    symlink::refuse_on_post(&request)?;
    let metadata = metadata(parts, &request)?;
    let content_type = request.content_type()?.map(str::to_owned);
    parts.store.post_object(&request.cx, PostObject { object, metadata, content_type }).await?;
    Ok(html_error(StatusCode::ACCEPTED))
}

pub(super) async fn delete(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let object = target(&request)?;
    let later = parts.allow_async_delete && request.param_flag("async");
    let segments = match request.param("multipart-manifest") {
        Some("delete") if later => SegmentFate::Queued,
        Some("delete") => SegmentFate::Deleted,
        _ => SegmentFate::Kept,
    };
    if request.header("x-if-delete-at").is_some() {
        return Err(Error::invalid("Bad X-If-Delete-At header value"));
    }
    let op = DeleteObject { segments, ..DeleteObject::new(object) };
    let result = parts.store.delete_object(&request.cx, op).await;
    if segments == SegmentFate::Deleted {
        return match format(&request) {
            Ok(format) => manifest::report(result, format),
            Err(refusal) => Ok(*refusal),
        };
    }
    result?;
    let mut response = status(StatusCode::NO_CONTENT);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    Ok(response)
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

pub(super) async fn copy(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let source = target(&request)?;
    let Some(destination) = request.given("destination") else {
        return Ok(plain_error(StatusCode::PRECONDITION_FAILED, "Destination header required"));
    };
    let account = request.account_in("destination-account")?;
    let destination = named_object(&request, destination, account, "Destination")?;
    copy_between(parts, request, source, destination).await
}

async fn copy_between(
    parts: &Parts,
    request: SwiftRequest,
    source: ObjectPath,
    target: ObjectPath,
) -> Result<Reply> {
    let mut get = GetObject::new(source.clone());
    symlink::refuse_on_copy(&request)?;
    get.head.conditions = conditions(&request);
    get.head.link_itself = symlink::is_asked_itself(&request);
    get.ranges = request.header("range").and_then(apus_cluster::byte_range::ByteRanges::parse);
    let op = CopyObject {
        source: get,
        target,
        metadata: metadata(parts, &request)?,
        content_type: request.content_type()?.map(str::to_owned),
        fresh_metadata: request.flag("x-fresh-metadata"),
        link_account: symlink::target_account(&request)?,
        as_manifest: request.param("multipart-manifest") == Some("get"),
        body: None,
        conditions: WriteConditions::default(),
    };
    let (head, written): (ObjectHead, ObjectWritten) =
        parts.store.copy_object(&request.cx, op).await?;
    let mut response = created(&written, &written.etag);
    let out = response.headers_mut();
    let from = format!("{}/{}", source.container.container, source.object);
    set(out, "x-copied-from", &percent::encode_path(&from));
    set(out, "x-copied-from-account", &percent::encode_path(source.account().as_str()));
    set(out, "x-copied-from-last-modified", &http_date(head.timestamp));
    for (name, value) in &head.metadata {
        if apus_cluster::metadata::has_prefix(name, Resource::Object.user_prefix()) {
            set(out, name, value);
        }
    }
    Ok(response)
}
