//! Container verbs.

use apus_cluster::metadata::{Resource, has_prefix};
use apus_cluster::{ContainerPath, Metadata, Timestamp};
use apus_daemon::http::{full, set, status};
use apus_store::operation::{
    ContainerHead, DeleteContainer, HeadContainer, ListObjects, PostContainer, PutContainer,
};
use apus_store::{Error, Result};
use http::{HeaderMap, Method, StatusCode};

use super::error::{Reply, html_error};
use super::listing::{self, Format};
use super::request::{Path, SwiftRequest};
use crate::auth::acl;
use crate::edge::Parts;

/// Headers besides user metadata that a client may set.
const SETTABLE: [&str; 4] =
    ["X-Container-Read", "X-Container-Write", "X-Container-Sync-Key", "X-Container-Sync-To"];

fn target(request: &SwiftRequest) -> Result<ContainerPath> {
    match &request.path {
        Path::Container(container) => Ok(container.clone()),
        Path::Account(_) | Path::Object(_) => Err(Error::invalid("expected a container")),
    }
}

fn describe(parts: &Parts, head: &ContainerHead, out: &mut HeaderMap) {
    for (name, value) in &head.headers {
        let hidden = has_prefix(name, "X-Backend-")
            || has_prefix(name, Resource::Container.system_prefix())
            || name == "X-Put-Timestamp";
        let owners_only =
            SETTABLE.contains(&name.as_str()) || name.starts_with("X-Container-Meta-Temp-Url-Key");
        if !hidden && (head.owner || !owners_only) {
            set(out, name, value);
        }
    }
    if let Some(policy) = parts.policies.get(head.policy) {
        set(out, "x-storage-policy", &policy.name);
    }
    let put = head.headers.get("X-Put-Timestamp").and_then(|text| Timestamp::parse(text));
    set(out, "last-modified", &super::object_read::http_date(put.unwrap_or(head.created)));
    set(out, "accept-ranges", "bytes");
}

pub(super) async fn get(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let format = match listing::format(&request) {
        Ok(format) => format,
        Err(refusal) => return Ok(*refusal),
    };
    let container = target(&request)?;
    let cx = if request.flag("x-newest") { request.cx.strong() } else { request.cx.clone() };
    if request.head.method == Method::HEAD {
        let head = parts.store.head_container(&cx, HeadContainer { container }).await?;
        let mut response = status(StatusCode::NO_CONTENT);
        describe(parts, &head, response.headers_mut());
        set(response.headers_mut(), "content-type", format.content_type());
        return Ok(response);
    }
    let query = listing::query(&request, parts.constraints.container_listing_limit)?;
    let path = container.clone();
    let list = parts.store.list_objects(&cx, ListObjects { container, query }).await?;
    let body = listing::objects(format, &path, list.page)?;
    let empty = body.is_empty() && format == Format::Plain;
    let mut response = status(if empty { StatusCode::NO_CONTENT } else { StatusCode::OK });
    if !empty {
        *response.body_mut() = full(body);
    }
    describe(parts, &list.head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    Ok(response)
}

fn metadata(request: &SwiftRequest) -> Result<Metadata> {
    let mut metadata = request.metadata(Resource::Container, &SETTABLE)?;
    for name in ["X-Container-Read", "X-Container-Write"] {
        if let Some(value) = metadata.get_mut(name) {
            *value = acl::clean(name, value).map_err(Error::invalid)?;
        }
    }
    Ok(metadata)
}

pub(super) async fn put(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    request.check_name_lengths()?;
    let container = target(&request)?;
    let policy = match request.header("x-storage-policy").filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => {
            let policy = parts
                .policies
                .by_name(name)
                .ok_or_else(|| Error::invalid(format!("Invalid X-Storage-Policy {name:?}")))?;
            if policy.is_deprecated {
                return Err(Error::invalid(format!("Storage Policy {name:?} is deprecated")));
            }
            Some(policy.index)
        }
    };
    let metadata = metadata(&request)?;
    let op = PutContainer { container, metadata, policy };
    let created = parts.store.put_container(&request.cx, op).await?;
    if created {
        let mut response = status(StatusCode::CREATED);
        set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
        return Ok(response);
    }
    Ok(html_error(StatusCode::ACCEPTED))
}

pub(super) async fn post(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let container = target(&request)?;
    let metadata = metadata(&request)?;
    parts.store.post_container(&request.cx, PostContainer { container, metadata }).await?;
    let mut response = status(StatusCode::NO_CONTENT);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    Ok(response)
}

pub(super) async fn delete(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let container = target(&request)?;
    parts.store.delete_container(&request.cx, DeleteContainer { container }).await?;
    let mut response = status(StatusCode::NO_CONTENT);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    Ok(response)
}
