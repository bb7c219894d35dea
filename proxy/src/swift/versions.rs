//! Versions of objects: `X-Versions-Enabled`, `?version-id=` and `?versions`, and the headers of
//! Swift's older versioning.
//!
//! Source: `swift/common/middleware/versioned_writes/`.

use apus_cluster::{Metadata, Timestamp};
use apus_daemon::Body;
use apus_daemon::config::value::flag;
use apus_daemon::http::{full, set, status};
use apus_store::operation::{
    ARCHIVE_CONTAINER, ARCHIVE_MODE, ContainerHead, Deleted, ListVersions, VERSIONS_ENABLED,
    VersionEntry, VersionId, VersionList, Versioning,
};
use apus_store::{Error, Kind, Subject};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::{Result, SwiftError};
use super::format::Format;
use super::listing::{self, ListedObject};
use super::request::SwiftRequest;
use super::{container, symlink};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

const ENABLED: &str = "x-versions-enabled";
const STACK: &str = "x-versions-location";
const HISTORY: &str = "x-history-location";

/// The change of versioning that a PUT or POST of a container asks for.
pub(super) fn change(request: &SwiftRequest) -> Option<Versioning> {
    let value = request.header(ENABLED)?;
    // Swift reads any other text as false.
    let is_enabled = flag(value.trim()) == Some(true);
    Some(if is_enabled { Versioning::Enabled } else { Versioning::Suspended })
}

/// The metadata of Swift's older versioning that a PUT or POST of a container sets or removes.
pub(super) fn archive(request: &SwiftRequest) -> apus_store::Result<Metadata> {
    let (stack, history) = (request.given(STACK), request.given(HISTORY));
    let (location, mode) = match (stack, history) {
        (Some(_), Some(_)) => {
            let text = format!("Only one of {STACK} or {HISTORY} may be specified");
            return Err(Error::invalid(text));
        }
        (Some(location), None) => (location, "stack"),
        (None, Some(location)) => (location, "history"),
        (None, None) => {
            let is_removed = request.header(STACK).is_some()
                || request.header(HISTORY).is_some()
                || request.given("x-remove-versions-location").is_some()
                || request.given("x-remove-history-location").is_some();
            return Ok(if is_removed { archive_metadata("", "") } else { Metadata::new() });
        }
    };
    if location.contains('/') {
        return Err(Error::new(Kind::PreconditionFailed, Subject::Request)
            .text("Container name cannot contain slashes"));
    }
    Ok(archive_metadata(location, mode))
}

