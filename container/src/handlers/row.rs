//! `PUT` and `DELETE` of `/device/partition/account/container/object`: a row of the listing.

use apus_broker::response::{Refusal, refuse, timestamp};
use apus_cluster::Timestamp;
use apus_cluster::listing::ObjectRow;
use apus_cluster::timestamp::RowTimes;
use apus_daemon::Body;
use apus_daemon::http::{header, status};
use apus_wire::headers;
use http::{HeaderMap, Response, StatusCode};

use crate::backend;
use crate::server::{ContainerTarget, Server};

pub(crate) async fn put(
    server: &Server,
    target: &ContainerTarget,
    head: &HeaderMap,
    deleted: bool,
) -> Result<Response<Body>, Refusal> {
    let time = timestamp(head, headers::TIMESTAMP)?;
    let name = target.row.clone().unwrap_or_default();
    let policy =
        header(head, headers::POLICY_INDEX).and_then(|index| index.parse().ok()).unwrap_or(0);
    let row = if deleted {
        ObjectRow {
            name,
            times: RowTimes::all(time),
            size: 0,
            content_type: "application/deleted".to_owned(),
            etag: "noetag".to_owned(),
            deleted: true,
            policy,
        }
    } else {
        let need = |key: &'static str| {
            header(head, key)
                .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, &format!("Missing header {key}")))
        };
        let later = |key| header(head, key).and_then(Timestamp::parse);
        let content_type = later(headers::CONTENT_TYPE_TIMESTAMP).unwrap_or(time);
        ObjectRow {
            name,
            times: RowTimes {
                data: time,
                content_type,
                meta: later(headers::META_TIMESTAMP).unwrap_or(content_type),
            },
            size: need(headers::SIZE)?
                .parse()
                .map_err(|_| refuse(StatusCode::BAD_REQUEST, "x-size: expected a number"))?,
            content_type: need(headers::CONTENT_TYPE)?.to_owned(),
            etag: need(headers::ETAG)?.trim_matches('"').to_owned(),
            deleted: false,
            policy,
        }
    };
    let database = match server.databases.open(&target.file).await? {
        Some(database) => database,
        None if target.path.account.is_internal() => server.create(target, time, policy).await?,
        None => return Err(Box::new(status(StatusCode::NOT_FOUND))),
    };
    database.write(move |connection| backend::merge_row(connection, row)).await?;
    apus_fault::point("container.row.merged");
    if !apus_fault::planted("bug.forget-account-row") {
        server.note_change(target);
    }
    Ok(status(if deleted { StatusCode::NO_CONTENT } else { StatusCode::CREATED }))
}
