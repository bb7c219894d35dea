//! The only place where a failure becomes a status and Swift's text.

use apus_daemon::Body;
use apus_daemon::http::{full, set};
use apus_store::{Error, Kind, Subject};
use http::{Response, StatusCode};

use crate::edge::RETRY_AFTER_SECONDS;

/// An answer.
pub(crate) type Reply = Response<Body>;

/// Swift's long texts by status (`swift/common/swob.py`, `RESPONSE_REASONS`).
fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        202 => "The request is accepted for processing.",
        400 => {
            "The server could not comply with the request since it is either malformed or otherwise incorrect."
        }
        401 => {
            "This server could not verify that you are authorized to access the document you requested."
        }
        403 => "Access was denied to this resource.",
        404 => "The resource could not be found.",
        405 => "The method is not allowed for this resource.",
        406 => "The resource is not available in a format acceptable to your browser.",
        408 => "The server has waited too long for the request to be sent by the client.",
        409 => "There was a conflict when trying to complete your request.",
        410 => "This resource is no longer available.",
        411 => "Content-Length header required.",
        412 => "A precondition for this request was not met.",
        413 => "The body of your request was too large for this server.",
        416 => "The Range requested is not available.",
        422 => "Unable to process the contained instructions",
        499 => "The client was disconnected during request.",
        500 => "The server has either erred or is incapable of performing the requested operation.",
        501 => "The requested method is not implemented by this server.",
        503 => "The server is currently unavailable. Please try again at a later time.",
        _ => "",
    }
}

pub(super) fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        416 => "Requested Range Not Satisfiable",
        422 => "Unprocessable Entity",
        499 => "Client Disconnect",
        500 => "Internal Error",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

/// The HTML page of a status, as swob writes it.
pub(crate) fn html_error(status: StatusCode) -> Reply {
    let page = format!("<html><h1>{}</h1><p>{}</p></html>", title(status), explanation(status));
    let mut response = Response::new(full(page));
    *response.status_mut() = status;
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    response
}

/// A status with a line of text, or its page when there is none.
pub(crate) fn plain_error(status: StatusCode, text: &str) -> Reply {
    if text.is_empty() {
        return html_error(status);
    }
    apus_daemon::http::text(status, text)
}

pub(super) fn status_of(error: &Error) -> StatusCode {
    match (&error.kind, error.subject) {
        (Kind::RecentlyDeleted, _) => StatusCode::GONE,
        (Kind::NotFound, _) => StatusCode::NOT_FOUND,
        (Kind::AlreadyExists | Kind::NotEmpty | Kind::Conflict, _) => StatusCode::CONFLICT,
        (Kind::Invalid | Kind::InvalidPart | Kind::InvalidPartOrder | Kind::PartTooSmall, _) => {
            StatusCode::BAD_REQUEST
        }
        (Kind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Kind::PreconditionFailed, _) => StatusCode::PRECONDITION_FAILED,
        (Kind::IsLink, _) => StatusCode::TEMPORARY_REDIRECT,
        (Kind::NotModified, _) => StatusCode::NOT_MODIFIED,
        (Kind::RangeNotSatisfiable { .. }, _) => StatusCode::RANGE_NOT_SATISFIABLE,
        (Kind::ChecksumMismatch, _) => StatusCode::UNPROCESSABLE_ENTITY,
        (Kind::Unauthorized, _) => StatusCode::UNAUTHORIZED,
        (Kind::Forbidden, _) => StatusCode::FORBIDDEN,
        (Kind::ClientGone | Kind::Body, _) => {
            StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
        }
        (Kind::ClientTimeout, _) => StatusCode::REQUEST_TIMEOUT,
        (Kind::Unavailable, Subject::Account | Subject::Container | Subject::Object)
        | (Kind::Unavailable, Subject::Upload | Subject::Request) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (Kind::Overloaded, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Kind::NotSupported, _) => StatusCode::NOT_IMPLEMENTED,
    }
}

/// Renders an error.
pub(crate) fn render(error: &Error) -> Reply {
    let status = status_of(error);
    // What is not supported is the request's fault, not the server's.
    if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
        tracing::error!(%error, "request failed");
    }
    let mut response = plain_error(status, &error.client_text);
    if status == StatusCode::UNAUTHORIZED {
        set(response.headers_mut(), "www-authenticate", "Swift realm=\"unknown\"");
    }
    if error.kind == Kind::Overloaded {
        set(response.headers_mut(), "retry-after", RETRY_AFTER_SECONDS);
    }
    if let Some(location) = error.location.as_ref().filter(|_| error.kind != Kind::IsLink) {
        super::symlink::locate(location, response.headers_mut());
    }
    if let Some(head) = &error.head {
        match error.kind {
            Kind::IsLink => super::symlink::redirect(error, head, response.headers_mut()),
            Kind::NotModified => {
                response = Response::new(apus_daemon::http::empty());
                *response.status_mut() = status;
                super::object_read::describe(head, response.headers_mut());
                response.headers_mut().remove("content-length");
            }
            Kind::RangeNotSatisfiable { size } => {
                let out = response.headers_mut();
                let kind = out.get("content-type").cloned();
                super::object_read::describe(head, out);
                if let Some(kind) = kind {
                    out.insert("content-type", kind);
                }
                out.remove("content-length");
                set(out, "content-range", &format!("bytes */{size}"));
            }
            Kind::PreconditionFailed => {
                let out = response.headers_mut();
                set(out, "etag", &super::object_read::shown_etag(head));
            }
            _ => {}
        }
    } else if let Kind::RangeNotSatisfiable { size } = error.kind {
        set(response.headers_mut(), "content-range", &format!("bytes */{size}"));
    }
    response
}
