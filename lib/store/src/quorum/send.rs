//! One request to as many nodes as there are replicas, each failing over to handoffs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::{empty, full, header};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::{Client, NodeError, NodeRequest, headers};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::best::best_status;
use super::nodes::{Enough, Nodes};
use crate::Error;
use crate::body::{ANSWER_BYTES_MAX, collect_answer};

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
    /// Which voter of the partition it is.
    pub(crate) voter: Option<usize>,
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

/// The error that a 400 on which servers agree means, with their words.
pub(crate) fn bad_request(answers: &[Answer]) -> Error {
    let refusal = answers.iter().find(|answer| answer.status == StatusCode::BAD_REQUEST);
    let text = refusal.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    Error::invalid(text.unwrap_or_default())
}

/// Whether an answer means that another node should be asked instead.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status.as_u16() == 499
}

/// Reads the short body of an answer.
async fn finish(
    response: http::Response<Body>,
    (node, replica): (u32, usize),
    voter: Option<usize>,
    primary: bool,
) -> Answer {
    let (head, body) = response.into_parts();
    let body = collect_answer(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body, primary, voter, node, replica }
}

/// What came of one voter's request.
struct Told {
    index: usize,
    answer: Option<Answer>,
    /// The voter itself was not asked, since it is being avoided.
    skipped: bool,
}

/// Sends `request` (made for each by `build`) to every primary, or to every voter where those are
/// counted; one that fails or is being avoided is replaced by the next handoff. Returns once all
/// have answered, or enough good ones have and the rest had their grace; those go on in the
/// background. Where the answers decide nothing, those that were avoided are asked after all.
pub(crate) async fn broadcast(
    client: &Arc<Client>,
    nodes: &Nodes,
    enough: &Enough,
    body: Replayable,
    build: impl Fn(usize) -> NodeRequest,
) -> Vec<Answer> {
    let strict = matches!(enough, Enough::OfEach(_));
    let handoffs: Arc<Mutex<VecDeque<Device>>> =
        Arc::new(Mutex::new(nodes.fallbacks(strict).into()));
    let primaries = nodes.primaries.len();
    let asked = if strict { nodes.voters().count() } else { primaries };
    let (sender, mut receiver) = mpsc::channel(asked.max(1));
    for (index, primary) in nodes.voters().take(asked).enumerate() {
        let mut request = build(index);
        let (client, body, sender) = (client.clone(), body.clone(), sender.clone());
        let (handoffs, primary) = (handoffs.clone(), primary.clone());
        spawn(TaskKind::Request, async move {
            let mut node = primary;
            let mut voter = Some(index);
            let mut skipped = false;
            let answer = loop {
                let sent = client.send(&node, &request, body.body()).await;
                skipped |= voter.is_some() && matches!(sent, Err(NodeError::Limited));
                let is_primary = voter.is_some_and(|index| index < primaries);
                let answer = judged(sent, &node, index, voter, is_primary).await;
                if answer.is_some() {
                    break answer;
                }
                let next = handoffs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match next {
                    Some(next) => node = next,
                    None => break None,
                }
                voter = None;
                // A handoff has promised its name to nobody.
                request.headers.remove(headers::RESERVED);
            };
            // The caller may have answered its client already.
            let _ = sender.send(Told { index, answer, skipped }).await;
        });
    }
    drop(sender);
    let mut answers: Vec<Answer> = Vec::new();
    let mut skipped = Vec::new();
    loop {
        let good = answers.iter().filter(|answer| answer.status.is_success());
        let good: Vec<_> = good.map(|answer| answer.voter).collect();
        let next = if enough.is_met(&good) {
            match tokio::time::timeout(AFTER_QUORUM, receiver.recv()).await {
                Ok(next) => next,
                Err(_) => break,
            }
        } else {
            receiver.recv().await
        };
        match next {
            Some(told) => {
                skipped.extend(told.skipped.then_some(told.index));
                answers.extend(told.answer);
            }
            None => break,
        }
    }
    if !skipped.is_empty() && agreed_status(enough, &answers).is_none() {
        let asked = skipped.into_iter().filter_map(|index| {
            let (node, request) = (nodes.voters().nth(index)?, build(index));
            let (body, deadline) = (body.body(), client.deadlines().answer);
            Some(async move {
                let sent = client.send_anyway(node, &request, body, deadline).await;
                judged(sent, node, index, Some(index), index < primaries).await
            })
        });
        answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
    }
    answers
}

/// The answer to a write unless it is a failure.
async fn judged(
    sent: Result<http::Response<Body>, NodeError>,
    node: &Device,
    replica: usize,
    voter: Option<usize>,
    primary: bool,
) -> Option<Answer> {
    match sent {
        Ok(response) if !is_failure(response.status()) => {
            Some(finish(response, (node.id, replica), voter, primary).await)
        }
        Ok(response) => {
            tracing::debug!(status = %response.status(), node = node.address(), device = node.device, "write");
            None
        }
        Err(error) => {
            tracing::debug!(%error, node = node.address(), device = node.device, "write");
            None
        }
    }
}

/// The status that enough servers agree on, if any.
pub(super) fn agreed_status(enough: &Enough, answers: &[Answer]) -> Option<StatusCode> {
    let statuses = |of: &dyn Fn(&&Answer) -> bool| {
        answers.iter().filter(of).map(|answer| answer.status).collect::<Vec<_>>()
    };
    match enough {
        Enough::Any(needed) => best_status(&statuses(&|_| true), *needed),
        Enough::OfEach(sets) => {
            let of_each = sets.iter().map(|(set, needed)| {
                let is_of = |answer: &&Answer| answer.voter.is_some_and(|v| set.contains(&v));
                best_status(&statuses(&is_of), *needed)
            });
            let of_each: Option<Vec<StatusCode>> = of_each.collect();
            // A refusal of one is a refusal.
            of_each.and_then(|all| all.into_iter().max_by_key(|status| !status.is_success()))
        }
    }
}
