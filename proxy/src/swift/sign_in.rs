//! `GET /auth/v1.0`: a token for a user and key.

use apus_daemon::Body;
use apus_daemon::http::{header, set, status};
use apus_daemon::serve::Peer;
use http::{Method, Request, Response, StatusCode};

use super::error::plain_error;
use crate::auth::tempauth::{SignIn, TOKEN_LIFE_SECONDS};
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
    let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let failed = &parts.auth.failed;
    if let Some(seconds) = failed.wait(address, &user, now) {
        let text = format!("Too many failed sign-ins; try again in {seconds} seconds.\n");
        let mut response = plain_error(StatusCode::TOO_MANY_REQUESTS, &text);
        set(response.headers_mut(), "retry-after", &seconds.to_string());
        return response;
    }
    let Some(base) = parts.public_url.base(headers) else {
        return plain_error(StatusCode::BAD_REQUEST, "Invalid Host header");
    };
    let Some(SignIn { token, storage_url }) = parts.auth.sign_in(&user, key, &base, now) else {
        failed.note(address, &user, now);
        return unauthorized();
    };
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "x-auth-token", &token);
    set(out, "x-storage-token", &token);
    set(out, "x-auth-token-expires", &TOKEN_LIFE_SECONDS.to_string());
    set(out, "x-storage-url", &storage_url);
    set(out, "content-type", "text/plain; charset=UTF-8");
    response
}
