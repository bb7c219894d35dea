//! Swift's HTML pages and lines of text by status.
//!
//! Source: `RESPONSE_REASONS` in `swift/common/swob.py`.

use apus_daemon::http::{full, set, status, text};
use http::{Response, StatusCode};

use crate::reply::Reply;

/// The sentence of a status.
pub(super) fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        202 => "The request is accepted for processing.",
        301 => "The resource has moved permanently.",
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

/// The reason phrase of a status, as Swift spells it.
pub(super) fn reason(status: StatusCode) -> &'static str {
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
pub(super) fn html_error(status: StatusCode) -> Reply {
    let page = format!("<html><h1>{}</h1><p>{}</p></html>", reason(status), explanation(status));
    let mut response = Response::new(full(page));
    *response.status_mut() = status;
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    response
}

/// A status with a line of text, or its page when the text is empty.
pub(super) fn plain_error(status: StatusCode, line: &str) -> Reply {
    match line.is_empty() {
        true => html_error(status),
        false => text(status, line),
    }
}

/// A status without a body, labelled as HTML as Swift labels it.
pub(super) fn empty_page(code: StatusCode) -> Reply {
    let mut response = status(code);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    response
}
