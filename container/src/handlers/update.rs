//! `UPDATE` of a container: merges rows with all their times, from a JSON list, like a replica's.
//!
//! Swift's sharder and proxy send them.

use apus_broker::replication;
use apus_broker::response::{Refusal, missing};
use apus_daemon::Body;
use apus_wire::message::container::UpdateRowsRequest;
use http::Response;

use crate::kind::Containers;
use crate::server::{ContainerTarget, Server};

pub(crate) async fn update(
    server: &Server,
    target: &ContainerTarget,
    request: UpdateRowsRequest,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if request.auto_create || target.path.account.is_internal() => {
            server.create(target, request.timestamp, request.policy.0).await?
        }
        None => return Err(missing()),
    };
    let response = replication::update::<Containers>(&database, body).await?;
    server.note_change(target);
    Ok(response)
}
