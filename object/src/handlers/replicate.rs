//! `REPLICATE /device/partition[/suffix-suffix…]`: the suffix hashes of a partition, pickled.
//!
//! Source: `swift/obj/server.py`. With suffixes these are only marked to be hashed again, and the
//! answer is `None`.

use std::collections::BTreeSet;

use apus_cluster::pickle::{self, Value};
use apus_daemon::Body;
use apus_daemon::http::{full, header, set, status};
use apus_wire::{NodePath, headers};
use http::request::Parts;
use http::{Response, StatusCode};

use crate::engine::place::{Partition, is_suffix};
use crate::engine::suffix_hashes::encode_reply;
use crate::server::{Refusal, Server, refuse};
use crate::store::StoreError;
use crate::store::suffix_hashes::HashingOptions;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Device(error) => error.into(),
            error => {
                tracing::error!(%error, "Failed to compute suffix hashes");
                Box::new(status(StatusCode::INSUFFICIENT_STORAGE))
            }
        }
    }
}

/// The partition that a request names and its device; `names_max` words may follow.
pub(super) fn partition(
    server: &Server,
    head: &Parts,
    names_max: usize,
) -> Result<(NodePath, Partition), Refusal> {
    let path = NodePath::decode(head.uri.path(), names_max)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, &error))?;
    let policy = server.policy(&head.headers)?;
    let device = server.store.devices.path(&path.device)?;
    let partition = Partition { device, policy, number: path.partition };
    Ok((path, partition))
}

pub(crate) async fn replicate(server: &Server, head: &Parts) -> Response<Body> {
    hashes(server, head).await.unwrap_or_else(|refusal| *refusal)
}

/// Partitions of which marks can be asked for at a time.
const MARKS_MAX: usize = 1000;

/// Tells the marks of the partitions in `list`, in that order.
async fn marks(
    server: &Server,
    (path, partition): (NodePath, Partition),
    list: &str,
) -> Result<Response<Body>, Refusal> {
    let numbers: Result<Vec<u32>, _> =
        list.split(',').take(MARKS_MAX + 1).map(str::parse).collect();
    let numbers = numbers.ok().filter(|numbers| numbers.len() <= MARKS_MAX);
    let numbers = numbers.ok_or_else(|| {
        let expected = format!("expected at most {MARKS_MAX} numbers of partitions");
        refuse(StatusCode::BAD_REQUEST, &format!("{}: {expected}", headers::PARTITION_MARKS))
    })?;
    let Partition { device, policy, .. } = partition;
    let marks = server.store.partition_marks(&path.device, device, policy, numbers).await?;
    let marks: Vec<Option<String>> =
        marks.into_iter().map(|mark| mark.map(|mark| mark.to_string())).collect();
    let mut response = status(StatusCode::OK);
    set(response.headers_mut(), "content-type", "application/json");
    *response.body_mut() = full(serde_json::Value::from(marks).to_string());
    Ok(response)
}

async fn hashes(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let (path, partition) = partition(server, head, 1)?;
    if let Some(list) = header(&head.headers, headers::PARTITION_MARKS) {
        return marks(server, (path, partition), list).await;
    }
    let mut mark = None;
    let listed = path.names.first().map(String::as_str).unwrap_or_default();
    let pickled = if listed.is_empty() {
        let none = BTreeSet::new();
        let (device, numbers) = (partition.device.clone(), vec![partition.number]);
        let marks = server.store.partition_marks(&path.device, device, partition.policy, numbers);
        mark = marks.await?.pop().flatten();
        let reclaim_age = server.replication.reclaim_age;
        let options = HashingOptions { recalculate: &none, list: false, reclaim_age };
        let found = server.store.suffix_hashes(&path.device, &partition, options).await?;
        encode_reply(&found.hashes)
    } else {
        let suffixes: BTreeSet<String> =
            listed.split('-').filter(|name| is_suffix(name)).map(str::to_owned).collect();
        let engine = server.store.engine(partition.policy).clone();
        let mark =
            move || suffixes.iter().try_for_each(|suffix| engine.invalidate(&partition, suffix));
        server.store.background(&path.device, mark).await?;
        pickle::dumps(&Value::None)
    };
    let mut response = status(StatusCode::OK);
    if let Some(mark) = mark {
        set(response.headers_mut(), headers::PARTITION_MARKS, &mark.to_string());
    }
    *response.body_mut() = full(pickled);
    Ok(response)
}
