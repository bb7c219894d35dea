//! Verbs of an account: `GET`, `HEAD`, `PUT`, `POST`, `DELETE`, and `PUT` of a container row.

use apus_broker::response::{Refusal, refuse, timestamp};
use apus_broker::{digest, list_query, metadata, stat};
use apus_cluster::PolicyIndex;
use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_cluster::metadata::Resource;
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status, text};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::backend::{self, AccountInfo, ContainerReport};
use crate::schema::SCHEMA;
use crate::server::{AccountTarget, Server};

fn missing(deleted: bool) -> Refusal {
    let mut response = status(StatusCode::NOT_FOUND);
    if deleted {
        set(response.headers_mut(), headers::ACCOUNT_STATUS, "Deleted");
    }
    Box::new(response)
}

pub(crate) async fn row(
    server: &Server,
    target: &AccountTarget,
    name: String,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let number = |name: &str| -> Result<i64, Refusal> {
        header(head, name)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, &format!("Missing or bad {name}")))
    };
    let report = ContainerReport {
        name,
        put_timestamp: timestamp(head, "x-put-timestamp")?,
        delete_timestamp: timestamp(head, "x-delete-timestamp")?,
        object_count: number("x-object-count")?,
        bytes_used: number("x-bytes-used")?,
        policy: header(head, headers::POLICY_INDEX).and_then(|p| p.parse().ok()).unwrap_or(0),
    };
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if target.path.is_internal() => {
            let time = timestamp(head, headers::TIMESTAMP)?;
            server.create(target, time).await?
        }
        None => return Err(missing(false)),
    };
    let override_deleted = header(head, "x-account-override-deleted")
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let created = database
        .write(move |connection| {
            if !override_deleted && backend::info(connection)?.is_deleted() {
                return Ok(None);
            }
            backend::merge_report(connection, &report)?;
            Ok(Some(report.delete_timestamp <= report.put_timestamp))
        })
        .await?;
    match created {
        None => Err(missing(true)),
        Some(true) => Ok(status(StatusCode::CREATED)),
        Some(false) => Ok(status(StatusCode::NO_CONTENT)),
    }
}

pub(crate) async fn put(
    server: &Server,
    target: &AccountTarget,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let (database, created) = match server.databases.open(&target.file).await? {
        Some(database) => (database, false),
        None => (server.create(target, time).await?, true),
    };
    let changes = metadata::of_headers(head, Resource::Account, &[]);
    let constraints = server.databases.deps.constraints.clone();
    let done = database
        .write(move |connection| {
            let info = backend::info(connection)?;
            if info.is_marked_deleted() {
                return Ok(None);
            }
            stat::put(connection, &SCHEMA, time)?;
            stat::put_metadata(connection, &SCHEMA, &changes, time, &constraints)?;
            Ok(Some(created || info.is_deleted()))
        })
        .await?;
    match done {
        None => {
            let mut response = text(StatusCode::FORBIDDEN, "Recently deleted");
            set(response.headers_mut(), headers::ACCOUNT_STATUS, "Deleted");
            Ok(response)
        }
        Some(true) => Ok(status(StatusCode::CREATED)),
        Some(false) => Ok(status(StatusCode::ACCEPTED)),
    }
}

pub(crate) async fn post(
    server: &Server,
    target: &AccountTarget,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let database = server.databases.open(&target.file).await?.ok_or_else(|| missing(false))?;
    let changes = metadata::of_headers(head, Resource::Account, &[]);
    let constraints = server.databases.deps.constraints.clone();
    let done = database
        .write(move |connection| {
            if backend::info(connection)?.is_deleted() {
                return Ok(false);
            }
            stat::put_metadata(connection, &SCHEMA, &changes, time, &constraints)?;
            Ok(true)
        })
        .await?;
    if done { Ok(status(StatusCode::NO_CONTENT)) } else { Err(missing(true)) }
}

pub(crate) async fn delete(
    server: &Server,
    target: &AccountTarget,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let database = server.databases.open(&target.file).await?.ok_or_else(|| missing(false))?;
    let done = database
        .write(move |connection| {
            if backend::info(connection)?.is_deleted() {
                return Ok(false);
            }
            stat::delete(connection, &SCHEMA, time)?;
            Ok(true)
        })
        .await?;
    if done { Ok(status(StatusCode::NO_CONTENT)) } else { Err(missing(true)) }
}

