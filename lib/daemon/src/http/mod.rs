//! What all servers share about HTTP: the body type, the handler trait, transaction ids.

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

/// A server without its sockets: one request in, one answer out.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers one request. Never fails: errors are answers.
    async fn call(&self, request: http::Request<Body>) -> http::Response<Body>;

    /// The content type and the text for a client whose request is refused before it is one. `head`
    /// is what arrived of it, to tell the client's dialect by.
    fn malformed(&self, refusal: crate::Malformed, _head: &str) -> (&'static str, String) {
        ("text/plain; charset=utf-8", refusal.message().to_owned())
    }
}

/// Shared by all connections.
pub type SharedHandler = Arc<dyn Handler>;

/// An answer with a short text body, as backends give them.
pub fn text(status: http::StatusCode, body: &str) -> http::Response<Body> {
    let mut response = http::Response::new(full(body.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// An answer without a body.
pub fn status(status: http::StatusCode) -> http::Response<Body> {
    let mut response = http::Response::new(empty());
    *response.status_mut() = status;
    response
}

/// A header as text, if it is there and UTF-8.
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
