//! One request to all replicas of a partition, each replaced by handoffs when it fails.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apus_cluster::Timestamp;
use apus_daemon::Body;
use apus_daemon::http::{empty, full};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::message::object::ObjectVersion;
use apus_wire::{Client, NodeError, NodeRequest};
use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::best::best_status;
use super::nodes::{Nodes, QuorumRule};
use crate::Error;
use crate::body::{ANSWER_BYTES_MAX, collect_answer};

/// After a quorum has answered, the others get this long before the client is answered without
/// them (Swift's `post_quorum_timeout`).
const AFTER_QUORUM: Duration = Duration::from_millis(500);

/// One node's answer, with its whole body.
#[derive(Debug, Clone)]
pub(crate) struct NodeAnswer {
    /// Status and headers.
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    /// Whether the node is a primary of the partition.
    pub(crate) primary: bool,
    /// Index of the node among the voters of the partition, if it is one.
    pub(crate) voter: Option<usize>,
    /// Id of the device that answered.
    pub(crate) node: u32,
    /// The replica whose request it answers; 0 where all nodes get the same one.
    pub(crate) replica: usize,
}

impl NodeAnswer {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The newest time that an object server reports.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        ObjectVersion::decode(&self.head.headers).newest
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

/// The error for a 400 on which servers agree, with their text.
pub(crate) fn bad_request(answers: &[NodeAnswer]) -> Error {
    let refusal = answers.iter().find(|answer| answer.status() == StatusCode::BAD_REQUEST);
    let text = refusal.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    Error::invalid(text.unwrap_or_default())
}

/// Whether an answer means that another node should be asked instead.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status.as_u16() == 499
}

/// The replica that a request is for, and the voter that it was sent to.
#[derive(Debug, Clone, Copy)]
struct Recipient {
    replica: usize,
    /// `None` for a handoff.
    voter: Option<usize>,
    primary: bool,
}

/// Outcome of the request for one replica.
struct VoterOutcome {
    replica: usize,
    answer: Option<NodeAnswer>,
    /// The voter itself was not asked, since it is being avoided.
    skipped: bool,
}

/// A request for one replica, sent to its voter and, when that fails, to handoffs.
struct ReplicaRequest {
    client: Arc<Client>,
    request: NodeRequest,
    body: Replayable,
    voter: Device,
    recipient: Recipient,
    handoffs: Arc<Mutex<VecDeque<Device>>>,
}

impl ReplicaRequest {
    async fn send(mut self) -> VoterOutcome {
        let mut node = self.voter;
        let mut recipient = self.recipient;
        let mut skipped = false;
        let answer = loop {
            let sent = self.client.send(&node, &self.request, self.body.body()).await;
            skipped |= recipient.voter.is_some() && matches!(sent, Err(NodeError::Limited));
            let answer = unless_failed(sent, &node, recipient).await;
            if answer.is_some() {
                break answer;
            }
            let next = self.handoffs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(next) => node = next,
                None => break None,
            }
            recipient = Recipient { voter: None, primary: false, ..recipient };
            // A handoff has not granted the reservation.
            self.request.remove_reservation();
        };
        VoterOutcome { replica: recipient.replica, answer, skipped }
    }
}

