//! `PUT` and `DELETE` of `/device/partition/account/container/object`: a row of the listing.

use apus_broker::response::{Refusal, missing};
use apus_daemon::Body;
use apus_daemon::http::status;
use apus_wire::message::container::ObjectRowRequest;
use http::{Response, StatusCode};

use crate::backend;
use crate::server::{ContainerTarget, Server};

pub(crate) async fn merge(
    server: &Server,
    target: &ContainerTarget,
    request: ObjectRowRequest,
) -> Result<Response<Body>, Refusal> {
    let row = request.row;
    let deleted = row.deleted;
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if target.path.account.is_internal() => {
            server.create(target, row.times.data, row.policy).await?
        }
        None => return Err(missing()),
    };
    database.write(move |connection| backend::merge_row(connection, row)).await?;
    apus_fault::point("container.row.merged");
    if !apus_fault::planted("bug.forget-account-row") {
        server.note_change(target);
    }
    Ok(status(if deleted { StatusCode::NO_CONTENT } else { StatusCode::CREATED }))
}
