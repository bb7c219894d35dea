//! `POST` or `DELETE` with `?bulk-delete`, below an account: the body names what is to go, one path a
//! line; objects go first, then containers.
//!
//! Source: `swift/common/middleware/bulk.py`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apus_cluster::constraints::Constraints;
use apus_cluster::{ClientName, percent};
use apus_daemon::Body;
use apus_daemon::http::{set, status};
use apus_store::operation::{DeleteContainer, DeleteObject};
use apus_store::{Context, Error, Kind, Result, Store, Subject};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::StatusCode;
use http_body_util::BodyExt;

use super::error::{Reply, plain_error, status_of};
use super::heartbeat;
use super::listing::{Format, format};
use super::report::{Report, content_type, status_line};
use super::request::{Path, SwiftRequest, names_of};
use crate::edge::Parts;

/// Paths in one request (`max_deletes_per_request`).
pub(crate) const DELETES_MAX: usize = 10_000;
/// Failures after which the rest is left alone (`max_failed_deletes`).
pub(crate) const FAILURES_MAX: usize = 1000;
/// Deletions at the same time.
const AT_ONCE: usize = 4;
/// Bytes of one line: a container and an object, every byte percent-encoded.
const LINE_BYTES_MAX: usize = 3 * (256 + 1024) + 2;

/// A path, or how one that names nothing is shown.
type Line = std::result::Result<ClientName, String>;

/// Whether a request is one.
pub(super) fn is_asked(request: &SwiftRequest) -> bool {
    request.param("bulk-delete").is_some()
        && matches!(request.head.method.as_str(), "POST" | "DELETE")
}

pub(super) async fn delete(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let format = match format(&request) {
        Ok(format) => format,
        Err(refusal) => return Ok(*refusal),
    };
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.is_empty() && !kind.starts_with("text/plain") {
        return Ok(plain_error(StatusCode::NOT_ACCEPTABLE, ""));
    }
    if request.cx.identity.user.is_none() {
        // Nobody's document is not worth its memory.
        return Err(Error::new(Kind::Unauthorized, Subject::Account));
    }
    let account = request.account().to_string();
    let Some(lines) = lines(request.body).await? else {
        let text = format!("Maximum Bulk Deletes: {DELETES_MAX} per request");
        return Ok(plain_error(StatusCode::PAYLOAD_TOO_LARGE, &text));
    };
    let work = all(parts.store.clone(), request.cx, account, lines);
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", content_type(format));
    let first =
        if format == Format::Xml { "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" } else { " " };
    *response.body_mut() = heartbeat::body(first, work.map(move |report| report.render(format)));
    Ok(response)
}

/// The lines of a document, decoded; `None` when they are too many or too long. A line that is no
/// UTF-8 or holds NUL is kept as an error, since a name made of its remains would be another one's.
async fn lines(mut body: Body) -> Result<Option<Vec<Line>>> {
    let mut lines = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut take = |line: &mut Vec<u8>| {
        let text = line.trim_ascii().to_vec();
        line.clear();
        if !text.is_empty() {
            let shown = String::from_utf8_lossy(&text).into_owned();
            let name = std::str::from_utf8(&text).ok().map(ClientName::decode);
            lines.push(name.and_then(|name| name.ok()).ok_or_else(|| percent::encode_path(&shown)));
        }
        lines.len() <= DELETES_MAX
    };
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Error::new(Kind::ClientGone, Subject::Request).because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        for byte in data {
            if byte == b'\n' {
                if !take(&mut open) {
                    return Ok(None);
                }
            } else if open.len() < LINE_BYTES_MAX {
                open.push(byte);
            } else {
                return Ok(None);
            }
        }
    }
    Ok(take(&mut open).then_some(lines))
}