/// Sends `request` (built for each by `build`) to every primary, or to every voter where voters are
/// counted; one that fails or is being avoided is replaced by the next handoff. Returns once all
/// have answered, or once the answers are a quorum and the others had their grace period; those
/// continue in the background. Where the answers decide nothing, the avoided voters are asked after
/// all.
pub(crate) async fn broadcast(
    client: &Arc<Client>,
    nodes: &Nodes,
    rule: &QuorumRule,
    body: Replayable,
    build: impl Fn(usize) -> NodeRequest,
) -> Vec<NodeAnswer> {
    let strict = matches!(rule, QuorumRule::OfEach(_));
    let handoffs = Arc::new(Mutex::new(nodes.fallbacks(strict).into()));
    let primaries = nodes.primaries.len();
    let asked = if strict { nodes.voters().count() } else { primaries };
    let (sender, receiver) = mpsc::channel(asked.max(1));
    for (index, voter) in nodes.voters().take(asked).enumerate() {
        let request = ReplicaRequest {
            client: client.clone(),
            request: build(index),
            body: body.clone(),
            voter: voter.clone(),
            recipient: Recipient { replica: index, voter: Some(index), primary: index < primaries },
            handoffs: handoffs.clone(),
        };
        let sender = sender.clone();
        spawn(TaskKind::Request, async move {
            // Without a receiver the client has been answered already.
            let _ = sender.send(request.send().await).await;
        });
    }
    drop(sender);
    let (mut answers, skipped) = collect_outcomes(receiver, rule).await;
    if !skipped.is_empty() && agreed_status(rule, &answers).is_none() {
        let asked = skipped.into_iter().filter_map(|index| {
            let (node, request) = (nodes.voters().nth(index)?, build(index));
            let (body, deadline) = (body.body(), client.deadlines().answer);
            Some(async move {
                let sent = client.send_anyway(node, &request, body, deadline).await;
                let primary = index < primaries;
                unless_failed(sent, node, Recipient { replica: index, voter: Some(index), primary })
                    .await
            })
        });
        answers.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
    }
    answers
}

/// Collects outcomes until all are there, or until the answers are a quorum and the grace period
/// has passed. Returns the answers, and the replicas whose voters were skipped.
async fn collect_outcomes(
    mut receiver: mpsc::Receiver<VoterOutcome>,
    rule: &QuorumRule,
) -> (Vec<NodeAnswer>, Vec<usize>) {
    let (mut answers, mut skipped) = (Vec::new(), Vec::new());
    loop {
        let next = if rule.is_met(successes(&answers)) {
            match tokio::time::timeout(AFTER_QUORUM, receiver.recv()).await {
                Ok(next) => next,
                Err(_) => break,
            }
        } else {
            receiver.recv().await
        };
        let Some(outcome) = next else { break };
        skipped.extend(outcome.skipped.then_some(outcome.replica));
        answers.extend(outcome.answer);
    }
    (answers, skipped)
}

/// The voters, and nodes that are not voters, which answered with a success.
pub(super) fn successes(
    answers: &[NodeAnswer],
) -> impl Iterator<Item = Option<usize>> + Clone + '_ {
    answers.iter().filter(|answer| answer.status().is_success()).map(|answer| answer.voter)
}

/// The answer to a write, unless it is a failure.
async fn unless_failed(
    sent: Result<http::Response<Body>, NodeError>,
    node: &Device,
    to: Recipient,
) -> Option<NodeAnswer> {
    match sent {
        Ok(response) if !is_failure(response.status()) => {
            let (head, body) = response.into_parts();
            let body = collect_answer(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
            Some(NodeAnswer {
                head,
                body,
                primary: to.primary,
                voter: to.voter,
                node: node.id,
                replica: to.replica,
            })
        }
        Ok(response) => {
            tracing::debug!(status = %response.status(), node = node.address(), device = node.device, "a node failed to write");
            None
        }
        Err(error) => {
            tracing::debug!(%error, node = node.address(), device = node.device, "no answer from a node to a write");
            None
        }
    }
}

/// The status that enough servers agree on, if any.
pub(super) fn agreed_status(rule: &QuorumRule, answers: &[NodeAnswer]) -> Option<StatusCode> {
    let statuses = |of: &dyn Fn(&&NodeAnswer) -> bool| {
        answers.iter().filter(of).map(|answer| answer.status()).collect::<Vec<_>>()
    };
    match rule {
        QuorumRule::Any(needed) => best_status(&statuses(&|_| true), *needed),
        QuorumRule::OfEach(sets) => {
            let of_each = sets.iter().map(|(set, needed)| {
                let is_of = |answer: &&NodeAnswer| answer.voter.is_some_and(|v| set.contains(&v));
                best_status(&statuses(&is_of), *needed)
            });
            let of_each: Option<Vec<StatusCode>> = of_each.collect();
            // A refusal by one set of voters is a refusal.
            of_each.and_then(|all| all.into_iter().max_by_key(|status| !status.is_success()))
        }
    }
}
