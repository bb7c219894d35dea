//! One request to as many nodes as there are replicas, each failing over to handoffs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::{empty, full, header};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::{Client, NodeRequest, headers};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::nodes::Nodes;

/// After a quorum has answered, the rest get this long before the client is answered without them
/// (Swift's `post_quorum_timeout`).
const AFTER_QUORUM: Duration = Duration::from_millis(500);

/// One node's answer to a write.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the node is a primary of the partition.
    pub(crate) primary: bool,
    /// Id of the device that answered.
    pub(crate) node: u32,
    /// The replica whose request it answers; 0 where all nodes get the same one.
    pub(crate) replica: usize,
}

impl Answer {
    /// The newest time that the node told.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        header(&self.headers, headers::BACKEND_TIMESTAMP).and_then(Timestamp::parse)
    }
}

/// A body that can be sent again: nothing, or pieces in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replayable(pub(crate) Vec<Bytes>);

impl Replayable {
    pub(crate) fn body(&self) -> Body {
        match self.0.as_slice() {
            [] => empty(),
            [one] => full(one.clone()),
            many => {
                let frames: Vec<_> =
                    many.iter().map(|piece| Ok(http_body::Frame::data(piece.clone()))).collect();
                http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
            }
        }
    }
}

/// Whether an answer means that another node should be asked instead.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status.as_u16() == 499
}

/// Reads the short body of an answer.
async fn finish(response: http::Response<Body>, node: u32, primary: bool) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body, primary, node, replica: 0 }
}

/// Sends `request` (made for each replica by `build`) to every primary; one that fails is replaced
/// by the next handoff. Returns once all have answered, or `needed` good ones have and the rest
/// had their grace; those go on in the background.
pub(crate) async fn broadcast(
    client: &Arc<Client>,
    nodes: &Nodes,
    needed: usize,
    body: Replayable,
    build: impl Fn(usize) -> NodeRequest,
) -> Vec<Answer> {
    let handoffs: Arc<Mutex<VecDeque<Device>>> =
        Arc::new(Mutex::new(nodes.handoffs.iter().cloned().collect()));
    let (sender, mut receiver) = mpsc::channel(nodes.primaries.len().max(1));
    for (index, primary) in nodes.primaries.iter().enumerate() {
        let mut request = build(index);
        let (client, body, sender) = (client.clone(), body.clone(), sender.clone());
        let (handoffs, primary) = (handoffs.clone(), primary.clone());
        spawn(TaskKind::Request, async move {
            let mut node = primary;
            let mut is_primary = true;
            let answer = loop {
                let sent = client.send(&node, &request, body.body()).await;
                match sent {
                    Ok(response) if !is_failure(response.status()) => {
                        let answer = finish(response, node.id, is_primary).await;
                        break Some(Answer { replica: index, ..answer });
                    }
                    Ok(response) => {
                        tracing::debug!(status = %response.status(), node = node.address(), device = node.device, "write");
                    }
                    Err(error) => {
                        tracing::debug!(%error, node = node.address(), device = node.device, "write");
                    }
                }
                let next = handoffs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match next {
                    Some(next) => node = next,
                    None => break None,
                }
                is_primary = false;
                // A handoff has promised its name to nobody.
                request.headers.remove(headers::RESERVED);
            };
            // The caller may have answered its client already.
            let _ = sender.send(answer).await;
        });
    }
    drop(sender);
    let mut answers: Vec<Answer> = Vec::new();
    loop {
        let good = answers.iter().filter(|answer| answer.status.is_success()).count();
        let next = if good >= needed {
            match tokio::time::timeout(AFTER_QUORUM, receiver.recv()).await {
                Ok(next) => next,
                Err(_) => break,
            }
        } else {
            receiver.recv().await
        };
        match next {
            Some(answer) => answers.extend(answer),
            None => break,
        }
    }
    answers
}
