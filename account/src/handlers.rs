//! Verbs of an account: `GET`, `HEAD`, `PUT`, `POST`, `DELETE`, and `PUT` of a container row.

use apus_broker::response::{Refusal, refuse};
use apus_broker::{digest, list_query, metadata, stat};
use apus_cluster::listing::{ContainerEntry, ListQuery};
use apus_cluster::{PolicyIndex, Timestamp};
use apus_daemon::Body;
use apus_daemon::http::{full, status, text};
use apus_wire::message::account::{
    AbsentAccount, AccountDescription, ChangeAccountRequest, ContainerRowRequest, PolicyUsage,
    ReadAccountRequest,
};
use apus_wire::message::object::ReadVerb;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::backend::{self, AccountInfo, ContainerReport};
use crate::schema::SCHEMA;
use crate::server::{AccountTarget, Server};

fn missing(deleted: bool) -> Refusal {
    let mut response = status(StatusCode::NOT_FOUND);
    AbsentAccount { deleted }.encode(response.headers_mut());
    Box::new(response)
}

pub(crate) async fn row(
    server: &Server,
    target: &AccountTarget,
    request: ContainerRowRequest,
) -> Result<Response<Body>, Refusal> {
    let report = ContainerReport {
        name: request.container,
        put_timestamp: request.put,
        delete_timestamp: request.deleted,
        object_count: request.object_count,
        bytes_used: request.bytes_used,
        policy: request.policy.0,
    };
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if target.path.is_internal() => {
            let time = request
                .timestamp
                .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "Missing or bad x-timestamp"))?;
            server.create(target, time).await?
        }
        None => return Err(missing(false)),
    };
    let created = database
        .write(move |connection| {
            if !request.override_deleted && backend::info(connection)?.is_deleted() {
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
    request: ChangeAccountRequest,
) -> Result<Response<Body>, Refusal> {
    let (time, changes) = (request.timestamp, request.metadata);
    let (database, created) = match server.databases.open(&target.file).await? {
        Some(database) => (database, false),
        None => (server.create(target, time).await?, true),
    };
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
            AbsentAccount { deleted: true }.encode(response.headers_mut());
            Ok(response)
        }
        Some(true) => Ok(status(StatusCode::CREATED)),
        Some(false) => Ok(status(StatusCode::ACCEPTED)),
    }
}

pub(crate) async fn post(
    server: &Server,
    target: &AccountTarget,
    request: ChangeAccountRequest,
) -> Result<Response<Body>, Refusal> {
    let (time, changes) = (request.timestamp, request.metadata);
    let database = server.databases.open(&target.file).await?.ok_or_else(|| missing(false))?;
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
    time: Timestamp,
) -> Result<Response<Body>, Refusal> {
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

/// An account as a response to a read describes it.
fn description(server: &Server, info: AccountInfo) -> AccountDescription {
    let usage = |(policy, containers, objects, bytes): (u32, i64, i64, i64)| {
        let policy = server.policies.get(PolicyIndex(policy))?.name.clone();
        Some(PolicyUsage { policy, containers, objects, bytes })
    };
    AccountDescription {
        metadata: metadata::in_force(info.metadata),
        container_count: info.container_count,
        object_count: info.object_count,
        bytes_used: info.bytes_used,
        created: info.created_at,
        put: info.put_timestamp,
        policies: info.policies.into_iter().filter_map(usage).collect(),
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
    request: ReadAccountRequest,
) -> Result<Response<Body>, Refusal> {
    let limit = server.databases.deps.constraints.account_listing_limit;
    let (mut list, wants_json) = listing_of(&request.query, limit)?;
    list.reserved = request.allow_reserved;
    let is_head = request.verb == ReadVerb::Head;
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
    out.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match wants_json {
            true => "application/json; charset=utf-8",
            false => "text/plain; charset=utf-8",
        }),
    );
    description(server, info).encode(out);
    Ok(response)
}
