//! The tracing span of a request, whose fields are on each of its log lines.

use http::{HeaderMap, Method};
use tracing::Span;
use tracing::field::display;

/// The header in which servers send each other the transaction id of the client's request.
const TRANS_ID: &str = "x-trans-id";
/// Longest transaction id that is logged, in bytes: a caller may send any text.
const TRANS_ID_BYTES_MAX: usize = 128;

/// The span of one request to `server`. It is enabled at every level, so that errors have their
/// transaction id even where nothing else is logged. Queries may hold signatures and are left out.
pub fn request_span(
    server: &'static str,
    method: &Method,
    path: &str,
    trans_id: Option<&str>,
) -> Span {
    let trans_id = trans_id.filter(|id| id.len() <= TRANS_ID_BYTES_MAX).map(display);
    tracing::error_span!("request", %server, trans_id, %method, path = display(path))
}

/// The transaction id that another server sent.
pub fn sent_trans_id(headers: &HeaderMap) -> Option<&str> {
    super::header(headers, TRANS_ID)
}

/// Adds the transaction id to the span of the current request, for the server that makes it.
pub fn record_trans_id(trans_id: &str) {
    Span::current().record("trans_id", display(trans_id));
}