/// The system metadata is in force; the header of containers from before is emptied.
fn archive_metadata(location: &str, mode: &str) -> Metadata {
    [(ARCHIVE_CONTAINER, location), (ARCHIVE_MODE, mode), ("X-Versions-Location", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Sets the headers of a container that keeps versions or copies.
pub(super) fn set_container_headers(head: &ContainerHead, out: &mut HeaderMap) {
    let given = |name: &str| head.headers.get(name).filter(|value| !value.is_empty());
    if let Some(enabled) = given(VERSIONS_ENABLED) {
        set(out, ENABLED, enabled);
    }
    if let Some(location) = given(ARCHIVE_CONTAINER) {
        let is_history = given(ARCHIVE_MODE).is_some_and(|mode| mode == "history");
        set(out, if is_history { HISTORY } else { STACK }, location);
    }
}

/// The version that a request names.
///
/// # Errors
/// `Invalid` for what is neither `null` nor the time of a version.
pub(super) fn named(request: &SwiftRequest) -> apus_store::Result<Option<VersionId>> {
    match request.param("version-id") {
        None | Some("") => Ok(None),
        Some("null") => Ok(Some(VersionId::Null)),
        Some(text) => parse_time(text)
            .ok_or_else(|| Error::invalid("Invalid version parameter"))
            .map(|time| Some(VersionId::At(time))),
    }
}

/// A time, in any of Swift's spellings. Times of versions have no offset.
fn parse_time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).filter(|time| time.offset() == 0)
}

/// Refuses a POST to a version.
pub(super) fn refuse_on_post(request: &SwiftRequest) -> apus_store::Result<()> {
    match request.param("version-id").filter(|id| !id.is_empty()) {
        Some(_) => Err(Error::invalid("POST to a specific version is not allowed")),
        None => Ok(()),
    }
}

/// Refuses a body with bytes where a version becomes current again.
pub(super) async fn refuse_bytes(body: Body) -> apus_store::Result<()> {
    match symlink::has_bytes(body).await? {
        true => Err(Error::invalid("PUT version-id requests require a zero byte body")),
        false => Ok(()),
    }
}

/// Sets the id of the version that a response is about.
pub(super) fn set_id(id: Option<VersionId>, out: &mut HeaderMap) {
    if let Some(id) = id {
        set(out, "x-object-version-id", &id.to_string());
    }
}

/// Sets the headers of a deletion in a container that keeps versions.
pub(super) fn set_deleted(deleted: &Deleted, out: &mut HeaderMap) {
    set_id(deleted.version, out);
    if let Some(current) = deleted.current_version {
        set(out, "x-object-current-version-id", &current.to_string());
    }
}

/// Whether a GET of a container lists versions.
pub(super) fn are_listed(request: &SwiftRequest) -> bool {
    request.param("versions").is_some()
}

pub(super) async fn list(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    request.require_json()?;
    let op = parse(request)?;
    let list = deps.store.list_versions(&container::read_context(request), op).await?;
    let mut response = render(request, &list);
    container::set_headers(&deps.policies, &list.head, response.headers_mut());
    set(response.headers_mut(), "content-type", Format::Json.content_type());
    Ok(response)
}

/// Parses a listing of versions.
pub(super) fn parse(request: &SwiftRequest) -> Result<ListVersions> {
    let text = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let refused = |text: &str| SwiftError::refused(StatusCode::BAD_REQUEST, text);
    let version_marker = match (request.param("marker"), request.param("version_marker")) {
        (_, None) => None,
        (None, Some(_)) => return Err(refused("version_marker param requires marker")),
        (Some(_), Some("null")) => Some(VersionId::Null),
        (Some(_), Some(id)) => {
            let time = parse_time(id).ok_or_else(|| refused("invalid version_marker param"))?;
            Some(VersionId::At(time))
        }
    };
    Ok(ListVersions {
        container: request.container()?.clone(),
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        key_marker: text("marker"),
        version_marker,
        end_marker: text("end_marker"),
        reverse: request.param("reverse").and_then(flag).unwrap_or(false),
        limit: listing::limit(request, request.constraints.container_listing_limit)?,
    })
}

fn render(request: &SwiftRequest, list: &VersionList) -> Reply {
    let rows = list.entries.iter().map(|entry| match entry {
        VersionEntry::Prefix(name) => json!({ "subdir": name }),
        VersionEntry::Version(version) => {
            let mut row = ListedObject::version_json(&version.row, request.account());
            if let Some(row) = row.as_object_mut() {
                row.insert("name".to_owned(), json!(version.key));
                row.insert("version_id".to_owned(), json!(version.id.to_string()));
                row.insert("is_latest".to_owned(), json!(version.is_latest));
            }
            row
        }
    });
    let mut response = status(StatusCode::OK);
    *response.body_mut() = full(Value::Array(rows.collect()).to_string());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> SwiftRequest {
        SwiftRequest::example("PUT", "/v1/a/c", headers)
    }

    #[test]
    fn versioning_is_on_only_for_swifts_words_of_truth() {
        for (headers, expected) in [
            (&[][..], None),
            (&[(ENABLED, "True")], Some(Versioning::Enabled)),
            (&[(ENABLED, " on")], Some(Versioning::Enabled)),
            (&[(ENABLED, "false")], Some(Versioning::Suspended)),
            (&[(ENABLED, "")], Some(Versioning::Suspended)),
            (&[(ENABLED, "maybe")], Some(Versioning::Suspended)),
        ] {
            assert_eq!(change(&of(headers)), expected, "{headers:?}");
        }
    }

    #[test]
    fn an_archive_is_set_by_one_header_and_removed_by_an_empty_one() {
        let stored = |headers: &[(&str, &str)]| {
            archive(&of(headers)).map(|stored| {
                let item =
                    |name: &str| stored.get(name).map(String::as_str).unwrap_or("-").to_owned();
                format!("{} {}", item(ARCHIVE_CONTAINER), item(ARCHIVE_MODE))
            })
        };
        for (headers, expected) in [
            (&[][..], "- -"),
            (&[(STACK, "v")], "v stack"),
            (&[(HISTORY, "v")], "v history"),
            (&[(HISTORY, "v"), (STACK, "")], "v history"),
            (&[(STACK, "v"), ("x-remove-versions-location", "x")], "v stack"),
            (&[(STACK, "")], " "),
            (&[(HISTORY, "")], " "),
            (&[("x-remove-history-location", "x")], " "),
        ] {
            assert_eq!(stored(headers).unwrap(), expected, "{headers:?}");
        }
        assert_eq!(stored(&[(STACK, "v"), (HISTORY, "w")]).unwrap_err().kind, Kind::Invalid);
        assert_eq!(stored(&[(STACK, "v/o")]).unwrap_err().kind, Kind::PreconditionFailed);
    }

    #[test]
    fn a_version_is_named_by_null_or_a_time() {
        let named = |query: &str| {
            let uri = format!("/v1/a/c/o{query}");
            named(&SwiftRequest::example("GET", &uri, &[])).map_err(|error| error.kind)
        };
        let time = Timestamp::parse("1700000000.12345").unwrap();
        assert_eq!(named(""), Ok(None));
        assert_eq!(named("?version-id="), Ok(None));
        assert_eq!(named("?version-id=null"), Ok(Some(VersionId::Null)));
        assert_eq!(named("?version-id=1700000000.12345"), Ok(Some(VersionId::At(time))));
        for bad in ["x", "1700000000.12345_1", "-1"] {
            assert_eq!(named(&format!("?version-id={bad}")), Err(Kind::Invalid), "{bad}");
        }
    }

    #[test]
    fn a_version_marker_needs_a_marker() {
        let status = |query: &str| {
            let request = SwiftRequest::example("GET", &format!("/v1/a/c?versions&{query}"), &[]);
            assert!(are_listed(&request));
            parse(&request).map(|_| ()).map_err(|error| error.status().as_u16())
        };
        assert_eq!(status("marker=k&version_marker=null&reverse=on"), Ok(()));
        assert_eq!(status("version_marker=null"), Err(400));
        assert_eq!(status("marker=k&version_marker=x"), Err(400));
        assert_eq!(status("limit=10001"), Err(412));
    }
}