fn listing_of(query: &str, limit: usize) -> Result<(ListQuery, bool), Refusal> {
    let mut wants_json = false;
    let format = |key: &str, value: &str| {
        if key == "format" {
            wants_json = value == "json";
        }
    };
    let list = list_query(query, limit, format)
        .map_err(|error| refuse(StatusCode::PRECONDITION_FAILED, &error.to_string()))?;
    Ok((list, wants_json))
}

fn info_headers(server: &Server, info: &AccountInfo, out: &mut HeaderMap) {
    for (name, value) in metadata::in_force(info.metadata.clone()) {
        set(out, &name, &value);
    }
    set(out, "x-account-container-count", &info.container_count.to_string());
    set(out, "x-account-object-count", &info.object_count.to_string());
    set(out, "x-account-bytes-used", &info.bytes_used.to_string());
    set(out, "x-timestamp", &info.created_at.normal());
    set(out, "x-put-timestamp", &info.put_timestamp.normal());
    set(out, headers::BACKEND_TIMESTAMP, &info.created_at.to_string());
    for (policy, containers, objects, bytes) in &info.policies {
        let Some(policy) = server.policies.get(PolicyIndex(*policy)) else { continue };
        let prefix = format!("x-account-storage-policy-{}", policy.name.to_lowercase());
        set(out, &format!("{prefix}-container-count"), &containers.to_string());
        set(out, &format!("{prefix}-object-count"), &objects.to_string());
        set(out, &format!("{prefix}-bytes-used"), &bytes.to_string());
    }
}

/// A listing as JSON.
fn json_listing(server: &Server, entries: &[ContainerEntry]) -> Vec<u8> {
    let entry = |entry: &ContainerEntry| match entry {
        ContainerEntry::Subdir(name) => json!({ "subdir": name }),
        ContainerEntry::Container(row) => {
            let mut listed = serde_json::Map::from_iter([
                ("name".to_owned(), row.name.clone().into()),
                ("count".to_owned(), row.object_count.into()),
                ("bytes".to_owned(), row.bytes_used.into()),
                ("last_modified".to_owned(), row.put_timestamp.iso().into()),
            ]);
            if let Some(policy) = server.policies.get(PolicyIndex(row.policy)) {
                listed.insert("storage_policy".to_owned(), policy.name.clone().into());
            }
            listed.into()
        }
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    serde_json::to_vec(&entries).unwrap_or_else(|_| b"[]".to_vec())
}

/// A listing as text, one name per line.
fn plain_listing(entries: &[ContainerEntry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        let name = match entry {
            ContainerEntry::Subdir(name) => name,
            ContainerEntry::Container(row) => &row.name,
        };
        body.extend_from_slice(name.as_bytes());
        body.push(b'\n');
    }
    body
}

pub(crate) async fn get(
    server: &Server,
    target: &AccountTarget,
    head: &HeaderMap,
    query: &str,
    is_head: bool,
) -> Result<Response<Body>, Refusal> {
    let (mut list, wants_json) =
        listing_of(query, server.databases.deps.constraints.account_listing_limit)?;
    list.reserved = header(head, headers::ALLOW_RESERVED_NAMES)
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let database = server.databases.open(&target.file).await?.ok_or_else(|| missing(false))?;
    let (info, entries) = database
        .read(move |connection| {
            digest::check_info(connection, &SCHEMA)?;
            let info = backend::info(connection)?;
            let entries = if is_head || info.is_deleted() {
                Vec::new()
            } else {
                backend::page(connection, &list)?
            };
            Ok((info, entries))
        })
        .await?;
    if info.is_deleted() {
        return Err(missing(info.is_marked_deleted()));
    }
    let body = match (is_head, wants_json) {
        (true, _) => Vec::new(),
        (false, true) => json_listing(server, &entries),
        (false, false) => plain_listing(&entries),
    };
    let code = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut response = status(code);
    if !body.is_empty() {
        *response.body_mut() = full(body);
    }
    let out = response.headers_mut();
    let kind = if wants_json { "application/json" } else { "text/plain" };
    set(out, "content-type", &format!("{kind}; charset=utf-8"));
    info_headers(server, &info, out);
    Ok(response)
}
