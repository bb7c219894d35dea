//! `POST` or `DELETE` with `?bulk-delete`, below an account: the body names what is to go, one path a
//! line; objects go first, then containers.
//!
//! Source: `swift/common/middleware/bulk.py`.

use std::sync::Arc;

use apus_cluster::percent;
use apus_daemon::http::{set, status};
use apus_store::body::collect;
use apus_store::operation::{DeleteContainer, DeleteObject};
use apus_store::{Context, Error, Kind, Result, Store};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::StatusCode;

use super::error::{Reply, plain_error, status_of};
use super::heartbeat;
use super::listing::{Format, format};
use super::report::{Report, content_type, status_line};
use super::request::{Path, SwiftRequest, parse_path};
use crate::edge::Parts;

/// Paths in one request (`max_deletes_per_request`).
pub(crate) const DELETES_MAX: usize = 10_000;
/// Failures after which the rest is left alone (`max_failed_deletes`).
pub(crate) const FAILURES_MAX: usize = 1000;
/// Deletions at the same time.
const AT_ONCE: usize = 4;
/// Bytes of one line: a container and an object, every byte percent-encoded.
const LINE_BYTES_MAX: usize = 3 * (256 + 1024) + 2;

/// Whether a request is one.
pub(super) fn is_asked(request: &SwiftRequest) -> bool {
    request.param("bulk-delete").is_some()
        && matches!(request.head.method.as_str(), "POST" | "DELETE")
}

pub(super) async fn delete(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let Some(format) = format(&request) else {
        return Ok(plain_error(StatusCode::NOT_ACCEPTABLE, ""));
    };
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.is_empty() && !kind.starts_with("text/plain") {
        return Ok(plain_error(StatusCode::NOT_ACCEPTABLE, ""));
    }
    let account = request.account().to_string();
    let bytes_max = (DELETES_MAX * LINE_BYTES_MAX) as u64;
    let document = collect(parts.timed(request.body), bytes_max).await?;
    let lines: Vec<String> = String::from_utf8_lossy(&document)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.len() > DELETES_MAX || lines.iter().any(|line| line.len() > LINE_BYTES_MAX) {
        let text = format!("Maximum Bulk Deletes: {DELETES_MAX} per request");
        return Ok(plain_error(StatusCode::PAYLOAD_TOO_LARGE, &text));
    }
    let work = all(parts.store.clone(), request.cx, account, lines);
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", content_type(format));
    let first =
        if format == Format::Xml { "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" } else { " " };
    *response.body_mut() = heartbeat::body(first, work.map(move |report| report.render(format)));
    Ok(response)
}

async fn all(store: Arc<dyn Store>, cx: Context, account: String, lines: Vec<String>) -> Report {
    let mut report = Report::default();
    let is_object = |line: &String| percent_decoded(line).trim_matches('/').contains('/');
    let (objects, containers): (Vec<String>, Vec<String>) = lines.into_iter().partition(is_object);
    for names in [objects, containers] {
        let (store, cx, account) = (&store, &cx, &account);
        let deletions = names.into_iter().map(|name| one(store.clone(), cx.clone(), account, name));
        let mut outcomes = stream::iter(deletions).buffered(AT_ONCE);
        while let Some((name, outcome)) = outcomes.next().await {
            note(&mut report, &name, outcome);
            if report.errors.len() >= FAILURES_MAX {
                report.status = StatusCode::BAD_REQUEST;
                report.body = "Max delete failures exceeded";
                return report;
            }
        }
    }
    if report.deleted + report.missing == 0 && report.errors.is_empty() {
        report.status = StatusCode::BAD_REQUEST;
        report.body = "Invalid bulk delete.";
    }
    report
}

fn percent_decoded(line: &str) -> String {
    percent::decode_utf8(line).unwrap_or_else(|| line.to_owned())
}

/// Deletes what one line names.
fn one(
    store: Arc<dyn Store>,
    cx: Context,
    account: &str,
    line: String,
) -> BoxFuture<'static, (String, std::result::Result<(), StatusCode>)> {
    let path = format!("/v1/{}/{}", percent::encode_path(account), line.trim_start_matches('/'));
    async move {
        let outcome = match parse_path(&path) {
            Ok(Path::Object(object)) => {
                let op = DeleteObject { object, with_segments: false, timestamp: None };
                store.delete_object(&cx, op).await.map(drop)
            }
            Ok(Path::Container(container)) => {
                store.delete_container(&cx, DeleteContainer { container }).await
            }
            Ok(Path::Account(_)) => Err(Error::invalid("expected a container or an object")),
            Err(refusal) => return (line, Err(refusal.status())),
        };
        let outcome = outcome.map_err(|error| match error.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            _ => status_of(&error),
        });
        (line, outcome)
    }
    .boxed()
}

fn note(report: &mut Report, name: &str, outcome: std::result::Result<(), StatusCode>) {
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
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        failure if failure.is_server_error() => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    };
    if report.status == StatusCode::OK || whole == StatusCode::BAD_GATEWAY {
        report.status = whole;
    }
    report.errors.push((percent::encode_path(&percent_decoded(name)), status_line(failure)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_went_and_names_what_did_not() {
        let mut report = Report::default();
        note(&mut report, "c/a", Ok(()));
        note(&mut report, "c/b", Err(StatusCode::NOT_FOUND));
        note(&mut report, "c/%20x", Err(StatusCode::CONFLICT));
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
