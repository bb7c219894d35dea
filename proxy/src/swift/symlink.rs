//! Symbolic links in requests and responses: `X-Symlink-Target` and `?symlink=get`.
//!
//! Source: `swift/common/middleware/symlink.py`.

use apus_cluster::etag::unquote;
use apus_cluster::metadata::has_prefix;
use apus_cluster::{AccountName, Metadata};
use apus_daemon::Body;
use apus_daemon::http::set;
use apus_store::operation::{LinkTarget, ObjectHead, PutSymlink, WriteConditions};
use apus_store::stage::symlink::link;
use apus_store::{Error, Kind, Result, Subject};
use http::HeaderMap;
use http_body_util::BodyExt;

use super::request::SwiftRequest;

const TARGET: &str = "x-symlink-target";
const TARGET_ACCOUNT: &str = "x-symlink-target-account";
const TARGET_ETAG: &str = "x-symlink-target-etag";
const TARGET_BYTES: &str = "x-symlink-target-bytes";

/// Whether a request is about the link itself and not about its target.
pub(super) fn is_link_itself(request: &SwiftRequest) -> bool {
    request.param("symlink") == Some("get")
}

/// Whether a PUT writes a link.
pub(super) fn has_target(request: &SwiftRequest) -> bool {
    request.header(TARGET).is_some()
}

/// Refuses a target in a POST: only a PUT sets it.
pub(super) fn refuse_on_post(request: &SwiftRequest) -> Result<()> {
    match has_target(request) {
        true => Err(Error::invalid("A PUT request is required to set a symlink target")),
        false => Ok(()),
    }
}

/// Refuses a target in a copy, which has bytes or is a link already.
pub(super) fn refuse_on_copy(request: &SwiftRequest) -> Result<()> {
    match has_target(request) {
        true => Err(Error::invalid("Symlink requests require a zero byte body")),
        false => Ok(()),
    }
}

/// The PUT of a link.
pub(super) fn parse_put(
    request: &SwiftRequest,
    metadata: Metadata,
    conditions: WriteConditions,
) -> Result<PutSymlink> {
    let object = request.object()?.clone();
    let target = target(request)?;
    let target_etag = request.header(TARGET_ETAG).map(unquote).filter(|etag| !etag.is_empty());
    if target_etag.is_some_and(|etag| etag.contains([';', '"', '\\'])) {
        return Err(Error::invalid("Bad X-Symlink-Target-Etag format"));
    }
    let given = request.given("content-type").is_some() || request.flag("x-detect-content-type");
    let content_type = given.then(|| request.content_type_or_guess(&object)).transpose()?;
    Ok(PutSymlink {
        target,
        target_etag: target_etag.map(str::to_owned),
        content_type,
        metadata,
        etag: request.header("etag").map(|etag| unquote(etag).to_owned()),
        conditions,
        object,
    })
}

/// Refuses a body with bytes.
pub(super) async fn refuse_bytes(body: Body) -> Result<()> {
    match has_bytes(body).await? {
        true => Err(Error::invalid("Symlink requests require a zero byte body")),
        false => Ok(()),
    }
}

pub(super) async fn has_bytes(mut body: Body) -> Result<bool> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Error::new(Kind::ClientGone, Subject::Request).because(error))?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The account of a link's target, if the request names one.
pub(super) fn target_account(request: &SwiftRequest) -> Result<Option<AccountName>> {
    request.account_in(TARGET_ACCOUNT)
}

fn target(request: &SwiftRequest) -> Result<LinkTarget> {
    let value = request.header(TARGET).unwrap_or_default();
    // Other headers that name an object may begin with a slash; this one may not.
    if value.starts_with('/') || has_prefix(value, "%2F") {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text("X-Symlink-Target header must be of the form <container name>/<object name>"));
    }
    let (container, object) = request.object_in("X-Symlink-Target", value)?;
    Ok(LinkTarget { account: target_account(request)?, container, object })
}

/// Sets the headers of a link, and the path of the object that a link led to.
pub(super) fn set_headers(head: &ObjectHead, out: &mut HeaderMap) {
    for (name, stored) in [
        (TARGET, link::TARGET),
        (TARGET_ACCOUNT, link::TARGET_ACCOUNT),
        (TARGET_ETAG, link::TARGET_ETAG),
        (TARGET_BYTES, link::TARGET_BYTES),
    ] {
        if let Some(value) = head.get(stored) {
            set(out, name, value);
        }
    }
    if let Some(location) = &head.location {
        set_content_location(location, out);
    }
}

/// Sets the path of the object that a response is about.
pub(super) fn set_content_location(location: &str, out: &mut HeaderMap) {
    set(out, "content-location", &format!("/v1{location}"));
}

/// Sets the location and etag of the target of a link that was posted to.
pub(super) fn set_redirect(error: &Error, head: &ObjectHead, out: &mut HeaderMap) {
    if let Some(location) = &error.location {
        set(out, "location", &format!("/v1{location}"));
    }
    if let Some(etag) = head.get(link::TARGET_ETAG) {
        set(out, TARGET_ETAG, etag);
    }
}
