//! The query-string views of static large objects: `multipart-manifest=put|get|delete`.

use apus_cluster::ObjectPath;
use apus_cluster::constraints::SLO_MAX_MANIFEST_SIZE;
use apus_daemon::Body;
use apus_daemon::http::{full, set, status};
use apus_store::body::collect;
use apus_store::operation::{Deleted, FailedDeletion, ObjectRead, Segment};
use apus_store::{Error, Kind, Result, Subject};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::bulk_delete::note;
use super::error::{Reply, status_of};
use super::listing::Format;
use super::object_read::describe;
use super::report::{Report, content_type};
use super::segment_list;

/// Reads the list of segments that a client sends.
///
/// `length` is what the client said of the document. Memory is a small multiple of its bytes: of
/// what is in the list only segments are kept, and what is wrong with them up to a limit.
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
        return Err(too_large());
    }
    let json = collect(body, SLO_MAX_MANIFEST_SIZE).await.map_err(|error| match error.kind {
        Kind::TooLarge => too_large(),
        _ => error,
    })?;
    segment_list::parse(&json, object)
}

/// What is shown of an entry of a stored manifest.
#[derive(Debug, Deserialize)]
struct StoredSegment {
    name: Option<String>,
    bytes: Option<u64>,
    hash: Option<String>,
    range: Option<String>,
    data: Option<String>,
}

/// A segment as a client sends it, its keys in Swift's order.
#[derive(Debug, Serialize)]
struct ShownSegment<'a> {
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

impl<'a> ShownSegment<'a> {
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

/// Shows a manifest: as stored, or with `format=raw` as a client would send it.
pub(super) async fn show(read: ObjectRead, as_sent: bool) -> Result<Reply> {
    let mut response = status(StatusCode::OK);
    describe(&read.head, response.headers_mut());
    set(response.headers_mut(), "etag", &read.head.etag);
    if !as_sent {
        set(response.headers_mut(), "content-type", "application/json; charset=utf-8");
        *response.body_mut() = read.body;
        return Ok(response);
    }
    let stored = collect(read.body, SLO_MAX_MANIFEST_SIZE).await?;
    let unreadable = |error| Error::unavailable(format!("stored manifest: {error}"));
    let entries: Vec<StoredSegment> = serde_json::from_slice(&stored).map_err(unreadable)?;
    let shown: Vec<ShownSegment<'_>> = entries.iter().map(ShownSegment::of).collect();
    let body = serde_json::to_string(&shown).map_err(unreadable)?;
    set(response.headers_mut(), "etag", &format!("{:x}", md5::compute(&body)));
    set(response.headers_mut(), "content-length", &body.len().to_string());
    *response.body_mut() = full(body);
    Ok(response)
}

/// The report of a deletion with segments.
pub(super) fn report(result: Result<Deleted>, format: Format) -> Result<Reply> {
    let report = match result {
        Ok(deletion) => report_of(deletion),
        Err(error) if error.kind == Kind::NotFound => {
            Report { missing: 1, status: StatusCode::NOT_FOUND, ..Report::default() }
        }
        Err(error) => return Err(error),
    };
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", content_type(format));
    *response.body_mut() = full(report.render(format));
    Ok(response)
}

fn report_of(deletion: Deleted) -> Report {
    let Deleted { deleted, missing, failed, cut_short } = deletion;
    let mut report = Report { deleted, missing, ..Report::default() };
    for FailedDeletion { object, error } in failed {
        // As the manifest names it: below the account.
        let name = format!("/{}/{}", object.container.container, object.object);
        note(&mut report, &name, Err(status_of(&error)));
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
    fn a_report_names_what_stays_and_says_that_there_is_more() {
        let container = ContainerName::parse("c").unwrap();
        let container = ContainerPath::new(AccountName::parse("a").unwrap(), container);
        let object = container.object(ObjectName::parse("o p").unwrap());
        let error = Error::new(Kind::Forbidden, Subject::Request);
        let failed = vec![FailedDeletion { object, error }];
        let deletion = Deleted { deleted: 3, missing: 2, failed, cut_short: true };
        let text = report_of(deletion).render(Format::Plain);
        assert_eq!(
            text,
            "Number Deleted: 3\nNumber Not Found: 2\n\
             Response Body: Too many buffered slo segments to delete.\n\
             Response Status: 400 Bad Request\nErrors:\n/c/o%20p, 403 Forbidden"
        );
        let whole = Deleted { deleted: 3, ..Deleted::default() };
        assert_eq!(report_of(whole).status, StatusCode::OK);
    }
}
