//! `GET /auth/v1.0`: a token for a user and key.

use apus_daemon::http::{header, set, status};
use apus_daemon::serve::Peer;
use http::{Method, StatusCode, request};

use super::error::{Result, SwiftError};
use crate::auth::tempauth::{SignIn, TOKEN_LIFE_SECONDS};
use crate::auth::tokens;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

fn unauthorized() -> SwiftError {
    SwiftError::refused(StatusCode::UNAUTHORIZED, "")
        .with_header("www-authenticate", "Swift realm=\"unknown\"")
}

/// User and key of a request.
fn parse(request: &request::Parts) -> Result<(String, &str)> {
    let bad_request = || SwiftError::refused(StatusCode::BAD_REQUEST, "");
    if request.method != Method::GET {
        return Err(bad_request());
    }
    let path = request.uri.path();
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let account_in_path = match words.as_slice() {
        ["auth", "v1" | "v1.0"] | ["auth", "auth"] => None,
        ["auth", "v1", account, "auth"] => Some(*account),
        _ => return Err(bad_request()),
    };
    let headers = &request.headers;
    let user = header(headers, "x-storage-user").or_else(|| header(headers, "x-auth-user"));
    let key = header(headers, "x-storage-pass").or_else(|| header(headers, "x-auth-key"));
    let (Some(user), Some(key)) = (user, key) else { return Err(unauthorized()) };
    match account_in_path {
        Some(account) if !user.contains(':') => Ok((format!("{account}:{user}"), key)),
        Some(account) if !user.starts_with(&format!("{account}:")) => Err(unauthorized()),
        _ => Ok((user.to_owned(), key)),
    }
}

pub(super) async fn sign_in(deps: &ProxyDeps, request: &request::Parts) -> Result<Reply> {
    let (user, key) = parse(request)?;
    let now = deps.clock.now().as_secs();
    let address = request.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let failed = &deps.auth.failed;
    if let Some(seconds) = failed.wait(address, &user, now) {
        let text = format!("Too many failed sign-ins; try again in {seconds} seconds.\n");
        return Err(SwiftError::refused(StatusCode::TOO_MANY_REQUESTS, text)
            .with_header("retry-after", seconds.to_string()));
    }
    let base = deps
        .config
        .public_url
        .base(&request.headers)
        .ok_or_else(|| SwiftError::refused(StatusCode::BAD_REQUEST, "Invalid Host header"))?;
    match tokens::sign_in(deps, &user, key, &base).await? {
        Some(signed_in) => Ok(render(&signed_in)),
        None => {
            failed.note(address, &user, now);
            Err(unauthorized())
        }
    }
}

fn render(signed_in: &SignIn) -> Reply {
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "x-auth-token", &signed_in.token);
    set(out, "x-storage-token", &signed_in.token);
    set(out, "x-auth-token-expires", &TOKEN_LIFE_SECONDS.to_string());
    set(out, "x-storage-url", &signed_in.storage_url);
    set(out, "content-type", "text/plain; charset=UTF-8");
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn user_and_account_may_be_in_headers_and_path() {
        let parsed = |path: &str, user: &str| {
            let request = Request::builder().uri(path);
            let request = request.header("x-auth-user", user).header("x-auth-key", "k");
            let (request, ()) = request.body(()).unwrap().into_parts();
            parse(&request).map(|(user, _)| user).map_err(|error| error.status().as_u16())
        };
        for (path, user, expected) in [
            ("/auth/v1.0", "a:u", Ok("a:u")),
            ("/auth/v1/", "a:u", Ok("a:u")),
            ("/auth/v1/a/auth", "u", Ok("a:u")),
            ("/auth/v1/a/auth", "a:u", Ok("a:u")),
            ("/auth/v1/a/auth", "b:u", Err(401)),
            ("/auth/v2", "a:u", Err(400)),
        ] {
            assert_eq!(parsed(path, user), expected.map(str::to_owned), "{path} {user}");
        }
        let head = Request::builder().method(Method::HEAD).uri("/auth/v1.0");
        let refused = parse(&head.body(()).unwrap().into_parts().0).unwrap_err();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}
