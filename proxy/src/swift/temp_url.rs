//! Requests with temporary URLs: the rights that they have, and the headers of their responses.
//!
//! Source: `swift/common/middleware/tempurl.py`.

use std::net::IpAddr;

use apus_cluster::metadata::title_case;
use apus_cluster::{ContainerPath, Metadata, percent};
use apus_daemon::http::{format_date, header, set};
use apus_store::Context;
use apus_store::access::{Identity, TemporaryGrant};
use apus_store::operation::{HeadAccount, HeadContainer};
use http::{HeaderMap, HeaderName, StatusCode};

use super::error::{Result, SwiftError};
use super::error_response;
use super::path::Path;
use super::request::SwiftRequest;
use super::static_web::{self, GeneratedPage};
use crate::auth::temp_url::{HeaderPatterns, TempUrl};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Name of our own authority.
const SYSTEM: &str = "tempurl";
/// Headers that would let the URL of one object open another one.
const DISALLOWED: [&str; 2] = ["x-object-manifest", "x-symlink-target"];
/// Parameters that a request with a temporary URL may have; others are ignored.
const PARAMETERS: [&str; 6] = [
    "temp_url_sig",
    "temp_url_expires",
    "temp_url_prefix",
    "temp_url_ip_range",
    "filename",
    "inline",
];

fn invalid() -> SwiftError {
    SwiftError::refused_as_html(StatusCode::UNAUTHORIZED, "401 Unauthorized: Temp URL invalid\n")
}

