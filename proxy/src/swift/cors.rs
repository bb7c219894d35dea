//! Requests from web pages of other origins: preflights, and the headers of responses.
//!
//! A container's metadata names the origins (`X-Container-Meta-Access-Control-Allow-Origin`), the headers
//! that pages may read and how long a preflight is valid. It is read for requests with `Origin` only.
//!
//! Source: `OPTIONS`, `is_origin_allowed` and `cors_validation` in `swift/proxy/controllers/base.py`.

use std::collections::BTreeSet;

use apus_cluster::Metadata;
use apus_daemon::http::{header, set, status};
use apus_store::operation::HeadContainer;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::error::{Result, SwiftError};
use super::path::Path;
use super::request::SwiftRequest;
use crate::config::ProxyConfig;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Name of our own authority.
const SYSTEM: &str = "cors";
/// Response headers that pages may read of every container.
const EXPOSED: [&str; 10] = [
    "cache-control",
    "content-language",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "pragma",
    "x-openstack-request-id",
    "x-timestamp",
    "x-trans-id",
];

/// A container's settings for pages of other origins, with those of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
struct OriginRules {
    /// Allowed origins.
    origins: Vec<String>,
    /// Whether the container allows all origins.
    is_open: bool,
    /// Headers that pages may read, in lower case.
    expose: Vec<String>,
    /// Time for which a browser may keep the response to a preflight, as the client set it.
    max_age: Option<String>,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').map(str::trim).filter(|word| !word.is_empty())
}

impl OriginRules {
    fn of(container: &Metadata, config: &ProxyConfig) -> Self {
        let get = |name: &str| {
            let name = format!("X-Container-Meta-Access-Control-{name}");
            container.get(&name).map(String::as_str)
        };
        let own = get("Allow-Origin").unwrap_or_default();
        let cluster = config.cors_allow_origin.iter().map(String::as_str);
        let exposed = words(get("Expose-Headers").unwrap_or_default());
        let cluster_exposed = config.cors_expose_headers.iter().map(String::as_str);
        Self {
            origins: words(own).chain(cluster).map(str::to_owned).collect(),
            is_open: own.trim() == "*",
            expose: exposed.chain(cluster_exposed).map(str::to_ascii_lowercase).collect(),
            max_age: get("Max-Age").map(str::to_owned),
        }
    }

    fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin || allowed == "*")
    }

    /// Names the origin; the response depends on it unless all are allowed.
    fn set_origin(&self, origin: &str, out: &mut HeaderMap) {
        if self.is_open {
            set(out, "access-control-allow-origin", "*");
        } else {
            set(out, "access-control-allow-origin", origin);
            out.append("vary", HeaderValue::from_static("Origin"));
        }
    }

    /// Adds the headers that let a page read a response.
    fn add(&self, origin: &str, is_strict: bool, out: &mut HeaderMap) {
        if is_strict && !self.allows(origin) {
            return;
        }
        let is_meta =
            |name: &&str| name.starts_with("x-container-meta") || name.starts_with("x-object-meta");
        let own: Vec<String> =
            out.keys().map(http::HeaderName::as_str).filter(is_meta).map(str::to_owned).collect();
        let exposed: BTreeSet<&str> = EXPOSED
            .into_iter()
            .chain(own.iter().map(String::as_str))
            .chain(self.expose.iter().map(String::as_str))
            .collect();
        let exposed: Vec<&str> = exposed.into_iter().collect();
        set(out, "access-control-expose-headers", &exposed.join(", "));
        self.set_origin(origin, out);
    }
}

async fn rules(deps: &ProxyDeps, request: &SwiftRequest) -> OriginRules {
    let container = match &request.path {
        Path::Account(_) => return OriginRules::of(&Metadata::new(), &deps.config),
        Path::Container(container) => container.clone(),
        Path::Object(object) => object.container.clone(),
    };
    let cx = request.cx.as_system(SYSTEM);
    match deps.store.head_container(&cx, HeadContainer { container }).await {
        Ok(head) => OriginRules::of(&head.headers, &deps.config),
        // As in Swift, a container that is not found has no rules of its own.
        Err(error) => {
            tracing::debug!(%error, "no rules for other origins");
            OriginRules::of(&Metadata::new(), &deps.config)
        }
    }
}

