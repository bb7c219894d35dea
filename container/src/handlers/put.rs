//! `PUT` and `POST` of a container: creates it, or changes its metadata.

use apus_broker::response::{Refusal, missing};
use apus_broker::stat;
use apus_cluster::PolicyIndex;
use apus_daemon::Body;
use apus_daemon::http::{set, status};
use apus_wire::headers;
use apus_wire::message::container::{ContainerPolicy, PostContainerRequest, PutContainerRequest};
use http::{Response, StatusCode};

use crate::backend;
use crate::schema::SCHEMA;
use crate::server::{ContainerTarget, Server};

/// A response that names the policy of the container.
fn with_policy(code: StatusCode, policy: u32) -> Response<Body> {
    let mut response = status(code);
    set(response.headers_mut(), headers::POLICY_INDEX, &policy.to_string());
    response
}

pub(crate) async fn put(
    server: &Server,
    target: &ContainerTarget,
    request: PutContainerRequest,
) -> Result<Response<Body>, Refusal> {
    let PutContainerRequest { timestamp: time, policy, metadata: changes, account_rows, .. } =
        request;
    let PolicyIndex(wanted) = policy.index();
    let is_explicit = matches!(policy, ContainerPolicy::Explicit(_));
    let mut created = false;
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None => {
            created = true;
            server.create(target, time, wanted).await?
        }
    };
    let constraints = server.databases.deps.constraints.clone();
    let outcome = database
        .write(move |connection| {
            let info = backend::info(connection)?;
            let was_deleted = info.is_deleted();
            if !was_deleted && is_explicit && wanted != info.policy {
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
        Err(policy) => return Ok(with_policy(StatusCode::CONFLICT, policy)),
    };
    apus_fault::point("container.put.committed");
    created |= recreated;
    if server.update_account(target, &account_rows, &info).await == Some(StatusCode::NOT_FOUND) {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    let code = if created { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok(with_policy(code, info.policy))
}

pub(crate) async fn post(
    server: &Server,
    target: &ContainerTarget,
    request: PostContainerRequest,
) -> Result<Response<Body>, Refusal> {
    let PostContainerRequest { timestamp: time, metadata: changes, keeps_timestamp, .. } = request;
    let database = server.databases.existing(target).await?;
    let constraints = server.databases.deps.constraints.clone();
    let found = database
        .write(move |connection| {
            if backend::info(connection)?.is_deleted() {
                return Ok(false);
            }
            if !keeps_timestamp {
                stat::put(connection, &SCHEMA, time)?;
            }
            stat::put_metadata(connection, &SCHEMA, &changes, time, &constraints)?;
            Ok(true)
        })
        .await?;
    if found { Ok(status(StatusCode::NO_CONTENT)) } else { Err(missing()) }
}