fn keep(headers: &mut HeaderMap, remove: &HeaderPatterns, allow: &HeaderPatterns) {
    let is_removed =
        |name: &&HeaderName| remove.matches(name.as_str()) && !allow.matches(name.as_str());
    let removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// The methods for which a URL that is used with `method` may have been signed.
fn signed_methods(method: &str) -> &[&str] {
    match method {
        "HEAD" => &["HEAD", "GET", "POST", "PUT"],
        "GET" => &["GET"],
        "PUT" => &["PUT"],
        "POST" => &["POST"],
        "DELETE" => &["DELETE"],
        _ => &[],
    }
}

/// The keys in the metadata of an account or container.
fn keys(metadata: &Metadata, resource: &str) -> Vec<String> {
    let key = |suffix: &str| metadata.get(&format!("X-{resource}-Meta-Temp-Url-Key{suffix}"));
    let keys = [key(""), key("-2")].into_iter().flatten();
    keys.filter(|key| !key.is_empty()).cloned().collect()
}

/// The keys of a container's account, and those of the container. A resource that cannot be read has
/// none.
pub(super) async fn keys_of(
    deps: &ProxyDeps,
    cx: &Context,
    container: &ContainerPath,
) -> [Vec<String>; 2] {
    let system = cx.as_system(SYSTEM);
    let account = HeadAccount { account: container.account.clone() };
    let account = deps.store.head_account(&system, account).await;
    let info = HeadContainer { container: container.clone() };
    let info = deps.store.container_info(&system, info).await;
    [
        account.map(|head| keys(&head.headers, "Account")).unwrap_or_default(),
        info.map(|info| keys(&info.headers, "Container")).unwrap_or_default(),
    ]
}

/// What a valid URL opens: everything of the account or of the container whose key signed it, as the
/// segments of a large object must be readable.
async fn granted(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    url: &TempUrl,
    (container, object): (&ContainerPath, &str),
) -> Option<TemporaryGrant> {
    let path = url.signed_path(&container.to_string(), object)?;
    let methods = signed_methods(request.head.method.as_str());
    let signs = |key: &String| methods.iter().any(|method| url.is_signed(method, &path, key));
    let system = request.cx.as_system(SYSTEM);
    let account = HeadAccount { account: container.account.clone() };
    let account = deps.store.head_account(&system, account).await;
    let grant = TemporaryGrant { account: container.account.clone(), container: None };
    if account.is_ok_and(|head| keys(&head.headers, "Account").iter().any(signs)) {
        return Some(grant);
    }
    let info = HeadContainer { container: container.clone() };
    let info = deps.store.container_info(&system, info).await.ok()?;
    let is_signed = keys(&info.headers, "Container").iter().any(signs);
    let container = Some(container.container.clone());
    is_signed.then_some(TemporaryGrant { container, ..grant })
}

/// Checks a request with a temporary URL, and gives it the rights of the URL and no others.
///
/// # Errors
/// 401 when the URL is not valid, 400 for headers that it does not allow.
pub(super) async fn admit(
    deps: &ProxyDeps,
    request: &mut SwiftRequest,
    peer: Option<IpAddr>,
) -> Result<TempUrl> {
    let Some(config) = &deps.config.temp_url else { return Err(invalid()) };
    let url = TempUrl::parse(&request.query, deps.clock.now().as_secs()).map_err(|_| invalid())?;
    let method = request.head.method.as_str();
    let is_allowed = config.digests.contains(&url.digest)
        && config.methods.iter().any(|allowed| allowed == method)
        && request.head.uri.path().starts_with("/v1/")
        && url.allows_address(peer);
    // The root of a container is opened as a page of a web site alone.
    let (container, object) = match request.path.clone() {
        Path::Object(object) => (object.container.clone(), object.object.to_string()),
        Path::Container(container) if static_web::applies(deps, request) => {
            (container, String::new())
        }
        Path::Account(_) | Path::Container(_) => return Err(invalid()),
    };
    if !is_allowed || (object.is_empty() && url.prefix.as_deref() != Some("")) {
        return Err(invalid());
    }
    let grant = granted(deps, request, &url, (&container, &object)).await.ok_or_else(invalid)?;
    if !matches!(request.head.method.as_str(), "GET" | "HEAD")
        && let Some(name) = DISALLOWED.iter().find(|name| request.header(name).is_some())
    {
        let name = title_case(name);
        let text = format!("The header '{name}' is not allowed in this tempurl");
        return Err(SwiftError::refused(StatusCode::BAD_REQUEST, text));
    }
    keep(&mut request.head.headers, &config.incoming_remove, &config.incoming_allow);
    if request.header("x-open-expired").is_none() {
        request.cx.open_expired = false;
    }
    request.query.retain(|(name, _)| PARAMETERS.contains(&name.as_str()));
    let identity = Identity { grant: Some(grant), ..Identity::default() };
    request.cx.identity = std::sync::Arc::new(identity);
    Ok(url)
}

/// Removes headers that the URL does not open, and adds those by which a browser saves the object.
pub(super) fn render(deps: &ProxyDeps, request: &SwiftRequest, url: &TempUrl, reply: &mut Reply) {
    let is_read = matches!(request.head.method.as_str(), "GET" | "HEAD");
    let is_success = reply.status().is_success();
    let out = reply.headers_mut();
    if let Some(config) = &deps.config.temp_url {
        keep(out, &config.outgoing_remove, &config.outgoing_allow);
    }
    if !is_read || !is_success {
        return;
    }
    let is_page = reply.extensions().get::<GeneratedPage>().is_some();
    let name = match &request.path {
        Path::Object(object) => object.object.as_str(),
        Path::Account(_) | Path::Container(_) if is_page => "",
        Path::Account(_) | Path::Container(_) => {
            *reply = error_response::render(&invalid());
            return;
        }
    };
    let out = reply.headers_mut();
    let mut url = url.clone();
    // A browser shows a page, and does not save it.
    url.inline |= is_page;
    let disposition = disposition(&url, header(out, "content-disposition"), name);
    set(out, "content-disposition", &disposition);
    set(out, "expires", &format_date(url.expires));
}

/// How a browser saves the object: as the URL says, or else its metadata, or else by its name.
fn disposition(url: &TempUrl, stored: Option<&str>, object: &str) -> String {
    let named = |kind: &str, name: &str| {
        let mut quoted = String::new();
        percent::encode_into(&mut quoted, name.as_bytes(), b" /");
        format!("{kind}; filename=\"{quoted}\"; filename*=UTF-8''{}", percent::encode_path(name))
    };
    match (&url.filename, stored) {
        (Some(name), _) if url.inline => named("inline", name),
        (None, _) if url.inline => "inline".to_owned(),
        (Some(name), _) => named("attachment", name),
        (None, Some(stored)) => stored.to_owned(),
        (None, None) => {
            let name = object.trim_end_matches('/');
            named("attachment", name.rsplit('/').next().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(pairs: &[(&str, &str)]) -> TempUrl {
        let signature = "0".repeat(64);
        let mut all = vec![("temp_url_sig", signature.as_str()), ("temp_url_expires", "5")];
        all.extend(pairs);
        let all: Vec<_> =
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TempUrl::parse(&all, 1).unwrap()
    }

    #[test]
    fn a_browser_saves_the_object_under_a_name() {
        for (pairs, stored, expected) in [
            (&[][..], None, "attachment; filename=\"o \\u\"; filename*=UTF-8''o%20%C3%BC"),
            (&[], Some("inline"), "inline"),
            (&[("inline", "")], Some("attachment"), "inline"),
            (
                &[("filename", "a\"b")],
                None,
                "attachment; filename=\"a%22b\"; filename*=UTF-8''a%22b",
            ),
            (
                &[("filename", "f"), ("inline", "")],
                None,
                "inline; filename=\"f\"; filename*=UTF-8''f",
            ),
        ] {
            let expected = expected.replace("\\u", "%C3%BC");
            assert_eq!(disposition(&url(pairs), stored, "d/o ü/"), expected, "{pairs:?}");
        }
    }

    #[test]
    fn headers_are_removed_by_name_and_by_prefix() {
        let mut headers = HeaderMap::new();
        for name in ["x-object-meta-a", "x-object-meta-public-b", "x-timestamp", "etag"] {
            headers.insert(HeaderName::from_static(name), "1".parse().unwrap());
        }
        let remove = HeaderPatterns::parse("X-Object-Meta-* x-timestamp");
        keep(&mut headers, &remove, &HeaderPatterns::parse("x-object-meta-public-*"));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["etag", "x-object-meta-public-b"]);
    }

    #[test]
    fn a_head_may_use_the_url_of_another_method() {
        assert!(
            signed_methods("HEAD").contains(&"PUT") && !signed_methods("HEAD").contains(&"DELETE")
        );
        assert_eq!(signed_methods("PUT"), ["PUT"]);
        assert!(signed_methods("COPY").is_empty());
    }
}
