//! Responses to unsigned requests of browsers, and of Keystone clients with a wrong address.
//!
//! The body is not read.

use apus_daemon::Body;
use apus_daemon::http::{full, header, set};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use serde_json::json;

use super::address::Address;
use super::error::{Code, Result, S3Error};
use crate::reply::Reply;

/// The refusal of a preflight: buckets cannot have CORS rules here.
fn preflight(headers: &HeaderMap, key: Option<&str>) -> S3Error {
    let insufficient = |text: &str| S3Error::new(Code::BadRequest).text(text);
    if !headers.contains_key("origin") {
        return insufficient("Insufficient information. Origin request header needed.");
    }
    let Some(method) = header(headers, "access-control-request-method") else {
        return insufficient("Invalid Access-Control-Request-Method: null");
    };
    S3Error::new(Code::AccessForbidden)
        .with("Method", method)
        .with("ResourceType", if key.is_some() { "OBJECT" } else { "BUCKET" })
}

/// Refuses preflights of browsers, which do not sign them.
pub(super) fn check(head: &request::Parts, address: &Address) -> Result<()> {
    if address.bucket.is_none() {
        return Ok(());
    }
    if head.method == Method::OPTIONS {
        return Err(preflight(&head.headers, address.key.as_deref()));
    }
    Ok(())
}

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

    fn head(method: &Method, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().method(method).uri("/bucket");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn code(method: &Method, key: Option<&str>, headers: &[(&str, &str)]) -> Option<Code> {
        let address = Address { bucket: Some("bucket".into()), key: key.map(str::to_owned) };
        check(&head(method, headers), &address).err().map(|error| error.code)
    }

    #[test]
    fn preflights_are_refused_without_a_signature() {
        let origin = ("origin", "http://x");
        let asked = ("access-control-request-method", "PUT");
        assert_eq!(code(&Method::OPTIONS, None, &[origin, asked]), Some(Code::AccessForbidden));
        assert_eq!(
            code(&Method::OPTIONS, Some("k"), &[origin, asked]),
            Some(Code::AccessForbidden)
        );
        assert_eq!(code(&Method::OPTIONS, None, &[asked]), Some(Code::BadRequest));
        assert_eq!(code(&Method::OPTIONS, None, &[origin]), Some(Code::BadRequest));
        assert_eq!(code(&Method::POST, None, &[("content-type", "text/xml")]), None);
        assert_eq!(code(&Method::GET, None, &[origin]), None);
    }

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
