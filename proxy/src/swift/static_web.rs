//! Static web sites from containers: index pages, error pages and listings for browsers.
//!
//! A container's metadata names the pages. Requests without a user, with a temporary URL or with
//! `X-Web-Mode: true` are served so, with their own rights.
//!
//! Source: `swift/common/middleware/staticweb.py`.

use apus_cluster::listing::{ListQuery, ObjectEntry, ObjectRow};
use apus_cluster::{ContainerPath, ObjectName, percent};
use apus_daemon::http::{header, set};
use apus_policy::Permission;
use apus_store::operation::{Authorize, HeadContainer, ListObjects};
use http::{Method, StatusCode};

use super::error::{Result, SwiftError};
use super::listing::ListedObject;
use super::page::html_error;
use super::path::Path;
use super::request::SwiftRequest;
use super::static_web_page::{self, ListingPage};
use super::{container, error_response, object_read};
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Name of our own authority.
const SYSTEM: &str = "staticweb";

/// Marks the response that is a page of this module, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct GeneratedPage;

/// The settings of a site.
#[derive(Debug, Default)]
pub(super) struct Site {
    index: String,
    error: String,
    pub(super) listings: String,
    pub(super) label: String,
    pub(super) css: String,
    directory_type: String,
}

impl Site {
    async fn of(deps: &ProxyDeps, request: &SwiftRequest, container: &ContainerPath) -> Self {
        let system = request.cx.as_system(SYSTEM);
        let op = HeadContainer { container: container.clone() };
        let Ok(info) = deps.store.container_info(&system, op).await else { return Self::default() };
        let text = |name: &str| {
            let value = info.headers.get(&format!("X-Container-Meta-Web-{name}"));
            value.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        Self {
            index: text("Index"),
            error: text("Error"),
            listings: text("Listings"),
            label: text("Listings-Label"),
            css: text("Listings-Css"),
            directory_type: text("Directory-Type"),
        }
    }

    fn is_off(&self) -> bool {
        self.index.is_empty() && self.listings.is_empty()
    }

    /// The index page, for messages.
    pub(super) fn index(&self) -> &str {
        &self.index
    }

    /// Whether a response is that of an object that stands for a directory.
    fn is_directory(&self, reply: &Reply) -> bool {
        let kind = match self.directory_type.as_str() {
            "" => "application/directory",
            kind => kind,
        };
        let length = header(reply.headers(), "content-length").and_then(|text| text.parse().ok());
        header(reply.headers(), "content-type") == Some(kind) && length.unwrap_or(0_u64) <= 1
    }
}

/// Whether a request is served as one of a browser.
pub(super) fn applies(deps: &ProxyDeps, request: &SwiftRequest) -> bool {
    deps.config.static_web.is_some()
        && matches!(request.head.method.as_str(), "GET" | "HEAD")
        && (request.cx.identity.user.is_none() || request.flag("x-web-mode"))
}

fn is_read(reply: &Reply) -> bool {
    reply.status().is_success() || reply.status().is_redirection()
}

/// The read of an object as it is.
async fn read(deps: &ProxyDeps, request: &SwiftRequest) -> Reply {
    let read = match request.head.method {
        Method::HEAD => object_read::head(deps, request).await,
        _ => object_read::get(deps, request).await,
    };
    read.unwrap_or_else(|error| error_response::render(&error))
}

/// The read of another object of the container.
async fn read_named(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    container: &ContainerPath,
    name: &str,
) -> Reply {
    match ObjectName::parse(name) {
        Ok(name) => read(deps, &request.at(Path::Object(container.object(name)))).await,
        Err(_) => html_error(StatusCode::NOT_FOUND),
    }
}

/// Replaces a response by the site's page for its status, if it has one.
async fn with_error_page(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    (container, site): (&ContainerPath, &Site),
    reply: Reply,
) -> Reply {
    if site.error.is_empty() {
        return reply;
    }
    let name = format!("{}{}", reply.status().as_u16(), site.error);
    let Ok(name) = ObjectName::parse(&name) else { return reply };
    let mut get = request.at(Path::Object(container.object(name)));
    get.head.method = Method::GET;
    let mut page = read(deps, &get).await;
    if !page.status().is_success() {
        return reply;
    }
    *page.status_mut() = reply.status();
    page
}

/// The redirect to the same path with a slash.
fn redirect(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let own = deps.config.static_web.as_ref().map(|config| &config.url_base);
    let base = own.filter(|base| base.is_set()).unwrap_or(&deps.config.public_url);
    let base = base.base(&request.head.headers).ok_or_else(|| {
        SwiftError::refused(StatusCode::BAD_REQUEST, "Host: expected a host and perhaps a port")
    })?;
    let mut response = html_error(StatusCode::MOVED_PERMANENTLY);
    let location = format!("{base}{}/", request.head.uri.path());
    set(response.headers_mut(), "location", &location);
    Ok(response)
}

fn has_slash(request: &SwiftRequest) -> bool {
    request.head.uri.path().ends_with('/')
}

/// Serves a GET or HEAD of a container.
pub(super) async fn of_container(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let own = request.container()?.clone();
    let site = Site::of(deps, request, &own).await;
    let authorize = Authorize::container(Permission::ListBucket, own.clone());
    if let Err(error) = deps.store.authorize(&request.cx, authorize).await {
        let reply = error_response::render(&error.into());
        return Ok(with_error_page(deps, request, (&own, &site), reply).await);
    }
    if site.is_off() {
        return match &request.head.method {
            _ if request.flag("x-web-mode") => Ok(html_error(StatusCode::NOT_FOUND)),
            &Method::HEAD => container::head(deps, request).await,
            _ => container::get(deps, request).await,
        };
    }
    if !has_slash(request) {
        return redirect(deps, request);
    }
    if site.index.is_empty() {
        return Ok(listing(deps, request, (&own, &site), "").await);
    }
    let index = read_named(deps, request, &own, &site.index).await;
    Ok(match index.status() {
        StatusCode::NOT_FOUND => listing(deps, request, (&own, &site), "").await,
        _ if is_read(&index) => index,
        _ => with_error_page(deps, request, (&own, &site), index).await,
    })
}

/// Serves a GET or HEAD of an object, which may be a directory of the site.
pub(super) async fn of_object(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let object = request.object()?.clone();
    let reply = read(deps, request).await;
    if !is_read(&reply) && reply.status() != StatusCode::NOT_FOUND {
        return Ok(reply);
    }
    let own = &object.container;
    let site = Site::of(deps, request, own).await;
    if (is_read(&reply) && !site.is_directory(&reply)) || site.is_off() {
        return Ok(reply);
    }
    let name = object.object.as_str();
    let directory = format!("{}/", name.trim_end_matches('/'));
    if !site.index.is_empty() {
        let index = if has_slash(request) { name } else { &directory };
        let index = read_named(deps, request, own, &format!("{index}{}", site.index)).await;
        match index.status() {
            StatusCode::NOT_FOUND => {}
            _ if is_read(&index) && !has_slash(request) => return redirect(deps, request),
            _ => return Ok(index),
        }
    }
    if has_slash(request) {
        return Ok(listing(deps, request, (own, &site), name).await);
    }
    let below = ListQuery {
        limit: 1,
        prefix: Some(format!("{name}/")),
        delimiter: "/".to_owned(),
        ..ListQuery::default()
    };
    let found = list(deps, request, own, below).await;
    if found.is_ok_and(|entries| !entries.is_empty()) {
        return redirect(deps, request);
    }
    let missing = html_error(StatusCode::NOT_FOUND);
    Ok(with_error_page(deps, request, (own, &site), missing).await)
}

async fn list(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    container: &ContainerPath,
    query: ListQuery,
) -> apus_store::Result<Vec<ObjectEntry>> {
    let op = ListObjects { container: container.clone(), query };
    deps.store.list_objects(&request.cx, op).await?.page.entries()
}

/// The page that lists a directory.
async fn listing(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    (container, site): (&ContainerPath, &Site),
    prefix: &str,
) -> Reply {
    let path = percent::decode_utf8(request.head.uri.path()).unwrap_or_default();
    if !apus_daemon::config::value::flag(&site.listings).unwrap_or(false) {
        let page = static_web_page::disabled(site, &path, prefix);
        return with_error_page(deps, request, (container, site), page).await;
    }
    let query = ListQuery {
        limit: request.constraints.container_listing_limit,
        prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
        delimiter: "/".to_owned(),
        ..ListQuery::default()
    };
    let entries = match list(deps, request, container, query).await {
        Ok(entries) if entries.is_empty() && !prefix.is_empty() => {
            let missing = html_error(StatusCode::NOT_FOUND);
            return with_error_page(deps, request, (container, site), missing).await;
        }
        Ok(entries) => entries,
        Err(error) => {
            let refused = error_response::render(&error.into());
            return with_error_page(deps, request, (container, site), refused).await;
        }
    };
    let mut page = ListingPage::new(site, &path, prefix, &request.query);
    for entry in &entries {
        if let ObjectEntry::Subdir(name) = entry {
            page.directory(name);
        }
    }
    for entry in &entries {
        if let ObjectEntry::Object(row) = entry {
            page.object(row, &shown(row, container));
        }
    }
    let mut reply = page.finish();
    reply.extensions_mut().insert(GeneratedPage);
    reply
}

fn shown(row: &ObjectRow, container: &ContainerPath) -> ListedObject {
    ListedObject::of(row, &container.account)
}
