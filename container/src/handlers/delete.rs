//! `DELETE` of an empty container.

use apus_broker::response::Refusal;
use apus_broker::stat;
use apus_daemon::Body;
use apus_daemon::http::status;
use apus_wire::message::container::DeleteContainerRequest;
use http::{Response, StatusCode};

use crate::backend;
use crate::schema::SCHEMA;
use crate::server::{ContainerTarget, Server};

pub(crate) async fn delete(
    server: &Server,
    target: &ContainerTarget,
    request: DeleteContainerRequest,
) -> Result<Response<Body>, Refusal> {
    let time = request.timestamp;
    let database = server.databases.existing(target).await?;
    let outcome = database
        .write(move |connection| {
            let before = backend::info(connection)?;
            if !backend::is_empty(connection)? {
                return Ok((StatusCode::CONFLICT, before));
            }
            let existed = before.put_timestamp > before.delete_timestamp;
            stat::delete(connection, &SCHEMA, time)?;
            let after = backend::info(connection)?;
            Ok(match (after.is_deleted(), existed) {
                (false, _) => (StatusCode::CONFLICT, after),
                (true, true) => (StatusCode::NO_CONTENT, after),
                (true, false) => (StatusCode::NOT_FOUND, after),
            })
        })
        .await?;
    let (code, info) = outcome;
    apus_fault::point("container.delete.committed");
    if code != StatusCode::CONFLICT
        && server.update_account(target, &request.account_rows, &info).await
            == Some(StatusCode::NOT_FOUND)
    {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    Ok(status(code))
}
