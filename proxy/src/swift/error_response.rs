//! Responses to requests that did not succeed: status, text and headers.

use apus_daemon::http::{empty, full, set, status};
use apus_store::operation::ObjectHead;
use apus_store::{Error, Kind};
use http::{Response, StatusCode};

use super::error::{Refusal, SwiftError, status_of};
use super::page::plain_error;
use super::{object_head, symlink, versions};
use crate::reply::{RETRY_AFTER_SECONDS, Reply};

/// Renders an error.
pub(super) fn render(error: &SwiftError) -> Reply {
    match error {
        SwiftError::Operation(error) => failed(error),
        SwiftError::Refused(refusal) => refused(refusal),
        SwiftError::NoSuchPart { head, text } => no_such_part(head, text),
    }
}

fn refused(refusal: &Refusal) -> Reply {
    let mut response = plain_error(refusal.status, &refusal.text);
    let out = response.headers_mut();
    if refusal.is_html {
        set(out, "content-type", "text/html; charset=UTF-8");
    }
    for (name, value) in &refusal.headers {
        set(out, name, value);
    }
    response
}

fn no_such_part(head: &ObjectHead, text: &'static str) -> Reply {
    let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
    let out = response.headers_mut();
    object_head::set_headers(head, out);
    set(out, "content-length", &text.len().to_string());
    set(out, "content-range", &format!("bytes */{}", head.length));
    if !text.is_empty() {
        *response.body_mut() = full(text);
    }
    response
}

fn failed(error: &Error) -> Reply {
    let status = status_of(error);
    // A request for what is not supported is not a failure of the server.
    if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
        tracing::error!(%error, "request failed");
    }
    let mut response = plain_error(status, &error.client_text);
    let out = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        set(out, "www-authenticate", "Swift realm=\"unknown\"");
    }
    if error.kind == Kind::Overloaded {
        set(out, "retry-after", RETRY_AFTER_SECONDS);
    }
    if let Some(location) = error.location.as_ref().filter(|_| error.kind != Kind::IsLink) {
        symlink::set_content_location(location, out);
    }
    match &error.head {
        Some(head) => with_object(response, error, head),
        None => {
            if let Kind::RangeNotSatisfiable { size } = error.kind {
                set(out, "content-range", &format!("bytes */{size}"));
            }
            response
        }
    }
}

/// Adds the headers of the object that an error is about.
fn with_object(mut response: Reply, error: &Error, head: &ObjectHead) -> Reply {
    versions::set_id(head.version, response.headers_mut());
    match error.kind {
        Kind::IsDeleteMarker => {
            set(response.headers_mut(), "content-type", &head.content_type);
        }
        Kind::IsLink => symlink::set_redirect(error, head, response.headers_mut()),
        Kind::NotModified => {
            let status = response.status();
            response = Response::new(empty());
            *response.status_mut() = status;
            object_head::set_headers(head, response.headers_mut());
            response.headers_mut().remove("content-length");
        }
        Kind::RangeNotSatisfiable { size } => {
            let out = response.headers_mut();
            let kind = out.get("content-type").cloned();
            object_head::set_headers(head, out);
            if let Some(kind) = kind {
                out.insert("content-type", kind);
            }
            out.remove("content-length");
            set(out, "content-range", &format!("bytes */{size}"));
        }
        Kind::PreconditionFailed => {
            set(response.headers_mut(), "etag", &object_head::etag(head));
        }
        _ => {}
    }
    response
}
