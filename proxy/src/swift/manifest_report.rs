//! Responses to new static large objects, with blanks while their segments are checked.
//!
//! Source: `handle_multipart_put` in `swift/common/middleware/slo.py`.

use apus_daemon::http::{full, header, set, status};
use apus_store::operation::{ObjectWritten, PutManifest};
use apus_store::{Error, Kind};
use http::StatusCode;

use super::error::{Result, status_of};
use super::format::Format;
use super::heartbeat;
use super::object_head::created;
use super::page::{explanation, reason};
use super::report::{ReportDocument, ReportField, status_line};
use super::request::SwiftRequest;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Name of the element of XML.
const ROOT: &str = "upload";
/// Before the segments that cannot be used, in the text of an error.
const ERRORS: &str = "Errors:\n";

/// The format of a report: text where no other is acceptable.
fn format_of(request: &SwiftRequest) -> Format {
    request.format().unwrap_or(Format::Plain)
}

fn success(written: &ObjectWritten) -> Reply {
    created(written, &format!("\"{}\"", written.etag))
}

/// Name and problem of each segment that cannot be used.
fn problems(error: &Error) -> Vec<(String, String)> {
    let lines = match error.kind {
        Kind::InvalidPart => error.client_text.strip_prefix(ERRORS).unwrap_or_default(),
        _ => "",
    };
    let pair = |line: &str| {
        line.split_once(", ").map(|(name, problem)| (name.to_owned(), problem.to_owned()))
    };
    lines.lines().filter_map(pair).collect()
}

/// Writes a manifest.
///
/// # Errors
/// Those of the operation, except a report about segments.
pub(super) async fn put(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    op: PutManifest,
) -> Result<Reply> {
    match deps.store.put_manifest(&request.cx, op).await {
        Ok(written) => Ok(success(&written)),
        Err(error) => {
            let errors = problems(&error);
            let format = format_of(request);
            if errors.is_empty() || format == Format::Plain {
                return Err(error.into());
            }
            let report = ReportDocument { root: ROOT, fields: Vec::new(), errors: &errors };
            let mut response = status(status_of(&error));
            set(response.headers_mut(), "content-type", format.media_type());
            *response.body_mut() = full(report.render(format));
            Ok(response)
        }
    }
}

/// Writes a manifest after the head of the response, whose body reports the outcome.
pub(super) fn put_with_heartbeat(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    op: PutManifest,
) -> Reply {
    let format = format_of(request);
    let (store, cx) = (deps.store.clone(), request.cx.clone());
    let work = async move { report(&store.put_manifest(&cx, op).await, format) };
    let mut response = status(StatusCode::ACCEPTED);
    set(response.headers_mut(), "content-type", format.media_type());
    *response.body_mut() = heartbeat::body_at_once(work);
    response
}

/// The report of the outcome.
fn report(outcome: &apus_store::Result<ObjectWritten>, format: Format) -> Vec<u8> {
    let text = |name, text: &str| (name, ReportField::Text(text.to_owned()));
    let (fields, errors) = match outcome {
        Ok(written) => {
            let response = success(written);
            let of = |name: &str| header(response.headers(), name).unwrap_or_default().to_owned();
            let fields = vec![
                text("Etag", &of("etag")),
                text("Last Modified", &of("last-modified")),
                text("Response Body", ""),
                text("Response Status", &status_line(response.status())),
            ];
            (fields, Vec::new())
        }
        Err(error) => {
            let status = status_of(error);
            if status.is_server_error() {
                tracing::error!(%error, "request failed");
            }
            let errors = problems(error);
            let body = match error.client_text.as_str() {
                given if errors.is_empty() && !given.is_empty() => given.to_owned(),
                _ => format!("{}\n{}", reason(status), explanation(status)),
            };
            (
                vec![text("Response Body", &body), text("Response Status", &status_line(status))],
                errors,
            )
        }
    };
    ReportDocument { root: ROOT, fields, errors: &errors }.render(format)
}

#[cfg(test)]
mod tests {
    use apus_store::Subject;

    use super::*;

    #[test]
    fn a_report_names_the_segments_that_cannot_be_used() {
        let error = Error::new(Kind::InvalidPart, Subject::Object)
            .text("Errors:\nc/a%20b, 404 Not Found\nc/d, Etag Mismatch\n");
        assert_eq!(
            String::from_utf8(report(&Err(error.clone()), Format::Plain)).unwrap(),
            "Response Body: Bad Request\nThe server could not comply with the request since it is \
             either malformed or otherwise incorrect.\nResponse Status: 400 Bad Request\n\
             Errors:\nc/a%20b, 404 Not Found\nc/d, Etag Mismatch\n"
        );
        let json = serde_json::from_slice::<serde_json::Value>(&report(&Err(error), Format::Json));
        assert_eq!(json.unwrap()["Errors"][1][1], "Etag Mismatch");
        let mismatch = Error::new(Kind::ChecksumMismatch, Subject::Object).text("Etag mismatch");
        let text = String::from_utf8(report(&Err(mismatch), Format::Plain)).unwrap();
        assert!(text.starts_with("Response Body: Etag mismatch\nResponse Status: 422 "), "{text}");
    }

    #[test]
    fn a_report_has_the_etag_of_a_new_object() {
        let written = ObjectWritten { etag: "abc".to_owned(), ..ObjectWritten::default() };
        let text = String::from_utf8(report(&Ok(written), Format::Plain)).unwrap();
        assert!(text.starts_with("Etag: \"abc\"\nLast Modified: "), "{text}");
        assert!(
            text.ends_with("Response Body: \nResponse Status: 201 Created\nErrors:\n"),
            "{text}"
        );
    }
}
