//! Streams one long body to several nodes, each through its own bounded queue.
//!
//! A node that fails while everything sent so far is still buffered is replaced by a handoff; one
//! that fails later is dropped, and the caller decides whether enough are left. A node that is being
//! avoided is replaced from the start, and opened after all when another fails.

use std::collections::VecDeque;
use std::sync::Arc;

use apus_daemon::http::{BodyError, stream};
use apus_daemon::task::{TaskKind, spawn};
use apus_ring::Device;
use apus_wire::NodeRequest;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::nodes::QuorumRule;
use super::send::{NodeAnswer, is_failure, successes};
use crate::body::{ANSWER_BYTES_MAX, collect_answer};

/// Maximum number of pieces in the queue of a node.
const WINDOW: usize = 8;
/// Maximum number of pieces buffered for a node that replaces another.
const REPLAY: usize = 8;

type Piece = std::result::Result<Bytes, BodyError>;

struct FanNode {
    /// The replica that it writes.
    index: usize,
    voter: Option<usize>,
    sender: Option<mpsc::Sender<Piece>>,
    answer: tokio::task::JoinHandle<Option<NodeAnswer>>,
}

/// A body that is being sent to several nodes.
pub(super) struct Fan {
    client: Arc<apus_wire::Client>,
    requests: Vec<NodeRequest>,
    /// Number of voters that are primaries; they come first.
    primaries: usize,
    handoffs: VecDeque<Device>,
    /// The pieces sent so far, as long as a replacement can still get all of them.
    replay: Option<Vec<Bytes>>,
    nodes: Vec<FanNode>,
    /// Voters that are being avoided, with the replica of each.
    avoided: Vec<(usize, Device)>,
    /// Answers that arrived before the end of the body: refusals.
    refusals: Vec<NodeAnswer>,
}

impl Fan {
    /// Without nodes; `requests` has one for each replica.
    pub(super) fn new(
        client: Arc<apus_wire::Client>,
        requests: Vec<NodeRequest>,
        primaries: usize,
        handoffs: VecDeque<Device>,
    ) -> Self {
        let (nodes, avoided, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let replay = Some(Vec::new());
        Self { client, requests, primaries, handoffs, replay, nodes, avoided, refusals }
    }

    /// Starts request `index` to the voter of this index, or to a handoff if the voter is being
    /// avoided and is not needed.
    pub(super) fn open_voter(&mut self, index: usize, node: Device, is_needed: bool) {
        if is_needed || !self.client.is_limited(&node) {
            self.open(index, node, Some(index));
            return;
        }
        self.avoided.push((index, node));
        if let Some(handoff) = self.handoffs.pop_front() {
            self.open(index, handoff, None);
        }
    }

    fn open(&mut self, index: usize, node: Device, voter: Option<usize>) {
        let Some(request) = self.requests.get(index).cloned() else { return };
        let (sender, receiver) = mpsc::channel(WINDOW);
        let (client, primaries) = (self.client.clone(), self.primaries);
        let answer = spawn(TaskKind::Request, async move {
            // The answer arrives after the end of the body, which may take long.
            let deadline = std::time::Duration::from_secs(24 * 3600);
            let body = stream(receiver);
            let response = match voter {
                Some(_) => client.send_anyway(&node, &request, body, deadline).await,
                None => client.send_within(&node, &request, body, deadline).await,
            };
            match response {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = collect_answer(body, ANSWER_BYTES_MAX).await;
                    Some(NodeAnswer {
                        head,
                        body: body.unwrap_or_default(),
                        primary: voter.is_some_and(|index| index < primaries),
                        node: node.id,
                        replica: index,
                        voter,
                    })
                }
                Err(error) => {
                    tracing::debug!(%error, node = node.address(), device = node.device, "no answer from a node to a write");
                    None
                }
            }
        });
        self.nodes.push(FanNode { index, voter, sender: Some(sender), answer });
    }

    /// Number of nodes that still accept pieces.
    pub(super) fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.sender.is_some()).count()
    }

    /// Sends a piece to every node. A node that accepts nothing within the chunk deadline is
    /// dropped.
    pub(super) async fn send(&mut self, piece: Bytes) {
        self.send_each(|_| piece.clone()).await;
        if let Some(replay) = &mut self.replay {
            replay.push(piece);
        }
        self.replace_failed().await;
        if self.replay.as_ref().is_some_and(|replay| replay.len() > REPLAY) {
            self.replay = None;
        }
    }

    /// Sends each node its own last piece of the body; `of` gets the index of the voter, `None` for a
    /// handoff.
    pub(super) async fn send_each(&mut self, of: impl Fn(Option<usize>) -> Bytes) {
        self.replace_failed().await;
        let deadline = self.client.deadlines().chunk;
        let sends = self.nodes.iter_mut().map(|node| {
            let piece = of(node.voter);
            async move {
                if let Some(sender) = &node.sender {
                    let sent = tokio::time::timeout(deadline, sender.send(Ok(piece))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        node.sender = None;
                    }
                }
            }
        });
        futures_util::future::join_all(sends).await;
    }

    /// Replaces nodes that failed while everything sent can still be sent again.
    async fn replace_failed(&mut self) {
        let Some(replay) = self.replay.clone() else { return };
        let mut at = 0;
        while at < self.nodes.len() {
            let failed = self
                .nodes
                .get(at)
                .is_some_and(|node| node.sender.is_none() && node.answer.is_finished());
            if !failed {
                at += 1;
                continue;
            }
            let node = self.nodes.swap_remove(at);
            let answer = node.answer.await.ok().flatten();
            let refusal = answer.filter(|answer| !is_failure(answer.status()));
            // A refusal such as 409 is an answer, not a failure.
            let has_failed = refusal.is_none();
            self.refusals.extend(refusal);
            if has_failed && let Some(handoff) = self.handoffs.pop_front() {
                self.open(node.index, handoff, None);
                self.catch_up(&replay).await;
            }
            if has_failed
                && node.voter.is_some()
                && let Some((index, avoided)) = self.avoided.pop()
            {
                self.open(index, avoided, Some(index));
                self.catch_up(&replay).await;
            }
        }
    }

    /// Sends the node that was opened last what the others have received.
    async fn catch_up(&mut self, replay: &[Bytes]) {
        let Some(sender) = self.nodes.last().and_then(|node| node.sender.clone()) else { return };
        for piece in replay {
            // If this node has failed as well, the next piece will show it.
            let _ = sender.send(Ok(piece.clone())).await;
        }
    }

    /// Aborts the bodies, so that no node commits.
    pub(super) async fn abort(self, reason: &'static str) {
        for node in self.nodes {
            if let Some(sender) = node.sender {
                let _ = sender.send(Err(reason.into())).await;
            }
        }
    }

    /// Ends the bodies and collects the answers; after a quorum the others get a short grace period.
    pub(super) async fn finish(self, rule: &QuorumRule) -> Vec<NodeAnswer> {
        let mut waiting: futures_util::stream::FuturesUnordered<_> = self
            .nodes
            .into_iter()
            .map(|node| {
                drop(node.sender);
                node.answer
            })
            .collect();
        use futures_util::StreamExt;
        let mut answers = self.refusals;
        loop {
            let grace = if rule.is_met(successes(&answers)) { 500 } else { 60_000 };
            let grace = std::time::Duration::from_millis(grace);
            match tokio::time::timeout(grace, waiting.next()).await {
                Ok(Some(answer)) => answers.extend(answer.ok().flatten()),
                Ok(None) | Err(_) => return answers,
            }
        }
    }
}
