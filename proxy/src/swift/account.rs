//! Account verbs.

use apus_cluster::Metadata;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_daemon::http::{set, status};
use apus_store::operation::{
    AccountHead, ContainerList, DeleteAccount, HeadAccount, ListContainers, PostAccount, PutAccount,
};
use apus_store::{Error, Kind};
use http::{HeaderMap, StatusCode};

use super::account_quotas;
use super::error::{Result, SwiftError};
use super::etag_quoter::QuotedIn;
use super::format::Format;
use super::listing;
use super::page::{empty_page, html_error};
use super::path::check_length;
use super::request::SwiftRequest;
use crate::auth::account_acl::AccountAcl;
use crate::deps::ProxyDeps;
use crate::reply::Reply;

/// System metadata that holds the account's access control list.
const ACL_KEY: &str = "X-Account-Sysmeta-Core-Access-Control";

/// Sets the headers of an account that the client may see.
fn set_headers(head: &AccountHead, out: &mut HeaderMap) {
    for (name, value) in &head.headers {
        let backend = has_prefix(name, "X-Backend-") || name == "X-Put-Timestamp";
        if backend || has_prefix(name, Resource::Account.system_prefix()) {
            continue;
        }
        let secret = name.starts_with("X-Account-Meta-Temp-Url-Key");
        if !secret || head.owner {
            set(out, name, value);
        }
    }
    if head.owner
        && let Some(acl) = head.headers.get(ACL_KEY)
    {
        let in_force = AccountAcl::stored(acl).render();
        if !in_force.is_empty() {
            set(out, "x-account-access-control", &in_force);
        }
    }
    set(out, "accept-ranges", "bytes");
}

fn set_settings(deps: &ProxyDeps, head: &AccountHead, out: &mut HeaderMap) {
    QuotedIn::Account.show(deps, &head.headers, out);
    if deps.config.account_quotas {
        account_quotas::set_headers(&deps.policies, head, out);
    }
}

/// Adds the quotas that a request sets, and whether ETags are quoted.
fn add_settings(deps: &ProxyDeps, request: &SwiftRequest, metadata: &mut Metadata) -> Result<()> {
    QuotedIn::Account.add(deps, request, metadata);
    if deps.config.account_quotas {
        metadata.extend(account_quotas::parse(&deps.policies, request)?);
    }
    Ok(())
}

pub(super) async fn head(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let format = request.format()?;
    let op = HeadAccount { account: request.account().clone() };
    let head = deps.store.head_account(&request.cx, op).await?;
    let mut response = render_head(format, &head);
    set_settings(deps, &head, response.headers_mut());
    Ok(response)
}

fn render_head(format: Format, head: &AccountHead) -> Reply {
    let code = if head.is_virtual { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut response = status(code);
    set_headers(head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    response
}

pub(super) async fn get(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let format = request.format()?;
    let op = parse_get(request)?;
    let list = deps.store.list_containers(&request.cx, op).await?;
    Ok(render_get(deps, request, format, &list))
}

fn parse_get(request: &SwiftRequest) -> Result<ListContainers> {
    let query = listing::parse(request, request.constraints.account_listing_limit)?;
    Ok(ListContainers { account: request.account().clone(), query })
}

fn render_get(
    deps: &ProxyDeps,
    request: &SwiftRequest,
    format: Format,
    list: &ContainerList,
) -> Reply {
    let page = listing::containers(format, request.account(), &list.entries, &deps.policies);
    let mut response = listing::reply(format, page);
    set_headers(&list.head, response.headers_mut());
    set_settings(deps, &list.head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    response
}

/// The metadata that a request sets, with the access control list.
fn metadata(request: &SwiftRequest) -> Result<Metadata> {
    let mut metadata = request.metadata(Resource::Account, &[])?;
    if let Some(acl) = request.header("x-account-access-control") {
        let parsed = AccountAcl::parse(acl).map_err(|error| {
            Error::invalid(format!("X-Account-Access-Control invalid: {error}\n\nInput: {acl}\n"))
        })?;
        metadata.insert(ACL_KEY.to_owned(), parsed.render());
    } else if request.header("x-remove-account-access-control").is_some() {
        metadata.insert(ACL_KEY.to_owned(), String::new());
    }
    Ok(metadata)
}

pub(super) async fn put(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let mut op = parse_put(request)?;
    add_settings(deps, request, &mut op.metadata)?;
    match deps.store.put_account(&request.cx, op).await {
        Ok(true) => Ok(html_error(StatusCode::CREATED)),
        Ok(false) => Ok(html_error(StatusCode::ACCEPTED)),
        Err(error) if error.kind == Kind::RecentlyDeleted => {
            Err(SwiftError::refused(StatusCode::FORBIDDEN, "Recently deleted"))
        }
        Err(error) => Err(error.into()),
    }
}

fn parse_put(request: &SwiftRequest) -> Result<PutAccount> {
    let metadata = metadata(request)?;
    let account = request.account().clone();
    let max = request.constraints.max_account_name_length;
    check_length("Account", account.as_str(), max)?;
    Ok(PutAccount { account, metadata })
}

pub(super) async fn delete(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let op = DeleteAccount { account: request.account().clone() };
    deps.store.delete_account(&request.cx, op).await?;
    Ok(empty_page(StatusCode::NO_CONTENT))
}

pub(super) async fn post(deps: &ProxyDeps, request: &SwiftRequest) -> Result<Reply> {
    let mut metadata = metadata(request)?;
    add_settings(deps, request, &mut metadata)?;
    let op = PostAccount { account: request.account().clone(), metadata };
    deps.store.post_account(&request.cx, op).await?;
    Ok(empty_page(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_lists_are_stored_and_shown_to_owners() {
        let json = r#"{"admin":["bob"]}"#;
        let request = SwiftRequest::example("PUT", "/v1/a", &[("x-account-access-control", json)]);
        let op = parse_put(&request).unwrap();
        assert_eq!(op.metadata[ACL_KEY], json);
        for (owner, shown) in [(true, true), (false, false)] {
            let head = AccountHead { headers: op.metadata.clone(), owner, is_virtual: false };
            let reply = render_head(Format::Plain, &head);
            assert_eq!(reply.status(), StatusCode::NO_CONTENT);
            assert_eq!(reply.headers().contains_key("x-account-access-control"), shown);
        }
        let bad = SwiftRequest::example("PUT", "/v1/a", &[("x-account-access-control", "[]")]);
        assert_eq!(parse_put(&bad).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_listing_has_a_limit() {
        let query = |uri: &str| parse_get(&SwiftRequest::example("GET", uri, &[]));
        assert_eq!(query("/v1/a?limit=10000&prefix=x").unwrap().query.limit, 10_000);
        let refused = query("/v1/a?limit=10001").unwrap_err();
        assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
    }
}
