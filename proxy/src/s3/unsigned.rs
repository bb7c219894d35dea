//! Responses to unsigned requests of Keystone clients with a wrong address.
//!
//! The body is not read.

use apus_daemon::Body;
use apus_daemon::http::{full, set};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::reply::Reply;

/// The response to a Keystone client, which could not parse S3's XML.
pub(super) fn keystone(request: &Request<Body>) -> Option<Reply> {
    let path = request.uri().path();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let asks_for_token = path.ends_with("/tokens") && request.method() == Method::POST;
    if first != "v3" && !(first == "v2.0" && asks_for_token) {
        return None;
    }
    if request.headers().contains_key("authorization") || request.uri().query().is_some() {
        return None;
    }
    let message = "This is an object store, not Keystone: it has no identity API. Sign in with \
                   Swift's /auth/v1.0, or sign requests for S3.";
    let document = json!({ "error": { "code": 404, "title": "Not Found", "message": message } });
    let mut response = Response::new(full(document.to_string()));
    *response.status_mut() = StatusCode::NOT_FOUND;
    set(response.headers_mut(), "content-type", "application/json");
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keystone_clients_get_json() {
        let answer = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri);
            keystone(&request.body(apus_daemon::http::empty()).unwrap()).map(|reply| reply.status())
        };
        for (method, uri) in
            [("POST", "/v3/auth/tokens"), ("GET", "/v3"), ("GET", "/v3/"), ("POST", "/v2.0/tokens")]
        {
            assert_eq!(answer(method, uri), Some(StatusCode::NOT_FOUND), "{method} {uri}");
        }
        for (method, uri) in [
            ("GET", "/v2.0/tokens"),
            ("POST", "/bucket/tokens"),
            ("GET", "/v3x"),
            ("GET", "/v3/k?X-Amz-Signature=x"),
        ] {
            assert_eq!(answer(method, uri), None, "{method} {uri}");
        }
    }
}
