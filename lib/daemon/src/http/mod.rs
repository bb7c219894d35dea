//! HTTP for all servers: bodies, the handler trait, dates, transaction ids and spans.

mod body;
mod date;
mod span;
mod trans_id;

use std::sync::Arc;

use async_trait::async_trait;

pub use body::{Body, BodyError, empty, full, stream};
pub use date::{format_date, parse_date};
pub use span::{record_trans_id, request_span, sent_trans_id};
pub use trans_id::new_trans_id;

/// A server without its sockets: a function from a request to a response.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Handles one request. Errors are responses.
    async fn call(&self, request: http::Request<Body>) -> http::Response<Body>;

    /// The content type and the text of the response to a malformed request. `head` is the received
    /// part of it, which shows the API of the client.
    fn malformed(&self, refusal: crate::Malformed, _head: &str) -> (&'static str, String) {
        ("text/plain; charset=utf-8", refusal.message().to_owned())
    }
}

/// A handler that all connections share.
pub type SharedHandler = Arc<dyn Handler>;

/// A response with a short text body, as of storage servers.
pub fn text(status: http::StatusCode, body: &str) -> http::Response<Body> {
    let mut response = http::Response::new(full(body.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// A response without a body.
pub fn status(status: http::StatusCode) -> http::Response<Body> {
    let mut response = http::Response::new(empty());
    *response.status_mut() = status;
    response
}

/// A header as text, if it exists and is UTF-8.
pub fn header<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// Sets a header; a value that HTTP cannot carry (control characters) is left out.
pub fn set(headers: &mut http::HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        http::HeaderName::from_bytes(name.as_bytes()),
        http::HeaderValue::from_bytes(value.as_bytes()),
    ) {
        headers.insert(name, value);
    }
}
