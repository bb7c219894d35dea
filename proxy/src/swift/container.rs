//! Container verbs.

use apus_bucket::quota;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_cluster::{Metadata, Policies, PolicyIndex, Timestamp};
use apus_daemon::http::{set, status};
use apus_store::Error;
use apus_store::operation::{
    ContainerHead, DeleteContainer, HeadContainer, ListObjects, ObjectList, PostContainer,
    PutContainer,
};
use http::{HeaderMap, StatusCode};

use super::error::Result;
use super::etag_quoter::QuotedIn;
use super::format::Format;
use super::listing;
use super::object_head::http_date;
use super::page::{empty_page, html_error};
use super::request::SwiftRequest;
use super::versions;
use crate::auth::acl;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// Headers that a client may set, in addition to user metadata.
const SETTABLE: [&str; 4] =
    ["X-Container-Read", "X-Container-Write", "X-Container-Sync-Key", "X-Container-Sync-To"];

/// Sets the headers of a container that the client may see.
pub(super) fn set_headers(policies: &Policies, head: &ContainerHead, out: &mut HeaderMap) {
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
    versions::set_container_headers(head, out);
    if let Some(policy) = policies.get(head.policy) {
        set(out, "x-storage-policy", &policy.name);
    }
    let put = head.headers.get("X-Put-Timestamp").and_then(|text| Timestamp::parse(text));
    set(out, "last-modified", &http_date(put.unwrap_or(head.created)));
    set(out, "accept-ranges", "bytes");
}

/// The context of a read: strong with `X-Newest`.
pub(super) fn read_context(request: &SwiftRequest) -> apus_store::Context {
    match request.flag("x-newest") {
        true => request.cx.strong(),
        false => request.cx.clone(),
    }
}

pub(super) async fn head(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let format = request.format()?;
    let op = HeadContainer { container: request.container()?.clone() };
    let head = deps.store.head_container(&read_context(request), op).await?;
    let mut response = render_head(&deps.policies, format, &head);
    QuotedIn::Container.show(deps, &head.headers, response.headers_mut());
    Ok(response)
}

fn render_head(policies: &Policies, format: Format, head: &ContainerHead) -> Reply {
    let mut response = status(StatusCode::NO_CONTENT);
    set_headers(policies, head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    response
}

pub(super) async fn get(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let format = request.format()?;
    let op = parse_get(request)?;
    let list = deps.store.list_objects(&read_context(request), op).await?;
    let headers = list.head.headers.clone();
    let mut response = render_get(&deps.policies, request, format, list)?;
    QuotedIn::Container.show(deps, &headers, response.headers_mut());
    Ok(response)
}

fn parse_get(request: &SwiftRequest) -> Result<ListObjects> {
    let container = request.container()?.clone();
    let query = listing::parse(request, request.constraints.container_listing_limit)?;
    Ok(ListObjects { container, query })
}

fn render_get(
    policies: &Policies,
    request: &SwiftRequest,
    format: Format,
    list: ObjectList,
) -> Result<Reply> {
    let page = listing::objects(format, request.container()?, list.page)?;
    let mut response = listing::reply(format, page);
    set_headers(policies, &list.head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    Ok(response)
}

/// The metadata that a request sets, with its access control lists and quotas checked.
fn metadata(request: &SwiftRequest) -> Result<Metadata> {
    let mut metadata = request.metadata(Resource::Container, &SETTABLE)?;
    for (name, text) in [
        (quota::CONTAINER_BYTES, "Invalid bytes quota."),
        (quota::CONTAINER_COUNT, "Invalid count quota."),
    ] {
        if metadata.get(name).is_some_and(|value| !value.is_empty() && !quota::is_quota(value)) {
            return Err(Error::invalid(text).into());
        }
    }
    for name in ["X-Container-Read", "X-Container-Write"] {
        if let Some(value) = metadata.get_mut(name) {
            *value = acl::clean(name, value).map_err(|error| Error::invalid(error.to_string()))?;
        }
    }
    metadata.extend(versions::archive(request)?);
    Ok(metadata)
}

/// The storage policy that a request names.
fn policy(policies: &Policies, request: &SwiftRequest) -> Result<Option<PolicyIndex>> {
    let Some(name) = request.given("x-storage-policy") else { return Ok(None) };
    let policy = policies
        .by_name(name)
        .ok_or_else(|| Error::invalid(format!("Invalid X-Storage-Policy {name:?}")))?;
    if policy.is_deprecated {
        return Err(Error::invalid(format!("Storage Policy {name:?} is deprecated")).into());
    }
    Ok(Some(policy.index))
}

pub(super) async fn put(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let mut op = parse_put(&deps.policies, request)?;
    QuotedIn::Container.add(deps, request, &mut op.metadata);
    let created = deps.store.put_container(&request.cx, op).await?;
    Ok(match created {
        true => empty_page(StatusCode::CREATED),
        false => html_error(StatusCode::ACCEPTED),
    })
}

fn parse_put(policies: &Policies, request: &SwiftRequest) -> Result<PutContainer> {
    request.check_name_lengths()?;
    let container = request.container()?.clone();
    let policy = policy(policies, request)?;
    let versioning = versions::change(request);
    Ok(PutContainer { container, metadata: metadata(request)?, policy, versioning })
}

pub(super) async fn post(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let mut op = PostContainer {
        container: request.container()?.clone(),
        metadata: metadata(request)?,
        versioning: versions::change(request),
    };
    QuotedIn::Container.add(deps, request, &mut op.metadata);
    deps.store.post_container(&request.cx, op).await?;
    Ok(empty_page(StatusCode::NO_CONTENT))
}

pub(super) async fn delete(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let op = DeleteContainer { container: request.container()?.clone() };
    deps.store.delete_container(&request.cx, op).await?;
    Ok(empty_page(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies() -> Policies {
        Policies::new(Vec::new()).unwrap()
    }

    #[test]
    fn access_lists_and_sync_keys_are_for_owners() {
        let list = [("x-container-read", ".r : *"), ("x-container-meta-color", "red")];
        let request = SwiftRequest::example("PUT", "/v1/a/c", &list);
        let op = parse_put(&policies(), &request).unwrap();
        assert_eq!(op.metadata["X-Container-Read"], ".r:*");
        for owner in [true, false] {
            let head =
                ContainerHead { headers: op.metadata.clone(), owner, ..ContainerHead::default() };
            let reply = render_head(&policies(), Format::Json, &head);
            assert_eq!(reply.headers().contains_key("x-container-read"), owner);
            assert_eq!(reply.headers()["x-container-meta-color"], "red");
        }
    }

    #[test]
    fn unknown_policies_and_bad_lists_are_refused() {
        for header in [("x-storage-policy", "none"), ("x-container-write", ".r:*")] {
            let request = SwiftRequest::example("PUT", "/v1/a/c", &[header]);
            let refused = parse_put(&policies(), &request).unwrap_err();
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{header:?}");
        }
    }

    #[test]
    fn a_listing_of_a_container_without_objects_is_empty_text() {
        let request = SwiftRequest::example("GET", "/v1/a/c?marker=x&reverse=on", &[]);
        let op = parse_get(&request).unwrap();
        assert!(op.query.reverse);
        let list = ObjectList::default();
        let reply = render_get(&policies(), &request, Format::Plain, list).unwrap();
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
    }
}
