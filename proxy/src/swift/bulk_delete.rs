//! `POST` or `DELETE` with `?bulk-delete`: deletes the objects and containers that the body lists.
//!
//! The body has one path on each line, below the account. Objects are deleted before containers.
//!
//! Source: `swift/common/middleware/bulk.py`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apus_cluster::constraints::Constraints;
use apus_cluster::{ClientName, percent};
use apus_daemon::Body;
use apus_daemon::http::{set, status};
use apus_store::operation::{DeleteContainer, DeleteObject};
use apus_store::{Context, Error, Kind, Store, Subject};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::StatusCode;
use http_body_util::BodyExt;

use super::error::{Result, SwiftError, status_of};
use super::format::Format;
use super::heartbeat;
use super::path::{Path, names_of};
use super::report::{Report, status_line};
use super::request::SwiftRequest;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Most paths in one request (`max_deletes_per_request`).
pub(crate) const DELETES_MAX: usize = 10_000;
/// Most failures; the remaining paths are not tried (`max_failed_deletes`).
pub(crate) const FAILURES_MAX: usize = 1000;
/// Concurrent deletions.
const CONCURRENCY: usize = 4;
/// Longest line in bytes: a container and an object, every byte percent-encoded.
const LINE_BYTES_MAX: usize = 3 * (256 + 1024) + 2;

/// A line that is not a path, percent-encoded.
#[derive(Debug, PartialEq, Eq)]
struct InvalidLine(String);

/// A line of the document.
type Line = std::result::Result<ClientName, InvalidLine>;

/// Whether a request is a bulk deletion.
pub(super) fn is_requested(request: &SwiftRequest) -> bool {
    request.param("bulk-delete").is_some()
        && matches!(request.head.method.as_str(), "POST" | "DELETE")
}

/// Checks the headers, and returns the format of the report.
fn parse(request: &SwiftRequest) -> Result<Format> {
    let format = request.format()?;
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.is_empty() && !kind.starts_with("text/plain") {
        return Err(SwiftError::refused(StatusCode::NOT_ACCEPTABLE, ""));
    }
    if request.cx.identity.user.is_none() {
        // No memory is spent on the document of an anonymous client.
        return Err(Error::new(Kind::Unauthorized, Subject::Account).into());
    }
    Ok(format)
}

pub(super) async fn delete(deps: &ProxyDeps, request: &SwiftRequest, body: Body) -> Result<Reply> {
    let format = parse(request)?;
    let account = request.account().to_string();
    let Some(lines) = lines(body).await? else {
        let text = format!("Maximum Bulk Deletes: {DELETES_MAX} per request");
        return Err(SwiftError::refused(StatusCode::PAYLOAD_TOO_LARGE, text));
    };
    let deletion = BulkDeletion { store: deps.store.clone(), cx: request.cx.clone(), account };
    let work = async move { deletion.run(lines).await.render(format) };
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", format.media_type());
    *response.body_mut() = heartbeat::body(heartbeat::first_blank(format), work);
    Ok(response)
}

/// The lines of a document, decoded; `None` when they are too many or too long. A line that is not
/// UTF-8 or holds NUL is kept as an error: what is left of it could be another object's name.
async fn lines(mut body: Body) -> Result<Option<Vec<Line>>> {
    let mut lines = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut take = |line: &mut Vec<u8>| {
        let text = line.trim_ascii().to_vec();
        line.clear();
        if !text.is_empty() {
            let shown = String::from_utf8_lossy(&text).into_owned();
            let name = std::str::from_utf8(&text).ok().map(ClientName::decode);
            lines.push(
                name.and_then(|name| name.ok())
                    .ok_or_else(|| InvalidLine(percent::encode_path(&shown))),
            );
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

/// A bulk deletion in one account.
struct BulkDeletion {
    store: Arc<dyn Store>,
    cx: Context,
    account: String,
}

impl BulkDeletion {
    async fn run(&self, lines: Vec<Line>) -> Report {
        let mut report = Report::default();
        let mut names = Vec::with_capacity(lines.len());
        for line in lines {
            match line {
                Ok(name) => names.push(name),
                Err(InvalidLine(text)) => {
                    report.errors.push((text, status_line(StatusCode::PRECONDITION_FAILED)));
                }
            }
        }
        if !report.errors.is_empty() {
            report.status = StatusCode::BAD_REQUEST;
        }
        let is_object = |name: &ClientName| name.as_str().trim_matches('/').contains('/');
        let (objects, containers): (Vec<ClientName>, Vec<ClientName>) =
            names.into_iter().partition(is_object);
        let failed = AtomicBool::new(false);
        self.delete_all(objects, &failed, &mut report).await;
        self.delete_all(containers, &failed, &mut report).await;
        if report.deleted + report.missing == 0 && report.errors.is_empty() {
            report.status = StatusCode::BAD_REQUEST;
            report.body = "Invalid bulk delete.";
        }
        report
    }

    /// Deletes objects, or containers, until there are too many failures.
    async fn delete_all(&self, names: Vec<ClientName>, failed: &AtomicBool, report: &mut Report) {
        // Deletions in progress are waited for, further ones are not begun.
        let begun = names.into_iter().take_while(|_| !failed.load(Ordering::Relaxed));
        let deletions = begun.map(|name| self.delete_one(&name));
        let mut outcomes = stream::iter(deletions).buffered(CONCURRENCY);
        while let Some((name, outcome)) = outcomes.next().await {
            report.record(&name, outcome);
            if report.errors.len() >= FAILURES_MAX {
                report.status = StatusCode::BAD_REQUEST;
                report.body = "Max delete failures exceeded";
                failed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Deletes the object or container of one line.
    fn delete_one(
        &self,
        name: &ClientName,
    ) -> BoxFuture<'static, (String, std::result::Result<(), StatusCode>)> {
        let (store, cx) = (self.store.clone(), self.cx.clone());
        let name = name.as_str().to_owned();
        let path = format!("/v1/{}/{}", self.account, name.trim_start_matches('/'));
        async move {
            let Ok(path) = ClientName::plain(&path) else {
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
            (name, outcome.map_err(|error| status_of(&error)))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use apus_daemon::http::full;

    use super::*;

    #[tokio::test]
    async fn lines_are_decoded_and_counted() {
        let read = async |text: &str| lines(full(text.to_owned())).await.unwrap();
        let found = read("c/a%20b\n\n  c  \nbad%00\n").await.unwrap();
        let texts: Vec<_> =
            found.iter().map(|line| line.as_ref().map(ClientName::as_str)).collect();
        let bad = InvalidLine("bad%2500".to_owned());
        assert_eq!(texts, [Ok("c/a b"), Ok("c"), Err(&bad)]);
        assert!(read(&"x\n".repeat(DELETES_MAX)).await.is_some());
        assert!(read(&"x\n".repeat(DELETES_MAX + 1)).await.is_none());
        assert!(read(&"x".repeat(LINE_BYTES_MAX + 1)).await.is_none());
    }

    #[test]
    fn anonymous_clients_and_other_documents_are_refused() {
        let parse = |headers: &[(&str, &str)]| {
            parse(&SwiftRequest::example("POST", "/v1/a?bulk-delete", headers)).unwrap_err()
        };
        assert_eq!(parse(&[]).status(), StatusCode::UNAUTHORIZED);
        let json = parse(&[("content-type", "application/json")]);
        assert_eq!(json.status(), StatusCode::NOT_ACCEPTABLE);
    }
}
