//! `GET /auth/v1.0`: a token for a user and key.

use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use http::{Method, Request, Response, StatusCode};

use super::error::plain_error;
use crate::auth::tempauth::TOKEN_LIFE_SECONDS;
use crate::edge::Parts;

pub(super) fn sign_in(parts: &Parts, request: &Request<Body>) -> Response<Body> {
    if request.method() != Method::GET {
        return plain_error(StatusCode::BAD_REQUEST, "");
    }
    let headers = request.headers();
    let path = request.uri().path();
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let account_in_path = match words.as_slice() {
        ["auth", "v1" | "v1.0"] | ["auth", "auth"] => None,
        ["auth", "v1", account, "auth"] => Some(*account),
        _ => return plain_error(StatusCode::BAD_REQUEST, ""),
    };
    let user = header(headers, "x-storage-user").or_else(|| header(headers, "x-auth-user"));
    let key = header(headers, "x-storage-pass").or_else(|| header(headers, "x-auth-key"));
    let unauthorized = || {
        let mut response = plain_error(StatusCode::UNAUTHORIZED, "");
        set(response.headers_mut(), "www-authenticate", "Swift realm=\"unknown\"");
        response
    };
    let (Some(user), Some(key)) = (user, key) else { return unauthorized() };
    let user = match account_in_path {
        Some(account) if !user.contains(':') => format!("{account}:{user}"),
        Some(account) if !user.starts_with(&format!("{account}:")) => return unauthorized(),
        _ => user.to_owned(),
    };
    let now = parts.clock.now().as_secs();
    let Some((token, account)) = parts.auth.sign_in(&user, key, now) else {
        return unauthorized();
    };
    let host = header(headers, "host").unwrap_or("127.0.0.1");
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "x-auth-token", &token);
    set(out, "x-storage-token", &token);
    set(out, "x-auth-token-expires", &TOKEN_LIFE_SECONDS.to_string());
    set(out, "x-storage-url", &format!("http://{host}/v1/{account}"));
    set(out, "content-type", "text/plain; charset=UTF-8");
    response
}
