//! Account verbs.

use apus_cluster::Metadata;
use apus_cluster::metadata::{Resource, has_prefix};
use apus_daemon::http::{full, set, status};
use apus_store::operation::{
    AccountHead, DeleteAccount, HeadAccount, ListContainers, PostAccount, PutAccount,
};
use apus_store::{Error, Kind, Result};
use http::{HeaderMap, Method, StatusCode};

use super::error::{Reply, html_error, plain_error};
use super::listing::{self, Format};
use super::request::SwiftRequest;
use crate::auth::account_acl::AccountAcl;
use crate::edge::Parts;

/// Where the account's own list is kept.
const ACL_KEY: &str = "X-Account-Sysmeta-Core-Access-Control";

fn describe(head: &AccountHead, out: &mut HeaderMap) {
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

pub(super) async fn get(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let format = match listing::format(&request) {
        Ok(format) => format,
        Err(refusal) => return Ok(*refusal),
    };
    let account = request.account().clone();
    if request.head.method == Method::HEAD {
        let op = HeadAccount { account };
        let head = parts.store.head_account(&request.cx, op).await?;
        let code = if head.is_virtual { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let mut response = status(code);
        describe(&head, response.headers_mut());
        set(response.headers_mut(), "content-type", format.content_type());
        return Ok(response);
    }
    let query = listing::query(&request, parts.constraints.account_listing_limit)?;
    let op = ListContainers { account: account.clone(), query };
    let list = parts.store.list_containers(&request.cx, op).await?;
    let body = listing::containers(format, account.as_str(), &list.entries, &parts.policies);
    let empty = body.is_empty() && format == Format::Plain;
    let mut response = status(if empty { StatusCode::NO_CONTENT } else { StatusCode::OK });
    if !empty {
        *response.body_mut() = full(body);
    }
    describe(&list.head, response.headers_mut());
    set(response.headers_mut(), "content-type", format.content_type());
    Ok(response)
}

/// What a client sets, its access list among it.
fn settings(request: &SwiftRequest) -> Result<Metadata> {
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

/// An empty answer.
fn done(code: StatusCode) -> Reply {
    let mut response = status(code);
    set(response.headers_mut(), "content-type", "text/html; charset=UTF-8");
    response
}

pub(super) async fn put(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let metadata = settings(&request)?;
    let (account, max) = (request.account().clone(), parts.constraints.max_account_name_length);
    let length = account.as_str().len();
    if length > max {
        return Err(Error::invalid(format!("Account name length of {length} longer than {max}")));
    }
    match parts.store.put_account(&request.cx, PutAccount { account, metadata }).await {
        Ok(true) => Ok(html_error(StatusCode::CREATED)),
        Ok(false) => Ok(html_error(StatusCode::ACCEPTED)),
        Err(error) if error.kind == Kind::RecentlyDeleted => {
            Ok(plain_error(StatusCode::FORBIDDEN, "Recently deleted"))
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn delete(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let account = request.account().clone();
    parts.store.delete_account(&request.cx, DeleteAccount { account }).await?;
    Ok(done(StatusCode::NO_CONTENT))
}

pub(super) async fn post(parts: &Parts, request: SwiftRequest) -> Result<Reply> {
    let metadata = settings(&request)?;
    let account = request.account().clone();
    parts.store.post_account(&request.cx, PostAccount { account, metadata }).await?;
    Ok(done(StatusCode::NO_CONTENT))
}