async fn all(store: Arc<dyn Store>, cx: Context, account: String, lines: Vec<Line>) -> Report {
    let mut report = Report::default();
    let mut names = Vec::with_capacity(lines.len());
    for line in lines {
        match line {
            Ok(name) => names.push(name),
            Err(shown) => report.errors.push((shown, status_line(StatusCode::PRECONDITION_FAILED))),
        }
    }
    let is_object = |name: &ClientName| name.as_str().trim_matches('/').contains('/');
    let (objects, containers): (Vec<ClientName>, Vec<ClientName>) =
        names.into_iter().partition(is_object);
    if !report.errors.is_empty() {
        report.status = StatusCode::BAD_REQUEST;
    }
    let failed = &AtomicBool::new(false);
    for names in [objects, containers] {
        let (store, cx, account) = (&store, &cx, &account);
        // Those under way when there are too many failures are waited for, the rest is not begun.
        let begun = names.into_iter().take_while(|_| !failed.load(Ordering::Relaxed));
        let deletions = begun.map(|name| one(store.clone(), cx.clone(), account, &name));
        let mut outcomes = stream::iter(deletions).buffered(AT_ONCE);
        while let Some((name, outcome)) = outcomes.next().await {
            note(&mut report, &name, outcome);
            if report.errors.len() >= FAILURES_MAX {
                report.status = StatusCode::BAD_REQUEST;
                report.body = "Max delete failures exceeded";
                failed.store(true, Ordering::Relaxed);
            }
        }
    }
    if report.deleted + report.missing == 0 && report.errors.is_empty() {
        report.status = StatusCode::BAD_REQUEST;
        report.body = "Invalid bulk delete.";
    }
    report
}

/// Deletes what one line names.
fn one(
    store: Arc<dyn Store>,
    cx: Context,
    account: &str,
    name: &ClientName,
) -> BoxFuture<'static, (String, std::result::Result<(), StatusCode>)> {
    let name = name.as_str().to_owned();
    let path = ClientName::plain(&format!("/v1/{account}/{}", name.trim_start_matches('/')));
    async move {
        let Ok(path) = path else {
            return (name, Err(StatusCode::PRECONDITION_FAILED));
        };
        let outcome = match names_of(&path, &Constraints::default()) {
            Ok(Path::Object(object)) => {
                let op = DeleteObject::new(object);
                store.delete_object(&cx, op).await.map(drop)
            }
            Ok(Path::Container(container)) => {
                store.delete_container(&cx, DeleteContainer { container }).await
            }
            Ok(Path::Account(_)) => Err(Error::invalid("expected a container or an object")),
            Err(refusal) => return (name, Err(refusal.status())),
        };
        let outcome = outcome.map_err(|error| match error.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            _ => status_of(&error),
        });
        (name, outcome)
    }
    .boxed()
}

/// Notes in a report what became of one name.
pub(super) fn note(report: &mut Report, name: &str, outcome: std::result::Result<(), StatusCode>) {
    let failure = match outcome {
        Ok(()) => {
            report.deleted += 1;
            return;
        }
        Err(StatusCode::NOT_FOUND) => {
            report.missing += 1;
            return;
        }
        Err(failure) => failure,
    };
    // The gravest failure is that of the whole.
    let whole = match failure {
        failure if failure.is_server_error() => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    };
    if report.status == StatusCode::OK || whole == StatusCode::BAD_GATEWAY {
        report.status = whole;
    }
    report.errors.push((percent::encode_path(name), status_line(failure)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_went_and_names_what_did_not() {
        let mut report = Report::default();
        note(&mut report, "c/a", Ok(()));
        note(&mut report, "c/b", Err(StatusCode::NOT_FOUND));
        note(&mut report, "c/ x", Err(StatusCode::CONFLICT));
        let text = report.render(Format::Plain);
        assert_eq!(
            text,
            "Number Deleted: 1\nNumber Not Found: 1\nResponse Body: \n\
             Response Status: 400 Bad Request\nErrors:\nc/%20x, 409 Conflict"
        );
        note(&mut report, "c/y", Err(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(report.status, StatusCode::BAD_GATEWAY);
    }
}
