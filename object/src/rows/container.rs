//! Rows of container listings.

use std::io;

use apus_cluster::metadata::has_prefix;
use apus_cluster::{Metadata, Timestamp, percent};
use apus_daemon::http::{empty, header, set};
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, Method};

use super::RowNotifier;
use super::pending::Update;
use super::redirect::Redirect;
use crate::store::LocalObject;

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

impl RowNotifier {
    /// Sends the row to the container servers that the request names. A row that one of them does
    /// not take is kept on the device: when this returns, it is in a database or in
    /// `async_pending`.
    ///
    /// # Errors
    /// When the row could be neither sent nor kept; the write must then not be acknowledged.
    pub(crate) async fn update(
        &self,
        target: &LocalObject,
        request: &HeaderMap,
        method: Method,
        mut row: Metadata,
        time: Timestamp,
    ) -> io::Result<()> {
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
        self.deliver(target, recipients, update, time).await
    }

    /// Sends an update to each of `recipients`, and keeps it when one of them does not take it.
    ///
    /// # Errors
    /// When it could be neither sent nor kept.
    pub(super) async fn deliver(
        &self,
        target: &LocalObject,
        recipients: Recipients,
        mut update: Update,
        time: Timestamp,
    ) -> io::Result<()> {
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
        let sent = recipients.nodes.iter().map(|node| self.send(node, &request));
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
        self.keep(target, update, time).await
    }

    /// Returns `None` when the node took the row, else the shard that it named, if any.
    async fn send(&self, node: &Device, request: &NodeRequest) -> Option<Option<Redirect>> {
        let deadline = self.client.deadlines().row_update;
        let (address, device) = (node.address(), &node.device);
        match self.client.send_within(node, request, empty(), deadline).await {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => {
                let status = response.status();
                tracing::debug!(%status, node = address, device, "A container server refused a row");
                Some(Redirect::of(status, response.headers()))
            }
            Err(error) => {
                tracing::warn!(%error, node = address, device, "Failed to send a row to a container server");
                Some(None)
            }
        }
    }
}
