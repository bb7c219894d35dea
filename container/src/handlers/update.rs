//! `UPDATE` of a container: rows with all their times, as a JSON list, merged like those of a
//! replica. Swift's sharder and proxy send them.

use apus_broker::replication;
use apus_broker::response::{Refusal, timestamp};
use apus_daemon::Body;
use apus_daemon::http::{header, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use crate::kind::Containers;
use crate::server::{ContainerTarget, Server};

pub(crate) async fn update(
    server: &Server,
    target: &ContainerTarget,
    head: &HeaderMap,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let policy = super::put::policy(head, headers::POLICY_INDEX)?.unwrap_or(0);
    let asked = header(head, "x-backend-auto-create")
        .and_then(apus_daemon::config::value::flag)
        .unwrap_or(false);
    let missing = || Box::new(status(StatusCode::NOT_FOUND));
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if asked || target.path.account.is_internal() => {
            server.create(target, time, policy).await?
        }
        None => return Err(missing()),
    };
    let answer = replication::update::<Containers>(&database, body).await?;
    server.note_change(target);
    Ok(answer)
}