/// The rules for the origin of a request to a container or object; `None` without an origin.
pub(super) struct PageOrigin {
    origin: String,
    rules: OriginRules,
}

impl PageOrigin {
    /// Reads the rules before the request, which may delete the container.
    pub(super) async fn of(deps: &ProxyDeps, request: &SwiftRequest) -> Option<Self> {
        let is_read = request.head.method != http::Method::OPTIONS;
        let origin = request.header("origin").filter(|origin| !origin.is_empty() && is_read)?;
        let origin = origin.to_owned();
        if matches!(request.path, Path::Account(_)) {
            return None;
        }
        let rules = rules(deps, request).await;
        Some(Self { origin, rules })
    }

    /// Adds the headers that let the page read a response.
    pub(super) fn add(&self, config: &ProxyConfig, out: &mut HeaderMap) {
        self.rules.add(&self.origin, config.strict_cors_mode, out);
    }
}

/// Responds to `OPTIONS`, which is a preflight if it has an origin.
pub(super) async fn options(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    allowed: &'static str,
) -> Result<Reply> {
    let mut response = status(StatusCode::OK);
    let out = response.headers_mut();
    set(out, "allow", allowed);
    let headers = &request.head.headers;
    let Some(origin) = header(headers, "origin").filter(|origin| !origin.is_empty()) else {
        return Ok(response);
    };
    let rules = rules(deps, request).await;
    let method = header(headers, "access-control-request-method").unwrap_or_default();
    if !rules.allows(origin) || !allowed.split(", ").any(|known| known == method) {
        return Err(SwiftError::refused(StatusCode::UNAUTHORIZED, "").with_header("allow", allowed));
    }
    rules.set_origin(origin, out);
    if let Some(seconds) = &rules.max_age {
        set(out, "access-control-max-age", seconds);
    }
    set(out, "access-control-allow-methods", allowed);
    // Every header that is asked for is allowed.
    let asked = header(headers, "access-control-request-headers").unwrap_or_default();
    let asked: Vec<&str> =
        asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if !asked.is_empty() {
        set(out, "access-control-allow-headers", &asked.join(", "));
        out.append("vary", HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &str, cluster: &[&str]) -> OriginRules {
        let name = "X-Container-Meta-Access-Control-Allow-Origin".to_owned();
        let config = ProxyConfig {
            cors_allow_origin: cluster.iter().map(|origin| (*origin).to_owned()).collect(),
            ..ProxyConfig::default()
        };
        OriginRules::of(&Metadata::from([(name, origins.to_owned())]), &config)
    }

    #[test]
    fn an_origin_is_allowed_by_the_container_or_the_cluster() {
        for (origins, cluster, allowed, is_open) in [
            ("", &[][..], false, false),
            ("http://a", &[], true, false),
            ("http://b  http://a", &[], true, false),
            ("http://b", &[], false, false),
            ("http://A", &[], false, false),
            ("*", &[], true, true),
            ("http://b *", &[], true, false),
            ("", &["http://a"], true, false),
            ("", &["*"], true, false),
        ] {
            let rules = rules(origins, cluster);
            assert_eq!((rules.allows("http://a"), rules.is_open), (allowed, is_open), "{origins}");
        }
    }

    #[test]
    fn only_allowed_origins_get_headers_unless_the_mode_is_lax() {
        for (origins, strict, shown) in [
            ("http://a", true, Some("http://a")),
            ("*", true, Some("*")),
            ("http://b", true, None),
            ("http://b", false, Some("http://a")),
        ] {
            let mut out = HeaderMap::new();
            out.insert("x-object-meta-colour", HeaderValue::from_static("red"));
            rules(origins, &[]).add("http://a", strict, &mut out);
            assert_eq!(header(&out, "access-control-allow-origin"), shown, "{origins} {strict}");
            let exposed = header(&out, "access-control-expose-headers").unwrap_or_default();
            assert_eq!(exposed.contains("x-object-meta-colour"), shown.is_some());
            let varies = shown == Some("http://a");
            assert_eq!(header(&out, "vary"), varies.then_some("Origin"));
        }
    }
}
