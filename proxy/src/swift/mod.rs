//! Swift's REST API: parse, perform, render.

mod account;
pub(crate) mod bulk_delete;
mod container;
mod error;
mod heartbeat;
mod listing;
mod manifest;
mod object;
mod object_read;
mod report;
mod request;
mod segment_list;
mod sign_in;
mod symlink;
mod unsupported;
mod xml;

use std::sync::Arc;

use apus_cluster::percent;
use apus_daemon::Body;
use apus_daemon::http::{header, set};
use http::{Request, Response, StatusCode};

use self::error::{Reply, plain_error};
use self::request::{Path, SwiftRequest};
use crate::edge::Parts;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Swift {
    parts: Parts,
}

impl Swift {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts }
    }

    pub(crate) async fn handle(
        &self,
        request: Request<Body>,
        trans_id: Arc<str>,
    ) -> Response<Body> {
        if request.uri().path().starts_with("/auth/") {
            return sign_in::sign_in(&self.parts, &request);
        }
        let uri = request.uri().clone();
        let keep_alive = header(request.headers(), "connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"));
        let mut response = match SwiftRequest::parse(&self.parts, request, trans_id) {
            Ok(request) => match self.dispatch(request).await {
                Ok(response) => response,
                Err(error) => error::render(&error),
            },
            Err(refusal) => *refusal,
        };
        let status = response.status();
        let out = response.headers_mut();
        match status {
            // Swift's clients read the length of every answer, even of none.
            StatusCode::NO_CONTENT => set(out, "content-length", "0"),
            StatusCode::UNAUTHORIZED => {
                set(out, "www-authenticate", &challenge(uri.path()));
            }
            _ => {}
        }
        if keep_alive {
            set(out, "connection", "keep-alive");
        }
        response
    }

    async fn dispatch(&self, request: SwiftRequest) -> Result<Reply, apus_store::Error> {
        let method = request.head.method.as_str().to_owned();
        let manages = self.parts.allow_account_management;
        unsupported::refuse(&request)?;
        match (&request.path, method.as_str()) {
            _ if bulk_delete::is_asked(&request) => bulk_delete::delete(&self.parts, request).await,
            (Path::Account(_), "GET" | "HEAD") => account::get(&self.parts, request).await,
            (Path::Account(_), "POST") => account::post(&self.parts, request).await,
            // A query was meant for something that is not there, and not for the whole account.
            (Path::Account(_), "DELETE") if request.head.uri.query().is_some() => {
                Ok(plain_error(StatusCode::BAD_REQUEST, ""))
            }
            (Path::Account(_), "PUT") if manages => account::put(&self.parts, request).await,
            (Path::Account(_), "DELETE") if manages => account::delete(&self.parts, request).await,
            (Path::Container(_), "GET" | "HEAD") => container::get(&self.parts, request).await,
            (Path::Container(_), "PUT") => container::put(&self.parts, request).await,
            (Path::Container(_), "POST") => container::post(&self.parts, request).await,
            (Path::Container(_), "DELETE") => container::delete(&self.parts, request).await,
            (Path::Object(_), "GET" | "HEAD") => object_read::get(&self.parts, request).await,
            (Path::Object(_), "PUT") => object::put(&self.parts, request).await,
            (Path::Object(_), "POST") => object::post(&self.parts, request).await,
            (Path::Object(_), "DELETE") => object::delete(&self.parts, request).await,
            (Path::Object(_), "COPY") => object::copy(&self.parts, request).await,
            (path, method) => {
                // Swift's answer to a preflight for a container without rules of its own.
                let is_preflight = request.header("origin").is_some();
                let mut response = match method {
                    "OPTIONS" if is_preflight => plain_error(StatusCode::UNAUTHORIZED, ""),
                    "OPTIONS" => apus_daemon::http::status(StatusCode::OK),
                    _ => plain_error(StatusCode::METHOD_NOT_ALLOWED, ""),
                };
                let allow = match path {
                    Path::Account(_) if manages => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
                    Path::Account(_) => "GET, HEAD, OPTIONS, POST",
                    Path::Container(_) => "DELETE, GET, HEAD, OPTIONS, POST, PUT",
                    Path::Object(_) => "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
                };
                apus_daemon::http::set(response.headers_mut(), "allow", allow);
                Ok(response)
            }
        }
    }
}

/// `WWW-Authenticate` of a request for a path: its account is the realm, when it has one.
///
/// Source: `www_authenticate` in `swift/common/swob.py`.
fn challenge(raw_path: &str) -> String {
    let decoded = percent::decode(raw_path);
    let mut words = decoded.splitn(4, |byte| *byte == b'/');
    let (root, version, account) = (words.next(), words.next(), words.next());
    let is_named = |word: Option<&[u8]>| word.is_some_and(|word| !word.is_empty());
    let realm = account.filter(|realm| {
        root.is_some_and(<[u8]>::is_empty)
            && is_named(version)
            && is_named(account)
            && ![&b"v1.0"[..], b"auth"].contains(realm)
    });
    let mut quoted = String::new();
    percent::encode_into(&mut quoted, realm.unwrap_or(b"unknown"), b"/");
    format!("Swift realm=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_realm_of_a_challenge_is_the_quoted_account() {
        for (path, realm) in [
            ("/v1/AUTH_test/c/o", "AUTH_test"),
            ("/v1/AUTH_test", "AUTH_test"),
            ("/v1/AUTH_\"x\"/c", "AUTH_%22x%22"),
            ("/v1/AUTH_%22x%22/c", "AUTH_%22x%22"),
            ("/v1/AUTH_a%5C%22,%20b/c", "AUTH_a%5C%22%2C%20b"),
            ("/v1/AUTH_%0d%0aX:/c", "AUTH_%0D%0AX%3A"),
            ("/v1/%ff/c", "%FF"),
            ("/v1%2FAUTH_test", "AUTH_test"),
            ("/v1", "unknown"),
            ("/v1/", "unknown"),
            ("/v1//c", "unknown"),
            ("//AUTH_test", "unknown"),
            ("/auth/v1.0", "unknown"),
        ] {
            assert_eq!(challenge(path), format!("Swift realm=\"{realm}\""), "{path}");
        }
    }
}
