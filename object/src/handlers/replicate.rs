//! `REPLICATE /device/partition[/suffix-suffix…]`: the suffix hashes of a partition, pickled.
//!
//! Source: `swift/obj/server.py`. With suffixes these are only marked to be hashed again, and the
//! response is `None`.

use std::collections::BTreeSet;

use apus_cluster::PolicyIndex;
use apus_cluster::pickle::{self, Value};
use apus_daemon::Body;
use apus_daemon::http::{full, status};
use apus_wire::message::Received;
use apus_wire::message::object::{
    PartitionAddress, ReplicatePartitionRequest, ReplicatePurpose, ReplicateReply,
};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use crate::engine::place::{Partition, is_suffix};
use crate::engine::suffix_hashes::encode_reply;
use crate::server::{Refusal, Server, malformed};
use crate::store::StoreError;
use crate::store::suffix_hashes::HashingOptions;

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Device(error) => error.into(),
            error => {
                tracing::error!(%error, "Failed to read a partition");
                Box::new(status(StatusCode::INSUFFICIENT_STORAGE))
            }
        }
    }
}

/// The partition of a request.
pub(super) fn partition(
    server: &Server,
    device: &str,
    address: PartitionAddress,
) -> Result<Partition, Refusal> {
    server.check_policy(address.policy)?;
    let root = server.store.devices.path(device)?;
    Ok(Partition { device: root, policy: address.policy, number: address.partition })
}

/// Handles a `REPLICATE`.
pub(crate) async fn replicate(server: &Server, head: &Parts) -> Result<Response<Body>, Refusal> {
    let Received { device, message: request } =
        ReplicatePartitionRequest::decode(head).map_err(|error| malformed(&error))?;
    let partition = partition(server, &device, request.address)?;
    match request.purpose {
        ReplicatePurpose::Hashes => hashes(server, &device, &partition).await,
        ReplicatePurpose::Rehash(suffixes) => {
            invalidate(server, &device, partition, suffixes).await
        }
        ReplicatePurpose::Marks(numbers) => marks(server, &device, partition.policy, numbers).await,
    }
}

/// Responds with the suffix hashes of a partition.
async fn hashes(
    server: &Server,
    device: &str,
    partition: &Partition,
) -> Result<Response<Body>, Refusal> {
    let (root, numbers) = (partition.device.clone(), vec![partition.number]);
    let marks = server.store.partition_marks(device, root, partition.policy, numbers).await?;
    let reply = ReplicateReply { mark: marks.into_iter().flatten().next().map(|m| m.to_string()) };
    let none = BTreeSet::new();
    let reclaim_age = server.replication.reclaim_age;
    let options = HashingOptions { recalculate: &none, list: false, reclaim_age };
    let found = server.store.suffix_hashes(device, partition, options).await?;
    let mut response = ok(encode_reply(&found.hashes));
    reply.encode(response.headers_mut());
    Ok(response)
}

/// Marks suffixes to be hashed again.
async fn invalidate(
    server: &Server,
    device: &str,
    partition: Partition,
    suffixes: Vec<String>,
) -> Result<Response<Body>, Refusal> {
    let engine = server.store.engine(partition.policy).clone();
    let suffixes: BTreeSet<String> = suffixes.into_iter().filter(|name| is_suffix(name)).collect();
    let work = move || suffixes.iter().try_for_each(|suffix| engine.invalidate(&partition, suffix));
    server.store.background(device, work).await?;
    Ok(ok(pickle::dumps(&Value::None)))
}

/// Responds with the marks of some partitions, in that order.
async fn marks(
    server: &Server,
    device: &str,
    policy: PolicyIndex,
    numbers: Vec<u32>,
) -> Result<Response<Body>, Refusal> {
    let root = server.store.devices.path(device)?;
    let marks = server.store.partition_marks(device, root, policy, numbers).await?;
    let marks: Vec<Option<String>> =
        marks.into_iter().map(|mark| mark.map(|mark| mark.to_string())).collect();
    let mut response = ok(serde_json::Value::from(marks).to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn ok(body: impl Into<Bytes>) -> Response<Body> {
    let mut response = status(StatusCode::OK);
    *response.body_mut() = full(body);
    response
}
