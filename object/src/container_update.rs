//! Tells container servers what changed, or leaves a note that somebody must.

use std::path::PathBuf;

use apus_cluster::metadata::has_prefix;
use apus_cluster::{Metadata, ObjectPath, Timestamp};
use apus_daemon::http::{empty, header, set};
use apus_disk::Priority;
use apus_ring::Device;
use apus_wire::{NodeRequest, headers};
use http::{HeaderMap, Method};

use crate::async_pending::{self, Update};
use crate::diskfile::writer::Place;
use crate::server::Server;

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

/// Sends the row to the container servers that the request names. Each that cannot take it leaves
/// a durable note: when this returns, the row is in a database or in `async_pending`.
///
/// # Errors
/// When neither worked; the write must then not be acknowledged.
pub(crate) async fn update(
    server: &Server,
    place: &Place,
    object: &ObjectPath,
    request: &HeaderMap,
    method: Method,
    mut row: Metadata,
    time: Timestamp,
) -> std::io::Result<()> {
    let list = |name| header(request, name).unwrap_or_default().split(',').map(str::trim);
    row.insert(headers::POLICY_INDEX.to_owned(), place.policy.to_string());
    if let Some(id) = header(request, headers::TRANS_ID) {
        row.insert(headers::TRANS_ID.to_owned(), id.to_owned());
    }
    let names = vec![
        object.account().to_string(),
        object.container.container.to_string(),
        object.object.to_string(),
    ];
    let mut undelivered = false;
    if let Some(partition) =
        header(request, headers::CONTAINER_PARTITION).and_then(|text| text.parse().ok())
    {
        let mut request_headers = HeaderMap::new();
        for (name, value) in &row {
            set(&mut request_headers, name, value);
        }
        let node_request = NodeRequest {
            method: method.clone(),
            partition,
            names: names.clone(),
            query: String::new(),
            headers: request_headers,
        };
        for (host, device) in list(headers::CONTAINER_HOST).zip(list(headers::CONTAINER_DEVICE)) {
            let Some(node) = Device::at(host, device) else { continue };
            let client = &server.parts.client;
            let deadline = client.deadlines().row_update;
            let sent = client.send_within(&node, &node_request, empty(), deadline).await;
            match sent {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => {
                    tracing::debug!(status = %response.status(), host, device, "container row");
                    undelivered = true;
                }
                Err(error) => {
                    tracing::warn!(%error, host, device, "container row");
                    undelivered = true;
                }
            }
        }
    }
    if !undelivered {
        return Ok(());
    }
    let [account, container, name] = names.try_into().unwrap_or_default();
    let update = Update {
        method: if method == Method::DELETE { "DELETE" } else { "PUT" },
        account,
        container,
        object: name,
        headers: row,
    };
    let (device, policy, hash): (PathBuf, _, _) = (place.device.clone(), place.policy, place.hash);
    let device_name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |error| std::io::Error::other(format!("{error:?}"));
    let committer = server.devices.committer(&device_name).map_err(failed)?;
    server
        .devices
        .run(&device_name, Priority::Write, move || {
            async_pending::write(&device, policy, &hash, time, &update, &committer)
        })
        .await
        .map_err(failed)?
}
