//! Tells container servers what changed, or leaves a note that somebody must.

use apus_cluster::metadata::has_prefix;
use apus_cluster::{Metadata, Timestamp, percent};
use apus_daemon::http::{empty, header, set};
use apus_disk::Priority;
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, Method};

use crate::async_pending::{self, Update};
use crate::redirect::Redirect;
use crate::server::{Server, Target};

/// The headers of a row for an object that was put or posted to.
pub(crate) fn row_headers(request: &HeaderMap, metadata: &Metadata, time: Timestamp) -> Metadata {
    let field = |name: &str| metadata.get(name).cloned().unwrap_or_default();
    let mut row = Metadata::from([
        ("x-size".to_owned(), field("Content-Length")),
        ("x-content-type".to_owned(), field("Content-Type")),
        ("x-etag".to_owned(), field("ETag")),
        ("x-timestamp".to_owned(), time.to_string()),
    ]);
    // What is stored with the object wins over what came with the request.
    for (name, value) in request {
        if has_prefix(name.as_str(), headers::OVERRIDE_PREFIX)
            && let Ok(value) = std::str::from_utf8(value.as_bytes())
        {
            let key = name.as_str().get(headers::OVERRIDE_PREFIX.len()..).unwrap_or_default();
            row.insert(format!("x-{}", key.to_ascii_lowercase()), value.to_owned());
        }
    }
    for (name, value) in metadata {
        if has_prefix(name, headers::SYSMETA_OVERRIDE_PREFIX) {
            let key = name.get(headers::SYSMETA_OVERRIDE_PREFIX.len()..).unwrap_or_default();
            row.insert(format!("x-{}", key.to_ascii_lowercase()), value.clone());
        }
    }
    row
}

/// Who is to have a row: replicas of a database.
pub(crate) struct Recipients {
    partition: u32,
    nodes: Vec<Device>,
}

impl Recipients {
    /// As the comma lists of a request tell; nobody when they are not there.
    pub(crate) fn named(head: &HeaderMap, [host, partition, device]: [&str; 3]) -> Self {
        let list = |name| header(head, name).unwrap_or_default().split(',').map(str::trim);
        let known = header(head, partition).and_then(|text| text.parse().ok());
        let both = list(host).zip(list(device));
        let nodes = both.filter_map(|(host, device)| Device::at(host, device)).collect();
        match known {
            Some(partition) => Self { partition, nodes },
            None => Self { partition: 0, nodes: Vec::new() },
        }
    }

    /// Whether there is anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// The shard that the proxy knows a row to belong to.
fn shard(head: &HeaderMap) -> Option<String> {
    let quoted = header(head, headers::QUOTED_CONTAINER_PATH).and_then(percent::decode_utf8);
    let path = quoted.or_else(|| header(head, headers::CONTAINER_PATH).map(str::to_owned))?;
    let (account, container) = path.split_once('/')?;
    let valid = !account.is_empty() && !container.is_empty() && !container.contains('/');
    if !valid {
        tracing::error!(path, "container path: expected account/container; the root is told");
    }
    valid.then_some(path)
}

/// Sends the row to the container servers that the request names. Each that cannot take it leaves
/// a durable note: when this returns, the row is in a database or in `async_pending`.
///
/// # Errors
/// When neither worked; the write must then not be acknowledged.
pub(crate) async fn update(
    server: &Server,
    target: &Target,
    request: &HeaderMap,
    method: Method,
    mut row: Metadata,
    time: Timestamp,
) -> std::io::Result<()> {
    row.insert(headers::POLICY_INDEX.to_owned(), target.place.policy.to_string());
    if let Some(id) = header(request, headers::TRANS_ID) {
        row.insert(headers::TRANS_ID.to_owned(), id.to_owned());
    }
    let recipients = Recipients::named(
        request,
        [headers::CONTAINER_HOST, headers::CONTAINER_PARTITION, headers::CONTAINER_DEVICE],
    );
    let update = Update {
        method: if method == Method::DELETE { "DELETE" } else { "PUT" },
        account: target.object.account().to_string(),
        container: target.object.container.container.to_string(),
        object: target.object.object.to_string(),
        headers: row,
        container_path: shard(request),
        db_state: header(request, headers::CONTAINER_ROOT_STATE).map(str::to_owned),
    };
    deliver(server, target, recipients, update, time).await
}

/// Sends an update to each of `recipients`, and keeps it when one of them does not take it.
///
/// # Errors
/// When it could be neither sent nor kept.
pub(crate) async fn deliver(
    server: &Server,
    target: &Target,
    recipients: Recipients,
    mut update: Update,
    time: Timestamp,
) -> std::io::Result<()> {
    let mut request_headers = HeaderMap::new();
    for (name, value) in &update.headers {
        set(&mut request_headers, name, value);
    }
    let request = NodeRequest {
        method: if update.method == "DELETE" { Method::DELETE } else { Method::PUT },
        partition: recipients.partition,
        names: update.names(),
        query: String::new(),
        headers: request_headers,
    };
    let sent = recipients.nodes.iter().map(|node| send(server, node, &request));
    let undelivered: Vec<Option<Redirect>> =
        futures_util::future::join_all(sent).await.into_iter().flatten().collect();
    apus_fault::point("object.row.sent");
    if undelivered.is_empty() || apus_fault::planted("bug.forget-undelivered-row") {
        return Ok(());
    }
    let redirect = undelivered.into_iter().flatten().max_by_key(|redirect| redirect.time);
    if let Some(redirect) = redirect {
        update.container_path = Some(redirect.path);
    }
    keep(server, target, update, time).await
}

/// `None` when the node took it; else where it says that the row belongs, if it does.
async fn send(server: &Server, node: &Device, request: &NodeRequest) -> Option<Option<Redirect>> {
    let client = &server.parts.client;
    let deadline = client.deadlines().row_update;
    match client.send_within(node, request, empty(), deadline).await {
        Ok(response) if response.status().is_success() => None,
        Ok(response) => {
            let status = response.status();
            tracing::debug!(%status, node = node.address(), device = node.device, "row");
            Some(Redirect::of(status, response.headers()))
        }
        Err(error) => {
            tracing::warn!(%error, node = node.address(), device = node.device, "row");
            Some(None)
        }
    }
}

/// Leaves an update beside the object, durably, for the updater.
///
/// # Errors
/// When the disk does not take it.
pub(crate) async fn keep(
    server: &Server,
    target: &Target,
    update: Update,
    time: Timestamp,
) -> std::io::Result<()> {
    let (device, policy) = (target.place.device.clone(), target.place.policy);
    let names = [&update.account, &update.container, &update.object];
    let hash = server.parts.hash.hash(&names.map(String::as_str));
    let failed = |error| std::io::Error::other(format!("{error:?}"));
    let committer = server.devices.committer(&target.device).map_err(failed)?;
    server
        .devices
        .run(&target.device, Priority::Write, move || {
            async_pending::write(&device, policy, &hash, time, &update, &committer)
        })
        .await
        .map_err(failed)?
}
