//! `PUT` and `POST` of a container: make it, bring it back, change its metadata.

use apus_broker::response::{Refusal, refuse, timestamp};
use apus_broker::{metadata, stat};
use apus_cluster::metadata::Resource;
use apus_daemon::Body;
use apus_daemon::http::{header, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use crate::backend;
use crate::schema::SCHEMA;
use crate::server::{ContainerTarget, Server};

/// Headers besides metadata that a container keeps.
const SAVED: [&str; 4] =
    ["x-container-read", "x-container-write", "x-container-sync-key", "x-container-sync-to"];

pub(crate) fn policy(head: &HeaderMap, key: &str) -> Result<Option<u32>, Refusal> {
    match header(head, key) {
        None | Some("") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| refuse(StatusCode::BAD_REQUEST, &format!("Invalid {key} {text:?}"))),
    }
}

pub(crate) async fn put(
    server: &Server,
    target: &ContainerTarget,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let explicit = policy(head, headers::POLICY_INDEX)?;
    let default = policy(head, headers::POLICY_DEFAULT)?.unwrap_or(0);
    let wanted = explicit.unwrap_or(default);
    let mut created = false;
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None => {
            created = true;
            server.create(target, time, wanted).await?
        }
    };
    let changes = metadata::of_headers(head, Resource::Container, &SAVED);
    let constraints = server.databases.deps.constraints.clone();
    let outcome = database
        .write(move |connection| {
            let info = backend::info(connection)?;
            let was_deleted = info.is_deleted();
            if !was_deleted && explicit.is_some_and(|explicit| explicit != info.policy) {
                return Ok(Err(info.policy));
            }
            let recreate = (was_deleted && time > info.delete_timestamp).then_some(wanted);
            backend::put(connection, time, recreate)?;
            stat::put_metadata(connection, &SCHEMA, &changes, time, &constraints)?;
            Ok(Ok((recreate.is_some(), backend::info(connection)?)))
        })
        .await?;
    let (recreated, info) = match outcome {
        Ok(done) => done,
        Err(policy) => {
            let mut response = status(StatusCode::CONFLICT);
            apus_daemon::http::set(
                response.headers_mut(),
                headers::POLICY_INDEX,
                &policy.to_string(),
            );
            return Ok(response);
        }
    };
    apus_fault::point("container.put.committed");
    created |= recreated;
    if server.update_account(target, head, &info).await == Some(StatusCode::NOT_FOUND) {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let mut response = status(if created { StatusCode::CREATED } else { StatusCode::ACCEPTED });
    apus_daemon::http::set(response.headers_mut(), headers::POLICY_INDEX, &info.policy.to_string());
    Ok(response)
}

pub(crate) async fn post(
    server: &Server,
    target: &ContainerTarget,
    head: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let missing = || Box::new(status(StatusCode::NOT_FOUND));
    let database = server.databases.open(&target.file).await?.ok_or_else(missing)?;
    let changes = metadata::of_headers(head, Resource::Container, &SAVED);
    let constraints = server.databases.deps.constraints.clone();
    let keeps_time = header(head, headers::NO_TIMESTAMP_UPDATE)
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let found = database
        .write(move |connection| {
            if backend::info(connection)?.is_deleted() {
                return Ok(false);
            }
            if !keeps_time {
                stat::put(connection, &SCHEMA, time)?;
            }
            stat::put_metadata(connection, &SCHEMA, &changes, time, &constraints)?;
            Ok(true)
        })
        .await?;
    if found { Ok(status(StatusCode::NO_CONTENT)) } else { Err(missing()) }
}
