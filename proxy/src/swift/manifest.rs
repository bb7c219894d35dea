//! The query-string views of static large objects: `multipart-manifest=put|get|delete`.

use apus_cluster::ObjectPath;
use apus_cluster::constraints::SLO_MAX_MANIFEST_SIZE;
use apus_daemon::Body;
use apus_daemon::http::{full, set, status};
use apus_store::body::collect;
use apus_store::operation::{Deleted, FailedDeletion, ObjectRead, Segment};
use apus_store::{Error, Kind, Subject};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::error::{Result, status_of};
use super::format::Format;
use super::object_head;
use super::report::Report;
use super::segment_list;
use crate::reply::Reply;

/// Reads the list of segments that a client sends in `length` bytes, if their number is known.
///
/// Memory is a small multiple of the document's bytes: only segments are kept, and a limited number
/// of problems with them.
pub(super) async fn read(
    body: Body,
    length: Option<u64>,
    object: &ObjectPath,
) -> Result<Vec<Segment>> {
    let too_large = || {
        Error::new(Kind::TooLarge, Subject::Request)
            .text(format!("Manifest File > {SLO_MAX_MANIFEST_SIZE} bytes"))
    };
    if length.is_some_and(|length| length > SLO_MAX_MANIFEST_SIZE) {
        return Err(too_large().into());
    }
    let json = collect(body, SLO_MAX_MANIFEST_SIZE).await.map_err(|error| match error.kind {
        Kind::TooLarge => too_large(),
        _ => error,
    })?;
    Ok(segment_list::parse(&json, object)?)
}

/// The fields of an entry of a stored manifest that clients may see.
#[derive(Debug, Deserialize)]
struct StoredSegment {
    name: Option<String>,
    bytes: Option<u64>,
    hash: Option<String>,
    range: Option<String>,
    data: Option<String>,
}

/// A segment as a client sends it, with its keys in Swift's order.
#[derive(Debug, Serialize)]
struct ClientSegment<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
}

impl<'a> ClientSegment<'a> {
    fn of(stored: &'a StoredSegment) -> Self {
        let inline = stored.data.is_some();
        let text = |field: &'a Option<String>| field.as_deref().filter(|_| !inline);
        Self {
            data: stored.data.as_deref(),
            etag: text(&stored.hash),
            path: text(&stored.name),
            range: text(&stored.range),
            size_bytes: stored.bytes.filter(|_| !inline),
        }
    }
}

/// The response with a manifest as it is stored.
pub(super) fn render_as_stored(read: ObjectRead) -> Reply {
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    object_head::set_headers(&read.head, out);
    set(out, "etag", &read.head.etag);
    set(out, "content-type", "application/json; charset=utf-8");
    *response.body_mut() = read.body;
    response
}

/// The response with a manifest as a client would send it.
pub(super) async fn render_as_sent(read: ObjectRead) -> Result<Reply> {
    let stored = collect(read.body, SLO_MAX_MANIFEST_SIZE).await?;
    let body = as_sent(&stored)
        .map_err(|error| Error::unavailable(format!("stored manifest: {error}")))?;
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    object_head::set_headers(&read.head, out);
    set(out, "etag", &format!("{:x}", md5::compute(&body)));
    set(out, "content-length", &body.len().to_string());
    *response.body_mut() = full(body);
    Ok(response)
}

/// Converts a stored manifest into the form in which a client sends it.
fn as_sent(stored: &[u8]) -> serde_json::Result<String> {
    let entries: Vec<StoredSegment> = serde_json::from_slice(stored)?;
    let segments: Vec<ClientSegment<'_>> = entries.iter().map(ClientSegment::of).collect();
    serde_json::to_string(&segments)
}

/// The report of a deletion with segments.
pub(super) fn report(result: apus_store::Result<Deleted>, format: Format) -> Result<Reply> {
    let report = match result {
        Ok(deletion) => report_of(deletion),
        Err(error) if error.kind == Kind::NotFound => {
            Report { missing: 1, status: StatusCode::NOT_FOUND, ..Report::default() }
        }
        Err(error) => return Err(error.into()),
    };
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", format.media_type());
    *response.body_mut() = full(report.render(format));
    Ok(response)
}

fn report_of(deletion: Deleted) -> Report {
    let Deleted { deleted, missing, failed, cut_short, .. } = deletion;
    let mut report = Report { deleted, missing, ..Report::default() };
    for FailedDeletion { object, error } in failed {
        // As the manifest names it, below the account.
        let name = format!("/{}/{}", object.container.container, object.object);
        report.record(&name, Err(status_of(&error)));
    }
    if cut_short {
        if report.status == StatusCode::OK {
            report.status = StatusCode::BAD_REQUEST;
        }
        report.body = "Too many buffered slo segments to delete.";
    }
    report
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, ObjectName};

    use super::*;

    #[test]
    fn a_report_lists_failures_and_says_that_segments_are_left() {
        let container = ContainerName::parse("c").unwrap();
        let container = ContainerPath::new(AccountName::parse("a").unwrap(), container);
        let object = container.object(ObjectName::parse("o p").unwrap());
        let error = Error::new(Kind::Forbidden, Subject::Request);
        let failed = vec![FailedDeletion { object, error }];
        let deletion =
            Deleted { deleted: 3, missing: 2, failed, cut_short: true, ..Deleted::default() };
        let text = report_of(deletion).render(Format::Plain);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "Number Deleted: 3\nNumber Not Found: 2\n\
             Response Body: Too many buffered slo segments to delete.\n\
             Response Status: 400 Bad Request\nErrors:\n/c/o%20p, 403 Forbidden\n"
        );
        let complete = Deleted { deleted: 3, ..Deleted::default() };
        assert_eq!(report_of(complete).status, StatusCode::OK);
    }

    #[test]
    fn a_stored_manifest_is_shown_as_it_was_sent() {
        let stored = br#"[{"name":"/c/o","bytes":5,"hash":"x","range":"0-4","content_type":"a/b"},
            {"data":"YQ==","bytes":1,"hash":"y"}]"#;
        let expected =
            r#"[{"etag":"x","path":"/c/o","range":"0-4","size_bytes":5},{"data":"YQ=="}]"#;
        assert_eq!(as_sent(stored).unwrap(), expected);
        assert!(as_sent(b"{}").is_err());
    }
}
